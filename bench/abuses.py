"""The abuses: what a hostile or a broken client does, each at a stated pace, from one process.

An abuse is a generator: it is resumed a hundred times a second with the number of actions that are due, and yields what
it has done. It opens its connections in steps, so that opening them is not what is measured.
"""

import select
import socket
import ssl
import time
import zlib
from dataclasses import dataclass
from typing import Callable

import frames
from frames import (
    ACK, CONTINUATION, DATA, END_HEADERS, HEADERS, INITIAL_WINDOW_SIZE, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
)

TICK = 0.01
OPENED_AT_ONCE = 20  # connections in a tick: 2,000 a second


@dataclass(frozen=True)
class Abuse:
    name: str
    title: str
    run: Callable
    rate: float  # actions a second, at most; 0 if it is there, and does nothing
    unit: str  # what an action is
    tls: bool = False  # whether it is directed at the listener with TLS


def play(abuse, port, stop, opened):
    """Runs until `stop` is set; gives the actions a second, or how many are there. Sets `opened` once all are."""
    source = "127.0.%d.%d" % (1 + zlib.crc32(abuse.name.encode()) % 200, 1 + int(time.time()) % 250)
    steps = abuse.run(lambda: connect(port, source))
    next(steps)
    done, debt, last, ready = 0, 0.0, 0, None
    while not stop.is_set():
        began = time.monotonic()
        debt = min(debt + abuse.rate * TICK, abuse.rate * 0.1 + 1)
        last = steps.send(int(debt))
        debt -= int(debt)
        if last is not None:
            if ready is None:
                ready = began
                opened.set()
            done += last
        pause = began + TICK - time.monotonic()
        if pause > 0:
            time.sleep(pause)
    steps.close()
    if ready is None or not abuse.rate:
        return last or 0
    return done / (time.monotonic() - ready)


def connect(port, source):
    """A connection that nothing waits for; none if it was refused."""
    s = socket.socket()
    s.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    s.bind((source, 0))
    s.settimeout(2)
    try:
        s.connect(("127.0.0.1", port))
    except OSError:
        s.close()
        return None
    s.setblocking(False)
    return s


def send(s, data):
    """Sends what is taken at once; false if the connection has ended."""
    try:
        s.send(data)
    except BlockingIOError:
        pass
    except OSError:
        return False
    return True


def drain(s, most=1 << 16):
    """Reads what is there; false if the connection has ended."""
    try:
        return s.recv(most) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


class Crowd:
    """Connections that are kept at a number: whoever is closed is replaced."""

    def __init__(self, open_one, count, greet):
        self.open_one, self.count, self.greet = open_one, count, greet
        self.members, self.turn = [], 0

    def fill(self):
        """Opens some of those that are missing; true when all are there."""
        for _ in range(min(OPENED_AT_ONCE, self.count - len(self.members))):
            s = self.open_one()
            if s is not None and send(s, self.greet):
                self.members.append(s)
        return len(self.members) >= self.count

    def next(self):
        if not self.members:
            return None
        self.turn = (self.turn + 1) % len(self.members)
        return self.members[self.turn]

    def drop(self, s):
        s.close()
        self.members.remove(s)

    def reap(self):
        """Drops those that the other side has closed, unread."""
        poll = select.poll()
        for s in self.members:
            poll.register(s, select.POLLRDHUP | select.POLLHUP)
        gone = {number for number, _ in poll.poll(0)}
        for s in [s for s in self.members if s.fileno() in gone]:
            self.drop(s)

    def close(self):
        for s in self.members:
            s.close()


def crowd(count, greet, act=None):
    """So many connections that greet, and then `act` in turn; without one they only stay."""

    def run(open_one):
        members = Crowd(open_one, count, greet)
        ready, ticks = False, 0
        due = yield
        try:
            while True:
                ready = members.fill() or ready
                done = 0
                if ready and act:
                    for _ in range(due):
                        s = members.next()
                        if s is None:
                            break
                        if act(s):
                            done += 1
                        else:
                            members.drop(s)
                ticks += 1
                if ready and not act and ticks % 50 == 0:
                    members.reap()
                due = yield (done if act else len(members.members)) if ready else None
        finally:
            members.close()

    return run


def each_its_own(bytes_of, most=200, reset=False):
    """A connection for each action: these bytes, and what comes back is not waited for."""

    def run(open_one):
        live = []
        due = yield
        try:
            while True:
                for _ in range(due):
                    s = open_one()
                    if s is not None:
                        send(s, bytes_of())
                        live.append(s)
                while len(live) > most or (live and due == 0):
                    s = live.pop(0)
                    if reset:
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                    s.close()
                due = yield due
        finally:
            for s in live:
                s.close()

    return run


def sending(data):
    """An act: sends these bytes, and reads what has come."""
    return lambda s: send(s, data) and drain(s)


def numbered(make):
    """An act that needs a stream of its own each time; `make` gives the frames for its number."""
    streams = {}

    def act(s):
        number = streams.get(s, 1)
        if number > 1 << 30:
            return False
        streams[s] = number + 2
        return send(s, make(number)) and drain(s)

    return act


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
BIG = b"GET /16m HTTP/1.1\r\nHost: a\r\n\r\n"
SILENT = b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n"
FIELDS = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 800) for n in range(75)) + b"\r\n"
LONG = b"GET /" + b"y" * 60000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
IN_DOUBT = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
CHUNKS = b"1;" + b"e" * 200 + b"\r\nx\r\n"


UPGRADE = b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
ENDLESS = b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n"
INTERIM = b"GET /interim HTTP/1.1\r\nHost: a\r\n\r\n"


def _hello():
    """The first flight of a TLS handshake, as a client of today makes it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.wrap_bio(incoming, outgoing, server_hostname="healthy.example").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def _silent_streams():
    return frames.hello() + b"".join(frames.get(2 * n + 1, b"/silent") for n in range(100))


def _stalled():
    return frames.hello(**{f"s{INITIAL_WINDOW_SIZE}": 0}) + b"".join(frames.get(2 * n + 1, b"/16m") for n in range(20))


def _bomb(number):
    """4 KB are remembered, and named four thousand times in 4 KB: 16 MB of fields."""
    remember = b"\x40" + frames.text(b"x") + frames.text(b"y" * 4000)
    return frame(HEADERS, END_HEADERS | 1, number, frames.block() + remember + b"\xbe" * 4000)


def _post(path=b"/"):
    return frames.hello() + frame(HEADERS, END_HEADERS, 1, frames.block(path, b"POST"))


ABUSES = (
    Abuse("slow-heads", "2,000 heads that drip, a byte a second each", crowd(2000, GET[:20], lambda s: send(s, b"a")), 2000, "bytes"),
    Abuse("slow-bodies", "2,000 bodies that drip, a byte a second each", crowd(2000, POST, lambda s: send(s, b"a")), 2000, "bytes"),
    Abuse("slow-readers", "500 readers of 16 MiB, 1 KiB a second each", crowd(500, BIG, lambda s: drain(s, 1024)), 500, "KiB"),
    Abuse("silent", "5,000 connections that say nothing", crowd(5000, b""), 0, "open"),
    Abuse("idle", "5,000 connections that are kept after an answer", crowd(5000, GET), 0, "open"),
    Abuse("large-heads", "heads of 60 KiB in 75 fields", each_its_own(lambda: FIELDS), 200, "heads"),
    Abuse("endless-heads", "20 heads without end, 16 KiB at a time", crowd(20, GET[:-2], sending(b"X: " + b"y" * 16000 + b"\r\n")), 1000, "pieces"),
    Abuse("long-targets", "targets of 60,000 bytes", each_its_own(lambda: LONG), 200, "requests"),
    Abuse("in-doubt", "requests that are refused", each_its_own(lambda: IN_DOUBT), 500, "requests"),
    Abuse("churn", "connections that close at once", each_its_own(lambda: b"", most=0), 1000, "connections"),
    Abuse("churn-reset", "requests whose client resets at once", each_its_own(lambda: GET, most=0, reset=True), 1000, "connections"),
    Abuse("extensions", "10 bodies of one-byte chunks with extensions", crowd(10, CHUNKED, sending(CHUNKS * 20)), 1000, "pieces of 4 KB"),
    Abuse("silent-backend", "500 requests to a backend that says nothing", crowd(500, SILENT), 0, "open"),
    Abuse("endless", "200 clients that do not read an answer in chunks without end", crowd(200, ENDLESS), 0, "open"),
    Abuse("tunnels", "200 clients that do not read what a WebSocket says without end", crowd(200, UPGRADE), 0, "open"),
    Abuse("interim", "interim answers of a backend without end", each_its_own(lambda: INTERIM), 20, "requests"),
    Abuse("handshakes", "TLS handshakes that are begun and left", each_its_own(_hello, most=50), 200, "handshakes", tls=True),
    Abuse("half-handshakes", "2,000 TLS handshakes that stop in their first flight", crowd(2000, _hello()[:100]), 0, "open", tls=True),
    Abuse("h2-rapid-reset", "10 clients that take back what they ask", crowd(10, frames.hello(), numbered(
        lambda n: frames.get(n) + frame(RST_STREAM, 0, n, b"\0\0\0\x08"))), 5000, "requests"),
    Abuse("h2-made-reset", "10 clients that make us reset", crowd(10, frames.hello(), numbered(
        lambda n: frames.get(n) + frame(WINDOW_UPDATE, 0, n, b"\0\0\0\0"))), 5000, "requests"),
    Abuse("h2-continuation", "10 heads without end in CONTINUATION frames", crowd(10, frames.hello() + frame(HEADERS, 0, 1, frames.block()), sending(
        frame(CONTINUATION, 0, 1, frames.literal(b"x", b"y" * 4000)))), 5000, "frames"),
    Abuse("h2-settings", "10 clients that change their settings", crowd(10, frames.hello(), sending(
        frame(SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff") * 10)), 2000, "times 10 frames"),
    Abuse("h2-ping", "10 clients that ping", crowd(10, frames.hello(), sending(frame(PING, 0, 0, b"y" * 8) * 10)), 2000, "times 10 frames"),
    Abuse("h2-windows", "10 clients that open a window byte by byte", crowd(10, frames.hello(), sending(
        frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01") * 10)), 2000, "times 10 frames"),
    Abuse("h2-empty-data", "10 bodies in empty frames", crowd(10, _post(), sending(frame(DATA, 0, 1) * 10)), 2000, "times 10 frames"),
    Abuse("h2-stalled", "200 clients with 20 streams and no window", crowd(200, _stalled()), 0, "open"),
    Abuse("h2-bomb", "10 clients whose heads unpack to 16 MB", crowd(10, frames.hello(), numbered(_bomb)), 200, "heads"),
    Abuse("h2-streams", "50 clients with 100 streams to a silent backend", crowd(50, _silent_streams()), 0, "open"),
)

"""A healthy client at a fixed pace: it asks when its time has come, however slow the answers are (an open loop)."""

import selectors
import socket
import time
from dataclasses import dataclass, field

LIMIT = 5.0  # seconds; what is not answered by then has failed
REQUEST = b"GET / HTTP/1.1\r\nHost: healthy.example\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: healthy.example\r\nConnection: close\r\n\r\n"


@dataclass
class Seen:
    """Seconds from the moment when each request was due to its answer, and what became of the others."""

    times: list = field(default_factory=list)
    failed: int = 0
    why: dict = field(default_factory=dict)

    def fail(self, why):
        self.failed += 1
        self.why[why] = self.why.get(why, 0) + 1

    def quantile(self, share):
        times = sorted(self.times)
        return times[min(len(times) - 1, int(share * len(times)))] if times else float("nan")


@dataclass
class _Request:
    due: float
    kept: bool
    sent: bool = False
    answer: bytes = b""


def ask(port, rate, seconds):
    """Every second request is on a connection that is kept, the others on one of their own."""
    seen, idle, waiting = Seen(), [], selectors.DefaultSelector()
    began, number = time.monotonic(), 0
    total = int(rate * seconds)
    while True:
        now = time.monotonic()
        while number < total and began + number / rate <= now:
            _begin(port, _Request(began + number / rate, number % 2 == 0), idle, waiting, seen)
            number += 1
        if number == total and not waiting.get_map():
            break
        pause = began + number / rate - now if number < total else 0.1
        for key, _ in waiting.select(max(pause, 0)):
            _go_on(key.fileobj, key.data, idle, waiting, seen)
        for key in [key for key in waiting.get_map().values() if now - key.data.due > LIMIT]:
            _end(key.fileobj, waiting)
            seen.fail("not answered in time")
    for s in idle:
        s.close()
    return seen


def _begin(port, request, idle, waiting, seen):
    if request.kept and idle:
        s = idle.pop()
        waiting.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE, request)
        _go_on(s, request, idle, waiting, seen)
        return
    s = socket.socket()
    s.setblocking(False)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        s.connect(("127.0.0.1", port))
    except BlockingIOError:
        pass
    waiting.register(s, selectors.EVENT_WRITE, request)


def _go_on(s, request, idle, waiting, seen):
    try:
        if not request.sent:
            s.send(REQUEST if request.kept else LAST)
            request.sent = True
            waiting.modify(s, selectors.EVENT_READ, request)
            return
        got = s.recv(65536)
    except BlockingIOError:
        return
    except OSError as error:
        _end(s, waiting)
        seen.fail(type(error).__name__)
        return
    request.answer += got
    head, found, body = request.answer.partition(b"\r\n\r\n")
    complete = found and len(body) >= _length(head)
    if not complete and got:
        return
    if not complete or not head.startswith(b"HTTP/1.1 200"):
        _end(s, waiting)
        seen.fail(head[9:12].decode(errors="replace") or "closed")
        return
    seen.times.append(time.monotonic() - request.due)
    if request.kept and b"connection: close" not in head.lower():
        waiting.unregister(s)
        idle.append(s)
    else:
        _end(s, waiting)


def _length(head):
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


def _end(s, waiting):
    waiting.unregister(s)
    s.close()

"""Many connections that have each had one answer and are kept."""

import selectors
import socket
import ssl
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
AT_ONCE = 100  # requests under way at a time, so that what requests need does not grow with the connections
PER_SOURCE = 20000  # connections from one source address, below the range of ephemeral ports


class Crowd:
    """Connections that have each had one answer."""

    def __init__(self, port, tls):
        self.port, self.tls, self.open = port, tls, []
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    def grow(self, count):
        while count > 0:
            batch = min(AT_ONCE, count)
            self._batch(batch)
            count -= batch

    def _batch(self, count):
        with selectors.DefaultSelector() as waiting:
            for _ in range(count):
                s = socket.socket()
                source = f"127.0.0.{2 + len(self.open) // PER_SOURCE}"
                s.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
                s.bind((source, 0))
                s.settimeout(10)
                s.connect(("127.0.0.1", self.port))
                if self.tls:
                    s = self.context.wrap_socket(s, server_hostname="localhost")
                s.sendall(REQUEST)
                s.setblocking(False)
                self.open.append(s)
                waiting.register(s, selectors.EVENT_READ, bytearray())
            end = time.monotonic() + 30
            while waiting.get_map():
                if time.monotonic() > end:
                    raise SystemExit(f"error: {len(waiting.get_map())} of {count} requests were not answered in 30 s")
                for key, _ in waiting.select(1):
                    try:
                        got = key.fileobj.recv(65536)
                    except ssl.SSLWantReadError:
                        continue
                    key.data.extend(got)
                    if not got:
                        raise SystemExit(f"error: a connection was closed instead of kept, after {bytes(key.data[:200])!r}")
                    if _complete(key.data):
                        waiting.unregister(key.fileobj)

    def lost(self):
        """How many the other side has closed since."""
        count = 0
        for s in self.open:
            try:
                count += s.recv(1) == b""
            except (BlockingIOError, ssl.SSLWantReadError):
                pass
            except OSError:
                count += 1
        return count

    def close(self):
        for s in self.open:
            s.close()
        self.open = []


def _complete(data):
    head, found, body = bytes(data).partition(b"\r\n\r\n")
    if not found:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"error: answered {head[:100]!r}")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return body.endswith(b"0\r\n\r\n")

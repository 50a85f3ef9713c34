"""A backend for counting: it answers only when the balancer has nothing left to do but wait for it.

So the balancer meets the same situation at each request, however busy the machine is and however slow what watches it:
it has tried to read, found nothing, and sleeps.
"""

import socket
import threading

BODY = b"x" * 128
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
LAST = ANSWER.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


class Origin:
    """Listens until closed; `settle` is called between a request and its answer. Not `kept`, it closes after each."""

    def __init__(self, settle, host="127.0.0.1", kept=True):
        self.settle, self.kept, self.open = settle, kept, []
        self.listener = socket.create_server((host, 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while receive(connection, b""):
                self.settle()
                if not self.kept:
                    connection.sendall(LAST)
                    break
                connection.sendall(ANSWER)
            connection.close()
        except OSError:
            return

    def close(self):
        for each in [self.listener, *self.open]:
            each.close()


def receive(connection, kept):
    """One message with Content-Length; nothing when the other side has ended."""
    while b"\r\n\r\n" not in kept:
        piece = connection.recv(65536)
        if not piece:
            return None
        kept += piece
    head, _, body = kept.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            return None
        body += piece
    return head, body

"""Calls of gRPC that are counted one by one, and the backend that answers them: frames of HTTP/2 that are written once.

Nothing of what the proxy sends is understood but where a stream ends.
"""

import socket
import struct

import origin
import processes

DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MESSAGE = b"\0" + struct.pack(">I", 128) + b"x" * 128


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _fields(*fields):
    """Literals without indexing and without Huffman's code (RFC 7541, section 6.2.2)."""
    return b"".join(b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value for name, value in fields)


# Both sides may send as much as they will.
BEGIN = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, (1 << 31) - 1)) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))
REQUEST = _fields(
    (b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"quick.example"), (b":path", b"/echo.Echo/Say"),
    (b"content-type", b"application/grpc"), (b"te", b"trailers"), (b"user-agent", b"quick"),
)
HEAD = _fields((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS = _fields((b"grpc-status", b"0"))


class Frames:
    """Reads a connection frame by frame, and answers what must be."""

    def __init__(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection, self.held = connection, b""

    def take(self, size):
        while len(self.held) < size:
            piece = self.connection.recv(65536)
            if not piece:
                raise EOFError
            self.held += piece
        taken, self.held = self.held[:size], self.held[size:]
        return taken

    def ended_stream(self):
        """The number of the next stream that the other side has ended."""
        while True:
            head = self.take(9)
            payload = self.take(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind in (SETTINGS, PING) and not flags & ACK:
                self.connection.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                return stream


class Origin(origin.Origin):
    """The same as of HTTP/1.1, for calls."""

    def _serve(self, connection):
        frames = Frames(connection)
        try:
            frames.take(len(PREFACE))
            connection.sendall(BEGIN)
            while True:
                stream = frames.ended_stream()
                self.settle()
                connection.sendall(
                    frame(HEADERS, END_HEADERS, stream, HEAD)
                    + frame(DATA, 0, stream, MESSAGE)
                    + frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS)
                )
        except (OSError, EOFError):
            connection.close()


def ask(pids, port, count):
    """So many calls, one after the other, on one connection."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    frames = Frames(connection)
    connection.sendall(PREFACE + BEGIN)
    for number in range(count):
        processes.wait_asleep(pids)
        stream = 2 * number + 1
        connection.sendall(
            frame(HEADERS, END_HEADERS, stream, REQUEST) + frame(DATA, END_STREAM, stream, MESSAGE)
        )
        if frames.ended_stream() != stream:
            raise SystemExit("error: another stream has ended than was begun")
    connection.close()
    processes.wait_asleep(pids)

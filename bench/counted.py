"""Requests that are counted one by one: each is sent when the proxy sleeps, so that each meets the same situation."""

import socket
from dataclasses import dataclass

import grpc
import origin
import processes


@dataclass(frozen=True)
class Case:
    name: str
    request: bytes = b""
    kept: bool = True
    grpc: bool = False


def _head(method, more=b""):
    return method + b" / HTTP/1.1\r\nHost: quick.example\r\nUser-Agent: quick\r\nAccept: */*\r\n" + more + b"\r\n"


CASES = (
    Case("get", _head(b"GET")),
    Case("new connection", _head(b"GET", b"Connection: close\r\n"), kept=False),
    Case("post 10 KB", _head(b"POST", b"Content-Length: 10240\r\n") + b"x" * 10240),
    Case("grpc", grpc=True),
)


def ask(case, pids, port, count):
    """So many requests, on one connection or on one each."""
    if case.grpc:
        return grpc.ask(pids, port, count)
    connection = None
    for _ in range(count):
        processes.wait_asleep(pids)
        if connection is None:
            connection = socket.create_connection(("127.0.0.1", port), timeout=60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            processes.wait_asleep(pids)
        connection.sendall(case.request)
        answer = origin.receive(connection, b"")
        if answer is None or not answer[0].startswith(b"HTTP/1.1 200") or len(answer[1]) != len(origin.BODY):
            raise SystemExit(f"error: answered {answer and answer[0][:80]!r}")
        if not case.kept:
            connection.close()
            connection = None
    if connection:
        connection.close()
    processes.wait_asleep(pids)

"""What is measured. One row, one scenario; a row says everything that distinguishes it.

To add one: add a row. If it needs another listener (TLS, HTTP/2) give it a new `listener` and teach each proxy in
`proxies.py` to open it; if it needs another client give it a new `client` and write that in `clients.py`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    path: str = "/"  # a key of BODIES
    connections: int = 64
    headers: tuple = ()
    method: str = "GET"
    request_bytes: int = 0
    listener: str = "plain"
    client: str = "wrk"
    default: bool = True  # measured unless --scenarios says otherwise


# What the backends answer, by path, in bytes.
BODIES = {"/": 128, "/10k": 10 * 1024, "/16m": 16 * 1024 * 1024}

SCENARIOS = (
    Scenario("get", "GET, 128 B, connections kept"),
    Scenario("new-connection", "GET, 128 B, a new connection each", headers=("Connection: close",)),
    Scenario("get-10k", "GET, 10 KB, connections kept", path="/10k", default=False),
    Scenario("post-10k", "POST, 10 KB up, 128 B down", method="POST", request_bytes=10 * 1024, default=False),
)

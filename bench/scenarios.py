"""What is measured. One row, one scenario; a row says everything that distinguishes it.

To add one: add a row. If it needs another listener give it a new `listener`, teach each proxy in `proxies/` to open it, and
give it a backend in `proxies/backends.py`; if it needs another client, that is a new kind of `traffic` (bench/traffic).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    rate: int  # requests a second in the open loop: some way below what the slowest of all can do on one core
    path: str = "/"  # a key of BODIES
    connections: int = 64
    streams: int = 1  # at once on each connection of HTTP/2
    upload: int = 0
    listener: str = "plain"
    kind: str = "http1"  # what `traffic` is asked for: http1, new, http2, grpc, websocket
    wrk: bool = True  # whether the closed loop is wrk's; `traffic` itself where wrk cannot
    access_log: bool = False
    idle: int = 0  # connections beside it that are kept and do nothing


# What the backends answer, by path, in bytes.
BODIES = {"/": 128, "/10k": 10 * 1024, "/100k": 100 * 1024, "/1m": 1024 * 1024, "/16m": 16 * 1024 * 1024}

SCENARIOS = (
    Scenario("get", "GET, 128 B, connections kept", 3000),
    Scenario("get-10k", "GET, 10 KB", 2000, path="/10k"),
    Scenario("get-100k", "GET, 100 KB", 800, path="/100k"),
    Scenario("get-1m", "GET, 1 MB", 100, path="/1m", connections=16),
    Scenario("post-10k", "POST, 10 KB up, 128 B down", 2000, upload=10 * 1024, listener="upload"),
    Scenario("post-1m", "POST, 1 MB up, 128 B down", 100, upload=1024 * 1024, connections=16, listener="upload"),
    Scenario("new-connection", "GET, 128 B, a new connection each", 1500, kind="new"),
    Scenario("tls", "GET, 128 B, HTTP/1.1 over TLS, connections kept", 3000, listener="tls"),
    Scenario("tls-h2", "GET, 128 B, HTTP/2 over TLS, 32 streams on each", 2000, listener="tls", kind="http2", connections=8, streams=32, wrk=False),
    Scenario("grpc", "gRPC, HTTP/2 without TLS to both sides, 32 streams on each", 2000, listener="grpc", kind="grpc", connections=8, streams=32, wrk=False),
    Scenario("websocket", "WebSocket, an echo of 128 B", 3000, listener="websocket", kind="websocket", wrk=False),
    Scenario("sick", "GET, 128 B, one of three backends hangs up instead of answering", 2000, listener="sick"),
    Scenario("access-log", "GET, 128 B, with an access log", 3000, access_log=True),
    Scenario("idle", "GET, 128 B, beside 10,000 idle connections", 3000, idle=10_000),
)

"""What each proxy is configured to do, in terms that all of them know."""

from dataclasses import dataclass, field

import processes

# Where a proxy listens: what is spoken to it there, and which backends are behind it.
LISTENERS = ("plain", "tls", "grpc", "websocket", "sick", "upload")


@dataclass(frozen=True)
class Backends:
    """Ports on 127.0.0.1. Those that are not there have no listener in front of them."""

    plain: tuple
    websocket: int | None = None
    grpc: int | None = None
    sick: int | None = None
    upload: int | None = None


@dataclass(frozen=True)
class Site:
    backends: Backends
    tls: dict | None = None  # files: certificate, key, both; no listener without
    connections: int = 4096
    same_fields: bool = False
    access_log: bool = False
    ports: dict = field(default_factory=lambda: dict(zip(LISTENERS, processes.free_ports(len(LISTENERS)))))

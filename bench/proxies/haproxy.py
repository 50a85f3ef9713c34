"""HAProxy; and one that adds the fields to each request that Evenkeel adds by default."""

from dataclasses import replace
from types import SimpleNamespace

VERSION = ["-v"]


def write(program, home, site):
    ports, behind = site.ports, site.backends
    a, b = behind.plain
    fields = """
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Request-Id %[uuid()]""" if site.same_fields else ""
    secure = f"""
    bind 127.0.0.1:{ports["tls"]} ssl crt {site.tls["both"]} alpn h2,http/1.1 backlog 16384""" if site.tls else ""
    special = ""
    if behind.grpc:
        special += f"""
frontend grpc
    bind 127.0.0.1:{ports["grpc"]} proto h2 backlog 16384{fields}
    default_backend grpc
backend grpc
    http-reuse always
    server g 127.0.0.1:{behind.grpc} proto h2 check inter 5s
"""
    if behind.websocket:
        special += f"""
frontend websocket
    bind 127.0.0.1:{ports["websocket"]} backlog 16384{fields}
    default_backend websocket
backend websocket
    server w 127.0.0.1:{behind.websocket} check inter 5s
"""
    if behind.sick:
        special += f"""
frontend sick
    bind 127.0.0.1:{ports["sick"]} backlog 16384{fields}
    default_backend sick
backend sick
    balance roundrobin
    http-reuse always
    option redispatch 1
    retries 2
    retry-on conn-failure empty-response
    default-server check inter 5s observe layer7 error-limit 5 on-error mark-down
    server a 127.0.0.1:{a}
    server b 127.0.0.1:{b}
    server c 127.0.0.1:{behind.sick}
"""
    if behind.upload:
        special += f"""
frontend upload
    bind 127.0.0.1:{ports["upload"]} backlog 16384{fields}
    default_backend upload
backend upload
    http-reuse always
    server u 127.0.0.1:{behind.upload} check inter 5s
"""
    (home / "haproxy.cfg").write_text(f"""
global
    nbthread 1
    maxconn {site.connections}
    # It wants two descriptors for each connection it may get; an idle one has one. So a lower limit is no error.
    no strict-limits
    {"log stdout format raw daemon" if site.access_log else ""}

defaults
    mode http
    {"log global" if site.access_log else ""}
    {"option httplog" if site.access_log else ""}
    timeout connect 2s
    timeout client 60s
    timeout server 30s
    timeout tunnel 1h
    timeout http-keep-alive 60s

frontend web
    bind 127.0.0.1:{ports["plain"]} backlog 16384{secure}{fields}
    default_backend app

backend app
    balance roundrobin
    http-reuse always
    server a 127.0.0.1:{a} check inter 5s
    server b 127.0.0.1:{b} check inter 5s
{special}""")
    return [program, "-db", "-f", str(home / "haproxy.cfg")], None


def _with_fields(program, home, site):
    return write(program, home, replace(site, same_fields=True))


# Where a request is nothing but its fields.
fields = SimpleNamespace(VERSION=VERSION, write=_with_fields, LISTENERS=("plain", "tls", "grpc"), PATHS=("/",))

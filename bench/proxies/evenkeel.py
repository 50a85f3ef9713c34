"""Evenkeel, at its defaults: time-outs, health checks, retries and ejection are on."""

from types import SimpleNamespace

VERSION = ["--version"]


def write(program, home, site, routes=None):
    ports, behind = site.ports, site.backends
    a, b = (f"127.0.0.1:{port}" for port in behind.plain)
    listeners = [f'web: {{ address: "127.0.0.1:{ports["plain"]}" }}']
    upstreams = [f'app: {{ backends: ["{a}", "{b}"] }}']
    everything = ["web"]
    if site.tls:
        files = f"certificate: {site.tls['certificate']}, key: {site.tls['key']}"
        listeners.append(f'secure: {{ address: "127.0.0.1:{ports["tls"]}", tls: {{ certificates: [ {{ {files} }} ] }} }}')
        everything.append("secure")
    routes = routes or [f"{{ listeners: [{', '.join(everything)}], upstream: app }}"]
    special = {
        "websocket": (behind.websocket, f'backends: ["127.0.0.1:{behind.websocket}"]'),
        "grpc": (behind.grpc, f'backends: ["127.0.0.1:{behind.grpc}"], protocol: http2'),
        "sick": (behind.sick, f'backends: ["{a}", "{b}", "127.0.0.1:{behind.sick}"]'),
        "upload": (behind.upload, f'backends: ["127.0.0.1:{behind.upload}"]'),
    }
    for name, (port, upstream) in special.items():
        if port:
            listeners.append(f'{name}: {{ address: "127.0.0.1:{ports[name]}" }}')
            upstreams.append(f"{name}: {{ {upstream} }}")
            routes.append(f"{{ listeners: [{name}], upstream: {name} }}")
    log = f"{{ path: {home}/access.log }}" if site.access_log else "off"
    lines = [
        "version: 1", "threads: 1", "admin: off", f"access_log: {log}", "lame_duck: off",
        f"pid_file: {home}/pid", f"upgrade_sock: {home}/sock",
        "listeners:", *(f"  {each}" for each in listeners),
        "upstreams:", *(f"  {each}" for each in upstreams),
        "routes:", *(f"  - {each}" for each in routes),
    ]
    (home / "evenkeel.yaml").write_text("\n".join(lines) + "\n")
    return [program, "-c", str(home / "evenkeel.yaml")], None


def _many_routes(program, home, site):
    """The one that is asked for, and 9,999 of other hosts and paths."""
    match = "{{ match: {{ hosts: [{}], path: {{ prefix: /{} }} }}, upstream: app }}"
    others = [match.format(f"tenant-{n}.example.com", f"p{n}") for n in range(9_999)]
    return write(program, home, site, [*others, match.format("127.0.0.1", "")])


routes = SimpleNamespace(VERSION=VERSION, LISTENERS=("plain",), write=_many_routes)

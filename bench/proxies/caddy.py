"""Caddy. It always adds X-Forwarded-For, -Proto and -Host."""

import os

VERSION = ["version"]


def write(program, home, site):
    ports, behind = site.ports, site.backends
    a, b = behind.plain
    log = f"log {{\n output file {home}/access.log {{\n roll_disabled\n }}\n format json\n }}" if site.access_log else ""

    def block(scheme, port, to, more="", inside=""):
        return f"""
{scheme}://:{port} {{
    bind 127.0.0.1
    {log}
    {more}
    reverse_proxy {to} {{
        lb_policy round_robin
        transport http {{
            compression off
            keepalive_idle_conns 1024
            keepalive_idle_conns_per_host 1024
            dial_timeout 2s
        }}
        {inside}
    }}
}}
"""

    app = f"127.0.0.1:{a} 127.0.0.1:{b}"
    checked = "health_uri /\n        health_interval 5s"
    blocks = block("http", ports["plain"], app, inside=checked)
    if site.tls:
        blocks += block("https", ports["tls"], app, f"tls {site.tls['certificate']} {site.tls['key']}", checked)
    if behind.grpc:
        blocks += block("http", ports["grpc"], f"h2c://127.0.0.1:{behind.grpc}")
    if behind.websocket:
        blocks += block("http", ports["websocket"], f"127.0.0.1:{behind.websocket}")
    if behind.sick:
        passive = "lb_retries 2\n        fail_duration 30s\n        max_fails 5"
        blocks += block("http", ports["sick"], f"{app} 127.0.0.1:{behind.sick}", inside=passive)
    if behind.upload:
        blocks += block("http", ports["upload"], f"127.0.0.1:{behind.upload}")
    (home / "Caddyfile").write_text(f"""
{{
    admin off
    auto_https off
    persist_config off
    default_sni localhost
    log {{
        level ERROR
        {"exclude http.log.access" if site.access_log else ""}
    }}
    servers {{
        protocols h1 h2 h2c
        timeouts {{
            idle 60s
        }}
    }}
}}
{blocks}""")
    environment = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    return [program, "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"], environment

"""The bare proxy on pingora that stands in bench/yardstick: nothing but forwarding, so only plain HTTP and TLS."""

import os

LISTENERS = ("plain", "tls")


def write(program, home, site):
    listen = f"127.0.0.1:{site.ports['plain']}" + (f",127.0.0.1:{site.ports['tls']}" if site.tls else "")
    files = {"CERTIFICATE": str(site.tls["certificate"]), "KEY": str(site.tls["key"])} if site.tls else {}
    return [program, "1", listen, *(f"127.0.0.1:{backend}" for backend in site.backends.plain)], {**os.environ, **files}

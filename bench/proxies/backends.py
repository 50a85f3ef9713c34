"""The backends: one nginx worker for what is fetched, and `traffic serve` for the others."""

import getpass
import grp
import os
import socket
import subprocess
import time
from pathlib import Path

from processes import Running, free_ports
from scenarios import BODIES


def start_backends(nginx, scratch, core, host="127.0.0.1", kept=True, unsent=""):
    """Two ports that answer `BODIES`, by one nginx worker; with `0.0.0.0` on every address of the loopback network.

    Not `kept`, they close each connection after its answer. `unsent`: what the kernel holds of an answer for them, as in `256k`.
    """
    ports = free_ports(2)
    home = Path(scratch) / "backends"
    (home / "logs").mkdir(parents=True)
    (home / "files").mkdir()
    answers, sndbuf = "", f" sndbuf={unsent}" if unsent else ""
    for path, size in BODIES.items():
        if size <= 2048:
            answers += f'location = {path} {{ return 200 "{"x" * size}"; }}\n'
        else:  # longer than a word of nginx's configuration may be
            (home / "files" / path[1:]).write_text("x" * size)
    (home / "nginx.conf").write_text(f"""
{nginx_top(home)}
events {{ worker_connections 32768; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000000;
    keepalive_timeout {"300s" if kept else "0"};
    client_body_buffer_size 64k;
    client_max_body_size 0;
    root {home}/files;
    open_file_cache max=16;
    server {{
        listen {host}:{ports[0]} backlog=16384{sndbuf};
        listen {host}:{ports[1]} backlog=16384{sndbuf};
        {answers}
    }}
}}
""")
    running = Running("the backends", [nginx, "-p", str(home), "-c", "nginx.conf"], core, home / "out")
    for port in ports:
        running.wait_for(port, "/", BODIES["/"])
    return running, ports


def start_special(traffic, scratch, core):
    """The ports of WebSocket, gRPC, the sick backend, and the one that reads bodies."""
    ports = free_ports(4)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    running = Running("the special backends", [str(traffic), "serve", *addresses], core, Path(scratch) / "special")
    end = time.monotonic() + 10
    for port in ports:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError as error:
                if time.monotonic() > end or running.child.poll() is not None:
                    running.stop()
                    raise SystemExit(f"error: the special backends do not answer: {error}")
                time.sleep(0.05)
    return running, ports


def certificate(scratch):
    """A certificate for this machine and its key, each in a file of its own and both in one."""
    files = {name: Path(scratch) / f"{name}.pem" for name in ("certificate", "key", "both")}
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
    command += ["-keyout", str(files["key"]), "-out", str(files["certificate"])]
    subprocess.run(command, check=True, capture_output=True)
    files["both"].write_text(files["certificate"].read_text() + files["key"].read_text())
    for file in files.values():
        file.chmod(0o644)
    return files


def nginx_top(home):
    """How every nginx here begins."""
    me, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    return f"""
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log stderr crit;
{f"user {me} {group};" if os.geteuid() == 0 else ""}
"""

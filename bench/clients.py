"""The load generators: each runs for some seconds against a loopback port and returns the same figures."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Load:
    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int


def run(scenario, port, seconds, core, scratch):
    return {"wrk": wrk}[scenario.client](scenario, port, seconds, core, scratch)


def wrk(scenario, port, seconds, core, scratch):
    """wrk is a closed loop: each connection waits for its answer. Its latencies are those of a saturated proxy."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--latency"]
    for header in scenario.headers:
        command += ["-H", header]
    if scenario.method != "GET" or scenario.request_bytes:
        script = Path(scratch) / f"{scenario.name}.lua"
        script.write_text(f'wrk.method = "{scenario.method}"\nwrk.body = string.rep("x", {scenario.request_bytes})\n')
        command += ["-s", str(script)]
    command.append(f"http://127.0.0.1:{port}{scenario.path}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    if done.returncode != 0:
        raise SystemExit(f"error: wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    out = done.stdout

    def find(pattern, default=None):
        found = re.search(pattern, out)
        if found is None and default is None:
            raise SystemExit(f"error: wrk's report was not understood (no {pattern!r}):\n{out}")
        return found.groups() if found else default

    broken = sum(map(int, find(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", ("0",))))
    refused = int(find(r"Non-2xx or 3xx responses: (\d+)", ("0",))[0])
    return Load(
        requests=int(find(r"(\d+) requests in")[0]),
        per_second=float(find(r"Requests/sec:\s+([\d.]+)")[0]),
        p50_ms=_milliseconds(find(r"50%\s+([\d.]+)(us|ms|s|m)\b")),
        p99_ms=_milliseconds(find(r"99%\s+([\d.]+)(us|ms|s|m)\b")),
        errors=broken + refused,
    )


def _milliseconds(found):
    value, unit = found
    return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}[unit]

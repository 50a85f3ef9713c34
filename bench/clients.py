"""The load generators: each runs for some seconds against a loopback port and returns the same figures."""

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from proxies import TRAFFIC


@dataclass(frozen=True)
class Load:
    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    p999_ms: float | None = None
    why: dict = field(default_factory=dict)  # what errors were


def closed(scenario, port, seconds, core, scratch, tls):
    """As much as it takes: each connection waits for its answer. Its latencies are those of a saturated proxy."""
    if scenario.wrk:
        return wrk(scenario, port, seconds, core, scratch)
    return traffic(scenario, port, seconds, core, tls, None)


def paced(scenario, port, seconds, core, tls):
    """An open loop at the rate of the scenario: what an answer took counts from the moment when its request was due."""
    return traffic(scenario, port, seconds, core, tls, scenario.rate)


def traffic(scenario, port, seconds, core, tls, rate):
    command = [] if core is None else ["taskset", "-c", str(core)]
    command += [str(TRAFFIC), "ask", scenario.kind, f"127.0.0.1:{port}"]
    command += ["--seconds", str(seconds), "--path", scenario.path, "--upload", str(scenario.upload)]
    command += ["--connections", str(scenario.connections), "--streams", str(scenario.streams)]
    if scenario.listener == "tls":
        command += ["--tls", str(tls["certificate"])]
    if rate:
        command += ["--rate", str(rate)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    if done.returncode != 0:
        raise SystemExit(f"error: traffic failed: {done.stderr.strip()}")
    seen = json.loads(done.stdout)
    if seen["requests"] == 0:
        raise SystemExit(f"error: nothing was answered in `{scenario.name}`: {seen['why']}")
    return Load(
        seen["requests"], seen["per_second"], seen["p50_ms"], seen["p99_ms"], seen["errors"], seen["p999_ms"], seen["why"]
    )


def wrk(scenario, port, seconds, core, scratch):
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--latency"]
    if scenario.kind == "new":
        command += ["-H", "Connection: close"]
    if scenario.upload:
        script = Path(scratch) / f"{scenario.name}.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {scenario.upload})\n')
        command += ["-s", str(script)]
    command.append(f"{'https' if scenario.listener == 'tls' else 'http'}://127.0.0.1:{port}{scenario.path}")
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

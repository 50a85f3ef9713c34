"""From raw rounds to the tables of docs/benchmarks.md."""

import os
import platform
import re
import time
from pathlib import Path
from statistics import median

from proxies import ROOT

DOCUMENT = ROOT / "docs" / "benchmarks.md"
TITLES = {"evenkeel": "Evenkeel", "nginx": "nginx", "haproxy": "HAProxy", "yardstick": "pingora, bare", "evenkeel-routes": "Evenkeel, 10,000 routes"}


def machine():
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    total = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.M)
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(total[1]) / 1024 / 1024) if total else None,
        "kernel": platform.release().split("-")[0],
        "load_average_before": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def tables(result):
    here, settings = result["machine"], result["settings"]
    names = settings["proxies"]
    lines = [
        f"Measured on {here['date']}: {here['cpu']}, {here['cores']} cores, {here['memory_gib']} GiB, "
        f"Linux {here['kernel']}, load average {here['load_average_before']:.1f} before the run; "
        f"{settings['rounds']} interleaved rounds of {settings['seconds']} s for each cell"
        + (", all adding the same request fields." if settings["same_fields"] else "."),
        "",
        *(f"- {TITLES[name]}: {result['versions'][name]}" for name in names),
    ]
    for scenario in result["scenarios"]:
        rows = [r for r in result["rounds"] if r["scenario"] == scenario["name"]]
        calls = any("calls" in entry for entry in result["system_calls"] if entry["scenario"] == scenario["name"])
        lines += [
            "",
            f"**{scenario['title']}, {scenario['connections']} connections**",
            "",
            "| | CPU ms per 1000 requests | times HAProxy (spread) | requests/s | p50 ms | p99 ms | proxy's core busy |"
            + (" system calls per request |" if calls else "") + " errors |",
            "|---|--:|--:|--:|--:|--:|--:|" + ("--:|" if calls else "") + "--:|",
        ]
        for name in names:
            mine = [r for r in rows if r["proxy"] == name]
            middle = lambda key: median(r[key] for r in mine)  # noqa: E731
            row = (
                f"| {TITLES[name]} | {middle('cpu_ms_per_1000'):.1f} | {_ratio(rows, name)} | {middle('per_second'):,.0f} "
                f"| {middle('p50_ms'):.2f} | {middle('p99_ms'):.2f} | {100 * middle('busy'):.0f} % |"
            )
            if calls:
                found = [e for e in result["system_calls"] if (e["scenario"], e["proxy"]) == (scenario["name"], name)]
                row += f" {found[0]['per_request']:.2f} |" if found else " |"
            lines.append(row + f" {sum(r['errors'] for r in mine)} |")
    lines += ["", "**Memory** (resident, sum of the proxy's processes)", "", "| | before any load | at most |", "|---|--:|--:|"]
    for name in names:
        used = result["memory"][name]
        lines.append(f"| {TITLES[name]} | {used['idle'] / 2**20:.1f} MiB | {used['peak'] / 2**20:.1f} MiB |")
    return "\n".join(lines)


def _ratio(rows, name):
    """CPU per request over HAProxy's of the same round: median and spread."""
    base = {r["round"]: r["cpu_ms_per_1000"] for r in rows if r["proxy"] == "haproxy"}
    ratios = [r["cpu_ms_per_1000"] / base[r["round"]] for r in rows if r["proxy"] == name and base.get(r["round"])]
    if not ratios:
        return "–"
    if name == "haproxy":
        return "1"
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def write(marker, text, page=DOCUMENT):
    """Replaces what stands between `<!-- marker:begin -->` and `<!-- marker:end -->` on a page."""
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    head, found, rest = page.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"error: {page} has no `{begin}` … `{end}`")
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")

"""From raw rounds to the tables of docs/benchmarks.md."""

import os
import platform
import re
import time
from pathlib import Path
from statistics import median

from proxies import ROOT

DOCUMENT = ROOT / "docs" / "benchmarks.md"
TITLES = {
    "evenkeel": "Evenkeel", "evenkeel-before": "Evenkeel before", "nginx": "nginx", "haproxy": "HAProxy", "envoy": "Envoy", "caddy": "Caddy",
    "yardstick": "pingora, bare", "evenkeel-routes": "Evenkeel, 10,000 routes",
    "haproxy-fields": "HAProxy, same fields",
}


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
        f"{settings['rounds']} interleaved rounds of {settings['seconds']} s for each cell and loop"
        + (", all adding the same request fields." if settings["same_fields"] else ".")
        + " Medians, and in brackets the least and the most of the rounds.",
        "",
        *(f"- {TITLES[name]}: {_number(result['versions'][name])}" for name in names),
    ]
    base = _base(names)
    if base:
        lines += _summary(result, base)
    for scenario in result["scenarios"]:
        lines += _scenario(result, scenario, base)
    lines += _counts(result["counts"])
    lines += ["", "**Memory** (resident, sum of the proxy's processes)", "", "| | before any load | at most |", "|---|--:|--:|"]
    for name in names:
        used = result["memory"][name]
        lines.append(f"| {TITLES[name]} | {used['idle'] / 2**20:.1f} MiB | {used['peak'] / 2**20:.1f} MiB |")
    return "\n".join(lines)


def _number(version):
    """What a program says of its version, without the rest that it says."""
    number = re.search(r"\d+\.\d+\.\d+", version)
    return number[0] if number else version


def _base(names):
    """Whom the others are compared with, if anybody."""
    return next((name for name in ("haproxy", "evenkeel-before") if name in names), None)


def _summary(result, base):
    others = [name for name in result["settings"]["proxies"] if name != base]
    lines = [
        "",
        f"**All in one: CPU per request, times that of {TITLES[base]} in the same round** (its own, in ms per 1,000 requests)",
        "",
        f"| | {TITLES[base]} | " + " | ".join(TITLES[name] for name in others) + " |",
        "|---|--:|" + "--:|" * len(others),
    ]
    for scenario in result["scenarios"]:
        rows = [r for r in result["rounds"] if r["scenario"] == scenario["name"]]
        own = [r["cpu_ms_per_1000"] for r in rows if r["proxy"] == base]
        cells = [f"**{_ratio(rows, name, base)}**" if name == "evenkeel" else _ratio(rows, name, base) for name in others]
        if own:
            lines.append(f"| {scenario['title']} | {median(own):,.1f} | " + " | ".join(cells) + " |")
    return lines


def _scenario(result, scenario, base):
    rows, settings = [r for r in result["rounds"] if r["scenario"] == scenario["name"]], result["settings"]
    calls = {e["proxy"]: e["per_request"] for e in result["system_calls"] if e["scenario"] == scenario["name"]}
    lines = [
        "",
        f"**{scenario['title']}, {scenario['connections']} connections**",
        "",
        f"| | CPU ms per 1000 requests | times {TITLES.get(base, 'another')} | requests/s | proxy's core busy | p50 / p99 / p99.9 ms at {scenario['rate']:,}/s |"
        + (" system calls per request |" if calls else "") + " errors |",
        "|---|--:|--:|--:|--:|--:|" + ("--:|" if calls else "") + "--:|",
    ]
    for name in result["settings"]["proxies"]:
        mine = [r for r in rows if r["proxy"] == name]
        if not mine:
            continue
        paced = [r["paced"] for r in mine]
        # Of fewer requests than a thousand the last is no one in a thousand.
        quantiles = ("p50_ms", "p99_ms", "p999_ms") if scenario["rate"] * settings["seconds"] >= 1000 else ("p50_ms", "p99_ms")
        times = " / ".join([_spread([p[key] for p in paced], ".1f") for key in quantiles] + ["–"] * (3 - len(quantiles)))
        row = (
            f"| {TITLES[name]} | {_spread([r['cpu_ms_per_1000'] for r in mine], ',.1f')} | {_ratio(rows, name, base)} "
            f"| {median(r['per_second'] for r in mine):,.0f} | {100 * median(r['busy'] for r in mine):.0f} % | {times} |"
        )
        if calls:
            row += f" {calls[name]:.2f} |" if name in calls else " – |"
        lines.append(row + f" {sum(r['errors'] for r in mine) + sum(p['errors'] for p in paced)} |")
    return lines


def _counts(rows):
    if not rows:
        return []
    cases = list(dict.fromkeys(row["case"] for row in rows))
    lines = [
        "", "**Counted, one request at a time** (user instructions / calls of the allocator; callgrind)", "",
        "| | " + " | ".join(cases) + " |", "|---|" + "--:|" * len(cases),
    ]
    for name in dict.fromkeys(row["proxy"] for row in rows):
        cells = []
        for case in cases:
            (row,) = (row for row in rows if (row["proxy"], row["case"]) == (name, case))
            allocations = "–" if row["allocations"] is None else f"{row['allocations']:.1f}"
            cells.append(f"{row['instructions']:,.0f} / {allocations}")
        lines.append(f"| {TITLES[name]} | " + " | ".join(cells) + " |")
    return lines


def _spread(values, form):
    middle = format(median(values), form)
    return middle if len(values) < 2 else f"{middle} ({min(values):{form}}–{max(values):{form}})"


def _ratio(rows, name, base):
    """CPU per request over that of `base` in the same round: median and spread."""
    own = {r["round"]: r["cpu_ms_per_1000"] for r in rows if r["proxy"] == base}
    ratios = [r["cpu_ms_per_1000"] / own[r["round"]] for r in rows if r["proxy"] == name and own.get(r["round"])]
    if not ratios:
        return "–"
    return "1" if name == base else _spread(ratios, ".2f")


def write(marker, text, page=DOCUMENT):
    """Replaces what stands between `<!-- marker:begin -->` and `<!-- marker:end -->` on a page."""
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    head, found, rest = page.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"error: {page} has no `{begin}` … `{end}`")
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")

"""Counts under valgrind's callgrind: user instructions, and calls of the allocator. It emulates, so that neither the clock of
the processor nor its other work changes them; the system's part of a request is not in them.

The cost of a request is what two runs with a different number of requests differ by, which is free of starting and stopping.
Of a program's threads the one counts whose figures differ most: the core that serves. The others are clocks, which go on
while a slow machine lets them.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass

# Where a program asks for memory: mimalloc's entry points, which Rust's allocator calls, and those of C. A call from one to
# another of them is the allocator's own business and not counted.
ALLOCATORS = {
    *("malloc", "calloc", "realloc", "reallocarray", "memalign", "posix_memalign", "aligned_alloc"),
    *("mi_malloc", "mi_zalloc", "mi_calloc", "mi_realloc", "mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned"),
}
# The C library copies in the same way on machines with and without newer instructions, and never by one that repeats itself,
# of which each turn would count.
PLAIN_COPIES = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-ERMS,-FSRM"


# How a thread that serves is known from the clocks and the housekeeping of a program: it receives.
RECEIVES = {"recv", "recvfrom"}


@dataclass(frozen=True)
class Thread:
    instructions: int = 0
    allocations: int | None = None
    receives: int = 0


@dataclass(frozen=True)
class Cost:
    instructions: float
    allocations: float | None  # none where the program has no names of functions left


def missing():
    return None if shutil.which("valgrind") else "valgrind"


def command(out, program, more=()):
    return ["env", PLAIN_COPIES, "valgrind", "--tool=callgrind", *more, "--separate-threads=yes", f"--callgrind-out-file={out}.%p", *program]


def per_request(start, work, counts):
    """`start(run)` starts a program under `command` and returns it with its file; `work(running, count)` asks it so often."""
    runs = []
    for run, count in enumerate(counts):
        running, out = start(run)
        try:
            work(running, count)
        finally:
            running.stop(60)
        runs.append(threads(out))
    few, many = runs
    requests = counts[1] - counts[0]
    nothing = Thread(allocations=0)
    core = max(many, key=lambda thread: many[thread].instructions - few.get(thread, nothing).instructions)
    after, before = many[core], few.get(core, nothing)
    named = after.allocations is not None and before.allocations is not None
    return Cost(
        (after.instructions - before.instructions) / requests,
        (after.allocations - before.allocations) / requests if named else None,
    )


def counting(pid, on):
    """Begins or ends counting in a program that was started with `--instr-atstart=no`, which runs quicker until then."""
    subprocess.run(["callgrind_control", "-i", "on" if on else "off", str(pid)], check=True, capture_output=True, timeout=60)


def threads(out):
    """What each thread of a run came to. Its name is its place among the processes of the run, and its number in there."""
    files = sorted((*map(int, each.name.rpartition(".")[2].split("-")), each) for each in out.parent.glob(f"{out.name}.*-*"))
    if not files:
        raise SystemExit(f"error: callgrind wrote no {out.name}")
    places = {pid: place for place, pid in enumerate(sorted({pid for pid, _, _ in files}))}
    return {(places[pid], thread): read(file) for pid, thread, file in files}


def read(file):
    """What one thread did in one run."""
    names, caller, callee, allocations = {}, None, None, None
    total = receives = 0

    def name(text):
        number, _, word = text.partition(" ")
        if word:
            names[number] = word.split("'")[0].split("@")[0]
        return names.get(number)

    with open(file, errors="replace") as lines:
        for line in lines:
            if line.startswith("fn="):
                caller = name(line[3:].rstrip("\n"))
            elif line.startswith("cfn="):
                callee = name(line[4:].rstrip("\n"))
            elif line.startswith("calls="):
                if callee in ALLOCATORS and caller not in ALLOCATORS:
                    allocations = (allocations or 0) + int(line[6:].split()[0])
                elif callee in RECEIVES:
                    receives += int(line[6:].split()[0])
            elif found := re.match(r"(?:summary|totals): (\d+)", line):
                total = max(total, int(found[1]))
    return Thread(total, allocations, receives)

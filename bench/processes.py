"""Starting, pinning, stopping processes, and reading what they used from /proc."""

import os
import re
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def free_ports(count):
    """Ports that were free just now; held together while choosing, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def raise_open_files(wanted):
    """Lets this process and its children open `wanted` files; returns how many they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
        except (ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Running:
    """A server that was started here; the only thing that is ever stopped from here."""

    def __init__(self, name, command, core, log, environment=None):
        self.name, self.log = name, Path(log)
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        with open(self.log, "wb") as out:
            self.child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=environment
            )
        self.pid = self.child.pid

    def wait_for(self, port, path, length, deadline=15.0):
        """Waits until GET `path` is answered with `length` bytes."""
        end, last = time.monotonic() + deadline, "nothing was tried"
        while time.monotonic() < end:
            if self.child.poll() is not None:
                raise SystemExit(f"error: {self.name} ended with {self.child.returncode}:\n{self._words()}")
            try:
                got = get(port, path)
                if got == (200, length):
                    return
                last = f"answered {got}, expected {(200, length)}"
            except OSError as error:
                last = str(error)
            time.sleep(0.05)
        raise SystemExit(f"error: {self.name} was not ready in {deadline:.0f} s ({last}):\n{self._words()}")

    def stop(self, patience=10):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(patience)
            except subprocess.TimeoutExpired:
                # A process group of its own: reaches its workers and nobody else.
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait(10)

    def _words(self):
        return self.log.read_text(errors="replace")[-2000:]


def get(port, path):
    """One GET; its status and the length of its body."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := s.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.1 (\d{3})", head)
    return (int(found[1]) if found else 0), len(body)


def family(pid):
    """`pid` and all that descend from it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields:
                parents.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        each = todo.pop()
        found.append(each)
        todo += parents.get(each, [])
    return found


def asleep(pids):
    """Whether all threads of these processes wait for something."""
    try:
        return all(_stat(f"{pid}/task/{thread}")[0] == "S" for pid in pids for thread in os.listdir(f"/proc/{pid}/task"))
    except (OSError, TypeError):
        return False


def wait_asleep(pids, deadline=1.0):
    """Waits until processes have nothing left to do: they were seen asleep three times, a little apart."""
    end, seen = time.monotonic() + deadline, 0
    while seen < 3 and time.monotonic() < end:
        seen = seen + 1 if asleep(pids) else 0
        time.sleep(0.0002)


def cpu_seconds(pids):
    """User and system time of these processes: all their threads, ended ones included."""
    total = 0
    for pid in pids:
        fields = _stat(pid)
        if fields:
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory(pids, field):
    """Sum of a line of /proc/PID/status in bytes: VmRSS (now) or VmHWM (at most). Shared pages count for each."""
    total = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        found = re.search(rf"^{field}:\s+(\d+) kB", status, re.M)
        total += int(found[1]) * 1024 if found else 0
    return total


def _stat(pid):
    """The fields of /proc/PID/stat (or of PID/task/THREAD) after the name, which may hold spaces; [0] is the state, [1] the parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def threads(pid, name):
    """The threads of a process whose names begin so."""
    found = [each.parent.name for each in Path(f"/proc/{pid}/task").glob("*/comm") if each.read_text().startswith(name)]
    return [int(each) for each in found]


def system_calls(pids, work, whole=True):
    """Counts the system calls of these processes while `work` runs; returns them by name, and what `work` returned.

    Of all their threads, or, if not `whole`, of the threads that are named only.
    """
    import tempfile

    with tempfile.NamedTemporaryFile("r", suffix=".strace") as out:
        attach = [part for pid in pids for part in ("-p", str(pid))]
        tracer = subprocess.Popen(
            ["strace", "-c", *(["-f"] if whole else []), "-o", out.name, *attach],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        try:
            time.sleep(0.5)
            if tracer.poll() is not None:
                raise SystemExit(f"error: strace could not attach: {tracer.stderr.read().decode().strip()}")
            result = work()
        finally:
            if tracer.poll() is None:
                tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=20)
        calls = {}
        for line in out.read().splitlines():
            row = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
            if row and row[2] != "total":
                calls[row[2]] = int(row[1])
    return calls, result

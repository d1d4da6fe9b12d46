"""This machine: its CPUs, what processes have used of them, and the line that says what it is."""

import os
import platform
import re
import resource
import subprocess
from pathlib import Path


def run_for_output(*command):
    """Its stdout, or nothing where it fails or is not there."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return run.stdout.strip()


def cpu_ns(pid):
    """CPU time of all threads of a process so far, of those that live."""
    total = 0
    for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        total += int(schedstat.read_text(encoding="ascii").split()[0])
    return total


def children_cpu_ns():
    """CPU time, user and system, of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((usage.ru_utime + usage.ru_stime) * 1e9)


def resident_kib(pid):
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE).group(1))


def is_bound(transport, port):
    """Whether some socket of the transport has the port here."""
    lines = Path(f"/proc/net/{transport}").read_text(encoding="ascii").splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") for line in lines)


class Pinning:
    """Which CPU the server has, and which the client: none where there is only one."""

    def __init__(self):
        self.allowed = sorted(os.sched_getaffinity(0))
        self.notes = []
        self.server, self.client = None, None
        if len(self.allowed) > 1:
            self.server, self.client = self.allowed[:2]
        else:
            self.notes.append(
                "one CPU only: server and generator share it, and the figures are of the pair"
            )

    def __str__(self):
        if self.server is None:
            return "not pinned"
        return f"server on CPU {self.server}, generator on CPU {self.client}"

    def lift(self):
        """From here on neither is pinned."""
        self.server, self.client = None, None


def preparation(cpu):
    """What a child does before it becomes its program: it goes to its CPU, if it has one."""
    return None if cpu is None else (lambda: os.sched_setaffinity(0, {cpu}))


def heading(command, pinning):
    """The date, the machine and what was measured, by which command if one is given."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    parts = [
        run_for_output("date", "-u", "+%F"),
        model.group(1) if model else platform.machine(),
        f"Linux {platform.release()}",
        f"{os.cpu_count()} CPUs",
        str(pinning),
        f"load {os.getloadavg()[0]:.2f}",
    ]
    commit = run_for_output("git", "describe", "--always", "--dirty") or "unknown"
    compiler = run_for_output("rustc", "--version")
    by = f": `{command}`" if command else ""
    return f"{', '.join(parts)}; resound {commit}, {compiler}{by}"

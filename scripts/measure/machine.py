"""This machine: its CPUs, the CPU time of processes, and a line that describes it."""

import os
import platform
import re
import resource
import subprocess
from pathlib import Path


def run_for_output(*command):
    """Returns its stdout, or an empty text if it fails or is missing."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return run.stdout.strip()


def cpu_ns(pid):
    """Returns the CPU time of all living threads of a process."""
    total = 0
    for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        total += int(schedstat.read_text(encoding="ascii").split()[0])
    return total


def children_cpu_ns():
    """Returns the CPU time, user and system, of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((usage.ru_utime + usage.ru_stime) * 1e9)


def resident_kib(pid):
    """Returns the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE).group(1))


def is_bound(transport, port):
    """Returns whether a socket of the transport uses the port on this machine."""
    lines = Path(f"/proc/net/{transport}").read_text(encoding="ascii").splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") for line in lines)


class Pinning:
    """The CPUs of the server and of the client; None on a machine with one CPU."""

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
        """Ends the pinning of both."""
        self.server, self.client = None, None


def preparation(cpu):
    """Returns what a child calls before exec: it pins itself to its CPU, if there is one."""
    return None if cpu is None else (lambda: os.sched_setaffinity(0, {cpu}))


def heading(command, pinning):
    """Returns the date, the machine, what was measured, and the command if given."""
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

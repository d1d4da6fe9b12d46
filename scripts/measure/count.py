"""Counts instructions and system calls on the server's hot path: see `--help`.

A run includes the cost of starting and ending. So each case runs twice, with few echoes and with
many, and the difference of the counts is divided by the difference of the echoes.
"""

import argparse
import os
import re
import shlex
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import callgrind
import lone
import machine
import programs
from clients import Client, document, pairs
from programs import C_PEERS, RECEIVE_BUF_BYTES, RESOUND, Failed, Server, say

BYTES = 64
BULK_KIB, BULK_CONNECTIONS, BULK_DIVISOR = 256, 8, 40
TRAIN_SOCKETS, TRAIN_DEPTH = 16, 32

# A server under valgrind or strace is slow, also at its start.
CLIENT_S_MAX, STOP_S_MAX = 60, 30

# The least share of a system call per echo that the table shows. Smaller ones do not belong to
# echoes.
SHARE_MIN = 0.005

PACKAGES = {"valgrind": "valgrind", "strace": "strace"}


@dataclass
class Case:
    """A load, and the server's endpoint for it.

    The number of echoes is a multiple of `step`, and is divided by `divisor` if they are long.
    """

    name: str
    endpoint: str
    # Called with the endpoint, the server's process, the number of echoes and a CPU.
    load: Callable
    step: int = 1
    divisor: int = 1
    options: tuple = ()

    def numbers(self, asked):
        """Returns the echoes of the shorter and of the longer run."""
        few, many = (round(n / self.divisor / self.step) for n in (asked.few, asked.many))
        few = max(1, few)
        return few * self.step, max(few + 1, many) * self.step


class TracedServer(Server):
    """A server under a tool, which is its parent process. Stopping it signals the server."""

    def pid(self):
        """Returns the process number of the server itself."""
        tool = self.process.pid
        children = Path(f"/proc/{tool}/task/{tool}/children").read_text(encoding="ascii")
        return int(children.split()[0])

    def stop(self):
        try:
            os.kill(self.pid(), signal.SIGTERM)
        except (OSError, IndexError):
            self.process.terminate()
        self.process.wait(timeout=STOP_S_MAX)


def lone_peer(endpoint, pid, count, cpu):
    """Sends echoes one by one, each when the server sleeps."""
    os.sched_setaffinity(0, {cpu} if cpu is not None else os.sched_getaffinity(0))
    return lone.echoes(endpoint, pid, count, BYTES)


def bench(peers):
    """Returns a load by `resound bench` with a count, so the number of echoes is exact."""

    def load(endpoint, _, count, cpu):
        flags = ["-c", str(peers), "-l", str(BYTES), "-d", "1", "--warmup", "0s"]
        command = [RESOUND, "bench", endpoint, *flags, "--timeout", "30s", "-n", str(count), "-J"]
        return Client("resound bench", lambda *_: command, document).run("", CLIENT_S_MAX, cpu)

    return load


def c_client(program, *arguments):
    """Returns a load by a C client with a count."""

    def load(endpoint, _, count, cpu):
        addr = endpoint.rpartition("//")[2]
        command = [f"{C_PEERS}/{program}", addr, *map(str, (*arguments, count))]
        return Client(program, lambda *_: command, pairs).run(addr, CLIENT_S_MAX, cpu)

    return load


def cases(folder, peers):
    """Yields all cases."""
    for transport in ("tcp", "udp", "unix", "unixgram"):
        ip = transport in ("tcp", "udp")
        endpoint = f"{transport}://127.0.0.1:0" if ip else f"{transport}:{folder}/{transport}"
        for count in peers:
            if count == 1:
                yield Case(f"{transport}, 1 peer", endpoint, lone_peer)
            else:
                yield Case(f"{transport}, {count} peers", endpoint, bench(count))
    if not shutil.which("cc"):
        say("omitted: trains and bulk (no C compiler)")
        return
    train = (TRAIN_SOCKETS, TRAIN_DEPTH, BYTES, CLIENT_S_MAX, "train")
    yield Case(
        f"udp, trains of {TRAIN_DEPTH}, {TRAIN_SOCKETS} peers",
        "udp://127.0.0.1:0",
        c_client("client_udp", *train),
        step=TRAIN_SOCKETS * TRAIN_DEPTH,
        options=("--rcvbuf", str(RECEIVE_BUF_BYTES)),
    )
    yield Case(
        f"tcp, messages of {BULK_KIB} KiB, {BULK_CONNECTIONS} peers",
        "tcp://127.0.0.1:0",
        c_client("client_bulk", BULK_CONNECTIONS, BULK_KIB << 10, CLIENT_S_MAX),
        step=BULK_CONNECTIONS,
        divisor=BULK_DIVISOR,
    )


def run(case, echoes, wrapper, pinning, server_class):
    """Runs this many echoes on a server under the wrapper's command."""
    command = [*wrapper, RESOUND, "serve", "-q", *case.options, case.endpoint]
    with server_class(command, pinning.server) as server:
        figures = case.load(server.endpoint, server.pid(), echoes, pinning.client)
    trouble = {name: figures[name] for name in ("lost", "resends", "strays") if figures.get(name)}
    if figures["messages"] != echoes or trouble:
        raise Failed(f"{figures['messages']} of {echoes} echoes came back; {trouble}")


def instructions(case, echoes, pinning, folder):
    """Returns the instructions of a whole run by function."""
    path = f"{folder}/callgrind"
    Path(path).unlink(missing_ok=True)
    wrapper = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={path}"]
    run(case, echoes, wrapper, pinning, Server)
    if not Path(path).exists():
        raise Failed("valgrind wrote nothing")
    return callgrind.read(path)


def system_calls(case, echoes, pinning, folder):
    """Returns the system calls of a whole run by name."""
    path = f"{folder}/strace"
    wrapper = ["strace", "-f", "-qq", "-c", "-U", "calls,name", "-o", path]
    run(case, echoes, wrapper, pinning, TracedServer)
    counted = re.findall(r"^\s*(\d+)\s+(\w+)\s*$", Path(path).read_text(), re.MULTILINE)
    return {name: int(count) for count, name in counted if name != "total"}


def an_echo(count, case, asked, pinning, folder):
    """Returns the cost of an echo by name: the difference quotient of two runs."""
    few, many = case.numbers(asked)
    less = count(case, few, pinning, folder)
    more = count(case, many, pinning, folder)
    above = callgrind.difference(more, less)
    return {name: number / (many - few) for name, number in above.items()}


def spread(values, decimals):
    """Returns the median and the range as text."""
    median, low, high = statistics.median(values), min(values), max(values)
    text = f"{median:,.{decimals}f}"
    low, high = f"{low:,.{decimals}f}", f"{high:,.{decimals}f}"
    return text if low == high else f"{text} ({low}–{high})"


def arguments():
    """Returns the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/count.sh",
        description="Counts user instructions (valgrind --tool=callgrind) and system calls "
        "(strace -c) of `resound serve` per echo. With one peer they are the same in every run; "
        "with more, the number of peers that one poll serves varies.",
    )
    parser.add_argument("--few", type=int, default=2000, help="echoes of the shorter run (2000)")
    parser.add_argument("--many", type=int, default=12000, help="echoes of the longer run (12000)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of each case (3)")
    parser.add_argument("--quick", action="store_true", help="one peer, few echoes, once")
    parser.add_argument("--only", metavar="WORD", default="", help="only cases that begin with WORD")
    parser.add_argument("--functions", type=int, metavar="N", default=0,
                        help="list the N functions with the most instructions of each case")
    parser.add_argument("--no-build", action="store_true", help="use the existing builds")
    asked = parser.parse_args()
    if asked.quick:
        asked.few, asked.many, asked.repeats = 200, 700, 1
    if not 0 < asked.few < asked.many or asked.repeats < 1:
        parser.error("few must be above 0 and below many, and repeats above 0")
    return asked


def count_case(case, asked, pinning, folder):
    """Prints a row of the table, and returns its functions."""
    totals, calls = [], []
    for number in range(asked.repeats):
        say(f"{case.name}, {number + 1} of {asked.repeats}")
        functions = an_echo(instructions, case, asked, pinning, folder)
        totals.append(sum(functions.values()))
        calls.append(an_echo(system_calls, case, asked, pinning, folder))
    names = [name for name, share in calls[-1].items() if share >= SHARE_MIN]
    by_name = ", ".join(f"{n} {spread([c.get(n, 0) for c in calls], 2)}" for n in names)
    of_all = spread([sum(c.values()) for c in calls], 2)
    print(f"| {case.name} | {spread(totals, 0)} | {of_all} | {by_name} |", flush=True)
    return functions


def print_functions(name, functions, limit):
    """Prints the functions with the most instructions of an echo."""
    print(f"\n{name}, by function, without callees:\n")
    print("| instructions | function |\n|---|---|")
    for function, share in list(functions.items())[:limit]:
        print(f"| {share:.1f} | `{function}` |")


def main():
    """Runs the command line."""
    asked = arguments()
    missing = [package for tool, package in PACKAGES.items() if not shutil.which(tool)]
    if missing:
        sys.exit(f"count: needs {' and '.join(missing)} (Debian packages of these names)")
    if not asked.no_build:
        programs.build(with_peers=False)
    pinning = machine.Pinning()
    print(machine.heading(shlex.join(["scripts/count.sh", *sys.argv[1:]]), pinning))
    print("\n| | user instructions per echo | system calls per echo | of these |\n|---|---|---|---|")
    by_case, failures = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(folder, (1,) if asked.quick else (1, 64)):
            if not case.name.startswith(asked.only):
                continue
            try:
                by_case[case.name] = count_case(case, asked, pinning, folder)
            except Failed as error:
                failures.append(f"{case.name}: {error}")
    if asked.functions:
        for name, functions in by_case.items():
            print_functions(name, functions, asked.functions)
    print(
        f"\nThe difference of two runs, divided by that of their echoes: {asked.many:,} and"
        f" {asked.few:,} (long messages: a {BULK_DIVISOR}th); median of {asked.repeats}, and the"
        " range if the values differ. A single peer sends when the server sleeps. Valgrind has no"
        " vDSO, so it counts reading the clock as a system call and misses its few dozen"
        " instructions."
    )
    for failure in failures:
        print(f"- failed: {failure}")
    sys.exit(1 if failures or not by_case else 0)


if __name__ == "__main__":
    main()

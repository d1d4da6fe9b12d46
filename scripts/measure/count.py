"""The server's hot path, counted: see `--help`.

A run has a number of echoes and what starting and ending cost; so each case is run twice, with few
echoes and with many, and what the longer run had above the shorter is divided by its echoes above.
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

# A server under valgrind or strace is slow, and so is its start.
CLIENT_S_MAX, STOP_S_MAX = 60, 30

# As tables show them: a share below this of a system call is not of the echo.
SHARE_MIN = 0.005

PACKAGES = {"valgrind": "valgrind", "strace": "strace"}


@dataclass
class Case:
    """A load, and the server's endpoint for it.

    Echoes come by the `step`, and are fewer by `divisor` than asked for where they are long.
    """

    name: str
    endpoint: str
    # Of an endpoint, the server's process, a number of echoes and a CPU.
    load: Callable
    step: int = 1
    divisor: int = 1
    options: tuple = ()

    def numbers(self, asked):
        """Of echoes, in the shorter and in the longer run."""
        few, many = (round(n / self.divisor / self.step) for n in (asked.few, asked.many))
        few = max(1, few)
        return few * self.step, max(few + 1, many) * self.step


class TracedServer(Server):
    """A server under a tool that is another process: its end is asked for, not the tool's."""

    def pid(self):
        """Of the server itself."""
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
    """Echoes one by one, each when the server sleeps."""
    os.sched_setaffinity(0, {cpu} if cpu is not None else os.sched_getaffinity(0))
    return lone.echoes(endpoint, pid, count, BYTES)


def bench(peers):
    """`resound bench` with a count: the number of echoes is exact."""

    def load(endpoint, _, count, cpu):
        flags = ["-c", str(peers), "-l", str(BYTES), "-d", "1", "--warmup", "0s"]
        command = [RESOUND, "bench", endpoint, *flags, "--timeout", "30s", "-n", str(count), "-J"]
        return Client("resound bench", lambda *_: command, document).run("", CLIENT_S_MAX, cpu)

    return load


def c_client(program, *arguments):
    """A C client with a count."""

    def load(endpoint, _, count, cpu):
        addr = endpoint.rpartition("//")[2]
        command = [f"{C_PEERS}/{program}", addr, *map(str, (*arguments, count))]
        return Client(program, lambda *_: command, pairs).run(addr, CLIENT_S_MAX, cpu)

    return load


def cases(folder, peers):
    """All that is counted."""
    for transport in ("tcp", "udp", "unix", "unixgram"):
        ip = transport in ("tcp", "udp")
        endpoint = f"{transport}://127.0.0.1:0" if ip else f"{transport}:{folder}/{transport}"
        for count in peers:
            if count == 1:
                yield Case(f"{transport}, 1 peer", endpoint, lone_peer)
            else:
                yield Case(f"{transport}, {count} peers", endpoint, bench(count))
    if not shutil.which("cc"):
        say("left out: trains and bulk (no C compiler here)")
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
    """One run of so many echoes on a server that the wrapper has in its hands."""
    command = [*wrapper, RESOUND, "serve", "-q", *case.options, case.endpoint]
    with server_class(command, pinning.server) as server:
        figures = case.load(server.endpoint, server.pid(), echoes, pinning.client)
    trouble = {name: figures[name] for name in ("lost", "resends", "strays") if figures.get(name)}
    if figures["messages"] != echoes or trouble:
        raise Failed(f"{figures['messages']} of {echoes} echoes came back; {trouble}")


def instructions(case, echoes, pinning, folder):
    """By function, of a whole run."""
    path = f"{folder}/callgrind"
    Path(path).unlink(missing_ok=True)
    wrapper = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={path}"]
    run(case, echoes, wrapper, pinning, Server)
    if not Path(path).exists():
        raise Failed("valgrind wrote nothing")
    return callgrind.read(path)


def system_calls(case, echoes, pinning, folder):
    """By name, of a whole run."""
    path = f"{folder}/strace"
    wrapper = ["strace", "-f", "-qq", "-c", "-U", "calls,name", "-o", path]
    run(case, echoes, wrapper, pinning, TracedServer)
    counted = re.findall(r"^\s*(\d+)\s+(\w+)\s*$", Path(path).read_text(), re.MULTILINE)
    return {name: int(count) for count, name in counted if name != "total"}


def an_echo(count, case, asked, pinning, folder):
    """What an echo costs, by name: the difference quotient of two runs."""
    few, many = case.numbers(asked)
    less = count(case, few, pinning, folder)
    more = count(case, many, pinning, folder)
    above = callgrind.difference(more, less)
    return {name: number / (many - few) for name, number in above.items()}


def spread(values, decimals):
    """The median, and how far the others were from it."""
    median, low, high = statistics.median(values), min(values), max(values)
    text = f"{median:,.{decimals}f}"
    low, high = f"{low:,.{decimals}f}", f"{high:,.{decimals}f}"
    return text if low == high else f"{text} ({low}–{high})"


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/count.sh",
        description="User instructions (valgrind --tool=callgrind) and system calls (strace -c) of "
        "`resound serve` an echo. With one peer they are the same in every run; with more, how "
        "many are served by one poll differs.",
    )
    parser.add_argument("--few", type=int, default=2000, help="echoes of the shorter run (2000)")
    parser.add_argument("--many", type=int, default=12000, help="of the longer run (12000)")
    parser.add_argument("--repeats", type=int, default=3, help="of each case (3)")
    parser.add_argument("--quick", action="store_true", help="one peer, few echoes, once")
    parser.add_argument("--only", metavar="WORD", default="", help="cases that begin with it")
    parser.add_argument("--functions", type=int, metavar="N", default=0,
                        help="list the N functions with the most instructions of each case")
    parser.add_argument("--no-build", action="store_true", help="count what has been built before")
    asked = parser.parse_args()
    if asked.quick:
        asked.few, asked.many, asked.repeats = 200, 700, 1
    if not 0 < asked.few < asked.many or asked.repeats < 1:
        parser.error("few is above 0 and below many, repeats above 0")
    return asked


def count_case(case, asked, pinning, folder):
    """A row of the table, and its functions."""
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
    """Where the instructions of an echo are."""
    print(f"\n{name}, by function, what it calls left out:\n")
    print("| instructions | function |\n|---|---|")
    for function, share in list(functions.items())[:limit]:
        print(f"| {share:.1f} | `{function}` |")


def main():
    """The command line, carried out."""
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
        " range where there is one. A lone peer sends when the server sleeps. Valgrind has no vDSO:"
        " a look at the clock is a system call to it, and its few dozen instructions are not"
        " counted."
    )
    for failure in failures:
        print(f"- failed: {failure}")
    sys.exit(1 if failures or not by_case else 0)


if __name__ == "__main__":
    main()

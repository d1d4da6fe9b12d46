"""Servers, generators and ways to run them, side by side. See `--help`."""

import argparse
import os
import resource
import shlex
import sys
import time

import clients
import machine
import programs
import results
import suites
from programs import Failed, Server, Sockperf, say
from tables import VALUES_MIN, Table

WARM_S = 0.3

# The default number of rounds: for tables on stdout, and for the file of results.
ROUNDS, ROUNDS_WRITTEN = VALUES_MIN, 9

SUITES = {
    "servers": "short messages, by resound bench, and resident memory (the default)",
    "generators": "resound bench and other generators, on one server",
    "singles": "UDP, 16 sockets x 32 in flight x 64 B, one datagram per call at the client",
    "trains": "the same of 64 B and of 1,200 B, sent with UDP_SEGMENT, received with UDP_GRO",
    "small": "one message of 64 B in flight each: UDP on 16 and 64 sockets, TCP on 64",
    "bulk": "TCP, 8 connections, messages of 4 KiB to 1 MiB: server CPU per KiB",
    "latency": "one message at a time: both ends sleep, or poll; and sockperf",
    "loops": "one loop and two (--threads 2), client and server on the same CPUs",
}


def arguments():
    """Returns the parsed command line."""
    names = "\n".join(f"  {name:11} {what}" for name, what in SUITES.items())
    parser = argparse.ArgumentParser(
        prog="scripts/compare.sh",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Builds resound and benches/peers, then runs them one after the other,\n"
        "interleaved: A B C, A B C, ... The server is pinned to one CPU, the generator to another,\n"
        "except in `loops`. Prints Markdown tables; with --write, writes all suites to one file.\n\n"
        f"suites:\n{names}",
    )
    parser.add_argument("--suite", choices=SUITES)
    parser.add_argument("--generators", action="store_true", help="the same as --suite generators")
    parser.add_argument("--rounds", type=int,
                        help=f"({ROUNDS}; with --write {ROUNDS_WRITTEN}); fewer than {VALUES_MIN} "
                        "have no interval")
    parser.add_argument("--seconds", type=float, default=3, help="duration of each run (3)")
    parser.add_argument("--transport", choices=("tcp", "udp", "both"), default="both",
                        help="transports of the suite servers (both)")
    parser.add_argument("--only", metavar="WORD,...",
                        help="only rows that begin with one of the words")
    parser.add_argument("--before", metavar="PATH",
                        help="another build of resound, which becomes a row of its own")
    parser.add_argument("--no-build", action="store_true", help="use the existing builds")
    parser.add_argument("--write", metavar="FILE", nargs="?", const=results.DEFAULT_FILE,
                        help="run all suites and scripts/count.sh, and replace FILE "
                        f"({results.DEFAULT_FILE}) when all is done")
    asked = parser.parse_args()
    if asked.rounds is None:
        asked.rounds = ROUNDS_WRITTEN if asked.write else ROUNDS
    if asked.rounds < 1 or not asked.seconds > 0:
        parser.error("rounds and seconds must be above 0")
    programs.BEFORE = asked.before
    if asked.generators:
        asked.suite = "generators"
    refusal = results.refusal(asked) if asked.write else None
    if refusal:
        parser.error(refusal)
    return asked


def plans(asked, suite, pinning):
    """Returns the tables of a suite."""
    if suite == "servers":
        both = ("tcp", "udp")
        chosen = both if asked.transport == "both" else (asked.transport,)
        return suites.by_servers(chosen)
    if suite == "generators":
        return suites.by_generators()
    if suite == "loops":
        pinning.lift()
        return suites.loops(pinning.allowed)
    return getattr(suites, suite)()


class Comparison:
    """Runs plans, and collects the notes for the end."""

    def __init__(self, asked, pinning, notes):
        self.asked = asked
        self.pinning = pinning
        self.notes = notes
        self.failures = 0
        self.resound_help = programs.resound_help()

    def note(self, text):
        """Records a note, unless it is already recorded."""
        if text not in self.notes:
            say(text)
            self.notes.append(text)

    def server(self, row):
        """Returns the row's server, which starts when it is entered."""
        if row.sockperf:
            return Sockperf(row.sockperf, self.pinning.server)
        return Server(row.command, self.pinning.server)

    def runs_here(self, row):
        """Returns whether the server knows its options and starts."""
        unknown = [word for word in row.needs if word not in self.resound_help]
        if unknown:
            self.note(f"left out: {row.name} (this resound has no {', '.join(unknown)})")
            return False
        try:
            with self.server(row):
                return True
        except Failed as error:
            self.note(f"left out: {row.name} ({error})")
            return False

    def wanted(self, row):
        """Returns whether the command line selects this row."""
        words = self.asked.only.split(",") if self.asked.only else [""]
        return any(row.name.startswith(word) for word in words)

    def run(self, plan):
        """Runs all rounds of a table, and prints the table."""
        rows = [row for row in plan.rows if self.wanted(row) and self.runs_here(row)]
        table = Table(plan.columns)
        for number in range(1, self.asked.rounds + 1):
            for row in rows:
                say(f"{plan.title} round {number} of {self.asked.rounds}: {row.name}")
                try:
                    if plan.held:
                        table.record(number, row.name, self.resident(row, plan.held))
                    table.record(number, row.name, self.echoes(row))
                except Failed as error:
                    self.note(f"{row.name}, {plan.title} round {number}: {error}")
                    self.failures += 1
        table.print(plan.title)
        for note in plan.notes:
            self.note(note)

    def resident(self, row, held):
        """Measures on a new server, because memory that a load left is not due to connections."""
        with self.server(row) as server:
            return {"resident_kib": clients.hold(server.addr, server.process.pid, held)}

    def echoes(self, row):
        """Runs a warm-up and a measured run; returns figures with the CPU time of both ends."""
        with self.server(row) as server:
            row.client.run(server.addr, WARM_S, self.pinning.client)
            before_ns, started_at = server.cpu_ns(), time.monotonic()
            figures = row.client.run(server.addr, self.asked.seconds, self.pinning.client)
            server_ns = server.cpu_ns() - before_ns
            # A polling server uses CPU time until this moment.
            server_elapsed_ns = (time.monotonic() - started_at) * 1e9
        if not figures["messages"]:
            raise Failed("nothing came back")
        ends = {
            "server": (server_ns, server_elapsed_ns),
            "client": (figures["client_cpu_ns"], figures["elapsed_ns"]),
        }
        for end, (cpu_ns, elapsed_ns) in ends.items():
            figures[f"{end}_cpu_ns"] = cpu_ns / figures["messages"]
            figures[f"{end}_cpu_us"] = cpu_ns / figures["messages"] / 1e3
            figures[f"{end}_share"] = cpu_ns / elapsed_ns
            if figures.get("bytes"):
                figures[f"{end}_kib_ns"] = cpu_ns / (figures["bytes"] / 1024)
        if row.sockperf:
            # sockperf sleeps for seconds before and after it measures.
            del figures["client_share"]
        return figures

    def print_notes(self):
        """Prints the notes about the tables."""
        for note in self.notes:
            print(f"- {note}")


def run_suite(asked, suite, notes):
    """Prints the tables of a suite. Returns how many runs failed."""
    pinning = machine.Pinning()
    comparison = Comparison(asked, pinning, pinning.notes + notes)
    chosen = plans(asked, suite, pinning)
    if asked.write:
        print(f"Run with: {pinning}.")
    else:
        command = shlex.join(["scripts/compare.sh", *sys.argv[1:]])
        print(machine.heading(command, pinning), flush=True)
    for plan in chosen:
        comparison.run(plan)
    if not asked.write:
        print(
            f"\nCells: median (lowest–highest) of {asked.rounds} rounds, × the median of the rounds'"
            " ratios to the first row, [its 95 % interval by the sign test, of at least"
            f" {VALUES_MIN} rounds]. CPU: of all threads, over the run and the ends of its"
            " connections."
        )
    print()
    comparison.print_notes()
    return comparison.failures


def main():
    """Runs the command line."""
    asked = arguments()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        if asked.write:
            results.commit()
        notes = [] if asked.no_build else programs.build()
        if asked.write:
            command = shlex.join(["scripts/compare.sh", *sys.argv[1:]])
            chosen = {asked.suite: SUITES[asked.suite]} if asked.suite else SUITES
            failures = results.write(
                asked, command, chosen, lambda suite: run_suite(asked, suite, notes)
            )
        else:
            failures = run_suite(asked, asked.suite or "servers", notes)
    except Failed as error:
        sys.exit(f"compare: {error}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    os.environ["LC_ALL"] = "C"
    main()

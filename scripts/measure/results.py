"""The file of all results, written in one piece: one machine, one commit, one date."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import machine
from programs import Failed, say
from tables import VALUES_MIN

DEFAULT_FILE = "benches/RESULTS.md"

PREFACE = """# Results

`{command}` wrote this file. Do not edit it: run the command again.

{heading}

Server and generator run on the same machine, over loopback. Compare figures within a table: absolute
figures drift by 15 % and more from day to day. Cells: median (lowest–highest) of {rounds} rounds, × the
median of the rounds' ratios to the first row, [95 % interval of that ratio by the exact sign test]. A
ratio whose interval contains 1.00 shows no difference. CPU is that of all threads, over the run and the
ends of its connections. `benches/peers/README.md` describes the other servers and clients.
"""


def refusal(asked):
    """Returns why a command line cannot write the file, or None."""
    if asked.rounds < VALUES_MIN:
        return f"--write needs at least --rounds {VALUES_MIN}: fewer have no 95 % interval"
    if asked.no_build:
        return "--write builds what it measures: omit --no-build"
    if asked.before:
        return "--write measures one commit: omit --before"
    is_part = asked.suite or asked.only or asked.transport != "both"
    if is_part and asked.write == DEFAULT_FILE:
        return f"{DEFAULT_FILE} has all suites: name another file, as in --write part.md"
    return None


def commit():
    """Returns the commit of a clean work tree. The file of results may differ."""
    changed = machine.run_for_output("git", "status", "--porcelain", "--untracked-files=no")
    others = [line for line in changed.splitlines() if line.split()[-1] != DEFAULT_FILE]
    if others:
        raise Failed(f"the work tree differs from its commit: {others[0].strip()}")
    return machine.run_for_output("git", "rev-parse", "HEAD") or "unknown"


def counted():
    """Returns what scripts/count.sh prints after its heading."""
    command = [sys.executable, "scripts/measure/count.py", "--no-build"]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0:
        return f"Left out: scripts/count.sh ended with {run.returncode}."
    return run.stdout.partition("\n")[2].strip()


def write(asked, command, suites, run_suite):
    """Runs the suites and replaces the file. Returns how many runs failed.

    `suites` maps names to descriptions. `run_suite` prints the tables of a suite and returns the
    number of its failed runs.
    """
    begun = commit()
    heading = machine.heading(None, machine.Pinning())
    parts = [PREFACE.format(command=command, heading=heading, rounds=asked.rounds)]
    failures = 0
    for name, what in suites.items():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            failures += run_suite(name)
        parts.append(f"## {name}\n\n{what[0].upper()}{what[1:]}.\n\n{printed.getvalue().strip()}\n")
    if not asked.suite:
        say("counting")
        parts.append(f"## counts\n\n{counted()}\n")
    if commit() != begun:
        raise Failed("the commit changed during the run: nothing is written")
    replace(asked.write, "\n".join(parts))
    return failures


def replace(path, text):
    """Replaces a file atomically."""
    unfinished = Path(f"{path}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
    say(f"wrote {path}")

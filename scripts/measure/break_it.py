"""Applies a small wrong change to a copy of the loop and shows which tests catch it: see `--help`.

All changes share one copy of the sources and one target folder, so that only this crate is built for
each. The tests of the reactor, the streams and the remembered readiness run; a test that does not
end counts as a failure.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from mutations import MUTATIONS

ROOT = Path(__file__).resolve().parent.parent.parent
PLACE = ROOT / "target" / "break-it"
COPY = PLACE / "source"
LEFT_OUT = ("target", ".git")
FILTERS = ["reactor::", "readiness::", "echo::stream::"]
# A build on a busy machine takes minutes. The tests take seconds.
BUILD_S, TESTS_S, LOAD_S, STOP_S = 1800, 60, 20, 20
ENVIRONMENT = {**os.environ, "CARGO_TARGET_DIR": str(PLACE / "target"), "RUSTFLAGS": "--cap-lints=allow"}
ROUND_TRIPS = 40


def fits(mutation):
    """Returns why a change does not apply, or None."""
    count = (ROOT / mutation.file).read_text(encoding="utf-8").count(mutation.before)
    if count != 1:
        return f"{mutation.name}: its text occurs {count} times in {mutation.file}"
    head = f"fn {mutation.caught_by.rpartition('::')[2]}("
    if not any(head in path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.rs")):
        return f"{mutation.name}: there is no test {mutation.caught_by}"
    return None


def synchronize(changed):
    """Makes the copy equal to this repository but for the changed files. Leaves a file that is the
    same, so that cargo builds nothing for it."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        to = COPY / Path(folder).relative_to(ROOT)
        to.mkdir(parents=True, exist_ok=True)
        for name in files:
            source = Path(folder) / name
            path = str(source.relative_to(ROOT))
            content = changed.get(path) or source.read_bytes()
            if not (to / name).exists() or (to / name).read_bytes() != content:
                (to / name).write_bytes(content)
                shutil.copymode(source, to / name)


def cargo(*arguments):
    """Runs cargo in the copy, and ends this program if that fails."""
    done = subprocess.run(["cargo", *arguments], cwd=COPY, env=ENVIRONMENT, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=BUILD_S)
    if done.returncode != 0:
        sys.exit(f"break-it: cargo {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def run_tests():
    """Returns the tests that failed, and those that did not end."""
    built = cargo("test", "--lib", "--no-run", "--locked", "--no-default-features",
                  "--message-format=json")
    messages = (json.loads(line) for line in built.splitlines() if line.startswith("{"))
    program = [message["executable"] for message in messages if message.get("executable")][-1]
    listed = subprocess.run([program, "--list", *FILTERS], capture_output=True, text=True,
                            check=True, timeout=TESTS_S).stdout
    names = re.findall(r"^(\S+): test$", listed, re.MULTILINE)
    # A test that does not end must not keep the others from running.
    with subprocess.Popen([program, "--test-threads=64", *FILTERS], cwd=COPY, text=True, start_new_session=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tests:
        try:
            output = tests.communicate(timeout=TESTS_S)[0]
        except subprocess.TimeoutExpired:
            os.killpg(tests.pid, signal.SIGKILL)
            output = tests.communicate()[0]
    results = dict(re.findall(r"^test (\S+) .*?\.\.\. (\w+)$", output, re.MULTILINE))
    failed = [name for name in names if results.get(name) == "FAILED"]
    return failed, [name for name in names if name not in results]


def trace_of(mutation):
    """Prints what a trace of the changed server shows beside one of the right server."""
    print("  its trace, of a server and 40 messages of 200 KiB on 2 connections, beside the right one:")
    columns = []
    for changed in (mutated(mutation), {}):
        synchronize(changed)
        cargo("build", "--locked", "--bin", "resound")
        columns.append(figures(PLACE / "target" / "debug" / "resound"))
    for name in dict.fromkeys([*columns[0], *columns[1]]):
        wrong, right = (column.get(name, 0) for column in columns)
        print(f"    {name:<34} {wrong:>12} {right:>12}")


def figures(program):
    """Runs a server under load, and returns the figures of its trace."""
    path = PLACE / "trace.json"
    path.unlink(missing_ok=True)
    server = subprocess.Popen([program, "serve", "-q", "--drain-timeout", "1s", "tcp://127.0.0.1:0",
                               "--trace", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True)
    endpoint = server.stdout.readline().split()[1]
    load = [program, "bench", endpoint, "-c", "2", "-l", "200KiB", "-n", str(ROUND_TRIPS),
            "--warmup", "0s", "--timeout", "5s", "-J"]
    try:
        done = subprocess.run(load, capture_output=True, text=True, check=False, timeout=LOAD_S)
        came_back = json.loads(done.stdout)["messages"]["received"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        came_back = "none"
    server.terminate()
    try:
        ended = server.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        return {"echoes": came_back, "the server": "does not stop"}
    found = {"echoes": came_back}
    if ended != 0:
        found["the server"] = f"ended with {ended}"
    try:
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    except (OSError, ValueError):
        return {**found, "trace": "none"}
    spans = [event for event in events if event["ph"] == "X"]
    slices = [span["args"] for span in spans if span["cat"] == "slice"]
    found["turns"] = sum(span["cat"] == "turn" for span in spans)
    found["slices"] = len(slices)
    found.update({f"slices that ended: {end}": count
                  for end, count in sorted(Counter(part["end"] for part in slices).items())})
    found["most calls in a slice"] = max((sum(part["calls"].values()) for part in slices), default=0)
    found["calls that would block"] = sum(span["args"].get("error") == "EAGAIN" for span in spans)
    found["stale events"] = sum(span["args"].get("stale", False) for span in spans)
    return found


def mutated(mutation):
    text = (ROOT / mutation.file).read_text(encoding="utf-8")
    return {mutation.file: text.replace(mutation.before, mutation.after).encode()}


def show_change(mutation):
    print(f"{mutation.name}: {mutation.says}\n  {mutation.file}")
    for sign, text in (("-", mutation.before), ("+", mutation.after)):
        for line in text.splitlines():
            print(f"  {sign} {line}".rstrip())


def break_it(mutation, with_trace):
    """Returns true if the change is caught by the test that must catch it."""
    show_change(mutation)
    synchronize(mutated(mutation))
    failed, hung = run_tests()
    for name in failed:
        print(f"  caught by {name}")
    for name in hung:
        print(f"  caught, because it does not end, by {name}")
    is_caught = mutation.caught_by in (*failed, *hung)
    if not is_caught:
        print(f"  NOT CAUGHT by {mutation.caught_by}")
    if with_trace:
        trace_of(mutation)
    sys.stdout.flush()
    return is_caught


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/break-it.sh", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", help="the change, or `all`")
    parser.add_argument("--list", action="store_true", help="list the changes")
    parser.add_argument("--check", action="store_true",
                        help="only check that each change still applies")
    parser.add_argument("--trace", action="store_true",
                        help="also show what a trace of the changed server looks like")
    asked = parser.parse_args()
    if not (asked.list or asked.check or asked.name):
        parser.error("name a change (see --list), or `all`")
    return asked


def main():
    asked = arguments()
    wrong = [reason for reason in map(fits, MUTATIONS) if reason]
    if wrong:
        sys.exit("break-it: " + "\n".join(wrong))
    if asked.check:
        print(f"{len(MUTATIONS)} changes apply")
        return
    if asked.list:
        for mutation in MUTATIONS:
            print(f"{mutation.name:<26} {mutation.says}")
        return
    chosen = [mutation for mutation in MUTATIONS if asked.name in (mutation.name, "all")]
    if not chosen:
        sys.exit(f"break-it: there is no change '{asked.name}': see --list")
    caught = [break_it(mutation, asked.trace) for mutation in chosen]
    print(f"\n{sum(caught)} of {len(caught)} caught")
    sys.exit(0 if all(caught) else 1)


if __name__ == "__main__":
    main()

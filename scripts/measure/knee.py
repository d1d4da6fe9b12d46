"""Checks `resound sweep --find` against a server of known capacity: one message per 50 us.

The server spins through fixed time slots, so its capacity is 20,000 messages per second whatever its
system calls cost. It runs on one CPU and the generator on another. Each condition must find that rate
within 5 % in at most 60 s. Then the generator shares its CPU with a busy loop: the answer must be "at
least" or nothing, never a limit of the server. Prints PASS or FAIL with the figures of each search;
FALSE marks an answer that is wrong, which no load of the machine excuses. Takes about two minutes.

usage: python3 scripts/measure/knee.py PROGRAM [SERVICE_US]
"""

import json
import os
import socket
import subprocess
import sys
import time

RATES = "1k..200k"
PRECISION = 0.05
SEARCH_S_MAX = 60

# A search that takes longer is ended.
WAIT_S_MAX = 2 * SEARCH_S_MAX


def serve(sock, service_ns):
    """Echoes one datagram per time slot."""
    now = time.perf_counter_ns
    free_at = now()
    while True:
        try:
            # A message that has waited takes the slot right after the one before.
            message, peer = sock.recvfrom(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            message, peer = sock.recvfrom(65536)
            free_at = now()
        free_at += service_ns
        while now() < free_at:
            pass
        sock.sendto(message, peer)


def forked(cpu, work):
    """Runs a function in a child process on one CPU."""
    child = os.fork()
    if child == 0:
        os.sched_setaffinity(0, {cpu})
        work()
        os._exit(0)
    return child


def spin():
    while True:
        pass


def search(program, port, cpu, condition):
    command = [program, "sweep", f"udp://127.0.0.1:{port}", "-J", "-c", "4", "-A", str(cpu)]
    command += ["--rate", RATES, "--find", condition, "--precision", f"{PRECISION:%}", "-t", "5s"]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S_MAX)
    took = time.monotonic() - began
    document = json.loads(done.stdout)
    return document, done.returncode, took


def fault(document, took, capacity):
    """Returns what is wrong with an answer of an idle machine, or None."""
    found = document["found"]
    if is_false(document, capacity):
        return "FALSE"
    if not found or found["at_least"]:
        return f"not found, because the limit was: {document['limit']}"
    return f"longer than {SEARCH_S_MAX} s" if took > SEARCH_S_MAX else None


def is_false(document, capacity):
    """Returns whether the answer names a rate that the server does not have, or a limit that it is
    not."""
    found = document["found"]
    if not found:
        return document["limit"] == "server"
    off = found["rate"] / capacity - 1
    return off > PRECISION or (not found["at_least"] and off < -PRECISION)


def figures(document, code, took, capacity):
    """Describes an answer on one line."""
    found = document["found"]
    text = "no rate"
    if found:
        least = "at least " if found["at_least"] else ""
        off = found["rate"] / capacity - 1
        text = f"{least}{found['rate']:,} per second ({off:+.1%})"
    verdicts = [point["generator"]["verdict"] for point in document["points"]]
    ok = verdicts.count("ok")
    return (f"{text}, limit {document['limit']}, exit {code}, {len(verdicts)} runs in {took:.1f} s, "
            f"the generator well in {ok}")


def main():
    program = sys.argv[1]
    service_us = float(sys.argv[2]) if len(sys.argv) > 2 else 50.0
    capacity = 1e6 / service_us
    cpus = sorted(os.sched_getaffinity(0))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    children = [forked(cpus[0], lambda: serve(sock, int(service_us * 1000)))]
    faults = []

    def check(name, condition, wrong):
        document, code, took = search(program, port, cpus[-1], condition)
        reason = wrong(document, took)
        faults.extend([name] if reason else [])
        verdict = f"FAIL ({reason})" if reason else "PASS"
        print(f"{verdict} {name}: {figures(document, code, took, capacity)}", flush=True)

    try:
        print(f"the server handles {capacity:,.0f} messages per second")
        for condition in ["achieved>=99%", "p50<1ms", "p99<10ms"]:
            check(condition, condition, lambda document, took: fault(document, took, capacity))
        children.append(forked(cpus[-1], spin))

        def wrong(document, _):
            is_limit = document["limit"] == "generator"
            return None if is_limit and not is_false(document, capacity) else "FALSE"

        check("a busy CPU", "achieved>=99%", wrong)
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
    print(f"FAIL: {', '.join(faults)}" if faults else "PASS")
    sys.exit(1 if faults else 0)


main()

"""Checks `resound sweep --find` against a server of known capacity: one message per 50 us.

The server spins through fixed time slots, so its capacity is 20,000 messages per second whatever its
system calls cost. It runs on one CPU and the generator on another. Prints the rate found by each
condition, and how long the search took. Then the generator shares its CPU with a busy loop: the
answer must be "at least" or nothing, never a limit of the server.

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
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    took = time.monotonic() - began
    document = json.loads(done.stdout)
    return document, done.returncode, took


def main():
    program = sys.argv[1]
    service_us = float(sys.argv[2]) if len(sys.argv) > 2 else 50.0
    capacity = 1e6 / service_us
    cpus = sorted(os.sched_getaffinity(0))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    children = [forked(cpus[0], lambda: serve(sock, int(service_us * 1000)))]
    failed = False
    try:
        print(f"the server handles {capacity:,.0f} messages per second")
        for condition in ["achieved>=99%", "p50<1ms", "p99<10ms"]:
            document, code, took = search(program, port, cpus[-1], condition)
            found = document["found"]
            error = abs(found["rate"] / capacity - 1) if found else 1.0
            good = code == 0 and error <= PRECISION and took <= SEARCH_S_MAX
            good = good and not found["at_least"] and found["limit"] == "server"
            failed |= not good
            runs = len(document["points"])
            print(f"{condition}: {found}, {error:.1%} off, {runs} runs in {took:.1f} s, {good=}")
        children.append(forked(cpus[-1], spin))
        document, code, took = search(program, port, cpus[-1], "achieved>=99%")
        found, limit = document["found"], document["limit"]
        good = limit == "generator" and (found is None or found["at_least"])
        failed |= not good
        verdicts = [point["generator"]["verdict"] for point in document["points"]]
        print(f"busy CPU: {found}, {limit=}, {code=}, {verdicts}, {took:.1f} s, {good=}")
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
    sys.exit(failed)


main()

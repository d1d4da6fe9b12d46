#!/usr/bin/env python3
"""Compares the send times of one loop of `bench` with those of several that make the same load.

gaps.py PROGRAM: runs `bench --rate 10k` over UDP with one loop and with four, in turn, against an echo
server in this script. The kernel stamps each datagram (SO_TIMESTAMPNS) as it is sent, because loopback
delivers it within the call that sends, so the order and the delay of the server do not matter. The table
has percentiles of the gaps between one datagram and the next, of all loops together.

Ends with 1 if p99 of the gaps, the median of the rounds, differs by more than 50 us. Needs an idle
machine; the last columns show whether it was so.
"""

import argparse
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import threading

SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
# For some seconds of the load, if this script does not get to run.
RECEIVE_BUF_BYTES = 32 << 20
CONNECTIONS = 16
DIFFERENCE_NS_MAX = 50_000
PERCENTILES = (50, 90, 99, 99.9)
# The server stops at a datagram without bytes from this script.
STOP = b""
RUN_S_MAX = 120


def serve(sock, times_ns):
    """Echoes datagrams until one is empty, and collects the time at which each was sent."""
    space = socket.CMSG_SPACE(16)
    while True:
        data, ancillary, _, peer = sock.recvmsg(2048, space)
        if data == STOP:
            return
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = struct.unpack("qq", value[:16])
                times_ns.append(seconds * 1_000_000_000 + nanoseconds)
        try:
            sock.sendto(data, peer)
        except OSError:
            # The generator has ended before this echo.
            pass


def percentile(values, share):
    """Returns the value of this percentile of a sorted list."""
    return values[min(len(values) - 1, int(len(values) * share / 100))]


def measure(asked, loops):
    """Runs the load with this number of loops. Returns its gaps in their order of size, and its document."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    # Root may go beyond net.core.rmem_max.
    option = SO_RCVBUFFORCE if os.geteuid() == 0 else socket.SO_RCVBUF
    sock.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUF_BYTES)
    times_ns = []
    server = threading.Thread(target=serve, args=(sock, times_ns), daemon=True)
    server.start()
    host, port = sock.getsockname()
    load = ["-r", asked.rate, "-t", asked.time, "-c", str(CONNECTIONS), "--threads", str(loops)]
    command = [asked.program, "bench", "-J", "--warmup=0", *load, f"udp://{host}:{port}"]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=RUN_S_MAX)
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(STOP, (host, port))
    server.join(RUN_S_MAX)
    document = json.loads(run.stdout)
    # The kernel's receive times of different CPUs may be out of order.
    times_ns.sort()
    if len(times_ns) < document["messages"]["sent"]:
        lost = document["messages"]["sent"] - len(times_ns)
        sys.exit(f"gaps: this script was too slow for {lost} datagrams; is the machine idle?")
    return sorted(b - a for a, b in zip(times_ns, times_ns[1:])), document


def main():
    parser = argparse.ArgumentParser(prog="gaps.py", description=__doc__.split("\n", 1)[0])
    parser.add_argument("program", help="the resound to measure")
    parser.add_argument("--rate", default="10k", help="messages per second (10k)")
    parser.add_argument("--threads", type=int, default=4, help="loops to compare with one (4)")
    parser.add_argument("--time", default="5s", help="length of a run (5s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (3)")
    asked = parser.parse_args()
    names = [f"p{share:g}" for share in PERCENTILES]
    print(f"{os.cpu_count()} CPUs; gaps in us")
    print("| loops | messages | " + " | ".join(names) + " | max | schedule lag p99 | verdict |")
    print("|---" * (len(names) + 5) + "|")
    p99_ns = {1: [], asked.threads: []}
    for _ in range(asked.rounds):
        for loops, found in p99_ns.items():
            gaps_ns, document = measure(asked, loops)
            found.append(percentile(gaps_ns, 99))
            figures = [percentile(gaps_ns, share) for share in PERCENTILES] + [gaps_ns[-1]]
            lag_ns = document["generator"]["schedule_lag_ns"]["percentiles"]["99"]
            cells = [f"{figure / 1e3:.1f}" for figure in [*figures, lag_ns]]
            verdict = document["generator"]["verdict"]
            row = [str(loops), str(len(gaps_ns) + 1), *cells, verdict]
            print("| " + " | ".join(row) + " |", flush=True)
    one_ns, several_ns = (statistics.median(found) for found in p99_ns.values())
    difference_ns = several_ns - one_ns
    print(
        f"p99 of the gaps, median of {asked.rounds}: {one_ns / 1e3:.1f} us with one loop, "
        f"{several_ns / 1e3:.1f} us with {asked.threads}: {difference_ns / 1e3:+.1f} us"
    )
    sys.exit(0 if abs(difference_ns) <= DIFFERENCE_NS_MAX else 1)


main()

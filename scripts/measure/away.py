#!/usr/bin/env python3
"""Compares what `bench --timestamps` says of the time away with a capture by tcpdump.

away.py PROGRAM: as root, makes two network namespaces with a veth pair between them, a server in one
and the generator in the other, and captures on the generator's end. Each message and its echo are found
in the capture by their ports and their first 8 bytes, which are the number of the message. The time
between them is compared with `split.away_ns`, at its median.

Ends with 1 if a median differs by more than 5 us and by more than 5 %.
"""

import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time

SERVER = "10.9.0.1"
PORT = 7007
# Enough for 600 samples of one message in 32, at a rate that the machine takes with ease.
LOAD = ["-c1", "-r2k", "-d1", "-t10s", "--warmup=1s"]
DIFFERENCE_NS_MAX = 5_000
DIFFERENCE_SHARE_MAX = 0.05
ETHERNET_BYTES = 14
NANOSECOND_MAGIC = 0xA1B23C4D


def sh(*command):
    subprocess.run(command, check=True)


def packets(path):
    """The time, the ports and the payload of each packet of a capture over IPv4."""
    with open(path, "rb") as file:
        (magic,) = struct.unpack("<I", file.read(24)[:4])
        assert magic == NANOSECOND_MAGIC, f"{magic:#x} is not a capture in nanoseconds"
        while header := file.read(16):
            seconds, nanoseconds, length, _ = struct.unpack("<IIII", header)
            ip = file.read(length)[ETHERNET_BYTES:]
            total = struct.unpack("!H", ip[2:4])[0]
            segment = ip[ip[0] % 16 * 4 : total]
            ports = struct.unpack("!HH", segment[:4])
            header_bytes = 8 if ip[9] == 17 else (segment[12] >> 4) * 4
            yield seconds * 1_000_000_000 + nanoseconds, ports, segment[header_bytes:]


def times_away(path):
    """The time from each captured message to its echo."""
    sent, away = {}, []
    for time_ns, (source, target), payload in packets(path):
        if len(payload) < 8:
            continue
        number = payload[:8]
        if target == PORT:
            sent[source, number] = time_ns
        elif (target, number) in sent:
            away.append(time_ns - sent.pop((target, number)))
    return away


def compare(program, transport, folder):
    """Runs a load and returns whether both medians agree."""
    path = os.path.join(folder, f"{transport}.pcap")
    arguments = ["-i", "v1", "--time-stamp-precision=nano", "-s", "128", "-B", "65536", "-w", path]
    capture = subprocess.Popen(["tcpdump", *arguments, "port", str(PORT)], stderr=subprocess.PIPE, text=True)
    while "listening on" not in capture.stderr.readline():
        pass
    bench = [program, "bench", "-J", "--timestamps", *LOAD, f"{transport}://{SERVER}:{PORT}"]
    run = subprocess.run(bench, stdout=subprocess.PIPE, text=True, check=True)
    capture.terminate()
    capture.communicate()
    document = json.loads(run.stdout)
    split = document["split"]
    own_ns = split["away_ns"]["percentiles"]["50"]
    captured = times_away(path)
    captured_ns = statistics.median(captured)
    difference_ns = own_ns - captured_ns
    print(
        f"{transport}: away p50 {own_ns / 1e3:.2f} us of {split['samples']} samples; captured "
        f"{captured_ns / 1e3:.2f} us of {len(captured)} messages; difference {difference_ns / 1e3:+.2f} us "
        f"({difference_ns / captured_ns:+.1%}); generator {document['generator']['verdict']}"
    )
    limit_ns = max(DIFFERENCE_NS_MAX, DIFFERENCE_SHARE_MAX * captured_ns)
    return abs(difference_ns) <= limit_ns


def main():
    program = os.path.abspath(sys.argv[1])
    if os.environ.get("AWAY_IN_NAMESPACE") is None:
        environment = {**os.environ, "AWAY_IN_NAMESPACE": "1"}
        os.execvpe("unshare", ["unshare", "-n", sys.executable, __file__, program], environment)
    peer = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    own = os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{peer.pid}/ns/net") == own:
        time.sleep(0.01)
    inside = ["nsenter", "-t", str(peer.pid), "-n"]
    server = None
    try:
        sh("ip", "link", "add", "v1", "type", "veth", "peer", "name", "v0", "netns", str(peer.pid))
        sh("ip", "addr", "add", "10.9.0.9/24", "dev", "v1")
        sh("ip", "link", "set", "v1", "up")
        sh(*inside, "ip", "addr", "add", f"{SERVER}/24", "dev", "v0")
        sh(*inside, "ip", "link", "set", "v0", "up")
        endpoints = [f"{name}://{SERVER}:{PORT}" for name in ("udp", "tcp")]
        server = subprocess.Popen([*inside, program, "serve", "-q", *endpoints], stdout=subprocess.PIPE)
        for _ in endpoints:
            server.stdout.readline()
        with tempfile.TemporaryDirectory() as folder:
            agree = [compare(program, transport, folder) for transport in ("udp", "tcp")]
    finally:
        for process in filter(None, (server, peer)):
            process.terminate()
    sys.exit(0 if all(agree) else 1)


main()

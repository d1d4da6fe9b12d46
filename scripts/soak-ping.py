#!/usr/bin/env python3
"""Probes 100 targets with `resound ping --metrics` while their servers lose, stall and restart.

soak-ping.py PROGRAM SECONDS: serves 100 endpoints without code of the program, probes each five
times per second, and then compares the counts of both sides. Prints the memory of the prober over
time. Fails if a count differs, or if memory grows in the second half.

- udp 0 to 39: lose each seventh probe
- udp 40 to 49: stall for 3 of every 20 seconds, and then answer what has waited
- tcp 50 to 99: go away for a second after every 50 to 99 probes, one of which has no answer
"""

import json
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

PROBE_BYTES = 64
INTERVAL_S = 0.2
STALL_S, STALL_EVERY_S = 3, 20
AWAY_S = 1
# A page of a histogram here and there is no growth; a list per probe is. The last 1,024 probes of
# each target fill 32 KiB, which takes 205 s: shorter runs see that as well.
GROWTH_MAX = 1.05


class Udp:
    """Echoes datagrams, apart from those that it loses."""

    def __init__(self, index, selector):
        self.is_stalling = index >= 40
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.endpoint = "udp://127.0.0.1:%d" % self.socket.getsockname()[1]
        self.received = self.echoed = 0
        selector.register(self.socket, selectors.EVENT_READ, self.ready)
        self.selector = selector
        self.is_away = False

    def turn(self, now):
        is_away = self.is_stalling and now % STALL_EVERY_S < STALL_S and now < self.last_stall_at
        if is_away and not self.is_away:
            self.selector.unregister(self.socket)
        if self.is_away and not is_away:
            self.selector.register(self.socket, selectors.EVENT_READ, self.ready)
        self.is_away = is_away

    def ready(self, _):
        probe, peer = self.socket.recvfrom(2 * PROBE_BYTES)
        self.received += 1
        if self.is_stalling or self.received % 7:
            self.socket.sendto(probe, peer)
            self.echoed += 1


class Tcp:
    """Echoes probes, and closes everything when it has read a certain number of them."""

    def __init__(self, index, selector):
        self.selector = selector
        self.probes_until_away = index
        self.received = self.echoed = self.connections = 0
        self.port = 0
        self.peer = self.listener = None
        self.listen()
        self.endpoint = "tcp://127.0.0.1:%d" % self.port

    def listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)

    def turn(self, now):
        if self.listener is None and now >= self.back_at:
            self.listen()

    def accept(self, _):
        self.peer, _ = self.listener.accept()
        self.connections += 1
        self.rest = b""
        self.selector.register(self.peer, selectors.EVENT_READ, self.ready)

    def ready(self, _):
        chunk = self.peer.recv(PROBE_BYTES - len(self.rest))
        if not chunk:
            self.selector.unregister(self.peer)
            self.peer.close()
            return
        self.rest += chunk
        if len(self.rest) < PROBE_BYTES:
            return
        self.received += 1
        if self.received % self.probes_until_away:
            self.peer.sendall(self.rest)
            self.echoed += 1
            self.rest = b""
            return
        for each in (self.peer, self.listener):
            self.selector.unregister(each)
            each.close()
        self.listener = None
        self.back_at = time.monotonic() + AWAY_S


def memory(url):
    page = urllib.request.urlopen(url, timeout=10).read().decode()
    return int(float(re.search(r"^process_resident_memory_bytes (\S+)", page, re.M)[1]))


def main(program, seconds):
    selector = selectors.DefaultSelector()
    servers = [(Udp if index < 50 else Tcp)(index, selector) for index in range(100)]
    count = int(seconds / INTERVAL_S)
    command = [program, "ping", "-J", "-c", str(count), "-i", "%dms" % (INTERVAL_S * 1000)]
    command += ["--metrics", "127.0.0.1:0", *(server.endpoint for server in servers)]
    with tempfile.TemporaryFile("w+") as out:
        prober = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True)
        url = re.search(r"http://\S+", prober.stderr.readline())[0]
        started_at = time.monotonic()
        samples, next_at = [], started_at + seconds / 12
        for server in servers:
            # An echo after the end would not be counted.
            server.last_stall_at = started_at + seconds - 2 * STALL_S
        while prober.poll() is None:
            now = time.monotonic()
            if now >= next_at and len(samples) < 11:  # the last would meet the end
                next_at += seconds / 12
                samples.append(memory(url))
                print("%4d s: %d KiB" % (now - started_at, samples[-1] // 1024), flush=True)
            for server in servers:
                server.turn(now)
            for key, _ in selector.select(0.05):
                if key.fd >= 0 and key.fileobj.fileno() >= 0:
                    key.data(key.fileobj)
        out.seek(0)
        targets = json.load(out)["targets"]
    return check(servers, targets, samples, count)


def check(servers, targets, samples, count):
    failures = []
    totals = dict.fromkeys(("sent", "received", "late", "lost", "reconnects"), 0)
    for server, target in zip(servers, targets, strict=True):
        counts = {**target["messages"], "reconnects": target["reconnects"]}
        for name in totals:
            totals[name] += counts[name]
        wanted = {
            "probes": (count, counts["sent"]),
            "probes that were settled": (count, counts["received"] + counts["lost"]),
            "reasons of losses": (counts["lost"], sum(target["losses"].values())),
            "echoes": (server.echoed, counts["received"] + counts["late"]),
            "duplicated": (0, counts["duplicated"]),
            "corrupted": (0, counts["corrupted"]),
        }
        if isinstance(server, Udp):
            wanted["probes that arrived"] = (server.received, counts["sent"])
        else:
            wanted["connections"] = (server.connections, 1 + counts["reconnects"])
        failures += [
            "%s: %s: expected %d, found %d" % (target["endpoint"], name, *pair)
            for name, pair in wanted.items()
            if pair[0] != pair[1]
        ]
    print(", ".join("%s %d" % pair for pair in totals.items()))
    later = samples[len(samples) // 2 :]
    if later and max(later) > GROWTH_MAX * later[0]:
        failures.append("memory grows: %s" % later)
    print("\n".join(failures) if failures else "every count of 100 targets agrees; memory is flat")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))

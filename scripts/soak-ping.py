#!/usr/bin/env python3
"""Probes 100 targets with `resound ping --metrics` while their servers lose, stall and restart.

soak-ping.py PROGRAM SECONDS: serves 100 endpoints without code of the program, probes each five
times per second, and then compares the counts of both sides. Prints the memory of the prober over
time. Fails if a count differs, or if memory grows in the second half.

- udp 0 to 24: lose each seventh probe
- udp 25 to 34: stall for 3 of every 20 seconds, and then answer what has waited
- udp 35 to 49: go away for a second after every 35 to 49 probes; the kernel refuses what comes then
- tcp 50 to 69, unix 70 to 84: go away as often, and leave the last probe before it without answer
- unixgram 85 to 99: lose each seventh probe, and go away
"""

import json
import os
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
PORT = 17007  # below the ephemeral ports
STALL_S, STALL_EVERY_S = 3, 20
AWAY_S = 1
# A page of a histogram here and there is no growth; a list per probe is. The last 1,024 probes of
# each target fill 32 KiB, which takes 205 s: shorter runs see that as well.
GROWTH_MAX = 1.05


class Server:
    """Echoes probes at one endpoint, and counts them."""

    def __init__(self, index, selector, folder):
        self.index, self.selector = index, selector
        self.addr = "%s/%d" % (folder, index)
        if self.family == socket.AF_INET:
            # While it is away, no other socket takes its port.
            self.addr = ("127.77.0.%d" % (index + 1), PORT)
        self.received = self.echoed = self.connections = 0
        self.last_stall_at, self.back_at = 0, None
        self.open()
        place = self.addr if self.family == socket.AF_UNIX else "//%s:%d" % self.addr
        self.endpoint = "%s:%s" % (self.scheme, place)

    def bind(self, kind):
        made = socket.socket(self.family, kind)
        if self.family == socket.AF_INET:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(self.addr)
        made.setblocking(False)
        return made

    def turn(self, now):
        if self.back_at is not None and now >= self.back_at:
            self.back_at = None
            self.open()

    def go_away(self, *sockets):
        for each in sockets:
            self.selector.unregister(each)
            each.close()
        if self.family == socket.AF_UNIX:
            os.unlink(self.addr)
        self.back_at = time.monotonic() + AWAY_S


class Datagrams(Server):
    """Loses each seventh probe, or stalls, or goes away."""

    def open(self):
        self.socket = self.bind(socket.SOCK_DGRAM)
        self.selector.register(self.socket, selectors.EVENT_READ, self.ready)
        self.is_stalling = False

    def turn(self, now):
        super().turn(now)
        if not self.stalls:
            return
        is_stalling = now % STALL_EVERY_S < STALL_S and now < self.last_stall_at
        if is_stalling and not self.is_stalling:
            self.selector.unregister(self.socket)
        if self.is_stalling and not is_stalling:
            self.selector.register(self.socket, selectors.EVENT_READ, self.ready)
        self.is_stalling = is_stalling

    def ready(self, _):
        probe, peer = self.socket.recvfrom(2 * PROBE_BYTES)
        self.received += 1
        if not self.loses or self.received % 7:
            self.socket.sendto(probe, peer)
            self.echoed += 1
        if self.leaves and self.received % self.index == 0:
            self.refuse()
            self.discard()
            self.go_away(self.socket)

    def discard(self):
        """Counts what came before the refusal, so that the count is exact."""
        try:
            while self.socket.recv(2 * PROBE_BYTES):
                self.received += 1
        except BlockingIOError:
            pass


class Udp(Datagrams):
    family, scheme = socket.AF_INET, "udp"
    loses = property(lambda self: self.index < 25)
    stalls = property(lambda self: 25 <= self.index < 35)
    leaves = property(lambda self: self.index >= 35)

    def refuse(self):
        # The kernel refuses what comes from another address than that of the peer.
        self.socket.connect(("127.0.0.1", 9))


class Unixgram(Datagrams):
    family, scheme = socket.AF_UNIX, "unixgram"
    loses, stalls, leaves = True, False, True

    def refuse(self):
        self.socket.shutdown(socket.SHUT_RD)


class Streams(Server):
    """Closes everything when it has read a certain number of probes."""

    def open(self):
        self.peer, self.listener = None, self.bind(socket.SOCK_STREAM)
        self.listener.listen()
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)

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
        if self.received % self.index:
            self.peer.sendall(self.rest)
            self.echoed += 1
            self.rest = b""
            return
        self.go_away(self.peer, self.listener)


class Tcp(Streams):
    family, scheme = socket.AF_INET, "tcp"


class Unix(Streams):
    family, scheme = socket.AF_UNIX, "unix"


KINDS = [Udp] * 50 + [Tcp] * 20 + [Unix] * 15 + [Unixgram] * 15


def memory(url):
    page = urllib.request.urlopen(url, timeout=10).read().decode()
    return int(float(re.search(r"^process_resident_memory_bytes (\S+)", page, re.M)[1]))


def main(program, seconds):
    selector = selectors.DefaultSelector()
    folder = tempfile.TemporaryDirectory()
    servers = [kind(index, selector, folder.name) for index, kind in enumerate(KINDS)]
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
        if isinstance(server, Datagrams):
            # A probe with another cause was refused before it arrived.
            unanswered = target["losses"].get("no answer", 0)
            arrived = counts["received"] + unanswered
            wanted["probes that arrived"] = (server.received, arrived)
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

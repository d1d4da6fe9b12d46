"""Restarts a service several times under load, as a manager that keeps its sockets does. Fails if a
byte is lost that a server owes, a datagram has no echo, or a connection is refused or cut short.

restart.py PROGRAM [--restarts N] [--drain-timeout SECONDS] [--systemd PID [--by COMMAND]]

A connection stays open through every drain. Beside it, one client sends datagrams, clients connect
every 10 ms for one exchange, and `bench --reconnect` has 20 connections.

The manager is tests/python/manager.py, or with --systemd the systemd with that process number. The
command, by default systemctl, must restart its resound.service, which has a drain timeout of that
length. The script must run in the network namespace of that systemd.
"""

import argparse
import json
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

MANAGER = pathlib.Path(__file__).parents[2] / "tests/python/manager.py"
WAIT_MAX_S = 60
CONNECT_INTERVAL_S = 0.01
MESSAGE = bytes(range(250)) * 4


class Kind:
    """What the clients of one kind have seen."""

    def __init__(self):
        self.lock = threading.Lock()
        self.asked = self.answered = 0
        self.longest_s = 0.0
        self.failures = []

    def note(self, started_s, failure=None):
        with self.lock:
            self.asked += 1
            self.answered += failure is None
            self.longest_s = max(self.longest_s, time.monotonic() - started_s)
            if failure is not None:
                self.failures.append(failure)


def ask_datagrams(addr, kind, over):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(WAIT_MAX_S)
        client.connect(addr)
        while not over.is_set():
            started_s, message = time.monotonic(), str(kind.asked).encode()
            client.send(message)
            echoed = client.recv(64)
            kind.note(started_s, None if echoed == message else f"{echoed} for {message}")
            time.sleep(0.001)


def exchange(addr, kind):
    started_s, failure = time.monotonic(), None
    try:
        with socket.create_connection(addr, timeout=WAIT_MAX_S) as client:
            client.sendall(MESSAGE)
            client.shutdown(socket.SHUT_WR)
            echoed = b""
            while chunk := client.recv(4096):
                echoed += chunk
        if echoed != MESSAGE:
            failure = f"{len(echoed)} of {len(MESSAGE)} bytes"
    except OSError as error:
        failure = str(error)
    kind.note(started_s, failure)


def ask_streams(addr, kind, over):
    clients = []
    while not over.is_set():
        clients.append(threading.Thread(target=exchange, args=(addr, kind)))
        clients[-1].start()
        time.sleep(CONNECT_INTERVAL_S)
    for client in clients:
        client.join()


class Manager:
    """Keeps two sockets, and starts the service on them."""

    def __init__(self, program, drain_timeout_s):
        command = [sys.executable, "-B", MANAGER, "--hold", "tcp=127.0.0.1", "udp=127.0.0.1", "--"]
        command += [program, "serve", "--drain-timeout", f"{drain_timeout_s}s"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, **pipes)
        self.lines = []
        threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True).start()

    def start(self):
        """Starts the service. Returns its addresses."""
        self.process.stdin.write("start\n")
        self.process.stdin.flush()
        self.pid = int(self.process.stdout.readline().split()[1])
        places = [self.process.stdout.readline().strip().rpartition("//")[2] for _ in range(2)]
        return [(host, int(port)) for host, port in (p.split(":") for p in places)]

    def stop(self):
        subprocess.run(["kill", str(self.pid)], check=True)
        ended = self.process.stdout.readline()
        assert ended == "ended 0\n", ended

    def restart(self):
        """Returns for how long no service ran."""
        self.stop()
        ended_s = time.monotonic()
        self.start()
        return time.monotonic() - ended_s

    def log(self):
        """Ends the service, and returns what all of them have logged."""
        self.stop()
        self.process.stdin.close()
        self.process.wait(WAIT_MAX_S)
        return self.lines

    def kill(self):
        self.process.kill()
        self.process.wait()


class Systemd:
    """The systemd of this network namespace, with the units of the package."""

    def __init__(self, pid, command):
        self.enter = ["nsenter", "-t", str(pid), "-m", "-p"]
        self.command = shlex.split(command)

    def ask(self, *command):
        asked = subprocess.run([*self.enter, *command], check=True, text=True, capture_output=True)
        return asked.stdout

    def start(self):
        self.ask("systemctl", "restart", "resound.service")
        journal = self.ask("journalctl", "-n0", "--show-cursor")
        self.cursor = journal.partition("-- cursor: ")[2].strip()
        return [("127.0.0.1", 7007)] * 2

    def restart(self):
        self.ask(*self.command)
        times = ["InactiveEnterTimestampMonotonic", "ActiveEnterTimestampMonotonic"]
        values = self.ask("systemctl", "show", "resound.service", *(f"-p{name}" for name in times))
        ended_us, started_us = (int(re.search(rf"{name}=(\d+)", values)[1]) for name in times)
        return (started_us - ended_us) / 1e6

    def log(self):
        self.ask("systemctl", "restart", "resound.service")
        self.ask("journalctl", "--sync")
        journal = ["journalctl", "-u", "resound.service", "-o", "cat", "--after-cursor", self.cursor]
        return self.ask(*journal).splitlines()

    def kill(self):
        pass


def hold(addr):
    """Opens a connection and exchanges a byte, so that the service has accepted it."""
    holder = socket.create_connection(addr, timeout=WAIT_MAX_S)
    holder.sendall(b"h")
    assert holder.recv(1) == b"h"
    return holder


def load(args, manager):
    tcp, udp = manager.start()
    over, datagrams, streams = threading.Event(), Kind(), Kind()
    clients = [threading.Thread(target=ask_datagrams, args=(udp, datagrams, over))]
    clients += [threading.Thread(target=ask_streams, args=(tcp, streams, over))]
    for client in clients:
        client.start()
    # Until the signal below: the time that a manager takes for a restart is not known.
    flags = ["-c20", "-r5k", "--reconnect", "--warmup=0", "-t1h", "-J"]
    # As patient as the other clients.
    flags += [f"--timeout={WAIT_MAX_S}s"]
    command = [args.program, "bench", f"tcp://{tcp[0]}:{tcp[1]}", *flags]
    bench = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    gaps = []
    try:
        for _ in range(args.restarts):
            time.sleep(1)
            holder = hold(tcp)
            gaps.append(manager.restart())
            assert holder.recv(1) == b"", "the old service ends what stays open"
            holder.close()
        time.sleep(1)
        bench.send_signal(signal.SIGINT)
        document = json.loads(bench.communicate(timeout=WAIT_MAX_S)[0])
    finally:
        bench.kill()
        over.set()
    for client in clients:
        client.join()
    return datagrams, streams, document, gaps


def main():
    parser = argparse.ArgumentParser(description="Restarts a service under load.")
    parser.add_argument("program")
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--drain-timeout", type=int, default=2)
    parser.add_argument("--systemd", type=int, metavar="PID")
    parser.add_argument("--by", metavar="COMMAND", default="systemctl restart resound.service")
    args = parser.parse_args()
    if args.systemd:
        manager = Systemd(args.systemd, args.by)
    else:
        manager = Manager(args.program, args.drain_timeout)
    try:
        datagrams, streams, document, gaps = load(args, manager)
        lines = [line for line in manager.log() if line.startswith("stats ")]
    finally:
        manager.kill()
    count = lambda name: sum(int(n) for line in lines for n in re.findall(rf" {name}=(\d+)", line))
    received = document["bytes"]["received"]
    taken = received + args.restarts + streams.answered * len(MESSAGE)
    print(f"restarts     {args.restarts}, without a service for {max(gaps) * 1e3:.0f} ms at most")
    for name, kind in (("datagrams", datagrams), ("connections", streams)):
        print(f"{name:<12} {kind.asked}, answered {kind.answered}, {kind.longest_s * 1e3:.0f} ms at most")
    print(f"bench        received {document['messages']['received']} messages, "
          f"reconnected {document['flows']['reconnected']} times, corrupted {document['messages']['corrupted']}")
    print(f"servers      read {count('tcp_bytes_in')} bytes, wrote {count('tcp_bytes_out')}, "
          f"clients took {taken}, cut connections {count('drain_cut')}")
    assert not datagrams.failures and not streams.failures, datagrams.failures + streams.failures
    assert document["messages"]["corrupted"] == 0
    # A message that meets the end of a connection is lost, and no service has read it.
    assert document["messages"]["in_flight_at_end"] == 0
    assert document["flows"]["reconnected"] >= args.restarts, "bench met no restart"
    assert count("tcp_bytes_in") == count("tcp_bytes_out") == taken, "an owed byte is lost"
    assert count("udp_messages_out") == datagrams.asked


main()

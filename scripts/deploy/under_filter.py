"""Checks that the unit allows every system call that the service makes.

under_filter.py PROGRAM UNIT

Runs the program under strace(1) with the flags of the unit and with flags that make it do more, and
talks to it over every transport.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

WAIT_MAX_S = 60
BULK_BYTES = 8 << 20

# The unit refuses these calls, and so does this script, without harm: the thread that writes the
# log leaves the CPUs that a loop may be pinned to.
REFUSED = {"sched_setaffinity"}


def named_sets():
    """Returns the named sets of systemd, which may contain the names of other sets."""
    text = subprocess.run(
        ["systemd-analyze", "syscall-filter"], check=True, capture_output=True, text=True
    ).stdout
    sets, current = {}, None
    for line in text.splitlines():
        if line.startswith("@"):
            current = sets.setdefault(line.strip(), [])
        elif current is not None and line.startswith(" ") and not line.strip().startswith("#"):
            current.append(line.strip())
    return sets


def expand(words, sets):
    calls = set()
    for word in words:
        calls |= expand(sets[word], sets) if word.startswith("@") else {word}
    return calls


def values(unit, wanted):
    with open(unit, encoding="utf-8") as lines:
        settings = [line.strip().partition("=") for line in lines]
    return [value for key, _, value in settings if key == wanted]


def allowed(unit):
    sets = named_sets()
    calls = expand(["@default"], sets)
    for value in values(unit, "SystemCallFilter"):
        words = expand(value.removeprefix("~").split(), sets)
        calls = calls - words if value.startswith("~") else calls | words
    return calls


def bulk(stream):
    """Sends more than the server copies: it splices a stream that keeps coming."""
    sender = threading.Thread(target=lambda: (stream.sendall(bytes(BULK_BYTES)), stream.shutdown(1)))
    sender.start()
    left = BULK_BYTES
    while chunk := stream.recv(1 << 20):
        left -= len(chunk)
    sender.join()
    assert left == 0, left


def speak(folder, lines):
    ip = [line.split("//")[1].rpartition(":") for line in lines[:2]]
    tcp, udp = [(host, int(port)) for host, _, port in ip]
    for family, place in ((socket.AF_INET, tcp), (socket.AF_UNIX, f"{folder}/stream")):
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(WAIT_MAX_S)
            client.connect(place)
            client.sendall(b"ping")
            assert client.recv(4) == b"ping"
            bulk(client)
    for family, own, place in (
        (socket.AF_INET, ("127.0.0.1", 0), udp),
        (socket.AF_UNIX, f"{folder}/client", f"{folder}/packets"),
    ):
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(WAIT_MAX_S)
            client.bind(own)
            for _ in range(8):
                client.sendto(b"ping", place)
            for _ in range(8):
                assert client.recv(16) == b"ping"


def scrape(log):
    """Reads the metrics at the address in the log, which is written in the background."""
    deadline = time.monotonic() + WAIT_MAX_S
    while True:
        with open(log, encoding="utf-8") as text:
            if found := re.search(r"metrics at (http://\S+)\n", text.read()):
                break
        assert time.monotonic() < deadline, "the log does not say where the metrics are"
        time.sleep(0.01)
    with urllib.request.urlopen(found[1], timeout=WAIT_MAX_S) as response:
        assert b"process_resident_memory_bytes " in response.read()


def main(program, unit):
    with tempfile.TemporaryDirectory() as folder:
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(f"{folder}/notify")
        trace = f"{folder}/trace"
        endpoints = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
        endpoints += [f"unix:{folder}/stream", f"unixgram:{folder}/packets"]
        refuse = [f"--inject={name}:error=EPERM" for name in sorted(REFUSED)]
        strace = ["strace", "-f", "-qq", "-o", trace, *refuse]
        (start,) = values(unit, "ExecStart")
        command = [*strace, program, *start.split()[1:], "--stats", "50ms"]
        command += ["--metrics", "127.0.0.1:0", "--threads", "2"]
        environment = {"NOTIFY_SOCKET": f"{folder}/notify", "WATCHDOG_USEC": "100000"}
        with open(f"{folder}/log", "wb") as log:
            server = subprocess.Popen(
                [*command, *endpoints],
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            lines = [server.stdout.readline().strip() for _ in endpoints]
            speak(folder, lines)
            scrape(f"{folder}/log")
            manager.settimeout(WAIT_MAX_S)
            while b"WATCHDOG=1" not in manager.recv(4096):
                pass
            with open(trace, encoding="utf-8", errors="replace") as text:
                service = int(text.readline().split()[0])
            os.kill(service, signal.SIGUSR1)
            os.kill(service, signal.SIGTERM)
            assert server.wait(WAIT_MAX_S) == 0
        finally:
            server.kill()
            server.wait()
        with open(trace, encoding="utf-8", errors="replace") as text:
            made = set(re.findall(r"^\d+ +(?:<\.\.\. )?([a-z]\w*)(?:\(| resumed)", text.read(), re.M))
    assert {"splice", "recvmmsg", "accept4", "epoll_wait"} <= made, made
    forbidden = made - allowed(unit) - REFUSED
    assert not forbidden, f"{unit} forbids {' '.join(sorted(forbidden))}"
    print(f"{len(made)} system calls, none of them missed where {unit} forbids it")


main(*sys.argv[1:])

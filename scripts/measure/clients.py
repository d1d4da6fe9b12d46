"""Load on a server: the generators' commands, and parsers of their output."""

import json
import re
import socket
import subprocess
import time

import machine
from programs import C_PEERS, PEERS, RESOUND, Failed, last_line

# Extra time for connecting and for the last echoes.
OVERTIME_S = 20

HOLD_MESSAGE = b"x" * 64


def pairs(text):
    """Parses a line `key=value key=value`."""
    return {key: float(value) for key, value in (pair.split("=") for pair in text.split())}


def document(text):
    """Parses the document of `resound bench -J`. A run with errors counts as failed."""
    run = json.loads(text)
    messages = run["messages"]
    if run["status"] != "ok" or messages["corrupted"] or not messages["received"]:
        raise Failed(f"status {run['status']}: {run['error']}; messages {messages}")
    percentiles = run["latency_ns"]["percentiles"]
    values = {
        "messages": messages["received"],
        "rate": run["rate"]["achieved"],
        "p50_ns": percentiles.get("50"),
        "p99_ns": percentiles.get("99"),
        "lost": messages["lost"],
        "limited": int(run["generator"]["verdict"] != "ok"),
    }
    return {key: value for key, value in values.items() if value is not None}


def sockperf_summary(text):
    """Parses the output of `sockperf ping-pong --full-rtt`, which has whole round trips."""
    found = dict(re.findall(r"percentile (50|99)\.000 *= *([\d.]+)", text))
    messages = re.search(r"\[Valid Duration\].*ReceivedMessages=(\d+)", text)
    seconds = re.search(r"\[Valid Duration\] RunTime=([\d.]+) sec", text)
    if len(found) != 2 or not messages or "Round trip is" not in text:
        raise Failed("sockperf printed no round trips")
    return {
        "messages": int(messages.group(1)),
        "rate": int(messages.group(1)) / float(seconds.group(1)),
        "p50_ns": float(found["50"]) * 1e3,
        "p99_ns": float(found["99"]) * 1e3,
    }


class Client:
    """A generator: its command for an address and a duration, and a parser of its output."""

    def __init__(self, name, command, parse):
        self.name = name
        self.command = command
        self.parse = parse

    def run(self, addr, seconds, cpu):
        """Returns the figures of one run, with the CPU time of the generator."""
        before_ns, started_at = machine.children_cpu_ns(), time.monotonic()
        try:
            run = subprocess.run(
                self.command(addr, seconds),
                capture_output=True,
                text=True,
                timeout=seconds + OVERTIME_S,
                preexec_fn=machine.preparation(cpu),
            )
        except subprocess.TimeoutExpired:
            raise Failed("the generator did not end") from None
        elapsed_ns = (time.monotonic() - started_at) * 1e9
        if run.returncode != 0 and self.parse is not document:
            raise Failed(last_line(run.stderr, f"the generator's status was {run.returncode}"))
        try:
            figures = self.parse(run.stdout)
        except ValueError:
            raise Failed(last_line(run.stderr, "the generator printed no figures")) from None
        figures["client_cpu_ns"] = machine.children_cpu_ns() - before_ns
        figures["elapsed_ns"] = elapsed_ns
        return figures


def bench(transport, *options, length=64, depth=1, connections=64):
    """Returns `resound bench`, without a warm-up in each run."""
    load = ["-c", str(connections), "-l", str(length), "-d", str(depth), "--warmup", "0s", "-J"]

    def command(addr, seconds):
        return [RESOUND, "bench", f"{transport}://{addr}", *load, *options, "-t", f"{seconds}s"]

    return Client(" ".join(["resound bench", *load, *options]), command, document)


def c_udp(mode, sockets, depth, length):
    """Returns the C client for datagrams."""

    def command(addr, seconds):
        load = map(str, (sockets, depth, length, seconds))
        return [f"{C_PEERS}/client_udp", addr, *load, mode]

    return Client(f"c/client_udp {mode}", command, pairs)


def c_bulk(connections, length):
    """Returns the C client for long messages."""

    def command(addr, seconds):
        return [f"{C_PEERS}/client_bulk", addr, *map(str, (connections, length, seconds))]

    return Client("c/client_bulk", command, pairs)


def c_epoll(connections, length):
    """Returns the C generator of short messages, one in flight per connection."""

    def command(addr, seconds):
        return [f"{C_PEERS}/generator_epoll", addr, *map(str, (connections, length, seconds))]

    return Client("c/generator_epoll", command, pairs)


def blocking(connections, length):
    """Returns the generator with blocking threads."""

    def command(addr, seconds):
        return [f"{PEERS}/blocking-generator", addr, *map(str, (connections, length, seconds))]

    return Client("blocking-generator", command, pairs)


def sockperf(transport, length):
    """Returns `sockperf ping-pong`, which never sleeps because of --nonblocked."""
    tcp = ["--tcp"] if transport == "tcp" else []

    def command(addr, seconds):
        host, _, port = addr.rpartition(":")
        # sockperf accepts only whole seconds.
        load = ["-m", str(length), "-t", str(max(1, round(seconds)))]
        where = ["-i", host, "-p", port]
        return ["sockperf", "ping-pong", "--nonblocked", "--full-rtt", *tcp, *load, *where]

    return Client("sockperf ping-pong --nonblocked --full-rtt", command, sockperf_summary)


def hold(addr, pid, count):
    """Opens the connections and gets one echo on each. Returns the server's resident KiB."""
    host, _, port = addr.rpartition(":")
    held = []
    try:
        for _ in range(count):
            held.append(socket.create_connection((host, int(port)), timeout=10))
            held[-1].sendall(HOLD_MESSAGE)
            left = len(HOLD_MESSAGE)
            while left:
                chunk = held[-1].recv(left)
                if not chunk:
                    raise Failed(f"the server closed connection {len(held)}")
                left -= len(chunk)
        return machine.resident_kib(pid)
    except OSError as error:
        raise Failed(f"connection {len(held)}: {error}") from None
    finally:
        for connection in held:
            connection.close()

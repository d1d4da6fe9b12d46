"""Measures the steps in `examples/steps/` and prints a table in Markdown: see `--help`.

System calls are counted by strace over the life of a server. A run includes the cost of starting and
of connecting, so each case runs twice, with few rounds and with many, and the difference of the
counts is divided by the difference of the echoes. The build's profile does not change the counts.
"""

import argparse
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = sorted((ROOT / "examples" / "steps").glob("step*.rs"))
FEW, MANY = 20, 120
MESSAGE = b"8 bytes!"
IDLE = 1000
# strace makes the server slower than its clients. Without a pause, the next message would be there
# before the server has found its sockets empty.
PAUSE_S, END_S = 0.02, 0.5
# A server under strace is slow.
WAIT_S = 60
# The thread of a step that spins makes calls without end.
SPINNING = "step3_busy"
ONE_AT_A_TIME = "step1_blocking"


def start(command, name):
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    if not line.startswith("listening "):
        raise SystemExit(f"{name} printed {line!r} instead of its address")
    port = int(line.strip().rsplit(":", 1)[1])
    return server, port


def connect(port):
    client = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    exchange([client])
    return client


def exchange(clients):
    """All clients send, and then all receive."""
    for client in clients:
        client.sendall(MESSAGE)
    for client in clients:
        received = b""
        while len(received) < len(MESSAGE):
            part = client.recv(len(MESSAGE) - len(received))
            if not part:
                raise SystemExit("the server ended a connection")
            received += part


def calls(name, command, peers, rounds):
    """Returns the number of system calls of a server with this load."""
    with tempfile.NamedTemporaryFile("r") as summary:
        strace = ["strace", "-f", "-c", "-o", summary.name]
        tracer, port = start(strace + command, name)
        clients = [connect(port) for _ in range(peers)]
        for _ in range(rounds):
            exchange(clients)
            time.sleep(PAUSE_S)
        for client in clients:
            client.close()
        # The server closes its side.
        time.sleep(END_S)
        children = Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text()
        os.kill(int(children.split()[0]), signal.SIGTERM)
        tracer.wait(WAIT_S)
        total = summary.read().strip().splitlines()[-1].split()
    assert total[-1] == "total", total
    return int(total[3])


def calls_per_echo(name, command, peers):
    few, many = (calls(name, command, peers, rounds) for rounds in (FEW, MANY))
    return f"{(many - few) / (peers * (MANY - FEW)):.2f}"


def resident_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def bytes_per_idle_client(name, command):
    server, port = start(command, name)
    first = connect(port)
    before = resident_bytes(server.pid)
    clients = [connect(port) for _ in range(IDLE)]
    per_client = (resident_bytes(server.pid) - before) / IDLE
    for client in [first, *clients]:
        client.close()
    server.terminate()
    server.wait(WAIT_S)
    return f"{per_client:,.0f}"


def row(name, command, lines):
    one = "no bound" if name == SPINNING else calls_per_echo(name, command, 1)
    if name == ONE_AT_A_TIME:
        many = memory = "not served"
    else:
        many = "no bound" if name == SPINNING else calls_per_echo(name, command, 64)
        memory = bytes_per_idle_client(name, command)
    print(f"| `{name}` | {one} | {many} | {memory} | {lines} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Measures the steps in examples/steps/.")
    parser.add_argument(
        "--programs",
        type=Path,
        default=ROOT / "target" / "debug",
        help="a folder of cargo with resound and its examples (default: target/debug)",
    )
    programs = parser.parse_args().programs
    if not shutil.which("strace"):
        raise SystemExit("expected strace, which counts the system calls: apt-get install strace")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * IDLE), hard))
    heads = ["server", "calls per echo, 1 client", "64 clients", "bytes per idle client", "lines"]
    print(f"| {' | '.join(heads)} |")
    print("|---|---|---|---|---|")
    for step in STEPS:
        command = [str(programs / "examples" / step.stem), "127.0.0.1:0"]
        row(step.stem, command, len(step.read_text().splitlines()))
    row("resound serve", [str(programs / "resound"), "serve", "-q", "tcp://127.0.0.1:0"], "")


if __name__ == "__main__":
    main()

"""The measured programs: building them, their commands, and servers as processes."""

import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine

RESOUND = "target/release/resound"
# Another build of resound, if `--before` names one.
BEFORE = None
# The statistics of `resound compare`.
MEDIANS = "target/release/examples/median_interval"
PEERS = "target/peers/release"
C_PEERS = "target/peers/c"
C_NAMES = ("echo_epoll", "generator_epoll", "client_udp", "client_bulk")
C_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")

# The receive buffer of a UDP server with many datagrams in flight. The system's default of 208 KiB
# is too small: 512 datagrams of 1,200 bytes take 1.2 MiB with the kernel's overhead. The kernel
# grants at most net.core.rmem_max.
RECEIVE_BUF_BYTES = 4 << 20

START_S_MAX = 10


class Failed(Exception):
    """A failed run, with the reason on one line."""


def say(text):
    """Prints progress to stderr, because stdout is only for the tables."""
    print(text, file=sys.stderr, flush=True)


def last_line(text, otherwise):
    """Returns the last line of a program's output."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else otherwise


def build(with_peers=True):
    """Builds all programs. Returns notes."""
    say("building")
    cargo = ("cargo", "build", "--quiet", "--release", "--locked")
    subprocess.run([*cargo, "--bin", "resound", "--target-dir", "target"], check=True)
    if with_peers:
        example = ("--example", Path(MEDIANS).name, "--target-dir", "target")
        subprocess.run([*cargo, *example], check=True)
        # cargo runs in that folder, which has its own lock file and settings.
        target = ("--target-dir", "../../target/peers")
        subprocess.run([*cargo, *target], check=True, cwd="benches/peers")
    Path(C_PEERS).mkdir(parents=True, exist_ok=True)
    if not shutil.which("cc"):
        for name in C_NAMES:
            Path(C_PEERS, name).unlink(missing_ok=True)
        return ["no C compiler here: the C server and what its clients would measure is left out"]
    for name in C_NAMES:
        source, binary = f"benches/peers/c/{name}.c", f"{C_PEERS}/{name}"
        subprocess.run(["cc", *C_FLAGS, "-o", binary, source], check=True)
    return []


def version(package):
    """Returns the version of a dependency of the peers, from their lock file."""
    lock = Path("benches/peers/Cargo.lock").read_text(encoding="utf-8")
    return re.search(rf'^name = "{package}"\nversion = "(.*)"$', lock, re.MULTILINE).group(1)


def resound_help():
    """Returns the help of `resound serve`."""
    return machine.run_for_output(RESOUND, "serve", "--help")


def resound(transport, *options):
    """Returns the command of this build's server."""
    return [RESOUND, "serve", "-q", *options, f"{transport}://127.0.0.1:0"]


def before(command):
    """Returns the same command for the other build."""
    return [BEFORE, *command[1:]]


def peer(name, transport, *options):
    """Returns the command of a Rust peer."""
    return [f"{PEERS}/peer-{name}", transport, "127.0.0.1:0", *options]


def c_server(transport, *options):
    """Returns the command of the C server."""
    return [f"{C_PEERS}/echo_epoll", transport, "127.0.0.1:0", *options]


class Server:
    """A server process on its CPU. Entering it waits for the line `listening ...`."""

    def __init__(self, command, cpu):
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.output = tempfile.NamedTemporaryFile("r", encoding="utf-8")
        with open(self.output.name, "w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=self.errors,
                preexec_fn=machine.preparation(cpu),
            )
        self.addr, self.endpoint = None, None

    def __enter__(self):
        try:
            self.wait_until_bound()
        except Failed:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_until_bound(self):
        """Reads the address from the first line."""
        ends_at = time.monotonic() + START_S_MAX
        while time.monotonic() < ends_at and self.process.poll() is None:
            line = self.output.readline()
            if line.endswith("\n"):
                self.endpoint = line.strip().removeprefix("listening ")
                self.addr = self.endpoint.rpartition("//")[2]
                return
            self.output.seek(0)
            time.sleep(0.01)
        raise Failed(self.last_error())

    def last_error(self):
        """Returns the last line on stderr, which usually names why it ended."""
        self.errors.seek(0)
        return last_line(self.errors.read(), "it printed no listening line")

    def pid(self):
        """Returns the number of the process that serves."""
        return self.process.pid

    def cpu_ns(self):
        """Returns the CPU time so far, including the last echoes and the ends of connections."""
        time.sleep(0.1)
        if self.process.poll() is not None:
            raise Failed(f"the server ended: {self.last_error()}")
        return machine.cpu_ns(self.process.pid)

    def stop(self):
        """Stops it, and kills it if it does not end."""
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Sockperf(Server):
    """The server of sockperf, which takes a port and does not print when it is bound."""

    def __init__(self, transport, cpu):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.transport = transport
        tcp = ["--tcp"] if transport == "tcp" else []
        where = ["-i", "127.0.0.1", "-p", str(self.port)]
        super().__init__(["sockperf", "server", "--nonblocked", *tcp, *where], cpu)

    def wait_until_bound(self):
        ends_at = time.monotonic() + START_S_MAX
        while time.monotonic() < ends_at and self.process.poll() is None:
            if machine.is_bound(self.transport, self.port):
                self.addr = f"127.0.0.1:{self.port}"
                return
            time.sleep(0.01)
        raise Failed(self.last_error())

"""The suites: each has tables, and each table has rows of a server and its load."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import clients
import programs
from programs import C_PEERS, RECEIVE_BUF_BYTES, c_server, peer, resound

SMALL_BYTES = 64

# If more than this many datagrams come at once, a UDP server's default receive buffer overflows.
WINDOW_SOCKETS, WINDOW_DEPTH = 16, 32
TRAIN_LENGTHS = (64, 1200)
BULK_CONNECTIONS = 8
BULK_KIB = (4, 16, 64, 256, 1024)

ECHO_COLUMNS = ("rate", "server_cpu_ns", "client_cpu_us")
SHARES = ("server_share", "client_share")


@dataclass
class Row:
    """A server under a load. `needs`: its options, which an older build may lack."""

    name: str
    command: list
    client: clients.Client
    needs: tuple = ()
    sockperf: str = ""


@dataclass
class Plan:
    """The plan of a table."""

    title: str
    columns: tuple
    rows: list
    # The number of connections to hold idle on a separate server, or None.
    held: int = 0
    # Notes to print after the tables.
    notes: list = field(default_factory=list)


def c_is_built(name):
    """Returns whether this C program is built, which needs a C compiler."""
    return Path(C_PEERS, name).exists()


def need_c(name):
    """Fails if the suite needs a C load that is not built."""
    if not c_is_built(name):
        raise programs.Failed(f"needs c/{name}: install a C compiler (Debian: gcc)")


def servers(transport, client, *, rcvbuf=False, singly=False, names=None, options=()):
    """Returns rows for the compared servers on a transport, including resound with options."""
    buf = [str(RECEIVE_BUF_BYTES)] if rcvbuf else []
    buf_options = ["--rcvbuf", *buf] if rcvbuf else []
    rows = [Row("resound", resound(transport, *buf_options), client)]
    if programs.BEFORE:
        rows.append(Row("resound before", programs.before(rows[0].command), client))
    for option in options:
        command = resound(transport, *buf_options, option)
        rows.append(Row(f"resound {option}", command, client, (option,)))
    for name, suffix in (("tokio", ""), ("smol", ""), ("monoio", " (io_uring)")):
        full = f"{name} {programs.version(name)}{suffix}"
        rows.append(Row(full, peer(name, transport, *buf), client))
    mio = f"plain, on mio {programs.version('mio')}"
    rows.append(Row(mio, peer("plain", transport, *buf), client))
    if c_is_built("echo_epoll"):
        if singly and transport == "udp":
            rows.append(Row("C (recvfrom, sendto)", c_server("udp-single", *buf), client))
        form = "C (epoll)" if transport == "tcp" else "C (recvmmsg, sendmmsg)"
        rows.append(Row(form, c_server(transport, *buf), client))
    chosen = names or [row.name for row in rows]
    return [row for row in rows if any(row.name.startswith(name) for name in chosen)]


def by_servers(transports=("tcp", "udp")):
    """Short messages by `resound bench`, and memory."""
    columns = ("rate", "server_cpu_us", "p50_ns", "p99_ns", "resident_kib")
    for transport in transports:
        connections = 64 if transport == "tcp" else 16
        client = clients.bench(transport, connections=connections)
        rows = servers(transport, client)
        held = 1000 if transport == "tcp" else 0
        yield Plan(f"{transport.upper()}, by `{client.name}`:", columns, rows, held)


def by_generators():
    """Generators on one server."""
    connections = 64
    load = (connections, SMALL_BYTES)
    has_c = c_is_built("echo_epoll")
    server = c_server("tcp") if has_c else resound("tcp")
    rows = [
        Row("resound bench", server, clients.bench("tcp")),
        Row("resound bench --no-verify", server, clients.bench("tcp", "--no-verify")),
        Row("blocking threads, std", server, clients.blocking(*load)),
    ]
    if has_c:
        rows.append(Row("C, epoll, input and output alone", server, clients.c_epoll(*load)))
    title = (
        f"TCP, {connections} connections × {SMALL_BYTES} B, one in flight each, server "
        f"{'C (epoll)' if has_c else 'resound'}:"
    )
    yield Plan(title, ("rate", "client_cpu_us", "p50_ns", "p99_ns"), rows)


def by_window(mode, length):
    """Datagrams with several in flight on each socket."""
    need_c("client_udp")
    client = clients.c_udp(mode, WINDOW_SOCKETS, WINDOW_DEPTH, length)
    rows = servers("udp", client, rcvbuf=True, singly=True, options=("--no-offload",))
    title = (
        f"UDP, {WINDOW_SOCKETS} sockets × {WINDOW_DEPTH} in flight × {length} B, by "
        f"`{client.name}`, receive buffers of {RECEIVE_BUF_BYTES >> 20} MiB requested:"
    )
    return Plan(title, ECHO_COLUMNS, rows)


def singles():
    """Datagrams that are sent and received one per call."""
    yield by_window("single", SMALL_BYTES)


def trains():
    """Datagrams that are sent and received many per call."""
    for length in TRAIN_LENGTHS:
        yield by_window("train", length)


def small():
    """One short message in flight per connection or socket."""
    need_c("client_udp")
    for sockets in (16, 64):
        client = clients.c_udp("single", sockets, 1, SMALL_BYTES)
        rows = servers("udp", client, singly=True, options=("--no-offload",))
        title = f"UDP, {sockets} sockets × 1 in flight × {SMALL_BYTES} B, by `{client.name}`:"
        yield Plan(title, ECHO_COLUMNS, rows)
    client = clients.c_epoll(64, SMALL_BYTES)
    rows = servers("tcp", client, options=("--no-splice",))
    title = f"TCP, 64 connections × 1 in flight × {SMALL_BYTES} B, by `{client.name}`:"
    yield Plan(title, ECHO_COLUMNS, rows)


def bulk():
    """Long messages, one in flight on each connection."""
    need_c("client_bulk")
    for kib in BULK_KIB:
        client = clients.c_bulk(BULK_CONNECTIONS, kib << 10)
        names = ("resound", "tokio", "C")
        rows = servers("tcp", client, options=("--no-splice",), names=names)
        title = f"TCP, {BULK_CONNECTIONS} connections × {kib} KiB, by `{client.name}`:"
        yield Plan(title, ("bytes_rate", "server_kib_ns", "client_kib_ns"), rows)


def latency():
    """One message at a time, with ends that sleep or poll."""
    for transport in ("tcp", "udp"):
        asleep = clients.bench(transport, "--spin", "0", connections=1)
        awake = clients.bench(transport, "--spin", "always", connections=1)
        spin, tokio = ["--spin", "always"], f"tokio {programs.version('tokio')}"
        rows = [
            Row("resound, both ends sleep", resound(transport), asleep),
            Row(f"{tokio}, both ends sleep", peer("tokio", transport), asleep),
            Row(
                "resound --spin always, client sleeps",
                resound(transport, *spin),
                asleep,
                ("--spin",),
            ),
            Row(
                "resound --spin always, client polls too",
                resound(transport, *spin),
                awake,
                ("--spin",),
            ),
        ]
        notes = []
        if shutil.which("sockperf"):
            polling = clients.sockperf(transport, SMALL_BYTES)
            name = "sockperf, both ends poll (recvfrom alone, no epoll)"
            rows.append(Row(name, [], polling, sockperf=transport))
            notes.append("sockperf: whole round trips (`--full-rtt`), not the half it prints else.")
        else:
            notes.append("left out: sockperf (not installed; Debian: sockperf)")
        title = f"{transport.upper()}, one connection, one message of {SMALL_BYTES} B at a time:"
        yield Plan(title, ("p50_ns", "p99_ns", "rate", *SHARES), rows, notes=notes)


def loops(cpus):
    """One loop against two, with only the two loops pinned."""
    affinity = ",".join(map(str, cpus[:2]))
    for transport in ("tcp", "udp"):
        client = clients.bench(transport)
        two = ["--threads", "2"]
        rows = [
            Row("one loop, unpinned", resound(transport), client),
            Row("two loops, unpinned", resound(transport, *two), client, ("--threads",)),
            Row(
                f"two loops, --affinity {affinity}",
                resound(transport, *two, "--affinity", affinity),
                client,
                ("--threads", "--affinity"),
            ),
        ]
        columns = ("rate", "server_cpu_ns", "client_cpu_us", "p50_ns", "p99_ns", *SHARES)
        title = f"{transport.upper()}, by `{client.name}`, which is one thread and unpinned:"
        yield Plan(title, columns, rows)

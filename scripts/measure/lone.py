"""A peer that has the server to itself, and sends only when it sleeps.

Then every echo takes the same way through the server, whatever else this machine does: a client in
a hurry is now and then back before the server has looked for more, and saves it a poll.
"""

import os
import socket
import tempfile
import time
from pathlib import Path

from programs import Failed

ECHO_S_MAX = 10


def is_asleep(pid):
    """Whether it waits for events; in the hands of strace it is `t`, not `S`, between two calls."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    return stat.rpartition(") ")[2][0] == "S"


def wait_until_asleep(pid):
    """A server that never sleeps would never be sent a thing."""
    ends_at = time.monotonic() + ECHO_S_MAX
    while not is_asleep(pid):
        if time.monotonic() > ends_at:
            raise Failed("the server does not sleep")


def connect(endpoint, folder):
    """A socket for any of the four transports."""
    transport, _, rest = endpoint.partition(":")
    kind = socket.SOCK_STREAM if transport in ("tcp", "unix") else socket.SOCK_DGRAM
    if transport in ("unix", "unixgram"):
        connection = socket.socket(socket.AF_UNIX, kind)
        if kind == socket.SOCK_DGRAM:
            # For the answer to come to.
            connection.bind(f"{folder}/own")
        connection.connect(rest)
    else:
        host, _, port = rest.removeprefix("//").rpartition(":")
        connection = socket.socket(socket.AF_INET, kind)
        connection.connect((host, int(port)))
    connection.settimeout(ECHO_S_MAX)
    return connection


def echoes(endpoint, pid, count, length):
    """So many, each complete and the same as what was sent."""
    message = os.urandom(length)
    with tempfile.TemporaryDirectory() as folder, connect(endpoint, folder) as connection:
        for number in range(count):
            wait_until_asleep(pid)
            connection.sendall(message)
            got = b""
            while len(got) < length:
                chunk = connection.recv(length)
                if not chunk:
                    raise Failed(f"the server closed the connection after {number} echoes")
                got += chunk
            if got != message:
                raise Failed(f"echo {number + 1} differs from what was sent")
    return {"messages": count}

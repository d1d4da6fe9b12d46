"""A server's only peer, which sends only when the server sleeps.

Then every echo takes the same path through the server, whatever else this machine does. A faster
client sometimes sends again before the server polls, which saves a poll.
"""

import os
import socket
import tempfile
import time
from pathlib import Path

from programs import Failed

ECHO_S_MAX = 10


def is_asleep(pid):
    """Returns whether it waits for events (`S`). Between two calls under strace it is in `t`."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    return stat.rpartition(") ")[2][0] == "S"


def wait_until_asleep(pid):
    """Waits until the server sleeps, or fails."""
    ends_at = time.monotonic() + ECHO_S_MAX
    while not is_asleep(pid):
        if time.monotonic() > ends_at:
            raise Failed("the server does not sleep")


def connect(endpoint, folder):
    """Returns a connected socket for any of the four transports."""
    transport, _, rest = endpoint.partition(":")
    kind = socket.SOCK_STREAM if transport in ("tcp", "unix") else socket.SOCK_DGRAM
    if transport in ("unix", "unixgram"):
        connection = socket.socket(socket.AF_UNIX, kind)
        if kind == socket.SOCK_DGRAM:
            # The answer needs a name as its destination.
            connection.bind(f"{folder}/own")
        connection.connect(rest)
    else:
        host, _, port = rest.removeprefix("//").rpartition(":")
        connection = socket.socket(socket.AF_INET, kind)
        connection.connect((host, int(port)))
    connection.settimeout(ECHO_S_MAX)
    return connection


def echoes(endpoint, pid, count, length):
    """Gets this many echoes, and checks that each equals its message."""
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

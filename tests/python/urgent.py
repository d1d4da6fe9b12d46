"""Sends out-of-band bytes among others on a TCP stream.

urgent.py ENDPOINT
"""

import socket
import sys

import wire


def read_exactly(sock, count):
    received = b""
    while len(received) < count:
        chunk = sock.recv(count - len(received))
        assert chunk, f"the stream ended after {received}"
        received += chunk
    return received


def all_at_once(sock):
    sock.sendall(b"abc")
    sock.send(b"!", socket.MSG_OOB)
    sock.sendall(b"def")
    sock.shutdown(socket.SHUT_WR)
    assert wire.read_to_end(sock) == b"abcdef"


def in_turns(sock):
    for _ in range(50):
        sock.send(b"!", socket.MSG_OOB)
        sock.sendall(b"abc")
        # An urgent byte that the server had not passed when the next one came becomes part of the
        # stream.
        received = b""
        while received.count(b"c") == 0:
            received += read_exactly(sock, 1)
        assert received.replace(b"!", b"") == b"abc", received


def mark_last(sock):
    sock.sendall(b"abc")
    sock.send(b"!", socket.MSG_OOB)
    assert read_exactly(sock, 3) == b"abc"


for part in (all_at_once, in_turns):
    with wire.client(sys.argv[1]) as sock:
        part(sock)
# The caller reads the progress and answers when to continue.
with wire.client(sys.argv[1]) as sock:
    mark_last(sock)
    print("marked")
    sys.stdin.readline()
    # The server is stopped, so it finds all of this at once and reads up to the mark first.
    sock.sendall(b"abc")
    sock.send(b"!", socket.MSG_OOB)
    sock.sendall(b"def")
    print("queued")
    assert read_exactly(sock, 6) in (b"abcdef", b"!abcde")
print("done")

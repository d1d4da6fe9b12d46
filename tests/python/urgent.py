"""Out-of-band bytes among others on a TCP stream.

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
        # One that the server had not yet passed when the next came has become part of the stream.
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
# Left open while the caller looks at the server, then used again.
with wire.client(sys.argv[1]) as sock:
    mark_last(sock)
    print("marked", flush=True)
    sys.stdin.readline()
    sock.sendall(b"still here")
    assert read_exactly(sock, 10) == b"still here"
print("done")

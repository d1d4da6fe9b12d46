"""Sends a message with descriptors and a second message, and receives the echo of both.

send_descriptors.py PATH
"""

import socket
import sys

with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
    client.settimeout(30)
    client.connect(sys.argv[1])
    client.sendall(b"hello ")
    assert client.recv(6, socket.MSG_WAITALL) == b"hello "
    print("connected", flush=True)
    sys.stdin.readline()
    socket.send_fds(client, [b"first "], [0, 1, 2])
    client.sendall(b"second")
    print("sent", flush=True)
    answer = client.recv(12, socket.MSG_WAITALL)
    assert answer == b"first second", answer

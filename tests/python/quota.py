"""Prints which connections a TCP echo keeps, one word per connection: `kept` or `closed`.

quota.py PORT SOURCE>TARGET...

All connections stay open to the end.
"""

import socket
import sys

WAIT_S = 30

held = []
for path in sys.argv[2:]:
    source, _, target = path.partition(">")
    client = socket.create_connection((target, sys.argv[1]), WAIT_S, (source, 0))
    held.append(client)
    try:
        client.sendall(b"x")
        print("kept" if client.recv(1) == b"x" else "closed")
    except ConnectionError:
        print("closed")

"""Gets one TCP echo, and keeps the connection open until stdin ends.

vanish.py HOST PORT
"""

import socket
import sys

peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
peer.sendall(b"ping")
assert peer.recv(4, socket.MSG_WAITALL) == b"ping"
print("served")
sys.stdin.read()

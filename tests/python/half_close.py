"""Sends all it has, shuts its sending side down, and reads to the end.

half_close.py ENDPOINT BYTES
"""

import random
import socket
import sys
import threading

import wire

endpoint, count = sys.argv[1], int(sys.argv[2])
sent = random.Random(count).randbytes(count)
with wire.client(endpoint) as sock:

    def send():
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)

    # On a thread: whoever sends more than the buffers hold has to read meanwhile.
    sender = threading.Thread(target=send)
    sender.start()
    received = wire.read_to_end(sock)
    sender.join(wire.WAIT_MAX_S)
assert received == sent, f"sent {len(sent)} bytes, received {len(received)} or others"
print("all came back")

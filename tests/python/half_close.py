"""Sends BYTES bytes, shuts down its sending direction, and reads to the end.

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

    # This takes a thread, because a client that sends more than the buffers hold must read
    # meanwhile.
    sender = threading.Thread(target=send)
    sender.start()
    received = wire.read_to_end(sock)
    sender.join(wire.WAIT_MAX_S)
assert received == sent, f"sent {len(sent)} bytes, received {len(received)} or others"
print("all came back")

"""Sends one byte and receives one byte, many times, without Nagle's delay.

ping_pong.py ENDPOINT ROUNDS
"""

import socket
import sys

import wire

endpoint, rounds = sys.argv[1], int(sys.argv[2])
with wire.client(endpoint) as sock:
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(rounds):
        sent = bytes([number % 256])
        sock.sendall(sent)
        received = sock.recv(16)
        assert received == sent, f"round {number}: sent {sent}, received {received}"
print(f"{rounds} rounds")

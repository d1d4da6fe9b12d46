"""Sends numbered datagrams without pause, and reads as many answers.

Usage: udp_burst.py ADDRESS PORT COUNT LENGTH
Exits with 0 if every answer came whole, in order and once.
"""

import socket
import struct
import sys

WAIT_MAX_S = 30
# How long to wait for a surplus answer.
SURPLUS_WAIT_S = 0.2


def main():
    address, port, count, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(WAIT_MAX_S)
    client.connect((address, port))
    messages = [struct.pack("!I", number).ljust(length, b".") for number in range(count)]
    for message in messages:
        client.send(message)
    for message in messages:
        answer = client.recv(65536)
        assert answer == message, f"expected {message[:4]}, got {answer[:4]} of {len(answer)}"
    client.settimeout(SURPLUS_WAIT_S)
    try:
        surplus = client.recv(65536)
        sys.exit(f"answered twice: {surplus[:4]}")
    except TimeoutError:
        pass


main()

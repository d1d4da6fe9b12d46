"""Sends one message, given in hex, and prints its own address, without waiting for an answer.

sender.py ENDPOINT HEX [OWN_NAME]
"""

import sys

import wire

endpoint, message, *own_name = sys.argv[1:]
with wire.client(endpoint, *own_name) as sock:
    sock.sendall(bytes.fromhex(message))
    print(wire.name_of(sock))

"""Sends one message, given in hex, prints its own address, and waits for nothing.

sender.py ENDPOINT HEX [OWN_NAME]
"""

import sys

import wire

endpoint, message, *own_name = sys.argv[1:]
with wire.client(endpoint, *own_name) as sock:
    sock.sendall(bytes.fromhex(message))
    print(wire.name_of(sock))

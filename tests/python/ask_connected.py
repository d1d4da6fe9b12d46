"""Asks a UDP echo at each address with a connected socket, which receives only from that address.

ask_connected.py PORT ADDRESS...
"""

import socket
import sys

port = sys.argv[1]
for address in sys.argv[2:]:
    family, kind, protocol, _, target = socket.getaddrinfo(
        address, port, type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, kind, protocol) as client:
        client.settimeout(30)
        client.connect(target)
        for size in (0, 1, 1400, 5000):
            message = bytes(size)
            client.send(message)
            answer = client.recv(65536)
            assert answer == message, (address, size, len(answer))

"""The client of textbooks: sends one message, reads one answer, prints it.

client.py ENDPOINT MESSAGE [OWN_NAME]
"""

import sys

import wire

endpoint, message, *own_name = sys.argv[1:]
with wire.client(endpoint, *own_name) as sock:
    sock.sendall(message.encode())
    sys.stdout.buffer.write(sock.recv(4096))

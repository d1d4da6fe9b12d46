"""Sends datagrams of these sizes; each must come back whole.

sizes.py ENDPOINT SIZE... [--own-name NAME]
"""

import errno
import random
import sys

import wire

arguments = sys.argv[1:]
own_name = []
if "--own-name" in arguments:
    at = arguments.index("--own-name")
    own_name = [arguments[at + 1]]
    del arguments[at : at + 2]
endpoint, *sizes = arguments
with wire.client(endpoint, *own_name) as sock:
    for size in map(int, sizes):
        sent = random.Random(size).randbytes(size)
        try:
            sock.send(sent)
        except OSError as error:
            assert error.errno == errno.EMSGSIZE, error
            print(f"{size} too big")
            continue
        received = sock.recv(1 << 20)
        assert received == sent, f"sent {size} bytes, received {len(received)} or others"
        print(f"{size} whole")

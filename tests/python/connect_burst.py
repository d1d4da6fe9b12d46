"""Connects many times at once, gets one echo on each, and shows that no SYN was sent twice.

Usage: connect_burst.py ADDRESS PORT COUNT
Prints `echoed=N retransmits=N`: the connections that got their echo, and the sum of the segments
that the kernel retransmitted on all of them, including SYNs.
"""

import resource
import selectors
import socket
import struct
import sys
import time

WAIT_MAX_S = 60
MESSAGE = b"ping"
# struct tcp_info begins with 8 bytes and 23 words of 32 bits; the next word is tcpi_total_retrans.
TOTAL_RETRANS_OFFSET = 8 + 23 * 4


def retransmits(client):
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TOTAL_RETRANS_OFFSET + 4)
    return struct.unpack_from("=I", info, TOTAL_RETRANS_OFFSET)[0]


def main():
    address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    selector = selectors.DefaultSelector()
    clients = []
    for _ in range(count):
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.setblocking(False)
        client.connect_ex((address, port))
        clients.append(client)
    for client in clients:
        selector.register(client, selectors.EVENT_WRITE, b"")

    echoed = 0
    deadline = time.monotonic() + WAIT_MAX_S
    while echoed < count and time.monotonic() < deadline:
        for key, _ in selector.select(1):
            client = key.fileobj
            if key.events == selectors.EVENT_WRITE:
                client.send(MESSAGE)
                selector.modify(client, selectors.EVENT_READ, b"")
                continue
            answer = key.data + client.recv(len(MESSAGE) - len(key.data))
            if answer == MESSAGE:
                echoed += 1
                selector.unregister(client)
            else:
                assert answer and MESSAGE.startswith(answer), answer
                selector.modify(client, selectors.EVENT_READ, answer)
    print(f"echoed={echoed} retransmits={sum(map(retransmits, clients))}")


main()

"""Sends bursts of datagrams to a UDP echo, singly and in trains, and checks every answer.

trains.py HOST PORT SERVER_PID SEED

The server is stopped while a burst is sent, so that the whole burst is queued when it continues.
Prints how many trains came back.
"""

import os
import random
import signal
import socket
import struct
import sys

UDP_SEGMENT, UDP_GRO = 103, 104
host, port, server, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
family, kind, protocol, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
choose = random.Random(seed)


def client(takes_trains):
    made = socket.socket(family, kind, protocol)
    made.settimeout(30)
    made.setsockopt(socket.IPPROTO_UDP, UDP_GRO, takes_trains)
    made.connect(target)
    return made


def cut(data, length):
    return [data[at : at + length] for at in range(0, len(data), length)] or [b""]


def receive(peer):
    """Returns the datagrams of one receive."""
    data, notes, _, _ = peer.recvmsg(1 << 17, 64)
    for level, note, value in notes:
        if (level, note) == (socket.IPPROTO_UDP, UDP_GRO):
            return cut(data, struct.unpack("i", value)[0])
    return [data]


peers = [client(0), client(1), client(1)]
sent = [[] for _ in peers]
trains = 0
for _ in range(20):
    os.kill(server, signal.SIGSTOP)
    size = choose.choice([1, 64, 100, 1200, 2000])
    # A burst must fit in a receive buffer of the usual 208 KiB.
    for _ in range(24):
        number = choose.randrange(len(peers))
        peer, expected = peers[number], sent[number]
        length = choose.choice([size, size, size, size, choose.randrange(size + 1), 0])
        if length == size and size <= 1200 and choose.random() < 0.3:
            data = choose.randbytes(choose.randrange(size + 1, 8 * size + 2))
            note = (socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", size))
            peer.sendmsg([data], [note])
            expected += cut(data, size)
        else:
            data = choose.randbytes(length)
            peer.send(data)
            expected.append(data)
    os.kill(server, signal.SIGCONT)
    for peer, expected in zip(peers, sent):
        while expected:
            came = receive(peer)
            trains += len(came) > 1
            assert came == expected[: len(came)], (
                [len(data) for data in came],
                [len(data) for data in expected],
            )
            del expected[: len(came)]
print(f"trains {trains}")

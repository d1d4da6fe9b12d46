"""Sends trains (GSO) to a UDP echo, one after the other, until stdin ends, and checks the answers.

chaos_trains.py HOST PORT SEED

Each datagram begins with its number and is compared whole; answers are received in trains (GRO). A
missing answer counts as lost. Prints `datagrams N lost N trains N`.
"""

import random
import select
import socket
import struct
import sys
import time

UDP_SEGMENT, UDP_GRO = 103, 104
host, port, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
choose = random.Random(seed)
checked = lost = trains = number = 0

while not select.select([sys.stdin], [], [], 0)[0]:
    # A new socket for each round, so that a late answer reaches no socket.
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    client.connect((host, port))
    expected, last = {}, 0
    for _ in range(choose.randrange(1, 5)):
        size, count = choose.choice([12, 100, 1200, 1400]), choose.randrange(2, 30)
        pieces = []
        for _ in range(count):
            number += 1
            piece = struct.pack("<Q", number) + choose.randbytes(size - 8)
            expected[number] = piece
            pieces.append(piece)
        note = (socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", size))
        client.sendmsg([b"".join(pieces)], [note])
    deadline = time.monotonic() + 1
    while expected and select.select([client], [], [], max(0, deadline - time.monotonic()))[0]:
        data, notes, _, _ = client.recvmsg(1 << 17, 64)
        sizes = [struct.unpack("i", v)[0] for _, note, v in notes if note == UDP_GRO]
        size = sizes[0] if sizes else max(len(data), 1)
        trains += size < len(data)
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            came = struct.unpack("<Q", piece[:8])[0]
            sent = expected.pop(came, None)
            assert sent == piece, (sent, piece)
            assert came > last, f"{last} has overtaken {came}"
            last = came
            checked += 1
    lost += len(expected)
    client.close()
    # Leaves CPU time for the others.
    time.sleep(choose.random() / 100)
print(f"datagrams {checked} lost {lost} trains {trains}")

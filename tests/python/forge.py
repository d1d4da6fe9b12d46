"""Sends a UDP datagram with a forged source by a raw socket (raw(7)), COUNT times.

forge.py SOURCE PORT TARGET PORT [COUNT]
"""

import socket
import struct
import sys

source, source_port, target, target_port = sys.argv[1:5]
count = int(sys.argv[5]) if len(sys.argv) > 5 else 1
payload = b"forged"
# No UDP checksum (0). The kernel fills in the checksum, length and id of the IP header (raw(7)).
udp = struct.pack("!HHHH", int(source_port), int(target_port), 8 + len(payload), 0)
ip = struct.pack(
    "!BBHHHBBH4s4s",
    0x45,
    0,
    0,
    0,
    0,
    64,
    socket.IPPROTO_UDP,
    0,
    socket.inet_aton(source),
    socket.inet_aton(target),
)
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
    for _ in range(count):
        raw.sendto(ip + udp + payload, (target, 0))

"""Captures the IP packets of one port on one interface until stdin ends, and prints them as JSON.

Usage: capture.py INTERFACE PORT. Prints "capturing" once it does.
"""

import json
import select
import socket
import struct
import sys

ETH_P_ALL = 3
ETHERNET_BYTES = 14
FLAG_SYN = 2
OPTION_MSS = 2
OPTION_MPTCP = 30


def ip(packet):
    """The fields of an IP header, its protocol and what follows; None for another packet."""
    if packet[0] >> 4 == 4:
        length = packet[0] % 16 * 4
        (total,) = struct.unpack_from("!H", packet, 2)
        source = socket.inet_ntop(socket.AF_INET, packet[12:16])
        return packet[1], packet[8], source, packet[9], packet[length:total]
    if packet[0] >> 4 == 6:
        (payload,) = struct.unpack_from("!H", packet, 4)
        traffic_class = struct.unpack_from("!H", packet)[0] >> 4 & 0xFF
        source = socket.inet_ntop(socket.AF_INET6, packet[8:24])
        return traffic_class, packet[7], source, packet[6], packet[40 : 40 + payload]
    return None


def options(header):
    """The options of a TCP header, by their kind."""
    found = {}
    at = 20
    end = (header[12] >> 4) * 4
    while at < end and header[at] != 0:
        if header[at] == 1:
            at += 1
            continue
        found[header[at]] = header[at + 2 : at + header[at + 1]]
        at += header[at + 1]
    return found


def described(packet, port):
    """What the tests ask of a packet; None for one of another port."""
    fields = ip(packet)
    if fields is None:
        return None
    traffic_class, ttl, source, protocol, rest = fields
    if protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return None
    source_port, target_port = struct.unpack_from("!HH", rest)
    if port not in (source_port, target_port):
        return None
    found = {
        "out": target_port == port,
        "source": source,
        "source_port": source_port,
        "dscp": traffic_class >> 2,
        "ttl": ttl,
        "syn": False,
        "bytes": len(rest) - 8,
    }
    if protocol == socket.IPPROTO_TCP:
        known = options(rest)
        found["syn"] = bool(rest[13] & FLAG_SYN)
        found["bytes"] = len(rest) - (rest[12] >> 4) * 4
        found["mptcp"] = OPTION_MPTCP in known
        found["mss"] = struct.unpack("!H", known[OPTION_MSS])[0] if OPTION_MSS in known else None
    return found


def main():
    interface, port = sys.argv[1], int(sys.argv[2])
    capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    capture.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    capture.bind((interface, 0))
    capture.setblocking(False)
    print("capturing")
    packets = []
    is_ended = False
    while True:
        ready, _, _ = select.select([capture, sys.stdin], [], [], 0 if is_ended else None)
        if capture in ready:
            found = described(capture.recv(65_535)[ETHERNET_BYTES:], port)
            if found is not None:
                packets.append(found)
        elif is_ended:
            break
        is_ended = is_ended or sys.stdin in ready
        if is_ended and capture not in select.select([capture], [], [], 0)[0]:
            break
    print(json.dumps(packets))


main()

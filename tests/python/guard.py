"""Prints which probes a UDP echo answers, one line per probe: `NAME yes` or `NAME no`.

guard.py PORT PROBE...

A probe is NAME=SOURCE>TARGET, each an address with an optional port (`127.0.0.2#7`). A plain client
sends a datagram after the probe's. Its answer shows that no answer to the probe will come.
"""

import ipaddress
import socket
import sys

WAIT_S = 30


def parse(text, port):
    address, _, own = text.partition("#")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = socket.getaddrinfo(address, int(own or port), family, socket.SOCK_DGRAM)
    return family, found[0][4]


def one_of(address):
    """Returns a unicast address that reaches the same socket of the server."""
    address = ipaddress.ip_address(address)
    if address.is_multicast and address.version == 6:
        return "::1"
    if address.is_multicast or address == ipaddress.ip_address("127.255.255.255"):
        return "127.0.0.1"
    return str(address)


def is_answered(source, target, port):
    family, source = parse(source, 0)
    plain = (one_of(target.partition("%")[0]), port)
    _, target = parse(target, port)
    with (
        socket.socket(family, socket.SOCK_DGRAM) as client,
        socket.socket(family, socket.SOCK_DGRAM) as judge,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.bind(source)
        judge.settimeout(WAIT_S)
        client.sendto(b"probe", target)
        judge.sendto(b"judge", plain)
        assert judge.recv(100) == b"judge"
        try:
            return client.recv(100, socket.MSG_DONTWAIT) == b"probe"
        except BlockingIOError:
            return False


port = int(sys.argv[1])
for probe in sys.argv[2:]:
    name, _, path = probe.partition("=")
    source, _, target = path.partition(">")
    print(name, "yes" if is_answered(source, target, port) else "no")

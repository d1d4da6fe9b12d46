"""Passes a UDP socket with every option that adds control messages to a datagram, in its own
network namespace (unshare -n). Prints how many answers come to a unicast, to a broadcast and to a
broadcast train. noted_broadcast.py PROGRAM"""

import os
import signal
import socket
import subprocess
import sys
import time

ADDRESS, BROADCAST = "10.9.9.1", "10.9.9.255"
# Of SOL_SOCKET: SO_TIMESTAMPNS, SO_TIMESTAMPING for receives, SO_RCVMARK (CAP_NET_ADMIN).
SOCKET_OPTIONS = [(35, 1), (37, 1 << 3 | 1 << 4), (75, 1)]
# Of IPPROTO_IP: TTL, TOS, options, raw options, original destination, checksum.
IP_OPTIONS = [12, 13, 6, 7, 20, 23]
# Of IPPROTO_IPV6: hop limit, traffic class, flow, original destination.
IPV6_OPTIONS = [51, 66, 11, 74]
UDP_SEGMENT = 103

links = """ip link set lo up; ip link add v0 type veth peer name v1
ip addr add 10.9.9.1/24 dev v0; ip link set v0 up; ip link set v1 up"""
subprocess.run(links, shell=True, check=True)
passed = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
passed.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
wanted = [(socket.SOL_SOCKET, option, value) for option, value in SOCKET_OPTIONS]
wanted += [(socket.IPPROTO_IP, option, 1) for option in IP_OPTIONS]
wanted += [(socket.IPPROTO_IPV6, option, 1) for option in IPV6_OPTIONS]
for level, option, value in wanted:
    try:
        passed.setsockopt(level, option, value)
    except OSError as error:
        print(f"option {level}/{option}: {error}", file=sys.stderr)
passed.bind(("::", 0))
port = passed.getsockname()[1]
server = os.fork()
if server == 0:
    os.dup2(passed.fileno(), 3)
    os.set_inheritable(3, True)
    os.dup2(2, 1)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
    os.execv(sys.argv[1], [sys.argv[1], "serve"])
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
client.bind((ADDRESS, 0))


def answers(patience):
    """Counts the answers until none comes for `patience` seconds."""
    client.settimeout(patience)
    count = 0
    try:
        while client.recv(2000):
            count += 1
    except TimeoutError:
        return count


client.sendto(b"unicast", (ADDRESS, port))
client.settimeout(20)
client.recv(2000)
# More than the receive buffer holds, so that the kernel adds the number of lost datagrams.
os.kill(server, signal.SIGSTOP)
for _ in range(5000):
    client.sendto(b"z" * 100, (ADDRESS, port))
os.kill(server, signal.SIGCONT)
unicast = answers(1)
client.sendto(b"broadcast", (BROADCAST, port))
client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
client.sendto(b"b" * 500, (BROADCAST, port))
client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
# This is sent last: a datagram that is not answered before it is never answered.
client.sendto(b"end", (ADDRESS, port))
client.settimeout(20)
broadcast = 0
while client.recv(2000) != b"end":
    broadcast += 1
print(f"unicast {min(unicast, 1)} broadcast {broadcast}")
os.kill(server, signal.SIGTERM)
os.waitpid(server, 0)

"""A service manager: makes sockets, then becomes the service to which it passes them.

manager.py [--hold] [--count N] [--pid N|none] SOCKET... -- COMMAND...

SOCKET is KIND=PLACE: tcp, udp, unix and unixgram are bound, and streams listen; tcp and udp at ::
take both families, tcp6 and udp6 only IPv6. Sockets that no service should get: unlistened=HOST,
connected=HOST, seqpacket=PATH, raw=HOST, file=PATH, pipe=, closed=.

With --hold the manager keeps the sockets and stays. Each line of its stdin starts the service again
after the previous one has ended. Prints the service's process number before it starts.
"""

import fcntl
import os
import socket
import sys

KINDS = {
    "tcp": socket.SOCK_STREAM,
    "udp": socket.SOCK_DGRAM,
    "unix": socket.SOCK_STREAM,
    "unixgram": socket.SOCK_DGRAM,
    "seqpacket": socket.SOCK_SEQPACKET,
}
kept = []


def ip(kind, host, only_v6=False):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, kind)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
    made.bind((host, 0))
    return made


def make(word):
    kind, _, place = word.partition("=")
    name = kind.removesuffix("6")
    if name in ("tcp", "udp"):
        made = ip(KINDS[name], place, only_v6=kind.endswith("6"))
    elif kind in KINDS:
        made = socket.socket(socket.AF_UNIX, KINDS[kind])
        made.bind("\0" + place[1:] if place.startswith("@") else place)
    elif kind == "unlistened":
        made = ip(socket.SOCK_STREAM, place)
    elif kind == "connected":
        listener = ip(socket.SOCK_STREAM, place)
        listener.listen()
        client = socket.create_connection(listener.getsockname())
        made, _ = listener.accept()
        kept.extend((listener, client))
    elif kind == "raw":
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    elif kind == "file":
        return os.open(place, os.O_RDONLY)
    elif kind == "pipe":
        return os.pipe()[0]
    elif kind == "closed":
        return None
    if kind.startswith("tcp") or kind in ("unix", "seqpacket"):
        made.listen()
    kept.append(made)
    return made.fileno()


def become(command, descriptors, count, pid):
    # Moves the descriptors away first, because some may have the numbers of others.
    moved = [fd if fd is None else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in descriptors]
    for number, fd in enumerate(moved, 3):
        if fd is not None:
            os.dup2(fd, number)
    last = 3 + len(moved)
    os.closerange(last, 100)
    for number, fd in enumerate(moved, 3):
        if fd is None:
            try:
                os.close(number)
            except OSError:
                pass
    os.environ["LISTEN_FDS"] = count or str(len(moved))
    if pid != "none":
        os.environ["LISTEN_PID"] = pid or str(os.getpid())
    os.execvp(command[0], command)


def main():
    words = sys.argv[1:]
    split = words.index("--")
    options, command = words[:split], words[split + 1 :]
    hold, count, pid = False, None, None
    while options and options[0].startswith("--"):
        option = options.pop(0)
        if option == "--hold":
            hold = True
        elif option == "--count":
            count = options.pop(0)
        elif option == "--pid":
            pid = options.pop(0)
    descriptors = [make(word) for word in options]
    if not hold:
        become(command, descriptors, count, pid)
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            print("pid", os.getpid(), flush=True)
            become(command, descriptors, count, pid)
        _, status = os.waitpid(child, 0)
        print("ended", os.waitstatus_to_exitcode(status), flush=True)


main()

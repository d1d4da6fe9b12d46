"""Servers that share no code with the program.

server.py ENDPOINT BEHAVIOUR: prints `ready ENDPOINT`, then serves until Ctrl-C, when it
prints `stopped`.
"""

import hashlib
import os
import select
import signal
import socket
import struct
import sys

import wire

LINE = b"Are you talking to me?\n"


def say(line):
    """Prints a line in one write. print writes the line end separately."""
    sys.stdout.write(line + "\n")


def echo(peer):
    while chunk := peer.recv(65536):
        peer.sendall(chunk)


def line_after_reading(peer):
    peer.recv(65536)
    peer.sendall(LINE)


def line_without_reading(peer):
    # Answers when the message has arrived. Closing with it unread sends a reset after the line.
    select.select([peer], [], [], wire.WAIT_MAX_S)
    peer.sendall(LINE)


def line_without_waiting(peer):
    peer.sendall(LINE)


def digest_after_the_end(peer):
    peer.sendall(hashlib.sha256(wire.read_to_end(peer)).hexdigest().encode())


def part(message):
    return message[:3]


def changed(message):
    return message[:3] + b"X" + message[4:]


def longer(message):
    return message + b"!"


# The answers that resemble an echo.
NEARLY = {"part": part, "changed": changed, "longer": longer}


def nearly(behaviour):
    return lambda peer: peer.sendall(NEARLY[behaviour](wire.read_to_end(peer)))


def part_and_reset(peer):
    peer.sendall(part(wire.read_to_end(peer)))
    set_reset(peer)


def part_and_silence(peer):
    peer.sendall(part(wire.read_to_end(peer)))
    hang(peer)


def swallow(peer):
    say(repr(wire.read_to_end(peer)))


def set_reset(peer):
    """Sets SO_LINGER with a time of 0: closing sends a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(peer):
    peer.recv(1)
    set_reset(peer)


def half_close(peer):
    peer.sendall(LINE)
    peer.shutdown(socket.SHUT_WR)
    swallow(peer)


# The connections of `hang` stay open and unread until the end.
hanging = []


def hang(peer):
    hanging.append(peer.dup())


STREAMS = {
    "echo": echo,
    "line": line_after_reading,
    "unread-line": line_without_reading,
    "early-line": line_without_waiting,
    "digest": digest_after_the_end,
    "print": swallow,
    "half-close": half_close,
    "reset": reset,
    "hang": hang,
    "part-and-reset": part_and_reset,
    "part-and-silence": part_and_silence,
    **{behaviour: nearly(behaviour) for behaviour in NEARLY},
}


def serve_stream(sock, behaviour):
    while True:
        peer, _ = sock.accept()
        with peer:
            peer.settimeout(wire.WAIT_MAX_S)
            try:
                STREAMS[behaviour](peer)
            except OSError as error:
                print(f"peer: {error}", file=sys.stderr)


def serve_datagrams(sock, behaviour):
    while True:
        message, peer = sock.recvfrom(1 << 20)
        if behaviour == "print":
            say(repr(message))
        elif behaviour == "echo":
            sock.sendto(message, peer)
        elif behaviour in NEARLY:
            sock.sendto(NEARLY[behaviour](message), peer)
        elif behaviour == "line":
            sock.sendto(LINE, peer)
        elif behaviour != "hang":
            raise ValueError(behaviour)


def interrupt(_number, _frame):
    raise KeyboardInterrupt


# A shell may start a background process with the signal ignored.
signal.signal(signal.SIGINT, interrupt)
endpoint, behaviour = sys.argv[1:]
sock = wire.server(endpoint)
bound = sock.getsockname()
try:
    scheme = endpoint.partition(":")[0]
    print("ready", f"{scheme}://{wire.name_of(sock)}" if isinstance(bound, tuple) else endpoint)
    serve = serve_stream if sock.type == socket.SOCK_STREAM else serve_datagrams
    serve(sock, behaviour)
except KeyboardInterrupt:
    if isinstance(bound, str) and bound:
        os.unlink(bound)
    say("stopped")

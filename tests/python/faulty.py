"""An echo server for messages of one size, with known faults.

faulty.py ENDPOINT BYTES FAULT...: prints `ready ENDPOINT`, then serves until it is killed. A fault
is a word, or WORD:N for the Nth message over all connections:

drop:N         sends no echo
hold:N         sends its echo at SIGUSR1
duplicate:N    echoes it twice
swap:N         echoes it after the next one
corrupt:N:I    flips a bit of byte I
shorten:N      omits its last byte
lengthen:N     adds a byte
close:N        closes the connection instead of an echo
reset:N        resets the connection instead
mute           reads and sends no answer
pieces         echoes byte by byte
greet          sends a line first, on each connection
babble         sends without pause and reads nothing
line           answers each with a fixed line
"""

import signal
import socket
import struct
import sys
import threading

import wire

LINE = b"Are you talking to me?\n"

endpoint, size, *words = sys.argv[1:]
size = int(size)
faults = [tuple(word.split(":")) for word in words]
held = []
held_lock = threading.Lock()
swapped = []
count = 0


def has(name, number=None):
    wanted = (name,) if number is None else (name, str(number))
    return any(fault[: len(wanted)] == wanted for fault in faults)


def echoes_of(message, number):
    """Returns what to send when this message arrives."""
    if has("line"):
        return [LINE]
    for fault in faults:
        if fault[0] == "corrupt" and fault[1] == str(number):
            index = int(fault[2])
            message = message[:index] + bytes([message[index] ^ 0x40]) + message[index + 1 :]
    if has("shorten", number):
        message = message[:-1]
    if has("lengthen", number):
        message += b"x"
    if has("mute") or has("drop", number):
        return []
    if has("swap", number):
        swapped.append(message)
        return []
    echoes = [message, message] if has("duplicate", number) else [message]
    echoes += swapped
    swapped.clear()
    return echoes


def deliver(number, echoes, send):
    """Sends the echoes, or holds them until the signal."""
    if has("hold", number):
        with held_lock:
            held.extend((send, echo) for echo in echoes)
        return
    for echo in echoes:
        send(echo)


def release():
    # This runs on a separate thread, because the main thread waits for messages.
    while True:
        signal.sigwait([signal.SIGUSR1])
        with held_lock:
            for send, echo in held:
                send(echo)
            held.clear()


def read_exactly(peer):
    message = b""
    while len(message) < size:
        piece = peer.recv(size - len(message))
        if not piece:
            return None
        message += piece
    return message


def send_stream(peer, echo):
    step = 1 if has("pieces") else len(echo)
    for start in range(0, len(echo), step):
        peer.sendall(echo[start : start + step])


def serve_stream(peer):
    global count
    if has("greet"):
        peer.sendall(LINE)
    while has("babble"):
        peer.sendall(b"x" * 65536)
    while message := read_exactly(peer):
        count += 1
        if has("close", count):
            return
        if has("reset", count):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        deliver(count, echoes_of(message, count), lambda echo: send_stream(peer, echo))


def serve_streams(sock):
    while True:
        peer, _ = sock.accept()
        with peer:
            peer.settimeout(wire.WAIT_MAX_S)
            if sock.family == socket.AF_INET:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                serve_stream(peer)
            except OSError:
                # The client is gone.
                pass


def serve_datagrams(sock):
    global count
    while True:
        message, peer = sock.recvfrom(1 << 20)
        count += 1
        while has("babble"):
            sock.sendto(b"x" * size, peer)
        deliver(count, echoes_of(message, count), lambda echo, peer=peer: sock.sendto(echo, peer))


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
threading.Thread(target=release, daemon=True).start()
sock = wire.server(endpoint)
scheme = endpoint.partition(":")[0]
is_ip = isinstance(sock.getsockname(), tuple)
print("ready", f"{scheme}://{wire.name_of(sock)}" if is_ip else endpoint)
(serve_streams if sock.type == socket.SOCK_STREAM else serve_datagrams)(sock)

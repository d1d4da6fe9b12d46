"""A judge: an echo server that misbehaves exactly by given rules, and keeps its own record.

judge.py ENDPOINT LENGTH [RULE...]: prints `ready ENDPOINT`, serves until Ctrl-C, then prints its
record as one line of JSON. A stream is cut into messages of LENGTH bytes.

A rule is NAME:EVERY:AT[:VALUE]. It applies to the messages AT, AT + EVERY, AT + 2 EVERY ...; with
EVERY 0 only to AT. Messages are counted from 0 over all peers, in the order in which they arrive.

  drop    no answer
  twice   the answer twice
  swap    the answer right after that of the peer's next message
  late    the answer when the peer's next message arrives, before the answer to that
  flip    byte VALUE of the answer is inverted
  wait    the answer after VALUE seconds, in which no peer is served
  slow    the answer after VALUE seconds, in which the other peers are served
  gather  the answer when there are VALUE of them, all in one write (streams)
  close   the sending direction is shut down after the answer
  reset   the connection is reset instead of an answer
  end     the whole server ends instead of an answer

Rules for connections, counted from 0 in the order in which they are accepted:

  greet   VALUE is sent first
  pieces  all answers are sent in parts of odd sizes
  last    no connection is accepted after this one
"""

import heapq
import json
import selectors
import signal
import socket
import struct
import sys
import time

import wire

PIECES = (1, 7, 13, 2, 31, 3)


class Rules:
    def __init__(self, texts):
        self.rules = {}
        for text in texts:
            name, every, at, *value = text.split(":")
            self.rules.setdefault(name, []).append((int(every), int(at), value))

    def value(self, name, number):
        """Returns the value of a rule that applies to this number ('' without a value), or None."""
        for every, at, value in self.rules.get(name, ()):
            after = number - at
            if after == 0 or (every and after > 0 and after % every == 0):
                return value[0] if value else ""
        return None


class Peer:
    """A peer, and its pending answers."""

    def __init__(self, send):
        self.send = send
        self.bytes = b""
        self.behind = []
        self.before = []
        self.gathered = b""


class Judge:
    def __init__(self, sock, length, rules):
        self.sock = sock
        self.length = length
        self.rules = rules
        self.selector = selectors.DefaultSelector()
        self.number = 0
        self.connections = 0
        self.slow = []
        self.is_over = False
        # When each message arrived, when its answer was sent, and when the last peer was gone.
        self.came_ns, self.left_ns, self.end_ns = [], [], None

    def take(self, peer, message):
        """Answers one message. Returns False if the connection must be reset."""
        number = self.number
        self.number += 1
        self.came_ns.append(time.monotonic_ns())
        rule = lambda name: self.rules.value(name, number)
        for answer in peer.before:
            peer.send(answer)
        peer.before.clear()
        if (seconds := rule("wait")) is not None:
            time.sleep(float(seconds))
        if (offset := rule("flip")) is not None:
            offset = int(offset)
            flipped = bytes([message[offset] ^ 0xFF])
            message = message[:offset] + flipped + message[offset + 1 :]
        self.left_ns.append(time.monotonic_ns())
        if rule("end") is not None:
            self.is_over = True
        elif rule("reset") is not None:
            return False
        elif rule("drop") is not None:
            pass
        elif rule("swap") is not None:
            peer.behind.append(message)
        elif rule("late") is not None:
            peer.before.append(message)
        elif (seconds := rule("slow")) is not None:
            heapq.heappush(self.slow, (time.monotonic() + float(seconds), number, peer, message))
        elif (count := rule("gather")) is not None:
            peer.gathered += message
            if len(peer.gathered) >= int(count) * self.length:
                peer.send(peer.gathered)
                peer.gathered = b""
        else:
            peer.send(message)
            if rule("twice") is not None:
                peer.send(message)
            for answer in peer.behind:
                peer.send(answer)
            peer.behind.clear()
        if rule("close") is not None:
            peer.shut()
        return True

    def accept(self):
        stream, _ = self.sock.accept()
        stream.settimeout(wire.WAIT_MAX_S)
        number = self.connections
        self.connections += 1
        if self.sock.family != socket.AF_UNIX:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if (greeting := self.rules.value("greet", number)) is not None:
            stream.sendall(greeting.encode())
        in_pieces = self.rules.value("pieces", number) is not None

        def send(answer):
            size = 0
            while in_pieces and size < len(answer):
                piece = PIECES[size % len(PIECES)]
                stream.sendall(answer[size : size + piece])
                size += piece
            if not in_pieces:
                stream.sendall(answer)

        peer = Peer(send)
        peer.shut = lambda: stream.shutdown(socket.SHUT_WR)
        self.selector.register(stream, selectors.EVENT_READ, lambda: self.read(stream, peer))
        if self.rules.value("last", number) is not None:
            self.selector.unregister(self.sock)
            self.sock.close()

    def read(self, stream, peer):
        try:
            chunk = stream.recv(1 << 20)
            peer.bytes += chunk
            while len(peer.bytes) >= self.length and not self.is_over:
                message, peer.bytes = peer.bytes[: self.length], peer.bytes[self.length :]
                if not self.take(peer, message):
                    # SO_LINGER with a time of 0: closing sends a reset.
                    linger = struct.pack("ii", 1, 0)
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    chunk = b""
                    break
        except OSError:
            # The peer is gone, or a rule has shut down the sending direction.
            chunk = b""
        if not chunk:
            self.selector.unregister(stream)
            stream.close()
            self.end_ns = time.monotonic_ns()

    def receive(self, peers):
        message, address = self.sock.recvfrom(1 << 20)
        if address not in peers:
            peers[address] = Peer(lambda answer: self.sock.sendto(answer, address))
        self.take(peers[address], message)

    def serve(self):
        peers = {}
        is_stream = self.sock.type == socket.SOCK_STREAM
        on_sock = self.accept if is_stream else lambda: self.receive(peers)
        self.selector.register(self.sock, selectors.EVENT_READ, on_sock)
        while not self.is_over:
            wait_s = self.slow[0][0] - time.monotonic() if self.slow else None
            for key, _ in self.selector.select(wait_s and max(wait_s, 0)):
                key.data()
            while self.slow and self.slow[0][0] <= time.monotonic():
                _, _, peer, message = heapq.heappop(self.slow)
                peer.send(message)


def interrupt(_number, _frame):
    raise KeyboardInterrupt


# A shell may start a background process with the signal ignored.
signal.signal(signal.SIGINT, interrupt)
endpoint, length, *texts = sys.argv[1:]
sock = wire.server(endpoint)
scheme = endpoint.partition(":")[0]
has_port = sock.family != socket.AF_UNIX
print("ready", f"{scheme}://{wire.name_of(sock)}" if has_port else endpoint)
judge = Judge(sock, int(length), Rules(texts))
try:
    judge.serve()
except KeyboardInterrupt:
    pass
end_ns = judge.end_ns or time.monotonic_ns()
print(json.dumps({
    "messages": judge.number,
    "connections": judge.connections,
    "came_ns": judge.came_ns,
    "left_ns": judge.left_ns,
    "end_ns": end_ns,
}))

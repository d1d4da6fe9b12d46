"""Endpoints as plain sockets, shared by the other scripts."""

import os
import socket

# The limit of every wait in the scripts.
WAIT_MAX_S = 60


def address_of(endpoint):
    """Returns the family, kind and address of an endpoint such as `udp://127.0.0.1:7007`."""
    scheme, _, rest = endpoint.partition(":")
    kind = socket.SOCK_STREAM if scheme in ("tcp", "unix") else socket.SOCK_DGRAM
    if scheme in ("unix", "unixgram"):
        name = "\0" + rest[1:] if rest.startswith("@") else rest
        return socket.AF_UNIX, kind, name
    host, _, port = rest.removeprefix("//").rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return family, kind, (host, int(port))


def new_socket(endpoint):
    family, kind, _ = address_of(endpoint)
    sock = socket.socket(family, kind)
    sock.settimeout(WAIT_MAX_S)
    return sock


def client(endpoint, own_name=None):
    """Returns a connected socket. A Unix datagram socket needs its own name for answers: a path, or
    the empty name, for which Linux chooses an abstract one."""
    sock = new_socket(endpoint)
    if own_name is not None:
        sock.bind(own_name)
    sock.connect(address_of(endpoint)[2])
    return sock


def server(endpoint):
    """Returns a bound socket; a stream socket listens. Replaces a stale socket file."""
    family, kind, address = address_of(endpoint)
    if family == socket.AF_UNIX and not address.startswith("\0"):
        try:
            os.unlink(address)
        except FileNotFoundError:
            pass
    sock = new_socket(endpoint)
    sock.bind(address)
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


def name_of(sock):
    """Returns the socket's own address in the form in which `resound` prints a peer's."""
    name = sock.getsockname()
    if isinstance(name, tuple):
        host, port = name[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(name, bytes):
        return "@" + name[1:].decode()
    return name or "unnamed"


def read_to_end(sock):
    received = b""
    while chunk := sock.recv(65536):
        received += chunk
    return received

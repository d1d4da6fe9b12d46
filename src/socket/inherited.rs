//! Sockets that another process has created and passed on, as service managers do
//! (sd_listen_fds(3)): what they are, and whether the server can use them.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::{Peer, SocketOptions, sys};
use crate::endpoint::{Endpoint, HostPort, Transport, UnixName};
use crate::error::Error;

const EXPECTED: &str =
    "expected a listening TCP or Unix socket, or a bound UDP or Unix datagram socket";

/// Takes over a passed socket of a kind and in a state that the server can use. Makes it
/// non-blocking, which affects every process that has the socket, and close-on-exec, which affects
/// only this process.
pub(super) fn take_over(fd: OwnedFd) -> Result<(Socket, Transport), Error> {
    let object = format!("descriptor {}", fd.as_raw_fd());
    let failed = |error| Error::new("serve", &object, error);
    let socket = Socket::from(fd);
    let refused = |what: String| unsuitable(&socket, what);
    let Ok(kind) = socket.r#type() else { return Err(refused("it is not a socket".to_owned())) };
    let addr = socket.local_addr().map_err(failed)?;
    let name = name(kind, &addr, &socket);
    let Some(transport) = transport(kind, &addr, &socket) else {
        return Err(refused(format!("it is {name}")));
    };
    if socket.peer_addr().is_ok() {
        return Err(refused(format!("it is {name} that is connected")));
    }
    if transport.is_stream() && !sys::listens(&socket) {
        return Err(refused(format!("it is {name} that does not listen")));
    }
    if !is_bound(&addr) {
        return Err(refused(format!("it is {name} that is not bound")));
    }
    socket.set_nonblocking(true).and_then(|()| socket.set_cloexec(true)).map_err(failed)?;
    Ok((socket, transport))
}

/// Sets on such a socket what concerns its packets.
pub(super) fn apply_packets(options: &SocketOptions, socket: &Socket) -> Result<(), Error> {
    match socket.local_addr().ok().and_then(|addr| addr.as_socket()) {
        Some(addr) => options.apply_packets(socket, addr),
        None => Ok(()),
    }
}

/// Returns the error for a socket that the server cannot use. It says what the socket is.
pub(super) fn unsuitable(socket: &Socket, what: impl Into<String>) -> Error {
    let reason = io::Error::new(io::ErrorKind::InvalidInput, what.into());
    Error::new("serve", format!("descriptor {}", socket.as_raw_fd()), reason).hint(EXPECTED)
}

/// Returns the transport of a socket, or `None` if this crate does not support it.
fn transport(kind: Type, addr: &SockAddr, socket: &Socket) -> Option<Transport> {
    let is_ip = addr.as_socket().is_some();
    match kind {
        Type::STREAM if is_ip && sys::has_protocol(socket, Protocol::TCP) => Some(Transport::Tcp),
        Type::DGRAM if is_ip && sys::has_protocol(socket, Protocol::UDP) => Some(Transport::Udp),
        Type::STREAM if addr.is_unix() => Some(Transport::Unix),
        Type::DGRAM if addr.is_unix() => Some(Transport::Unixgram),
        _ => None,
    }
}

/// Describes a socket for messages: `a TCP socket`, `a Unix SOCK_SEQPACKET socket`.
fn name(kind: Type, addr: &SockAddr, socket: &Socket) -> String {
    match transport(kind, addr, socket) {
        Some(Transport::Tcp) => return "a TCP socket".to_owned(),
        Some(Transport::Udp) => return "a UDP socket".to_owned(),
        Some(Transport::Unix) => return "a Unix stream socket".to_owned(),
        Some(Transport::Unixgram) => return "a Unix datagram socket".to_owned(),
        None => {}
    }
    let family = match addr.domain() {
        Domain::IPV4 => "an IPv4".to_owned(),
        Domain::IPV6 => "an IPv6".to_owned(),
        Domain::UNIX => "a Unix".to_owned(),
        domain => format!("an address family {}", i32::from(domain)),
    };
    match kind {
        Type::SEQPACKET => format!("{family} SOCK_SEQPACKET socket"),
        Type::RAW => format!("{family} SOCK_RAW socket"),
        // A supported type with an unsupported protocol, such as SCTP or ICMP.
        Type::STREAM => format!("{family} stream socket of another protocol"),
        Type::DGRAM => format!("{family} datagram socket of another protocol"),
        kind => format!("{family} socket of type {}", i32::from(kind)),
    }
}

fn is_bound(addr: &SockAddr) -> bool {
    match addr.as_socket() {
        Some(ip) => ip.port() != 0,
        None => !addr.is_unnamed(),
    }
}

/// Returns true if an IPv6 socket also receives IPv4, with IPv4-mapped addresses.
pub(super) fn is_dual_stack(socket: &Socket, addr: SocketAddr) -> bool {
    addr.ip() == Ipv6Addr::UNSPECIFIED && matches!(socket.only_v6(), Ok(false))
}

/// Returns the endpoint of a bound socket, as a user would write it. Escapes a name that contains
/// bytes that an endpoint cannot have, so that it fits on one line.
pub(super) fn endpoint(transport: Transport, socket: &SockRef<'_>) -> Endpoint {
    let addr = socket.local_addr().ok();
    let host_port = || {
        let text = addr
            .as_ref()
            .and_then(SockAddr::as_socket)
            .map(|addr| addr.to_string())
            .unwrap_or_default();
        // An IPv6 address is in brackets, with its zone.
        let (host, port) = text.rsplit_once(':').unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        HostPort { host: host.to_owned(), port: port.parse().unwrap_or(0) }
    };
    let unix_name = || match addr.as_ref().map_or(Peer::Unnamed, Peer::from) {
        Peer::Abstract(name) => UnixName::Abstract(printable(&name)),
        Peer::Path(path) => {
            UnixName::Path(PathBuf::from(printable(path.as_os_str().as_encoded_bytes())))
        }
        Peer::Ip(_) | Peer::Unnamed => UnixName::Abstract(String::new()),
    };
    match transport {
        Transport::Tcp => Endpoint::Tcp(host_port()),
        Transport::Udp => Endpoint::Udp(host_port()),
        Transport::Unix => Endpoint::Unix(unix_name()),
        Transport::Unixgram => Endpoint::Unixgram(unix_name()),
    }
}

fn printable(name: &[u8]) -> String {
    match str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => name.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests;

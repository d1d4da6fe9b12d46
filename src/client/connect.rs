//! Connected blocking sockets, by socket2 for the timeouts that std has not for all of them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::{ClientPath, OnSignal};
use crate::endpoint::{Endpoint, HostPort, UnixName};
use crate::error::Error;
use crate::socket::{Peer, connect_error, out_of_ports, refuse_self_connection};

/// A connected Unix stream.
pub(crate) fn unix(
    endpoint: &Endpoint,
    name: &UnixName,
    timeout: Duration,
) -> Result<Socket, Error> {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A full backlog would otherwise be waited for without end (unix(7), connect(2)).
        socket.set_write_timeout(Some(timeout))?;
        socket.connect(&unix_addr(name)?).map_err(timed_out)?;
        Ok(socket)
    };
    connect().map_err(|error| failure("connect to", endpoint, error))
}

/// The error of a call on a blocking socket: `EAGAIN` is the end of the socket's own timeout.
pub(crate) fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// A connected TCP stream, to the first of the host's addresses that takes it.
pub(crate) fn tcp(
    endpoint: &Endpoint,
    addrs: &[SocketAddr],
    timeout: Duration,
) -> Result<Socket, Error> {
    let mut told = None;
    for addr in addrs {
        match connect_tcp(*addr, timeout) {
            Ok(socket) => return Ok(socket),
            // A family that this machine lacks tells less than what another address answered.
            Err(error) if told.is_some() && error.kind() == io::ErrorKind::AddrNotAvailable => {}
            Err(error) => told = Some(error),
        }
    }
    Err(failure("connect to", endpoint, told.unwrap_or(io::ErrorKind::NotFound.into())))
}

fn connect_tcp(addr: SocketAddr, timeout: Duration) -> io::Result<Socket> {
    let connect = || {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.set_tcp_nodelay(true)?;
        socket.connect_timeout(&SockAddr::from(addr), timeout)?;
        Ok(socket)
    };
    let socket = connect().map_err(|error| connect_error(addr, error))?;
    refuse_self_connection(&SockRef::from(&socket))?;
    Ok(socket)
}

/// The addresses a host's name may mean, in the order to try.
pub(crate) fn addrs(
    endpoint: &Endpoint,
    host_port: &HostPort,
    timeout: Duration,
) -> Result<Vec<SocketAddr>, Error> {
    let found = host_port.connect_addrs_within(timeout);
    found.map_err(|error| failure("connect to", endpoint, error))
}

/// A connected UDP socket: it hears of ICMP errors, and takes answers from its peer alone.
fn udp(addr: SocketAddr) -> io::Result<Socket> {
    let connect = || {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, None)?;
        socket.connect(&SockAddr::from(addr))?;
        Ok(socket)
    };
    let socket = connect().map_err(|error| connect_error(addr, error))?;
    refuse_self_connection(&SockRef::from(&socket))?;
    Ok(socket)
}

/// A UDP socket connected to the first of the addresses that can be connected to. It and those
/// before it are taken from the list: UDP learns that nobody is there only from the answer to what
/// it sent, and then the next address is to be tried.
pub(crate) fn udp_next(untried: &mut Vec<SocketAddr>) -> io::Result<Socket> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    while !untried.is_empty() {
        match udp(untried.remove(0)) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A connected Unix datagram socket, without a name to be answered at.
pub(crate) fn unixgram(endpoint: &Endpoint, name: &UnixName) -> Result<Socket, Error> {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        socket.connect(&unix_addr(name)?)?;
        Ok(socket)
    };
    connect().map_err(|error| failure("connect to", endpoint, error))
}

/// Gives a Unix datagram socket a name to be answered at, which is kept as long as the socket.
/// After connecting, so that a server that is not there costs no file.
pub(crate) fn name_unixgram(
    socket: &Socket,
    peer: &UnixName,
    on_signal: OnSignal,
) -> Result<Option<ClientPath>, Error> {
    match peer {
        // An abstract peer is on Linux, which picks a name for the unnamed address (unix(7)).
        UnixName::Abstract(_) => {
            let bound = SockAddr::unix("").and_then(|unnamed| socket.bind(&unnamed));
            bound
                .map(|()| None)
                .map_err(|error| Error::new("get", "a name to be answered at", error))
        }
        UnixName::Path(_) => {
            ClientPath::bind(socket, on_signal).map(Some).map_err(own_path_failure)
        }
    }
}

/// Not the endpoint's fault, whose path would otherwise be looked at in vain.
fn own_path_failure(error: io::Error) -> Error {
    Error::new("make a socket to be answered at in", std::env::temp_dir().display(), error)
        .hint("TMPDIR may name another folder, its path short enough for a socket's")
}

fn unix_addr(name: &UnixName) -> io::Result<SockAddr> {
    match name {
        UnixName::Path(path) => SockAddr::unix(path),
        UnixName::Abstract(name) => SockAddr::unix(format!("\0{name}")),
    }
}

/// Who is at the other end.
pub(crate) fn peer(socket: &Socket) -> Peer {
    socket.peer_addr().map_or(Peer::Unnamed, |addr| Peer::from(&addr))
}

/// An error with the advice that its reason allows.
pub(crate) fn failure(operation: &'static str, endpoint: &Endpoint, error: io::Error) -> Error {
    if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) {
        return Error::new(operation, endpoint, error).hint(out_of_ports());
    }
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => Some("nothing listens there"),
        io::ErrorKind::NotFound if !endpoint_has_host(endpoint) => Some("no such socket"),
        _ if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
            Some("the socket there is of the other kind, stream or datagram")
        }
        _ => None,
    };
    let error = Error::new(operation, endpoint, error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn endpoint_has_host(endpoint: &Endpoint) -> bool {
    matches!(endpoint, Endpoint::Tcp(_) | Endpoint::Udp(_))
}

//! Connected blocking sockets. They use socket2, because std lacks timeouts for some kinds of
//! sockets.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use socket2::{SockAddr, SockRef, Socket, Type};

use super::{ClientPath, OnSignal};
use crate::endpoint::{Endpoint, ResolvedEndpoint, Transport, UnixName};
use crate::error::Error;
use crate::socket::{Peer, connect_error, out_of_ports, refuse_self_connection};

/// A blocking socket that is connected to one of the host's addresses.
///
/// A connected datagram socket receives only from its peer, and over UDP it reports ICMP errors.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    /// The host's addresses that were not tried. Over UDP, only the answer to a datagram shows that
    /// no socket is bound to an address.
    untried: VecDeque<ResolvedEndpoint>,
    /// The socket file of a Unix datagram client, removed with the socket.
    _path: Option<ClientPath>,
}

/// Why connecting failed.
#[derive(Debug)]
pub(crate) struct ConnectError {
    pub(crate) error: Error,
    /// Whether every later attempt fails in the same way.
    pub(crate) is_lasting: bool,
}

impl From<ConnectError> for Error {
    fn from(failed: ConnectError) -> Error {
        failed.error
    }
}

impl Connection {
    /// Connects to the first of the endpoint's addresses that accepts. A stream may take the whole
    /// `timeout` for each address.
    pub(crate) fn open(
        endpoint: &Endpoint,
        addrs: Vec<ResolvedEndpoint>,
        timeout: Duration,
        on_signal: OnSignal,
    ) -> Result<Connection, ConnectError> {
        let mut untried = VecDeque::from(addrs);
        let socket = connect_next(&mut untried, timeout).map_err(|error| ConnectError {
            is_lasting: error.raw_os_error() == Some(libc::EPROTOTYPE),
            error: failure("connect to", endpoint, error),
        })?;
        // Done after connecting, so that no file is created when the server is absent.
        let _path = match endpoint {
            Endpoint::Unixgram(peer) => name_unixgram(&socket, peer, on_signal)
                .map_err(|error| ConnectError { error, is_lasting: true })?,
            Endpoint::Tcp(_) | Endpoint::Udp(_) | Endpoint::Unix(_) => None,
        };
        Ok(Connection { socket, untried, _path })
    }

    /// Replaces a UDP socket with one that is connected to the host's next address.
    pub(crate) fn move_to_next_address(&mut self) -> io::Result<()> {
        // Connecting a datagram socket does not block.
        self.socket = connect_next(&mut self.untried, Duration::ZERO)?;
        Ok(())
    }
}

/// Connects to the first of the addresses that accepts. Removes it and those before it from the
/// list.
fn connect_next(untried: &mut VecDeque<ResolvedEndpoint>, timeout: Duration) -> io::Result<Socket> {
    let mut kept = None;
    while let Some(addr) = untried.pop_front() {
        match connect(&addr, timeout) {
            Ok(socket) => return Ok(socket),
            // "This machine lacks the address family" says less than the error of another address.
            Err(error) if kept.is_some() && error.kind() == io::ErrorKind::AddrNotAvailable => {}
            Err(error) => kept = Some(error),
        }
    }
    Err(kept.unwrap_or(io::ErrorKind::NotFound.into()))
}

fn connect(target: &ResolvedEndpoint, timeout: Duration) -> io::Result<Socket> {
    let transport = target.transport();
    let kind = if transport.is_stream() { Type::STREAM } else { Type::DGRAM };
    let try_connect = || {
        let addr = target.sock_addr()?;
        let socket = Socket::new(addr.domain(), kind, None)?;
        match transport {
            Transport::Tcp => {
                socket.set_tcp_nodelay(true)?;
                socket.connect_timeout(&addr, timeout)?;
            }
            Transport::Unix => {
                // Without a timeout, connect(2) waits for a full backlog without limit (unix(7),
                // connect(2)).
                socket.set_write_timeout(Some(timeout))?;
                socket.connect(&addr).map_err(timed_out)?;
            }
            Transport::Udp | Transport::Unixgram => socket.connect(&addr)?,
        }
        Ok(socket)
    };
    let socket = try_connect().map_err(|error| connect_error(target, error))?;
    refuse_self_connection(&SockRef::from(&socket))?;
    Ok(socket)
}

/// Converts the error of a call on a blocking socket: `EAGAIN` means that the socket's timeout
/// expired.
pub(crate) fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// Binds a Unix datagram socket to a name, so that the peer can answer. The name lasts as long as
/// the socket.
fn name_unixgram(
    socket: &Socket,
    peer: &UnixName,
    on_signal: OnSignal,
) -> Result<Option<ClientPath>, Error> {
    match peer {
        // Abstract names exist only on Linux, which picks a name for the unnamed address (unix(7)).
        UnixName::Abstract(_) => {
            let bound = SockAddr::unix("").and_then(|unnamed| socket.bind(&unnamed));
            bound.map(|()| None).map_err(|error| Error::new("get", "a name for the answers", error))
        }
        UnixName::Path(_) => {
            ClientPath::bind(socket, on_signal).map(Some).map_err(own_path_failure)
        }
    }
}

/// Names the client's own file in the error, because the endpoint's path is not at fault.
fn own_path_failure(error: io::Error) -> Error {
    Error::new("create a socket for the answers in", std::env::temp_dir().display(), error)
        .hint("set TMPDIR to another folder with a path short enough for a socket")
}

/// Returns the peer of a socket.
pub(crate) fn peer(socket: &Socket) -> Peer {
    socket.peer_addr().map_or(Peer::Unnamed, |addr| Peer::from(&addr))
}

/// Builds an error with the hint that fits its reason.
pub(crate) fn failure(operation: &'static str, endpoint: &Endpoint, error: io::Error) -> Error {
    if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) {
        return Error::new(operation, endpoint, error).hint(out_of_ports());
    }
    let has_host = matches!(endpoint, Endpoint::Tcp(_) | Endpoint::Udp(_));
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => Some("nothing listens there"),
        io::ErrorKind::NotFound if !has_host => Some("no such socket"),
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

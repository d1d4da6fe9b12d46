//! Connected blocking sockets. They use socket2, because std lacks timeouts for some kinds of
//! sockets.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use socket2::{SockAddr, SockRef, Socket};

use super::{ClientPath, OnSignal};
use crate::endpoint::{Endpoint, ResolvedEndpoint, Transport, UnixName};
use crate::error::Error;
use crate::socket::{
    BindAddr, LocalAddrs, Peer, SocketOptions, connect_error, out_of_ports, refuse_self_connection,
};

/// A blocking socket that is connected to one of the host's addresses.
///
/// A connected datagram socket receives only from its peer, and over UDP it reports ICMP errors.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    settings: Settings,
    /// The host's addresses that were not tried. Over UDP, only the answer to a datagram shows that
    /// no socket is bound to an address.
    untried: VecDeque<ResolvedEndpoint>,
    /// The socket file of a Unix datagram client, removed with the socket.
    _path: Option<ClientPath>,
}

/// Where a client connects to, and how its sockets are made.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) endpoint: Endpoint,
    pub(crate) socket: SocketOptions,
    /// The addresses to leave from.
    pub(crate) bind: Vec<BindAddr>,
    /// The longest time to connect in.
    pub(crate) timeout: Duration,
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
    /// timeout for each address.
    pub(crate) fn open(
        settings: Settings,
        addrs: Vec<ResolvedEndpoint>,
        on_signal: OnSignal,
    ) -> Result<Connection, ConnectError> {
        let mut untried = VecDeque::from(addrs);
        let socket = connect_next(&mut untried, &settings)?;
        // Done after connecting, so that no file is created when the server is absent.
        let _path = match &settings.endpoint {
            Endpoint::Unixgram(peer) => name_unixgram(&socket, peer, on_signal)
                .map_err(|error| ConnectError { error, is_lasting: true })?,
            Endpoint::Tcp(_) | Endpoint::Udp(_) | Endpoint::Unix(_) => None,
        };
        Ok(Connection { socket, settings, untried, _path })
    }

    /// Replaces a UDP socket with one that is connected to the host's next address.
    pub(crate) fn move_to_next_address(&mut self) -> Result<(), ConnectError> {
        // Connecting a datagram socket does not block.
        self.socket = connect_next(&mut self.untried, &self.settings)?;
        Ok(())
    }
}

/// Connects to the first of the addresses that accepts. Removes it and those before it from the
/// list.
fn connect_next(
    untried: &mut VecDeque<ResolvedEndpoint>,
    settings: &Settings,
) -> Result<Socket, ConnectError> {
    let mut kept = None;
    while let Some(addr) = untried.pop_front() {
        match connect(&addr, settings) {
            Ok(socket) => return Ok(socket),
            // "This machine lacks the address family" says less than the error of another address.
            Err(failed)
                if kept.is_some() && failed.error.kind() == io::ErrorKind::AddrNotAvailable => {}
            Err(failed) => kept = Some(failed),
        }
    }
    Err(kept.unwrap_or_else(|| ConnectError {
        error: failure("connect to", &settings.endpoint, io::ErrorKind::NotFound.into()),
        is_lasting: false,
    }))
}

fn connect(target: &ResolvedEndpoint, settings: &Settings) -> Result<Socket, ConnectError> {
    let lasting = |error| ConnectError { error, is_lasting: true };
    let mut locals = LocalAddrs::new(&settings.bind, target).map_err(lasting)?;
    let failed = |error| failure("connect to", &settings.endpoint, connect_error(target, error));
    // What the kernel refuses before it connects, it refuses the next time as well.
    let mut is_lasting = false;
    let mut options = settings.socket.clone();
    let connected = locals.open(&mut options, |options| {
        let socket = options.client(target).map_err(|error| {
            is_lasting = !is_passing(&error);
            match error.raw_os_error() {
                Some(libc::EAFNOSUPPORT) => {
                    failed(io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
                }
                _ => error,
            }
        })?;
        connect_socket(&socket, target, settings.timeout).map_err(|error| {
            is_lasting = error.raw_os_error() == Some(libc::EPROTOTYPE);
            failed(error)
        })?;
        refuse_self_connection(&SockRef::from(&socket)).map_err(failed)?;
        Ok(socket)
    });
    connected.map_err(|error| ConnectError { error, is_lasting })
}

/// Whether a socket may be made later: something else has what it needs.
fn is_passing(error: &Error) -> bool {
    const PASSING: [libc::c_int; 6] = [
        libc::EADDRINUSE,
        libc::EAFNOSUPPORT,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
    ];
    error.raw_os_error().is_some_and(|number| PASSING.contains(&number))
}

fn connect_socket(socket: &Socket, target: &ResolvedEndpoint, timeout: Duration) -> io::Result<()> {
    let addr = target.sock_addr()?;
    socket.set_nonblocking(false)?;
    match target.transport() {
        Transport::Tcp => socket.connect_timeout(&addr, timeout),
        Transport::Unix => {
            // Without a timeout, connect(2) waits for a full backlog without limit (unix(7),
            // connect(2)).
            socket.set_write_timeout(Some(timeout))?;
            socket.connect(&addr).map_err(timed_out)
        }
        Transport::Udp | Transport::Unixgram => socket.connect(&addr),
    }
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

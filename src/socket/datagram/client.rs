//! A client's datagram socket: connected to its server, and answered at a name of its own.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use socket2::{SockAddr, SockRef, Socket, Type};

use super::{Datagram, Inner};
use crate::endpoint::{ResolvedEndpoint, Transport};
use crate::error::Error;
use crate::socket::SocketOptions;
use crate::socket::connect::{connect, refuse_self_connection};

/// The mode of the file that a client is answered to: its server may be of any user.
const OWN_FILE_MODE: u32 = 0o666;

impl Datagram {
    /// A client's socket, connected: it takes datagrams from its peer alone, and is told when they
    /// are refused. `own` is the file that a Unix server answers to, which the caller removes;
    /// without it the system picks an abstract name (unix(7)), which only Linux has. Every user may
    /// send to that file, so that a server of another user can answer.
    ///
    /// # Errors
    ///
    /// Names the target and the reason. A UDP socket that the kernel has given the target's own
    /// address is refused, because it would answer itself. `InvalidInput` for an endpoint of
    /// streams.
    pub fn connect(
        target: &ResolvedEndpoint,
        own: Option<&Path>,
        options: &SocketOptions,
    ) -> Result<Datagram, Error> {
        let failed = |error: io::Error| Error::new("connect to", target, error);
        let socket = match target {
            ResolvedEndpoint::Udp(addr) => options.client_socket(*addr, Type::DGRAM)?,
            ResolvedEndpoint::Unixgram(_) => options.unix_socket(Type::DGRAM)?,
            ResolvedEndpoint::Tcp(_) | ResolvedEndpoint::Unix(_) => {
                return Err(failed(io::ErrorKind::InvalidInput.into()));
            }
        };
        connect(&SockRef::from(&socket), target).map_err(failed)?;
        let inner = if target.transport() == Transport::Udp {
            refuse_self_connection(&SockRef::from(&socket)).map_err(failed)?;
            Inner::Udp(socket.into())
        } else {
            // After connect(2), so that the file takes datagrams from the peer alone.
            bind_own(&socket, own).map_err(failed)?;
            Inner::Unix(socket.into())
        };
        Datagram::new(inner, None)
    }

    /// Connects to the target anew. A Unix datagram socket whose server has closed is no longer
    /// connected, and a new server at the same path is another socket (unix(7)).
    ///
    /// # Errors
    ///
    /// All of connect(2).
    pub fn reconnect(&self, target: &ResolvedEndpoint) -> io::Result<()> {
        connect(&self.socket(), target)
    }
}

/// Gives a client's socket the file that its server answers to, or an abstract name.
fn bind_own(socket: &Socket, own: Option<&Path>) -> io::Result<()> {
    let Some(path) = own else { return socket.bind(&SockAddr::unix("")?) };
    socket.bind(&SockAddr::unix(path)?)?;
    // bind(2) applies the umask, which commonly leaves other users no right to write.
    std::fs::set_permissions(path, Permissions::from_mode(OWN_FILE_MODE))
}

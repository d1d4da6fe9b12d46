//! A client's datagram socket: connected to its server, and bound to a name for the replies.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use socket2::{SockAddr, SockRef, Socket};

use super::{Datagram, Inner};
use crate::endpoint::{ResolvedEndpoint, Transport};
use crate::error::Error;
use crate::socket::SocketOptions;
use crate::socket::connect::{connect, refuse_self_connection};

/// The mode of the socket file of a client. Any user may write to it, because the server may run as
/// any user.
const OWN_FILE_MODE: u32 = 0o666;

impl Datagram {
    /// Creates a client's socket that is connected to `target`. It receives datagrams only from its
    /// peer, and the kernel reports to it when the peer refuses one. `own` is the file to which a
    /// Unix server replies. Every user may send to it, so that a server of another user can reply.
    /// The caller removes it. Without `own`, the system picks an abstract name (unix(7)), which
    /// only Linux has.
    ///
    /// # Errors
    ///
    /// The error names the target and the reason. A UDP socket to which the kernel has given the
    /// target's own address is refused, because it would answer itself. `InvalidInput` for a stream
    /// endpoint.
    pub fn connect(
        target: &ResolvedEndpoint,
        own: Option<&Path>,
        options: &SocketOptions,
    ) -> Result<Datagram, Error> {
        let failed = |error: io::Error| Error::new("connect to", target, error);
        if target.transport().is_stream() {
            return Err(failed(io::ErrorKind::InvalidInput.into()));
        }
        let socket = options.client(target)?;
        connect(&SockRef::from(&socket), target).map_err(failed)?;
        let inner = if target.transport() == Transport::Udp {
            refuse_self_connection(&SockRef::from(&socket)).map_err(failed)?;
            Inner::Udp(socket.into())
        } else {
            // The socket is connected before the file exists, so no stranger can send to it.
            bind_own(&socket, own).map_err(failed)?;
            Inner::Unix(socket.into())
        };
        Datagram::new(inner, None)
    }

    /// Connects to the target again. A Unix datagram socket whose server has closed is no longer
    /// connected, and a new server at the same path is another socket (unix(7)).
    ///
    /// # Errors
    ///
    /// All errors of connect(2).
    pub fn reconnect(&self, target: &ResolvedEndpoint) -> io::Result<()> {
        connect(&self.socket(), target)
    }
}

/// Binds a client's socket to its file, or to an abstract name.
fn bind_own(socket: &Socket, own: Option<&Path>) -> io::Result<()> {
    let Some(path) = own else { return socket.bind(&SockAddr::unix("")?) };
    socket.bind(&SockAddr::unix(path)?)?;
    // bind(2) applies the umask, which usually takes the write permission from other users.
    std::fs::set_permissions(path, Permissions::from_mode(OWN_FILE_MODE))
}

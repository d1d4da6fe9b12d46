//! Connects client sockets.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;

use super::hints::connect_error;
use crate::endpoint::ResolvedEndpoint;

/// Connects a blocking socket, or begins to connect a non-blocking one.
///
/// # Errors
///
/// All errors of connect(2). [`connect_error`] names the cause of EADDRNOTAVAIL.
pub(super) fn connect(socket: &SockRef<'_>, target: &ResolvedEndpoint) -> io::Result<()> {
    let connected = socket.connect(&target.sock_addr()?);
    connected.map_err(|error| connect_error(target, error))
}

/// Refuses a socket that is connected to itself, with the error of a port without a listener.
///
/// The kernel picks a client's port from `net.ipv4.ip_local_port_range` (ip(7)). If the target's
/// port lies in that range and has no listener, the kernel can pick the same port. A TCP socket
/// then connects to itself by a simultaneous open (RFC 9293, section 3.5), and a UDP socket
/// receives what it sends. Both look like an echo.
///
/// # Errors
///
/// `ECONNREFUSED` for a socket that is connected to itself.
pub(crate) fn refuse_self_connection(socket: &SockRef<'_>) -> io::Result<()> {
    let local = socket.local_addr()?.as_socket();
    // A socket without a peer is not connected to itself: the peer has closed already.
    let peer = socket.peer_addr().ok().and_then(|addr| addr.as_socket());
    let is_same = |(local, peer): (SocketAddr, SocketAddr)| {
        local.port() == peer.port() && local.ip().to_canonical() == peer.ip().to_canonical()
    };
    if !local.zip(peer).is_some_and(is_same) {
        return Ok(());
    }
    // A reset leaves no TIME_WAIT, which would block the port for its server.
    let _ = socket.set_linger(Some(std::time::Duration::ZERO));
    Err(io::Error::from_raw_os_error(libc::ECONNREFUSED))
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, SockAddr, Socket, Type};

    use super::*;

    /// Creates a socket that is bound to a free port of this host and connected to the same port.
    fn connected_to_itself(host: &str, kind: Type) -> Socket {
        let any = SocketAddr::new(host.parse().unwrap(), 0);
        let socket = Socket::new(Domain::for_address(any), kind, None).unwrap();
        socket.bind(&SockAddr::from(any)).unwrap();
        let own = socket.local_addr().unwrap();
        socket.connect(&own).unwrap();
        socket
    }

    #[test]
    fn a_socket_that_is_connected_to_itself_is_refused() {
        for host in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            for kind in [Type::STREAM, Type::DGRAM] {
                let socket = connected_to_itself(host, kind);
                let error = refuse_self_connection(&SockRef::from(&socket)).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{host} {kind:?}");
            }
        }
    }

    #[test]
    fn a_socket_that_is_connected_to_another_is_not_refused() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        refuse_self_connection(&SockRef::from(&stream)).unwrap();
        // The peer has the same port at another address.
        let near = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = near.local_addr().unwrap().port();
        near.connect(("127.0.0.2", port)).unwrap();
        refuse_self_connection(&SockRef::from(&near)).unwrap();
    }
}

//! A datagram socket that another process has created and keeps.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{SockRef, Socket};

use super::{Datagram, Inner, enlarge_send_buf};
use crate::endpoint::{Endpoint, Transport};
use crate::error::Error;
use crate::socket::{SocketOptions, inherited, sys};

impl Datagram {
    /// Takes over a bound datagram socket, UDP or Unix, that another process has created, such as a
    /// service manager (sd_listen_fds(3)). Makes it non-blocking and close-on-exec, and applies the
    /// settings that still can be set. Never removes its file. As for [`Datagram::udp`], the kernel
    /// reports the destination address of each datagram; for a dual-stack socket it does so for
    /// both IP versions.
    ///
    /// The other process keeps the socket, so datagrams are queued there after this one is closed.
    /// The kernel then splits trains again.
    ///
    /// # Errors
    ///
    /// If the descriptor is no such socket, the error names the descriptor and what it is. If the
    /// system refuses a setting, the error names the setting.
    pub fn from_fd(fd: OwnedFd, options: &SocketOptions) -> Result<Datagram, Error> {
        let (socket, transport) = inherited::take_over(fd)?;
        options.apply_bufs(&socket)?;
        inherited::apply_packets(options, &socket)?;
        let inner = match transport {
            Transport::Udp => {
                let addr = socket.local_addr().ok().and_then(|addr| addr.as_socket());
                let enabled = addr.map_or(Ok(()), |addr| enable_all(&socket, addr));
                enabled.map_err(|error| {
                    Error::new(
                        "prepare",
                        inherited::endpoint(transport, &SockRef::from(&socket)),
                        error,
                    )
                })?;
                Inner::Udp(socket.into())
            }
            Transport::Unixgram => {
                if options.send_buf_bytes.is_none() {
                    enlarge_send_buf(&socket);
                }
                Inner::Unix(socket.into())
            }
            Transport::Tcp | Transport::Unix => {
                return Err(inherited::unsuitable(&socket, "it is a stream socket"));
            }
        };
        let mut datagram = Datagram::new(inner, None)?;
        datagram.is_shared = true;
        Ok(datagram)
    }

    /// Returns the endpoint that the socket is bound to, with the port that the system picked.
    pub fn endpoint(&self) -> Endpoint {
        inherited::endpoint(self.transport(), &self.socket())
    }
}

/// Does the same as `sys::enable_destination_and_overflow` for a socket that may be dual-stack.
/// IPv4 datagrams then come with the control message of IPv4, which names the source address for
/// the reply even if it differs from the destination of the request, as for a broadcast.
fn enable_all(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    // A socket bound to an IPv4-mapped address receives only IPv4.
    let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
    sys::enable_destination_and_overflow(socket.as_fd(), addr)?;
    if inherited::is_dual_stack(socket, addr) {
        let every_ipv4 = SocketAddr::from(([0; 4], addr.port()));
        sys::enable_destination_and_overflow(socket.as_fd(), every_ipv4)?;
    }
    Ok(())
}

impl Drop for Datagram {
    fn drop(&mut self) {
        // The next user of the socket may not expect trains. It would read each as one datagram.
        if self.is_shared {
            let _ = self.receive_trains(false);
        }
    }
}

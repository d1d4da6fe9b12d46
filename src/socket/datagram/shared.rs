//! A datagram socket that somebody else has made, and has as well.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{SockRef, Socket};

use super::{Datagram, Inner, enlarge_send_buf};
use crate::endpoint::{Endpoint, Transport};
use crate::error::Error;
use crate::socket::{SocketOptions, inherited, sys};

impl Datagram {
    /// Takes over a bound datagram socket, UDP or Unix, that somebody else has made, such as a
    /// service manager (sd_listen_fds(3)). It is made non-blocking and close-on-exec, and gets the
    /// settings that can be set now; its file is never removed. What [`Datagram::udp`] has noted
    /// with each datagram is noted here as well, for both families where it takes both.
    ///
    /// Whoever else has the socket keeps it: datagrams are queued there when this one is closed.
    /// Trains it then finds taken apart, as at first.
    ///
    /// # Errors
    ///
    /// Names the descriptor and what it is, when it is no such socket, and the setting that the
    /// system refuses.
    pub fn from_fd(fd: OwnedFd, options: &SocketOptions) -> Result<Datagram, Error> {
        let (socket, transport) = inherited::take_over(fd)?;
        options.apply_bufs(&socket)?;
        let inner = match transport {
            Transport::Udp => {
                let addr = socket.local_addr().ok().and_then(|addr| addr.as_socket());
                let noted = addr.map_or(Ok(()), |addr| note_all(&socket, addr));
                noted.map_err(|error| {
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
                return Err(inherited::misplaced(&socket, "it is a stream socket"));
            }
        };
        let mut datagram = Datagram::new(inner, None)?;
        datagram.is_shared = true;
        Ok(datagram)
    }

    /// Where it is bound, with the port the system picked.
    pub fn endpoint(&self) -> Endpoint {
        inherited::endpoint(self.transport(), &self.socket())
    }
}

/// Does the same as `sys::note_destination_and_overflow` for a socket that may be dual-stack. IPv4
/// datagrams then come with the control message of IPv4, which names the source address for the
/// reply even if it differs from the destination of the request, as for a broadcast.
fn note_all(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    // At an IPv4 address inside an IPv6 one it takes IPv4 alone.
    let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
    sys::note_destination_and_overflow(socket.as_fd(), addr)?;
    if inherited::is_dual_stack(socket, addr) {
        let every_ipv4 = SocketAddr::from(([0; 4], addr.port()));
        sys::note_destination_and_overflow(socket.as_fd(), every_ipv4)?;
    }
    Ok(())
}

impl Drop for Datagram {
    fn drop(&mut self) {
        // Whoever has it next may know nothing of trains, which would come as one datagram each.
        if self.is_shared {
            let _ = self.receive_trains(false);
        }
    }
}

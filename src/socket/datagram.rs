//! A datagram socket, UDP or Unix: opened here, read and written in [batches](super::batch).

mod client;
mod shared;

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

use socket2::{SockAddr, SockRef, Socket, Type};

use super::SEND_FLAGS;
use super::batch::{SendBuf, SendBufUse};
use super::hints;
use super::inherited;
use super::path::{self, BoundPath};
use super::sys;
use super::{Peer, SocketOptions};
use crate::endpoint::{Transport, UnixName};
use crate::error::Error;

/// The send buffer asked for on a Unix datagram socket that was given no size. What a receiver has
/// not read yet is charged to its *sender's* buffer, so with the usual 208 KiB a single deaf
/// receiver of large datagrams would hold up all others. Without privilege the system grants no
/// more than `net.core.wmem_max`.
const UNIX_SEND_BUF_BYTES: usize = 16 << 20;

/// What a UDP datagram carries, whose length has 16 bits: over IPv4 less both headers, over IPv6
/// less that of UDP (RFC 768, RFC 8200 4.5).
const UDP_BYTES_MAX_IPV4: usize = 65_507;
const UDP_BYTES_MAX_IPV6: usize = 65_527;

/// What Linux keeps back of a Unix datagram socket's send buffer (`unix_dgram_sendmsg`).
const UNIX_OVERHEAD_BYTES: usize = 32;

/// A bound, non-blocking datagram socket.
#[derive(Debug)]
pub struct Datagram {
    /// The socket file, if it is ours. Dropped, and so removed, before its socket is closed.
    _path: Option<BoundPath>,
    inner: Inner,
    /// Somebody else has it as well, and may use it when this process does not.
    is_shared: bool,
    /// What the system granted, in its own count, which includes its overhead.
    send_buf_bytes: usize,
}

#[derive(Debug)]
enum Inner {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Datagram {
    /// Binds a UDP address. Port 0 lets the system pick one.
    ///
    /// On Linux, a socket bound to every interface notes for each datagram which of the host's
    /// addresses was asked, so that the answer leaves from there: a client with a connected socket
    /// takes no answer from elsewhere.
    ///
    /// # Errors
    ///
    /// Names the address and the reason. A port that another socket has is always an error, but
    /// for sockets that both [share](super::PortUse) it: `SO_REUSEADDR` is never set.
    pub fn udp(addr: SocketAddr, options: &SocketOptions) -> Result<Datagram, Error> {
        let socket = options.ip_socket(addr, Type::DGRAM)?;
        socket
            .bind(&SockAddr::from(addr))
            .and_then(|()| options.open_port(&socket))
            .map_err(|error| bind_error(Transport::Udp, addr, error))?;
        sys::note_destination_and_overflow(socket.as_fd(), addr)
            .map_err(|error| Error::new("prepare", format!("udp://{addr}"), error))?;
        Datagram::new(Inner::Udp(socket.into()), None)
    }

    /// Binds a Unix datagram name. A stale socket file is taken over.
    ///
    /// # Errors
    ///
    /// As [`Listener::unix`](super::Listener::unix).
    pub fn unix(name: &UnixName, options: &SocketOptions) -> Result<Datagram, Error> {
        let socket = options.unix_socket(Type::DGRAM)?;
        if options.send_buf_bytes.is_none() {
            enlarge_send_buf(&socket);
        }
        let path = path::bind(&socket, name, Transport::Unixgram, options.unix_mode)?;
        Datagram::new(Inner::Unix(socket.into()), path)
    }

    fn new(inner: Inner, path: Option<BoundPath>) -> Result<Datagram, Error> {
        let mut datagram = Datagram { _path: path, inner, is_shared: false, send_buf_bytes: 0 };
        let size = datagram.socket().send_buffer_size();
        datagram.send_buf_bytes =
            size.map_err(|error| Error::new("ask the send buffer's size of", &datagram, error))?;
        Ok(datagram)
    }

    /// How many datagrams or trains it has lost for want of receive buffer since it was made, by
    /// the system's count, which wraps. A [batch](super::batch) is told it only beside a later
    /// datagram.
    pub fn lost(&self) -> Option<u32> {
        sys::lost_datagrams(self.as_fd()).ok()
    }

    /// How its datagrams travel.
    pub fn transport(&self) -> Transport {
        match &self.inner {
            Inner::Udp(_) => Transport::Udp,
            Inner::Unix(_) => Transport::Unixgram,
        }
    }

    /// The longest datagram that can be sent, in bytes: what UDP carries over the IP of the bound
    /// address, or what the send buffer of a Unix socket takes.
    pub fn datagram_bytes_max(&self) -> usize {
        match &self.inner {
            Inner::Udp(socket) => match socket.local_addr() {
                Ok(SocketAddr::V6(addr))
                    if !inherited::is_dual_stack(&self.socket(), addr.into()) =>
                {
                    UDP_BYTES_MAX_IPV6
                }
                _ => UDP_BYTES_MAX_IPV4,
            },
            Inner::Unix(_) => self.send_buf_bytes.saturating_sub(UNIX_OVERHEAD_BYTES),
        }
    }

    /// The bound address, with the port the system picked; `None` for Unix.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.inner {
            Inner::Udp(socket) => socket.local_addr().ok(),
            Inner::Unix(_) => None,
        }
    }

    /// The name that a Unix socket is bound to, as its peers are told it; `None` for UDP.
    pub(crate) fn unix_name(&self) -> Option<Box<[u8]>> {
        let Inner::Unix(_) = self.inner else { return None };
        self.socket().local_addr().ok().map(|addr| sys::unix_name(&addr).into())
    }

    /// What the system granted of the settings, as names and values.
    pub fn granted(&self, options: &SocketOptions) -> Vec<(&'static str, String)> {
        options.granted(&self.socket())
    }

    /// Receives one datagram into `buf`; what does not fit is cut off.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when none is queued, and all of recvfrom(2).
    pub fn receive_from(&self, buf: &mut [u8]) -> io::Result<(usize, SockAddr)> {
        match &self.inner {
            Inner::Udp(socket) => {
                socket.recv_from(buf).map(|(length, addr)| (length, SockAddr::from(addr)))
            }
            Inner::Unix(socket) => {
                let (length, addr) = socket.recv_from(buf)?;
                Ok((length, unix_address(&addr)?))
            }
        }
    }

    /// Sends one datagram.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is no room, here or (Unix) at the receiver, and all of sendto(2).
    pub fn send_to(&self, bytes: &[u8], peer: &SockAddr) -> io::Result<()> {
        self.socket().send_to_with_flags(bytes, peer, SEND_FLAGS).map(|_| ())
    }

    /// Receives one datagram of the peer that it is connected to; what does not fit is cut off.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when none is queued, and all of recv(2).
    pub fn receive(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.inner {
            Inner::Udp(socket) => socket.recv(buf),
            Inner::Unix(socket) => socket.recv(buf),
        }
    }

    /// Sends one datagram to the peer that it is connected to.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is no room, here or (Unix) at the receiver, and all of send(2). A
    /// refusal may be that of an earlier datagram; this one was not sent.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket().send_with_flags(bytes, SEND_FLAGS).map(|_| ())
    }

    /// Whether [`Datagram::receive_train`], and batches, are to find trains whole (`UDP_GRO`,
    /// udp(7)), or taken apart by the kernel, as at first. To be told before anything comes: a
    /// train that is queued when this is switched off comes whole, as if it were one datagram.
    ///
    /// # Errors
    ///
    /// `Unsupported` for Unix sockets and on systems other than Linux, and all of setsockopt(2).
    pub fn receive_trains(&self, is_on: bool) -> io::Result<()> {
        let Inner::Udp(_) = self.inner else { return Err(io::ErrorKind::Unsupported.into()) };
        sys::receive_trains(self.as_fd(), is_on)
    }

    /// Sends a train to the peer that it is connected to: the bytes as datagrams of
    /// `segment_bytes`, the last of which may be shorter, by one call (`UDP_SEGMENT`, udp(7)).
    /// All of it is sent, or nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Datagram::send`], `EINVAL` for more than 64 datagrams (128 on later kernels) or
    /// for datagrams longer than the path takes unfragmented, `EMSGSIZE` for a train longer than
    /// 65,507 bytes, `EIO` where the device cannot make checksums, `Unsupported` on systems other
    /// than Linux.
    pub fn send_train(&self, bytes: &[u8], segment_bytes: u16) -> io::Result<()> {
        sys::send_message(self.as_fd(), None, None, bytes, Some(segment_bytes))
    }

    /// Receives a datagram or a train of the peer that it is connected to into `buf`, and returns
    /// its length and that of each of its datagrams but the last, which may be shorter. What does
    /// not fit is cut off: a train may have 65,527 bytes.
    ///
    /// # Errors
    ///
    /// Those of [`Datagram::receive`].
    pub fn receive_train(&self, buf: &mut [u8]) -> io::Result<(usize, usize)> {
        sys::receive_train(self.as_fd(), buf)
    }

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}

/// Best effort, beyond the system's limit where there is the right to, else up to it.
fn enlarge_send_buf(socket: &Socket) {
    if sys::force_send_buf(socket.as_fd(), UNIX_SEND_BUF_BYTES).is_err() {
        let _ = socket.set_send_buffer_size(UNIX_SEND_BUF_BYTES);
    }
}

/// std's form of a Unix address in socket2's.
fn unix_address(addr: &std::os::unix::net::SocketAddr) -> io::Result<SockAddr> {
    if let Some(path) = addr.as_pathname() {
        return SockAddr::unix(path);
    }
    if let Some(name) = sys::abstract_name(addr) {
        return SockAddr::unix(OsStr::from_bytes(&[&[0], name].concat()));
    }
    SockAddr::unix("")
}

/// Why an IP address could not be bound, with what to do about it.
pub(super) fn bind_error(transport: Transport, addr: SocketAddr, error: io::Error) -> Error {
    let kind = error.kind();
    let error = Error::new("bind", format!("{}://{addr}", transport.name()), error);
    match kind {
        io::ErrorKind::AddrInUse => error.hint(hints::port_in_use(transport, addr.port())),
        io::ErrorKind::AddrNotAvailable => error.hint(hints::not_own(addr)),
        io::ErrorKind::PermissionDenied if addr.port() < 1024 => {
            error.hint("ports below 1024 need CAP_NET_BIND_SERVICE")
        }
        // Our IPv6 sockets take IPv6 only.
        _ if matches!(addr.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) => {
            error.hint("write an IPv4 address as such, not inside an IPv6 one")
        }
        _ => error,
    }
}

impl SendBuf for Datagram {
    fn send_buf_use(&self) -> Option<SendBufUse> {
        let Inner::Unix(_) = self.inner else { return None };
        let used_bytes = sys::unsent_bytes(self.as_fd()).ok()?;
        Some(SendBufUse { used_bytes, size_bytes: self.send_buf_bytes })
    }
}

impl AsFd for Datagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.inner {
            Inner::Udp(socket) => socket.as_fd(),
            Inner::Unix(socket) => socket.as_fd(),
        }
    }
}

impl fmt::Display for Datagram {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.transport().name();
        match self.socket().local_addr() {
            Ok(addr) => write!(formatter, "{name} {}", Peer::from(&addr)),
            Err(_) => formatter.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests;

//! A datagram socket, UDP or Unix. [Batches](super::batch) receive and send on it.

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

/// The size of send buffer that a Unix datagram socket requests if the options name none. The
/// kernel charges datagrams that a receiver has not read to the *sender's* buffer. With the usual
/// 208 KiB, a single deaf receiver of large datagrams would therefore block all others. Without
/// privileges the system grants at most `net.core.wmem_max`.
const UNIX_SEND_BUF_BYTES: usize = 16 << 20;

/// The maximum payload of a UDP datagram, whose length field has 16 bits. Over IPv4 the length
/// includes both headers, over IPv6 only the UDP header (RFC 768, RFC 8200 4.5).
const UDP_BYTES_MAX_IPV4: usize = 65_507;
const UDP_BYTES_MAX_IPV6: usize = 65_527;

/// The part of a Unix datagram socket's send buffer that Linux reserves (`unix_dgram_sendmsg`).
const UNIX_OVERHEAD_BYTES: usize = 32;

/// A bound, non-blocking datagram socket.
#[derive(Debug)]
pub struct Datagram {
    /// The socket file if this process created it. The field order drops it, which removes the
    /// file, before the socket closes.
    _path: Option<BoundPath>,
    inner: Inner,
    /// True if another process has the socket too and may use it after this process.
    is_shared: bool,
    /// The size of the send buffer as the system counts it, including the system's overhead.
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
    /// On Linux, the kernel reports to a socket bound to every interface the destination address of
    /// each datagram. The reply then leaves from that address, because a client with a connected
    /// socket accepts no reply from another one.
    ///
    /// # Errors
    ///
    /// The error names the address and the reason. It is always an error if another socket has the
    /// port, because `SO_REUSEADDR` is never set, unless both sockets [share](super::PortUse) it.
    pub fn udp(addr: SocketAddr, options: &SocketOptions) -> Result<Datagram, Error> {
        let socket = options.ip_socket(addr, Type::DGRAM)?;
        socket
            .bind(&SockAddr::from(addr))
            .and_then(|()| options.open_port(&socket))
            .map_err(|error| bind_error(Transport::Udp, addr, error))?;
        sys::enable_destination_and_overflow(socket.as_fd(), addr)
            .map_err(|error| Error::new("prepare", format!("udp://{addr}"), error))?;
        Datagram::new(Inner::Udp(socket.into()), None)
    }

    /// Binds a Unix datagram name. Replaces a stale socket file.
    ///
    /// # Errors
    ///
    /// The same as those of [`Listener::unix`](super::Listener::unix).
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
            size.map_err(|error| Error::new("get the send buffer size of", &datagram, error))?;
        Ok(datagram)
    }

    /// Returns how many datagrams or trains the system has dropped since the socket's creation
    /// because the receive buffer was full. The count wraps. To a [batch](super::batch), the system
    /// reports it only with a later datagram.
    pub fn lost(&self) -> Option<u32> {
        sys::lost_datagrams(self.as_fd()).ok()
    }

    /// Returns the transport of the datagrams.
    pub fn transport(&self) -> Transport {
        match &self.inner {
            Inner::Udp(_) => Transport::Udp,
            Inner::Unix(_) => Transport::Unixgram,
        }
    }

    /// Returns the length in bytes of the longest datagram that can be sent: what UDP carries over
    /// the IP version of the bound address, or what fits into the send buffer of a Unix socket.
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

    /// Returns the bound address with the port that the system picked, or `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.inner {
            Inner::Udp(socket) => socket.local_addr().ok(),
            Inner::Unix(_) => None,
        }
    }

    /// Returns the name that a Unix socket is bound to, in the bytes that its peers receive, or
    /// `None` for UDP.
    pub(crate) fn unix_name(&self) -> Option<Box<[u8]>> {
        let Inner::Unix(_) = self.inner else { return None };
        self.socket().local_addr().ok().map(|addr| sys::unix_name(&addr).into())
    }

    /// Returns the settings as the system granted them, as names and values.
    pub fn granted(&self, options: &SocketOptions) -> Vec<(&'static str, String)> {
        options.granted(&self.socket())
    }

    /// Receives one datagram into `buf`. Bytes that do not fit are lost.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if no datagram is queued, and all errors of recvfrom(2).
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
    /// `WouldBlock` if the send buffer or (Unix) the receiver's queue is full, and all errors of
    /// sendto(2).
    pub fn send_to(&self, bytes: &[u8], peer: &SockAddr) -> io::Result<()> {
        self.socket().send_to_with_flags(bytes, peer, SEND_FLAGS).map(|_| ())
    }

    /// Receives one datagram from the connected peer. Bytes that do not fit are lost.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if no datagram is queued, and all errors of recv(2).
    pub fn receive(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.inner {
            Inner::Udp(socket) => socket.recv(buf),
            Inner::Unix(socket) => socket.recv(buf),
        }
    }

    /// Sends one datagram to the connected peer.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the send buffer or (Unix) the receiver's queue is full, and all errors of
    /// send(2). `ConnectionRefused` may concern an earlier datagram. This one is not sent then.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket().send_with_flags(bytes, SEND_FLAGS).map(|_| ())
    }

    /// Sets whether the kernel delivers trains whole (`UDP_GRO`, udp(7)) to
    /// [`Datagram::receive_train`] and to batches. By default it splits them into datagrams. Call
    /// this before the first datagram arrives: a train that is queued when `is_on` becomes false is
    /// delivered as if it were one datagram.
    ///
    /// # Errors
    ///
    /// `Unsupported` for Unix sockets and on systems other than Linux, and all errors of
    /// setsockopt(2).
    pub fn receive_trains(&self, is_on: bool) -> io::Result<()> {
        let Inner::Udp(_) = self.inner else { return Err(io::ErrorKind::Unsupported.into()) };
        sys::receive_trains(self.as_fd(), is_on)
    }

    /// Sends a train to the connected peer with one call (`UDP_SEGMENT`, udp(7)). Each datagram has
    /// `segment_bytes`; the last one may be shorter. The call sends all of them or none.
    ///
    /// # Errors
    ///
    /// All errors of [`Datagram::send`]. `EINVAL` for more than 64 datagrams (128 on later kernels)
    /// or for datagrams that the path would fragment. `EMSGSIZE` for a train longer than 65,507
    /// bytes. `EIO` if the device cannot compute checksums. `Unsupported` on systems other than
    /// Linux.
    pub fn send_train(&self, bytes: &[u8], segment_bytes: u16) -> io::Result<()> {
        sys::send_message(self.as_fd(), None, None, bytes, Some(segment_bytes))
    }

    /// Receives a datagram or a train from the connected peer into `buf`. Returns its length, and
    /// the length of each of its datagrams but the last, which may be shorter. Bytes that do not
    /// fit are lost. A train has up to 65,527 bytes.
    ///
    /// # Errors
    ///
    /// All errors of [`Datagram::receive`].
    pub fn receive_train(&self, buf: &mut [u8]) -> io::Result<(usize, usize)> {
        sys::receive_train(self.as_fd(), buf)
    }

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}

/// Enlarges the send buffer: beyond the system's limit if this process may exceed it, up to the
/// limit otherwise. Ignores errors.
fn enlarge_send_buf(socket: &Socket) {
    if sys::force_send_buf(socket.as_fd(), UNIX_SEND_BUF_BYTES).is_err() {
        let _ = socket.set_send_buffer_size(UNIX_SEND_BUF_BYTES);
    }
}

/// Converts a Unix address of std to one of socket2.
fn unix_address(addr: &std::os::unix::net::SocketAddr) -> io::Result<SockAddr> {
    if let Some(path) = addr.as_pathname() {
        return SockAddr::unix(path);
    }
    if let Some(name) = sys::abstract_name(addr) {
        return SockAddr::unix(OsStr::from_bytes(&[&[0], name].concat()));
    }
    SockAddr::unix("")
}

/// Returns the error of a failed bind to an IP address, with a hint at its remedy.
pub(super) fn bind_error(transport: Transport, addr: SocketAddr, error: io::Error) -> Error {
    let kind = error.kind();
    let error = Error::new("bind", format!("{}://{addr}", transport.name()), error);
    match kind {
        io::ErrorKind::AddrInUse => error.hint(hints::port_in_use(transport, addr.port())),
        io::ErrorKind::AddrNotAvailable => error.hint(hints::not_local(addr)),
        io::ErrorKind::PermissionDenied if addr.port() < 1024 => {
            error.hint("ports below 1024 need CAP_NET_BIND_SERVICE")
        }
        // The sockets of this crate set IPV6_V6ONLY, so they cannot have such an address.
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

//! A connected stream, TCP or Unix.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use socket2::SockRef;

use super::connect::{connect, refuse_self_connection};
use super::{Peer, SocketOptions, TcpInfo, sys};
use crate::endpoint::{ResolvedEndpoint, Transport};
use crate::error::Error;

/// A connected, non-blocking stream.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Begins to connect and does not wait. The stream becomes writable when the connect has
    /// succeeded or failed. [`Stream::connected`] returns which.
    ///
    /// # Errors
    ///
    /// The errors that connect(2) returns at once: a refusal, no ephemeral port, no route, no
    /// descriptor. `WouldBlock` if the backlog of a Unix listener is full. The connect has not
    /// begun then, and no event reports when there is room. `InvalidInput` for a datagram endpoint.
    pub fn connect(target: &ResolvedEndpoint, options: &SocketOptions) -> Result<Stream, Error> {
        if !target.transport().is_stream() {
            let error = io::ErrorKind::InvalidInput;
            return Err(Error::new("connect a stream to", target, error));
        }
        let socket = options.client(target)?;
        match connect(&SockRef::from(&socket), target) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                Err(Error::new("connect to", target, error))
            }
            _ if target.transport() == Transport::Tcp => {
                Ok(Stream::Tcp(TcpStream::from_std(socket.into())))
            }
            _ => Ok(Stream::Unix(UnixStream::from_std(socket.into()))),
        }
    }

    /// Returns true if a stream of [`Stream::connect`] is connected, and false if it still
    /// connects.
    ///
    /// # Errors
    ///
    /// The reason that the connect has failed. If nothing listens on the port and the kernel has
    /// connected a TCP socket to itself, that reason is a refusal.
    pub fn connected(&self) -> io::Result<bool> {
        if let Some(error) = self.socket().take_error()? {
            return Err(error);
        }
        match self.socket().peer_addr() {
            Ok(_) => match self {
                Stream::Tcp(_) => refuse_self_connection(&self.socket()).map(|()| true),
                Stream::Unix(_) => Ok(true),
            },
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the transport of the stream.
    pub fn transport(&self) -> Transport {
        match self {
            Stream::Tcp(_) => Transport::Tcp,
            Stream::Unix(_) => Transport::Unix,
        }
    }

    /// Returns the names of the system calls that a read and a write make.
    pub(crate) fn call_names(&self) -> (&'static str, &'static str) {
        match self {
            Stream::Tcp(_) => ("recvfrom", "sendto"),
            Stream::Unix(_) => ("recvmsg", "sendto"),
        }
    }

    /// Returns the address of the peer, or [`Peer::Unnamed`] if the peer has closed.
    pub fn peer(&self) -> Peer {
        self.socket().peer_addr().map_or(Peer::Unnamed, |addr| Peer::from(&addr))
    }

    /// Sends FIN. The peer reads the end of the stream, and may still send.
    ///
    /// # Errors
    ///
    /// If the connection has ended.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.socket().shutdown(Shutdown::Write)
    }

    /// Returns how many sent bytes the peer has not taken, as the system counts: over TCP those
    /// that the peer's system has not acknowledged, over Unix sockets those that the peer has not
    /// read. `None` if the system does not report it.
    pub fn untaken_bytes(&self) -> Option<usize> {
        sys::unsent_bytes(self.as_fd()).ok()
    }

    /// Returns the kernel's figures of a TCP connection. `None` for a Unix stream, and if the
    /// kernel does not have them all: Linux before 4.19, and other systems.
    pub fn tcp_info(&self) -> Option<TcpInfo> {
        match self {
            Stream::Tcp(_) => sys::tcp_info(self.as_fd()).ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Returns the name of the congestion control of a TCP connection, if the system tells.
    pub fn congestion(&self) -> Option<String> {
        match self {
            Stream::Tcp(_) => sys::congestion(&self.socket()),
            Stream::Unix(_) => None,
        }
    }

    /// Returns the state of the sent bytes, or `None` if the system does not report it.
    pub(crate) fn send_queue(&self) -> Option<SendQueue> {
        let bytes = self.untaken_bytes()?;
        if bytes == 0 {
            return Some(SendQueue::Empty);
        }
        let acked = match self {
            // Linux before 4.1 does not count acknowledged bytes.
            Stream::Tcp(_) => sys::acked_bytes(self.as_fd()).ok(),
            Stream::Unix(_) => None,
        };
        Some(acked.map_or(SendQueue::Holds(bytes), SendQueue::HasTaken))
    }

    /// Makes the system discard the bytes that the peer has not taken when this stream closes, and
    /// send a reset. Otherwise the system would keep offering megabytes for minutes to a peer that
    /// does not take them.
    pub(crate) fn reset_at_close(&self) {
        // An error only means that the system keeps the bytes longer.
        let _ = self.socket().set_linger(Some(Duration::ZERO));
    }

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}

/// The state of a stream's sent bytes: those in the send buffer, and those that the peer has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendQueue {
    /// The peer has taken all sent bytes.
    Empty,
    /// Bytes are left. The peer's system has acknowledged this many since the connection began.
    HasTaken(u64),
    /// Bytes are left. They occupy this many bytes of the send buffer.
    Holds(usize),
}

/// A stream whose input can be read without removing it.
pub(crate) trait Peek {
    /// True if the system supports it. Otherwise a peek fails.
    const CAN_PEEK: bool;

    /// Reads bytes that the next read returns again. The result may be short although more bytes
    /// have arrived.
    ///
    /// # Errors
    ///
    /// The errors of a read.
    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize>;
}

impl Peek for Stream {
    const CAN_PEEK: bool = sys::CAN_PEEK;

    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        sys::peek_bytes(self.as_fd(), buf)
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => sys::receive_bytes(stream.as_fd(), buf),
            Stream::Unix(stream) => read_unix(stream, buf),
        }
    }
}

/// Reads from a Unix stream, and continues after descriptors that the peer has passed
/// (`SCM_RIGHTS`), which the kernel discards. Linux ends a read after them although more bytes are
/// queued, so a short read would not mean an empty socket. A read without descriptors is one call.
fn read_unix(stream: &UnixStream, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        match sys::receive_unix(stream.as_fd(), &mut buf[filled..]) {
            Ok((count, had_descriptors)) => {
                filled += count;
                if !had_descriptors || count == 0 || filled == buf.len() {
                    return Ok(filled);
                }
            }
            // Any error but WouldBlock repeats on the next read, so dropping it here is safe.
            Err(_) if filled > 0 => return Ok(filled),
            Err(error) => return Err(error),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        sys::send_bytes(self.as_fd(), buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests;

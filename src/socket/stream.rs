//! A connected stream, TCP or Unix.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use socket2::{SockRef, Type};

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
    /// Begins to connect, and does not wait: the stream becomes writable when it is connected or
    /// has failed to, and [`Stream::connected`] tells which.
    ///
    /// # Errors
    ///
    /// What connect(2) reports at once: a refusal, no ephemeral port, no route, no descriptor. A
    /// Unix listener whose backlog is full gives `WouldBlock`: nothing has begun, and no event
    /// tells when there is room. `InvalidInput` for an endpoint of datagrams.
    pub fn connect(target: &ResolvedEndpoint, options: &SocketOptions) -> Result<Stream, Error> {
        let socket = match target {
            ResolvedEndpoint::Tcp(addr) => options.client_socket(*addr, Type::STREAM)?,
            ResolvedEndpoint::Unix(_) => options.unix_socket(Type::STREAM)?,
            ResolvedEndpoint::Udp(_) | ResolvedEndpoint::Unixgram(_) => {
                let error = io::ErrorKind::InvalidInput;
                return Err(Error::new("connect a stream to", target, error));
            }
        };
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

    /// Whether a stream that was made by [`Stream::connect`] is connected by now.
    ///
    /// # Errors
    ///
    /// Why it never will be. A TCP socket that the kernel has connected to itself, because nothing
    /// listens on the port, is refused.
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

    /// How its bytes travel.
    pub fn transport(&self) -> Transport {
        match self {
            Stream::Tcp(_) => Transport::Tcp,
            Stream::Unix(_) => Transport::Unix,
        }
    }

    /// Who is at the other end; [`Peer::Unnamed`] when the peer is gone.
    pub fn peer(&self) -> Peer {
        self.socket().peer_addr().map_or(Peer::Unnamed, |addr| Peer::from(&addr))
    }

    /// Sends FIN: the peer sees the end of the stream, and may still send.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.socket().shutdown(Shutdown::Write)
    }

    /// How many sent bytes the peer has yet to take, by the system's count: over TCP those its
    /// system has not acknowledged, over Unix sockets those that were not read. `None` where the
    /// system does not tell.
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

    /// What the socket holds of what was sent. `None` where the system does not tell.
    pub(crate) fn send_queue(&self) -> Option<SendQueue> {
        let bytes = self.untaken_bytes()?;
        if bytes == 0 {
            return Some(SendQueue::Empty);
        }
        let acked = match self {
            // Linux before 4.1 does not count them.
            Stream::Tcp(_) => sys::acked_bytes(self.as_fd()).ok(),
            Stream::Unix(_) => None,
        };
        Some(acked.map_or(SendQueue::Holds(bytes), SendQueue::HasTaken))
    }

    /// Has the system drop what it still holds of sent bytes when this stream is closed, and tell
    /// the peer by a reset. Otherwise it goes on offering megabytes for minutes to a peer that does
    /// not take them.
    pub(crate) fn reset_at_close(&self) {
        // A refusal changes nothing but how long the system keeps the bytes.
        let _ = self.socket().set_linger(Some(Duration::ZERO));
    }

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}

/// What a stream's socket holds of sent bytes, and what is known of those that the peer has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendQueue {
    /// The peer has taken all.
    Empty,
    /// Some are left, and the peer's system has acknowledged so many since the connection began.
    HasTaken(u64),
    /// Some are left, which occupy so many bytes of the buffer.
    Holds(usize),
}

/// A stream whose input can be seen without being taken.
pub(crate) trait Peek {
    /// Whether it can. If not, a peek fails.
    const CAN_PEEK: bool;

    /// As a read, except that the next read gives the same bytes again. It may be short although
    /// more is there.
    ///
    /// # Errors
    ///
    /// As of a read.
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

/// Reads on past descriptors that a peer has sent along (`SCM_RIGHTS`, thrown away here): Linux
/// ends a read behind them although more is queued, so that the read is short and yet has not
/// emptied the socket. An ordinary read is one call.
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

//! A connected stream, TCP or Unix.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};

use mio::net::{TcpStream, UnixStream};
use socket2::SockRef;

use super::Peer;
use crate::endpoint::Transport;

/// A peer that has closed answers a write with EPIPE, never with the SIGPIPE that ends a process
/// which has not switched it off (send(2)). Apple's systems have a socket option in its place,
/// which socket2 sets.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(crate) const SEND_FLAGS: libc::c_int = 0;

/// A connected, non-blocking stream.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Stream {
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

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buf),
            Stream::Unix(stream) => read_unix(stream, buf),
        }
    }
}

/// Reads on past descriptors that a peer has sent along (`SCM_RIGHTS`, thrown away here): Linux
/// ends a read behind them although more is queued, so that the read is short and yet has not
/// emptied the socket. An ordinary read is one call.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn read_unix(stream: &UnixStream, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        match super::sys::receive(stream.as_fd(), &mut buf[filled..]) {
            Ok((count, had_descriptors)) => {
                filled += count;
                if !had_descriptors || count == 0 || filled == buf.len() {
                    return Ok(filled);
                }
            }
            // An error that is no mere emptiness comes again with the next read, or as its end.
            Err(_) if filled > 0 => return Ok(filled),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn read_unix(mut stream: &UnixStream, buf: &mut [u8]) -> io::Result<usize> {
    stream.read(buf)
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket().send_with_flags(buf, SEND_FLAGS)
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

//! A listening socket, TCP or Unix.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mio::net::{TcpListener, UnixListener};
use socket2::{SockAddr, SockRef, Type};

use super::inherited;
use super::path::{self, BoundPath};
use super::{SocketOptions, Stream};
use crate::endpoint::{Endpoint, Transport, UnixName};
use crate::error::Error;

/// A non-blocking listener.
#[derive(Debug)]
pub struct Listener {
    /// The socket file, if it is ours. Dropped, and so removed, before its socket is closed.
    _path: Option<BoundPath>,
    inner: Inner,
    /// Somebody else has made it, with a backlog of his own.
    is_shared: bool,
}

#[derive(Debug)]
enum Inner {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds and listens on a TCP address. Port 0 lets the system pick one.
    ///
    /// Made by hand rather than by mio's `TcpListener::bind`, whose backlog is 128.
    ///
    /// # Errors
    ///
    /// Names the address and the reason: in use, not of this machine, not permitted.
    pub fn tcp(addr: SocketAddr, options: &SocketOptions) -> Result<Listener, Error> {
        let socket = options.ip_socket(addr, Type::STREAM)?;
        options.keepalive.apply(&socket)?;
        let bound = socket
            // A restarted server need not wait for TIME_WAIT; two living ones still collide.
            .set_reuse_address(true)
            .and_then(|()| socket.bind(&SockAddr::from(addr)))
            .and_then(|()| socket.listen(backlog_argument(options)))
            .and_then(|()| options.open_port(&socket));
        bound.map_err(|error| super::datagram::bind_error(Transport::Tcp, addr, error))?;
        let inner = Inner::Tcp(TcpListener::from_std(socket.into()));
        Ok(Listener { _path: None, inner, is_shared: false })
    }

    /// Binds and listens on a Unix stream name. A stale socket file is taken over.
    ///
    /// # Errors
    ///
    /// Names the path and the reason: another process listens there, it is not a socket, its
    /// folder is missing.
    pub fn unix(name: &UnixName, options: &SocketOptions) -> Result<Listener, Error> {
        let socket = options.unix_socket(Type::STREAM)?;
        let path = path::bind(&socket, name, Transport::Unix, options.unix_mode)?;
        let listening = socket.listen(backlog_argument(options));
        listening.map_err(|error| Error::new("listen on", format!("unix:{name}"), error))?;
        let inner = Inner::Unix(UnixListener::from_std(socket.into()));
        Ok(Listener { _path: path, inner, is_shared: false })
    }

    /// Takes over a listening socket, TCP or Unix, that somebody else has made, such as a service
    /// manager (sd_listen_fds(3)). It is made non-blocking and close-on-exec, and gets the settings
    /// that can be set now: not the backlog, nor the mode of its file, which is never removed.
    ///
    /// Whoever else has the socket keeps it: connections are queued there when this one is closed.
    ///
    /// ```
    /// use resound::socket::{Listener, SocketOptions};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let listener = Listener::from_fd(socket.into(), &SocketOptions::default())?;
    /// assert!(listener.endpoint().to_string().starts_with("tcp://127.0.0.1:"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Names the descriptor and what it is, when it is no such socket, and the setting that the
    /// system refuses.
    pub fn from_fd(fd: OwnedFd, options: &SocketOptions) -> Result<Listener, Error> {
        let (socket, transport) = inherited::take_over(fd)?;
        options.apply_bufs(&socket)?;
        let inner = match transport {
            Transport::Tcp => {
                options.apply_tcp(&socket)?;
                options.keepalive.apply(&socket)?;
                Inner::Tcp(TcpListener::from_std(socket.into()))
            }
            Transport::Unix => Inner::Unix(UnixListener::from_std(socket.into())),
            Transport::Udp | Transport::Unixgram => {
                return Err(inherited::misplaced(&socket, "it is a datagram socket"));
            }
        };
        Ok(Listener { _path: None, inner, is_shared: true })
    }

    /// Where it listens, with the port the system picked.
    pub fn endpoint(&self) -> Endpoint {
        inherited::endpoint(self.transport(), &SockRef::from(self))
    }

    /// Takes the next queued connection, non-blocking and close-on-exec, and the address of its
    /// peer, which over Unix sockets is `None`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when none is queued, and all of accept(2).
    pub fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.inner {
            Inner::Tcp(listener) => {
                listener.accept().map(|(stream, addr)| (Stream::Tcp(stream), Some(addr)))
            }
            Inner::Unix(listener) => {
                listener.accept().map(|(stream, _)| (Stream::Unix(stream), None))
            }
        }
    }

    /// The transport of what it accepts.
    pub fn transport(&self) -> Transport {
        match &self.inner {
            Inner::Tcp(_) => Transport::Tcp,
            Inner::Unix(_) => Transport::Unix,
        }
    }

    /// The bound address, with the port the system picked; `None` for Unix.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.inner {
            Inner::Tcp(listener) => listener.local_addr().ok(),
            Inner::Unix(_) => None,
        }
    }

    /// What the system granted of the settings, as names and values.
    pub fn granted(&self, options: &SocketOptions) -> Vec<(&'static str, String)> {
        let mut granted = options.granted(&SockRef::from(self));
        if !self.is_shared {
            granted.insert(0, ("backlog", options.backlog_granted().to_string()));
        }
        granted
    }
}

fn backlog_argument(options: &SocketOptions) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.inner {
            Inner::Tcp(listener) => listener.as_fd(),
            Inner::Unix(listener) => listener.as_fd(),
        }
    }
}

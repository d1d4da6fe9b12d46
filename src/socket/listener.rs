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
    /// The socket file if this process created it. The field order drops it, which removes the
    /// file, before the socket closes.
    _path: Option<BoundPath>,
    inner: Inner,
    /// True if another process has created the socket, and chosen its backlog.
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
    /// Does not use mio's `TcpListener::bind`, whose backlog is 128.
    ///
    /// # Errors
    ///
    /// The error names the address and the reason: in use, not of this machine, not permitted.
    pub fn tcp(addr: SocketAddr, options: &SocketOptions) -> Result<Listener, Error> {
        let socket = options.ip_socket(addr, Type::STREAM)?;
        options.keepalive.apply(&socket)?;
        let bound = socket
            // A restarted server need not wait for connections in TIME_WAIT. A bind still fails if
            // another server has the port.
            .set_reuse_address(true)
            .and_then(|()| socket.bind(&SockAddr::from(addr)))
            .and_then(|()| socket.listen(backlog_argument(options)))
            .and_then(|()| options.open_port(&socket));
        bound.map_err(|error| super::datagram::bind_error(Transport::Tcp, addr, error))?;
        let inner = Inner::Tcp(TcpListener::from_std(socket.into()));
        Ok(Listener { _path: None, inner, is_shared: false })
    }

    /// Binds and listens on a Unix stream name. Replaces a stale socket file.
    ///
    /// # Errors
    ///
    /// The error names the path and the reason: another process listens there, the path is not a
    /// socket, its folder is missing.
    pub fn unix(name: &UnixName, options: &SocketOptions) -> Result<Listener, Error> {
        let socket = options.unix_socket(Type::STREAM)?;
        let path = path::bind(&socket, name, Transport::Unix, options.unix_mode)?;
        let listening = socket.listen(backlog_argument(options));
        listening.map_err(|error| Error::new("listen on", format!("unix:{name}"), error))?;
        let inner = Inner::Unix(UnixListener::from_std(socket.into()));
        Ok(Listener { _path: path, inner, is_shared: false })
    }

    /// Takes over a listening socket, TCP or Unix, that another process has created, such as a
    /// service manager (sd_listen_fds(3)). Makes it non-blocking and close-on-exec, and applies the
    /// settings that still can be set. These do not include the backlog and the mode of its file.
    /// Never removes the file.
    ///
    /// The other process keeps the socket, so connections are queued there after this one is
    /// closed.
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
    /// If the descriptor is no such socket, the error names the descriptor and what it is. If the
    /// system refuses a setting, the error names the setting.
    pub fn from_fd(fd: OwnedFd, options: &SocketOptions) -> Result<Listener, Error> {
        let (socket, transport) = inherited::take_over(fd)?;
        options.apply_bufs(&socket)?;
        inherited::apply_packets(options, &socket)?;
        let inner = match transport {
            Transport::Tcp => {
                options.apply_tcp(&socket)?;
                options.keepalive.apply(&socket)?;
                Inner::Tcp(TcpListener::from_std(socket.into()))
            }
            Transport::Unix => Inner::Unix(UnixListener::from_std(socket.into())),
            Transport::Udp | Transport::Unixgram => {
                return Err(inherited::unsuitable(&socket, "it is a datagram socket"));
            }
        };
        Ok(Listener { _path: None, inner, is_shared: true })
    }

    /// Returns the endpoint that it listens on, with the port that the system picked.
    pub fn endpoint(&self) -> Endpoint {
        inherited::endpoint(self.transport(), &SockRef::from(self))
    }

    /// Accepts the next queued connection. Returns a non-blocking, close-on-exec stream and the
    /// address of its peer, which is `None` for a Unix stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if no connection is queued, and all errors of accept(2).
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

    /// Returns true if another process has created the socket. It may keep the socket when this one
    /// is closed.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Returns the transport of the accepted streams.
    pub fn transport(&self) -> Transport {
        match &self.inner {
            Inner::Tcp(_) => Transport::Tcp,
            Inner::Unix(_) => Transport::Unix,
        }
    }

    /// Returns the bound address with the port that the system picked, or `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.inner {
            Inner::Tcp(listener) => listener.local_addr().ok(),
            Inner::Unix(_) => None,
        }
    }

    /// Returns the settings as the system granted them, as names and values.
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

//! Where a client's socket is connected to.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use socket2::SockAddr;

use crate::endpoint::UnixName;

/// The address of a server: an endpoint whose host has been looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Of TCP or UDP.
    Ip(SocketAddr),
    /// Of a Unix socket.
    Unix(UnixName),
}

impl Target {
    /// In the form that the system takes.
    pub(super) fn sock_addr(&self) -> io::Result<SockAddr> {
        match self {
            Target::Ip(addr) => Ok(SockAddr::from(*addr)),
            Target::Unix(UnixName::Path(path)) => SockAddr::unix(path),
            Target::Unix(UnixName::Abstract(name)) => SockAddr::unix(format!("\0{name}")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Ip(addr) => addr.fmt(formatter),
            Target::Unix(name) => name.fmt(formatter),
        }
    }
}

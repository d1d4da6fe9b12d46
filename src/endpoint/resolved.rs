//! Resolved endpoints: endpoints after the look-up of the host, to which a socket can connect.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockAddr;

use super::{Endpoint, Family, HostPort, Transport, UnixName};

/// One address of an endpoint. A host name may have several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ResolvedEndpoint {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A UDP address.
    Udp(SocketAddr),
    /// The name of a Unix stream socket.
    Unix(UnixName),
    /// The name of a Unix datagram socket.
    Unixgram(UnixName),
}

impl ResolvedEndpoint {
    /// Returns the transport of this endpoint.
    pub fn transport(&self) -> Transport {
        match self {
            ResolvedEndpoint::Tcp(_) => Transport::Tcp,
            ResolvedEndpoint::Udp(_) => Transport::Udp,
            ResolvedEndpoint::Unix(_) => Transport::Unix,
            ResolvedEndpoint::Unixgram(_) => Transport::Unixgram,
        }
    }

    /// Returns the IP address and the port, if the transport has them.
    pub fn ip_addr(&self) -> Option<SocketAddr> {
        match self {
            ResolvedEndpoint::Tcp(addr) | ResolvedEndpoint::Udp(addr) => Some(*addr),
            ResolvedEndpoint::Unix(_) | ResolvedEndpoint::Unixgram(_) => None,
        }
    }

    /// Converts to the socket address that system calls take.
    pub(crate) fn sock_addr(&self) -> io::Result<SockAddr> {
        match self {
            ResolvedEndpoint::Tcp(addr) | ResolvedEndpoint::Udp(addr) => Ok(SockAddr::from(*addr)),
            ResolvedEndpoint::Unix(name) | ResolvedEndpoint::Unixgram(name) => name.sock_addr(),
        }
    }
}

/// Formats the address in the text form of an [`Endpoint`].
impl fmt::Display for ResolvedEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.transport().name();
        match self {
            ResolvedEndpoint::Tcp(addr) | ResolvedEndpoint::Udp(addr) => {
                write!(formatter, "{scheme}://{addr}")
            }
            ResolvedEndpoint::Unix(name) | ResolvedEndpoint::Unixgram(name) => {
                write!(formatter, "{scheme}:{name}")
            }
        }
    }
}

impl UnixName {
    /// Converts to the socket address that system calls take. An abstract name begins with a zero
    /// byte (unix(7)).
    pub(crate) fn sock_addr(&self) -> io::Result<SockAddr> {
        match self {
            UnixName::Path(path) => SockAddr::unix(path),
            UnixName::Abstract(name) => SockAddr::unix(format!("\0{name}")),
        }
    }
}

impl Endpoint {
    /// Returns the addresses to connect to, in the order to try them; at least one. Blocks during
    /// the look-up of a name.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`HostPort::connect_addrs`].
    pub fn resolve(&self, family: Option<Family>) -> io::Result<Vec<ResolvedEndpoint>> {
        self.resolve_by(family, HostPort::connect_addrs)
    }

    /// Returns the addresses to connect to, like [`Endpoint::resolve`], but waits for at most
    /// `timeout`.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`HostPort::connect_addrs_within`].
    pub fn resolve_within(
        &self,
        timeout: Duration,
        family: Option<Family>,
    ) -> io::Result<Vec<ResolvedEndpoint>> {
        self.resolve_by(family, |host_port| host_port.connect_addrs_within(timeout))
    }

    fn resolve_by(
        &self,
        family: Option<Family>,
        look_up: impl Fn(&HostPort) -> io::Result<Vec<SocketAddr>>,
    ) -> io::Result<Vec<ResolvedEndpoint>> {
        let each = |host_port, resolved: fn(SocketAddr) -> ResolvedEndpoint| {
            let mut addrs = look_up(host_port)?;
            if let Some(family) = family {
                addrs = family.keep(addrs)?;
            }
            Ok(addrs.into_iter().map(resolved).collect())
        };
        match self {
            Endpoint::Tcp(host_port) => each(host_port, ResolvedEndpoint::Tcp),
            Endpoint::Udp(host_port) => each(host_port, ResolvedEndpoint::Udp),
            Endpoint::Unix(name) => Ok(vec![ResolvedEndpoint::Unix(name.clone())]),
            Endpoint::Unixgram(name) => Ok(vec![ResolvedEndpoint::Unixgram(name.clone())]),
        }
    }

    /// Returns true if a client must look up the addresses of the host, which may block.
    pub fn is_looked_up(&self) -> bool {
        match self {
            Endpoint::Tcp(host_port) | Endpoint::Udp(host_port) => host_port.is_looked_up(),
            Endpoint::Unix(_) | Endpoint::Unixgram(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_a_name_resolves_to_itself() {
        for text in ["tcp://127.0.0.1:7", "udp://[::1]:7", "unix:/a/b", "unix:@a", "unixgram:@a"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert!(!endpoint.is_looked_up(), "{text}");
            let resolved = endpoint.resolve(None).unwrap();
            let shown: Vec<String> = resolved.iter().map(ToString::to_string).collect();
            assert_eq!(shown, [text]);
            assert_eq!(resolved[0].transport(), endpoint.transport());
            let ip = resolved[0].sock_addr().unwrap().as_socket();
            assert_eq!(ip, resolved[0].ip_addr());
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_begins_with_a_zero_byte() {
        let addr = UnixName::Abstract("name".to_owned()).sock_addr().unwrap();
        assert_eq!(addr.as_abstract_namespace(), Some(&b"name"[..]));
    }
}

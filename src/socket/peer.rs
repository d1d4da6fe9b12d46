//! The address of a peer, for messages.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use socket2::SockAddr;

/// The address of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The address of a TCP or UDP socket.
    Ip(SocketAddr),
    /// The path of a Unix socket that is bound to a file.
    Path(PathBuf),
    /// The abstract name of a Unix socket, chosen or autobound (unix(7)).
    Abstract(Vec<u8>),
    /// A Unix socket without a name, or a peer that has closed already.
    Unnamed,
}

impl From<&SockAddr> for Peer {
    fn from(addr: &SockAddr) -> Peer {
        if let Some(ip) = addr.as_socket() {
            return Peer::Ip(ip);
        }
        if let Some(path) = addr.as_pathname() {
            return Peer::Path(path.to_owned());
        }
        match addr.as_abstract_namespace() {
            Some(name) => Peer::Abstract(name.to_owned()),
            None => Peer::Unnamed,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Ip(addr) => addr.fmt(formatter),
            Peer::Path(path) => formatter.write_str(&word(path.as_os_str().as_encoded_bytes())),
            Peer::Abstract(name) => write!(formatter, "@{}", word(name)),
            Peer::Unnamed => formatter.write_str("unnamed"),
        }
    }
}

/// Escapes a name. The peer chose these bytes, so they must not reach a terminal unescaped, and a
/// space would end the name in a line of the access log.
fn word(name: &[u8]) -> String {
    name.escape_ascii().to_string().replace(' ', r"\x20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_peer_chose_is_escaped() {
        assert_eq!(Peer::Abstract(b"a\x1b[2J\n".to_vec()).to_string(), r"@a\x1b[2J\n");
        assert_eq!(Peer::Path("/tmp/\u{7}".into()).to_string(), r"/tmp/\x07");
        assert_eq!(Peer::Path("/a cause=b".into()).to_string(), r"/a\x20cause=b");
    }

    #[test]
    fn each_kind_of_socket_address_becomes_its_kind_of_peer() {
        let ip: SocketAddr = "[fe80::1%3]:9".parse().unwrap();
        assert_eq!(Peer::from(&SockAddr::from(ip)), Peer::Ip(ip));
        let path = SockAddr::unix("/a/b").unwrap();
        assert_eq!(Peer::from(&path), Peer::Path("/a/b".into()));
        let unnamed = SockAddr::unix("").unwrap();
        assert_eq!(Peer::from(&unnamed), Peer::Unnamed);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_keeps_its_bytes() {
        let addr = SockAddr::unix("\0name").unwrap();
        assert_eq!(Peer::from(&addr), Peer::Abstract(b"name".to_vec()));
    }
}

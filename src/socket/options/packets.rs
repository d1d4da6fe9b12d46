//! Settings of the packets of an IP socket, and of the way that they take. All are set before the
//! first packet leaves, so that a SYN has them too. Accepted sockets inherit them from their
//! listener.

use std::io;
use std::net::SocketAddr;

use socket2::{SockAddr, Socket, Type};

use super::SocketOptions;
use crate::error::Error;
use crate::socket::hints;
use crate::socket::sys;

impl SocketOptions {
    /// Sets them on a socket of the address's family. An IPv6 socket that takes IPv4 as well has
    /// settings of its own for IPv4, which other IPv6 sockets need not have.
    pub(in crate::socket) fn apply_packets(
        &self,
        socket: &Socket,
        addr: SocketAddr,
    ) -> Result<(), Error> {
        if let Some(dscp) = self.dscp {
            let class = dscp.traffic_class();
            let set = match addr.is_ipv6() {
                true => sys::set_traffic_class_ipv6(socket, class).map(|()| {
                    let _ = socket.set_tos_v4(class);
                }),
                false => socket.set_tos_v4(class),
            };
            set.map_err(|error| self.unset("IP_TOS (--dscp)", error))?;
        }
        if let Some(hops) = self.ttl.map(u32::from) {
            let set = match addr.is_ipv6() {
                true => socket.set_unicast_hops_v6(hops).map(|()| {
                    let _ = socket.set_ttl_v4(hops);
                }),
                false => socket.set_ttl_v4(hops),
            };
            set.map_err(|error| self.unset("IP_TTL (--ttl)", error))?;
        }
        self.apply_busy_poll(socket)?;
        match &self.interface {
            Some(name) => bind_to_interface(socket, name),
            None => Ok(()),
        }
    }

    fn apply_busy_poll(&self, socket: &Socket) -> Result<(), Error> {
        let Some(time) = self.busy_poll else { return Ok(()) };
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        sys::set_busy_poll(socket, micros).map_err(|error| {
            let is_forbidden = error.kind() == io::ErrorKind::PermissionDenied;
            let error = self.unset("SO_BUSY_POLL (--busy-poll)", error);
            match is_forbidden {
                true => error.hint(format!(
                    "it needs CAP_NET_ADMIN, or net.core.busy_read of at least {micros}"
                )),
                false => error,
            }
        })
    }

    pub(super) fn apply_mss(&self, socket: &Socket) -> Result<(), Error> {
        let Some(mss) = self.mss else { return Ok(()) };
        let set = socket.set_tcp_mss(mss.into());
        set.map_err(|error| self.unset("TCP_MAXSEG (--mss)", error))
    }

    /// Binds a client's socket to where it leaves from.
    pub(super) fn bind_local(&self, socket: &Socket, kind: Type) -> Result<(), Error> {
        let Some(addr) = self.local else { return Ok(()) };
        if addr.port() == 0 {
            // Without it the kernel takes a port for all peers now, and not for one peer later. The
            // kernel that refuses it has fewer connections from one address, and no other fault.
            let _ = sys::pick_port_at_connect(socket);
        } else if kind == Type::STREAM {
            // A port whose last connection is in TIME_WAIT can be used towards another peer.
            let set = socket.set_reuse_address(true);
            set.map_err(|error| Error::new("set", "SO_REUSEADDR", error))?;
        }
        socket.bind(&SockAddr::from(addr)).map_err(|error| {
            let kind = error.kind();
            let told = match kind {
                // As the error of connect(2) it means that a port is missing.
                io::ErrorKind::AddrNotAvailable => io::Error::new(kind, hints::not_local(addr)),
                _ => error,
            };
            let error = Error::new("bind", format!("{addr} (--bind)"), told);
            match kind {
                io::ErrorKind::PermissionDenied if (1..1024).contains(&addr.port()) => {
                    error.hint("ports below 1024 need CAP_NET_BIND_SERVICE")
                }
                _ => error,
            }
        })
    }

    /// The error of a setting that the kernel refuses.
    fn unset(&self, what: &'static str, error: io::Error) -> Error {
        let is_unknown = matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOPROTOOPT));
        let error = Error::new("set", what, error);
        match is_unknown && self.multipath {
            true => {
                error.hint("this kernel cannot set it on a Multipath TCP socket: without --mptcp")
            }
            false => error,
        }
    }
}

fn bind_to_interface(socket: &Socket, name: &str) -> Result<(), Error> {
    sys::bind_to_interface(socket, name).map_err(|error| {
        let hint = match error.raw_os_error() {
            Some(libc::ENODEV) => Some("ip link lists the interfaces of this machine"),
            Some(libc::EPERM) => Some("before Linux 5.7 it needs CAP_NET_RAW"),
            _ => None,
        };
        let error = match error.raw_os_error() {
            Some(libc::ENODEV) => io::Error::new(io::ErrorKind::NotFound, "no such interface"),
            _ => error,
        };
        let error = Error::new("bind to", format!("interface %{name}"), error);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

/// Why there is no socket of Multipath TCP.
pub(super) fn no_multipath(error: io::Error) -> Error {
    let hint = match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => "switch it on by net.mptcp.enabled=1, or leave --mptcp out",
        Some(libc::EPROTONOSUPPORT | libc::EINVAL) => {
            "this kernel has no Multipath TCP: leave --mptcp out"
        }
        _ => "leave --mptcp out",
    };
    Error::new("make", "a Multipath TCP socket (--mptcp)", error).hint(hint)
}

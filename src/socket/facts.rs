//! What the kernel says of a socket's settings.

use std::os::fd::AsFd;
use std::time::Duration;

use socket2::SockRef;

use super::{Dscp, sys};

/// The settings of a socket by getsockopt(2); `None` where it has no such setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketFacts {
    /// `SO_RCVBUF`, in the kernel's own count, which includes its overhead.
    pub receive_buf_bytes: Option<usize>,
    /// `SO_SNDBUF`, in the same count.
    pub send_buf_bytes: Option<usize>,
    /// `IP_TOS` or `IPV6_TCLASS`, by the socket's family.
    pub dscp: Option<Dscp>,
    /// `IP_TTL` or `IPV6_UNICAST_HOPS`, by the socket's family.
    pub ttl: Option<u32>,
    /// `TCP_MAXSEG`: of a connection what its segments carry at most.
    pub mss: Option<u32>,
    /// Whether a TCP connection is one of Multipath TCP.
    pub multipath: Option<bool>,
    /// `SO_BUSY_POLL`.
    pub busy_poll: Option<Duration>,
    /// `TCP_CONGESTION`.
    pub congestion: Option<String>,
}

impl SocketFacts {
    /// Asks the kernel.
    pub fn of(socket: &impl AsFd) -> SocketFacts {
        SocketFacts::of_ref(&SockRef::from(socket))
    }

    pub(super) fn of_ref(socket: &SockRef<'_>) -> SocketFacts {
        let addr = socket.local_addr().ok().and_then(|addr| addr.as_socket());
        let facts = SocketFacts {
            receive_buf_bytes: socket.recv_buffer_size().ok(),
            send_buf_bytes: socket.send_buffer_size().ok(),
            ..SocketFacts::default()
        };
        let Some(addr) = addr else { return facts };
        let (class, hops) = match addr.is_ipv6() {
            true => (sys::traffic_class_ipv6(socket), socket.unicast_hops_v6()),
            false => (socket.tos_v4(), socket.ttl_v4()),
        };
        let is_tcp = socket.r#type().is_ok_and(|kind| kind == socket2::Type::STREAM);
        SocketFacts {
            dscp: class.ok().map(Dscp::of_traffic_class),
            ttl: hops.ok(),
            mss: socket.tcp_mss().ok().filter(|_| is_tcp),
            multipath: is_tcp.then(|| sys::is_multipath(socket)),
            busy_poll: sys::busy_poll(socket).ok().map(|us| Duration::from_micros(us.into())),
            congestion: sys::congestion(socket).filter(|_| is_tcp),
            ..facts
        }
    }
}

//! Socket options for systems on which the system or socket2 supports few.

use std::io;
use std::time::Duration;

use socket2::{Protocol, SockRef, Socket, TcpKeepalive};

/// Returns keepalive settings with the system's own interval and count.
pub(in crate::socket) fn keepalive(idle_seconds: u32, _: u32, _: u32) -> TcpKeepalive {
    TcpKeepalive::new().with_time(Duration::from_secs(idle_seconds.into()))
}

pub(in crate::socket) fn keepalive_times(_: &SockRef<'_>) -> io::Result<String> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(in crate::socket) fn keepalive_gives_up_after(_: &Socket) -> Option<Duration> {
    None
}

/// Returns true, because the protocol is not known. A socket of another protocol fails when it is
/// used.
pub(in crate::socket) fn has_protocol(_: &Socket, _: Protocol) -> bool {
    true
}

/// Returns true, because the state is not known. A socket that does not listen fails when it is
/// used.
pub(in crate::socket) fn listens(_: &Socket) -> bool {
    true
}

pub(in crate::socket) fn set_congestion(_: &Socket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(in crate::socket) fn congestion(_: &SockRef<'_>) -> Option<String> {
    None
}

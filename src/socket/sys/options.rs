//! Socket options of socket2 that both Linux and FreeBSD have.

use std::io;
use std::time::Duration;

use socket2::{Protocol, SockRef, Socket, TcpKeepalive};

/// Returns keepalive settings with these times.
pub(in crate::socket) fn keepalive(
    idle_seconds: u32,
    interval_seconds: u32,
    probes: u32,
) -> TcpKeepalive {
    let seconds = |count: u32| Duration::from_secs(count.into());
    let keepalive = TcpKeepalive::new().with_time(seconds(idle_seconds));
    keepalive.with_interval(seconds(interval_seconds)).with_retries(probes)
}

/// Returns the times of a socket's keepalive, such as `60s+5x12s`: the time until the first probe,
/// the number of probes and their interval.
pub(in crate::socket) fn keepalive_times(socket: &SockRef<'_>) -> io::Result<String> {
    let (idle, interval) = (socket.tcp_keepalive_time()?, socket.tcp_keepalive_interval()?);
    let probes = socket.tcp_keepalive_retries()?;
    Ok(format!("{}s+{probes}x{}s", idle.as_secs(), interval.as_secs()))
}

/// Returns how long a peer may be silent until keepalive ends the connection, or `None` if the
/// system does not report it.
pub(in crate::socket) fn keepalive_gives_up_after(socket: &Socket) -> Option<Duration> {
    let idle = socket.tcp_keepalive_time().ok()?;
    let interval = socket.tcp_keepalive_interval().ok()?;
    Some(idle + interval * socket.tcp_keepalive_retries().ok()?)
}

pub(in crate::socket) fn has_protocol(socket: &Socket, wanted: Protocol) -> bool {
    matches!(socket.protocol(), Ok(Some(protocol)) if protocol == wanted)
}

pub(in crate::socket) fn listens(socket: &Socket) -> bool {
    matches!(socket.is_listener(), Ok(true))
}

pub(in crate::socket) fn set_congestion(socket: &Socket, name: &str) -> io::Result<()> {
    socket.set_tcp_congestion(name.as_bytes())
}

/// Returns the congestion control of a TCP socket, or `None` for another socket.
pub(in crate::socket) fn congestion(socket: &SockRef<'_>) -> Option<String> {
    let name = socket.tcp_congestion().ok()?;
    // The system fills the rest of the buffer with zero bytes.
    let name = name.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

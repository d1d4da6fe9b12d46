//! The interface of `sys.rs` for systems other than Linux, implemented with std and socket2.
//! Callers do not depend on the unsupported calls. They make one call per datagram.

// Unsupported functions have the same signatures as on Linux.
#![allow(clippy::unnecessary_wraps)]

#[cfg(target_os = "freebsd")]
#[path = "sys/options.rs"]
mod options;
#[cfg(not(target_os = "freebsd"))]
#[path = "sys_portable/options.rs"]
mod options;

use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::SocketAddr as UnixAddr;

use mio::Interest;
use socket2::{Protocol, SockAddr, SockRef, Socket};

pub(super) use self::options::{
    congestion, has_protocol, keepalive, keepalive_gives_up_after, keepalive_times, listens,
    set_congestion,
};
use super::TcpInfo;
use super::batch::LocalAddr;
#[cfg(feature = "program")]
use super::stamps::{SentStamp, StampedReceive};

/// Flags for sends. A write to a closed peer then fails with EPIPE and raises no SIGPIPE, which
/// ends a process that does not ignore it (send(2)). Apple's systems have a socket option instead,
/// which socket2 sets.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(crate) const SEND_FLAGS: libc::c_int = 0;

/// The events of a stream: both directions. On Android also out-of-band data, because there a short
/// read counts as the read that emptied the socket.
#[cfg(not(target_os = "android"))]
pub(crate) const STREAM_INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);
#[cfg(target_os = "android")]
pub(crate) const STREAM_INTEREST: Interest =
    Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);

/// False because no safe function peeks at a Unix stream.
pub(super) const CAN_PEEK: bool = false;

/// No flag, because these systems have none that opens a file without permission to read it. They
/// have no reply paths either.
pub(super) const O_PATH: libc::c_int = 0;

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns the name in a Unix socket's address. It is empty for an unnamed socket and for another
/// address family.
pub(crate) fn unix_name(addr: &SockAddr) -> &[u8] {
    addr.as_pathname().map_or(&[], |path| path.as_os_str().as_bytes())
}

/// Returns `None`, because only Linux has abstract names.
pub(super) fn abstract_name(_: &UnixAddr) -> Option<&[u8]> {
    None
}

pub(super) fn receive_bytes(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    (&*SockRef::from(&fd)).read(buf)
}

pub(super) fn peek_bytes(_: BorrowedFd<'_>, _: &mut [u8]) -> io::Result<usize> {
    unsupported()
}

/// Receives from a Unix stream. Passed descriptors do not end a read on these systems.
pub(super) fn receive_unix(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<(usize, bool)> {
    receive_bytes(fd, buf).map(|count| (count, false))
}

pub(super) fn send_bytes(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    SockRef::from(&fd).send_with_flags(buf, SEND_FLAGS)
}

pub(super) fn unsent_bytes(_: BorrowedFd<'_>) -> io::Result<usize> {
    unsupported()
}

pub(super) fn acked_bytes(_: BorrowedFd<'_>) -> io::Result<u64> {
    unsupported()
}

pub(super) fn tcp_info(_: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    unsupported()
}

pub(super) fn force_send_buf(_: BorrowedFd<'_>, _: usize) -> io::Result<()> {
    unsupported()
}

pub(super) fn lost_datagrams(_: BorrowedFd<'_>) -> io::Result<u32> {
    unsupported()
}

/// Does nothing: the kernel reports nothing with a datagram.
pub(super) fn enable_destination_and_overflow(_: BorrowedFd<'_>, _: SocketAddr) -> io::Result<()> {
    Ok(())
}

pub(super) fn set_traffic_class_ipv6(_: &Socket, _: u32) -> io::Result<()> {
    unsupported()
}

pub(super) fn traffic_class_ipv6(_: &SockRef<'_>) -> io::Result<u32> {
    unsupported()
}

pub(super) fn set_busy_poll(_: &Socket, _: u32) -> io::Result<()> {
    unsupported()
}

pub(super) fn busy_poll(_: &SockRef<'_>) -> io::Result<u32> {
    unsupported()
}

pub(super) fn bind_to_interface(_: &Socket, _: &str) -> io::Result<()> {
    unsupported()
}

pub(super) fn pick_port_at_connect(_: &Socket) -> io::Result<()> {
    unsupported()
}

pub(super) fn multipath() -> io::Result<Protocol> {
    unsupported()
}

pub(super) fn is_multipath(_: &SockRef<'_>) -> bool {
    false
}

/// Binds to a path and then sets the mode of the file, which the system creates with all
/// permissions that the umask allows.
pub(super) fn bind_with_mode(socket: &Socket, addr: &SockAddr, mode: u32) -> io::Result<()> {
    socket.bind(addr)?;
    let path = addr.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Returns an error, because the option does not distribute datagrams on these systems: the last
/// socket gets all of them, or the option has another name.
pub(super) fn share_port(_: &Socket) -> io::Result<()> {
    unsupported()
}

pub(super) fn receive_trains(_: BorrowedFd<'_>, _: bool) -> io::Result<()> {
    unsupported()
}

/// Sends a datagram. Trains are not supported, and the source address cannot be chosen.
pub(super) fn send_message(
    fd: BorrowedFd<'_>,
    to: Option<&SockAddr>,
    _: Option<LocalAddr>,
    bytes: &[u8],
    segment_bytes: Option<u16>,
) -> io::Result<()> {
    if segment_bytes.is_some() {
        return unsupported();
    }
    let socket = SockRef::from(&fd);
    let sent = match to {
        Some(to) => socket.send_to_with_flags(bytes, to, SEND_FLAGS),
        None => socket.send_with_flags(bytes, SEND_FLAGS),
    };
    sent.map(|_| ())
}

pub(super) fn receive_train(_: BorrowedFd<'_>, _: &mut [u8]) -> io::Result<(usize, usize)> {
    unsupported()
}

/// Returns an error, because only Linux reports when it sent and received a packet.
#[cfg(feature = "program")]
pub(super) fn enable_stamps(_: BorrowedFd<'_>) -> io::Result<()> {
    unsupported()
}

#[cfg(feature = "program")]
pub(super) fn send_stamped(_: BorrowedFd<'_>, _: &[u8], _: Option<u16>) -> io::Result<usize> {
    unsupported()
}

#[cfg(feature = "program")]
pub(super) fn receive_stamped(_: BorrowedFd<'_>, _: &mut [u8]) -> io::Result<StampedReceive> {
    unsupported()
}

#[cfg(feature = "program")]
pub(super) fn next_sent_stamp(_: BorrowedFd<'_>) -> io::Result<Option<SentStamp>> {
    unsupported()
}

/// Returns an error, because a pipe is useless without splice(2). Every stream copies.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    unsupported()
}

pub(super) fn set_pipe_size(_: BorrowedFd<'_>, _: usize) -> io::Result<()> {
    unsupported()
}

pub(super) fn splice(_: BorrowedFd<'_>, _: BorrowedFd<'_>, _: usize) -> io::Result<usize> {
    unsupported()
}

pub(super) fn without_sigpipe<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    call()
}

/// Returns `None`, because these systems have no adjtimex(2).
#[cfg(feature = "program")]
pub(crate) fn clock_error() -> Option<super::ClockError> {
    None
}

/// Returns false, because these systems do not tell whether stdin was closed at the start.
#[cfg(feature = "program")]
pub(crate) fn was_stdin_closed() -> bool {
    false
}

/// Returns false, because these systems do not tell whether stdout was closed at the start.
#[cfg(feature = "program")]
pub(crate) fn was_stdout_closed() -> bool {
    false
}

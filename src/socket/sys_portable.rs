//! The interface of [`sys.rs`](super::sys) for systems that have none of what it offers, by std and
//! socket2 alone: callers do without, or make one call per datagram.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use socket2::{SockAddr, SockRef};

use super::SEND_FLAGS;
use super::batch::LocalAddr;

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The name in a Unix socket's address. Empty for an unnamed socket, and for the address of another
/// family.
pub(crate) fn unix_name(addr: &SockAddr) -> &[u8] {
    addr.as_pathname().map_or(&[], |path| path.as_os_str().as_bytes())
}

pub(super) fn unsent_bytes(_: BorrowedFd<'_>) -> io::Result<usize> {
    unsupported()
}

pub(super) fn receive_trains(_: BorrowedFd<'_>, _: bool) -> io::Result<()> {
    unsupported()
}

/// Sends a datagram. There are no trains, and the address to leave from cannot be chosen.
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

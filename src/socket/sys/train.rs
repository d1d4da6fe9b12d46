//! Trains of UDP datagrams on a connected socket: many of one length in one call (udp(7)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, iovec};

use super::calls::set_option;
use super::control::{CONTROL_BYTES, Control, Notes, write_notes};
use super::header;
use crate::socket::SEND_FLAGS;

/// Whether trains are received whole, with the length of their datagrams, or taken apart by the
/// kernel.
pub(in crate::socket) fn receive_trains(fd: BorrowedFd<'_>, is_on: bool) -> io::Result<()> {
    set_option(fd, libc::SOL_UDP, libc::UDP_GRO, c_int::from(is_on))
}

/// Sends the bytes as datagrams of `segment_bytes`, the last of which may be shorter.
pub(in crate::socket) fn send_train(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    segment_bytes: u16,
) -> io::Result<()> {
    let mut part = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control::EMPTY;
    let control_length = write_notes(&mut control, None, Some(segment_bytes));
    let mut message = header(ptr::null_mut(), ptr::from_mut(&mut part), &mut control).msg_hdr;
    message.msg_controllen = control_length;
    // SAFETY: part and control message outlive the call, which only reads them.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &message, SEND_FLAGS) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives a datagram or a train, and returns its length and that of each of its datagrams but the
/// last, which may be shorter.
pub(in crate::socket) fn receive_train(
    fd: BorrowedFd<'_>,
    buf: &mut [u8],
) -> io::Result<(usize, usize)> {
    let mut part = iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let mut control = Control::EMPTY;
    let mut message = header(ptr::null_mut(), ptr::from_mut(&mut part), &mut control).msg_hdr;
    message.msg_controllen = CONTROL_BYTES;
    // SAFETY: the one part is `buf`; it and the control buffer outlive the call.
    let count = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, libc::MSG_DONTWAIT) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has written this header and its control buffer.
    let notes = unsafe { Notes::read(&message) };
    Ok((count, notes.segment_bytes.filter(|bytes| *bytes > 0).unwrap_or(count)))
}

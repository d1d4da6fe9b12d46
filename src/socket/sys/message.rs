//! Calls for one message: a datagram, or a train of UDP datagrams of one length (udp(7)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, c_void, iovec, mmsghdr, msghdr};
use socket2::SockAddr;

use super::calls::set_option;
use super::control::{CONTROL_BYTES, Control, ControlInfo, write_control};
use crate::socket::SEND_FLAGS;
use crate::socket::batch::LocalAddr;

/// Creates a header with one part. The lengths of its name and control buffer are 0.
pub(super) fn header(name: *mut c_void, part: *mut iovec, control: *mut c_void) -> mmsghdr {
    // SAFETY: all zeroes is a valid msghdr (null pointers, lengths of 0).
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name;
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    mmsghdr { msg_hdr: message, msg_len: 0 }
}

/// Sets whether the kernel delivers trains whole, with the length of their datagrams, or splits
/// them.
pub(in crate::socket) fn receive_trains(fd: BorrowedFd<'_>, is_on: bool) -> io::Result<()> {
    set_option(fd, libc::SOL_UDP, libc::UDP_GRO, c_int::from(is_on))
}

/// Sends a datagram. With `segment_bytes`, sends a train of datagrams of that length, the last of
/// which may be shorter. Without `to`, sends to the connected peer.
pub(in crate::socket) fn send_message(
    fd: BorrowedFd<'_>,
    to: Option<&SockAddr>,
    source: Option<LocalAddr>,
    bytes: &[u8],
    segment_bytes: Option<u16>,
) -> io::Result<()> {
    let mut part = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control::EMPTY;
    let control_length = write_control(&mut control, source, segment_bytes);
    let mut message =
        header(ptr::null_mut(), &mut part, ptr::from_mut(&mut control).cast()).msg_hdr;
    if let Some(to) = to {
        message.msg_name = to.as_ptr().cast_mut().cast();
        message.msg_namelen = to.len();
    }
    message.msg_controllen = control_length as _;
    // SAFETY: the name, part and control message outlive the call, which only reads them.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &message, SEND_FLAGS) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives a datagram or a train. Returns its length, and the length of each of its datagrams but
/// the last, which may be shorter.
pub(in crate::socket) fn receive_train(
    fd: BorrowedFd<'_>,
    buf: &mut [u8],
) -> io::Result<(usize, usize)> {
    let mut part = iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let mut control = Control::EMPTY;
    let mut message =
        header(ptr::null_mut(), &mut part, ptr::from_mut(&mut control).cast()).msg_hdr;
    message.msg_controllen = CONTROL_BYTES as _;
    // SAFETY: the only part is `buf`. It and the control buffer outlive the call.
    let count = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, libc::MSG_DONTWAIT) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has written this header and its control buffer.
    let info = unsafe { ControlInfo::read(&message) };
    Ok((count, info.segment_bytes.filter(|bytes| *bytes > 0).unwrap_or(count)))
}

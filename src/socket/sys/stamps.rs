//! Timestamps of sent and received packets (`SO_TIMESTAMPING`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, c_uint, iovec, msghdr};

use super::calls::set_option;
use super::control::{
    Control, RECEIVED_CONTROL_BYTES, ReceivedControl, UDP_GRO, each_control, payload,
    segment_bytes as received_segment_bytes, write_control, write_payload,
};
use super::header;
use crate::socket::SEND_FLAGS;
use crate::socket::stamps::{SentStamp, StampedReceive};

/// What `ee_info` of an error queue's entry says of a timestamp that was taken when the driver got
/// the packet (`linux/errqueue.h`).
const SCM_TSTAMP_SND: u32 = 0;

/// The kind of a control message with timestamps, and with a request for them.
const STAMPS: (c_int, c_int) = (libc::SOL_SOCKET, libc::SO_TIMESTAMPING);

/// Lets a socket receive software timestamps with what it receives, and ask for them when it sends.
/// Those of sent packets have a number and no copy of the packet.
pub(in crate::socket) fn enable_stamps(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::SOF_TIMESTAMPING_SOFTWARE
        | libc::SOF_TIMESTAMPING_RX_SOFTWARE
        | libc::SOF_TIMESTAMPING_OPT_ID
        | libc::SOF_TIMESTAMPING_OPT_TSONLY;
    set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags.cast_signed())
}

/// Sends to the connected peer and asks for a timestamp of the last byte.
pub(in crate::socket) fn send_stamped(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    segment_bytes: Option<u16>,
) -> io::Result<usize> {
    let mut part = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control::EMPTY;
    let length = write_control(&mut control, None, segment_bytes);
    let request: c_uint = libc::SOF_TIMESTAMPING_TX_SOFTWARE;
    let length = write_payload(&mut control, length, STAMPS, request);
    let mut message =
        header(ptr::null_mut(), &mut part, ptr::from_mut(&mut control).cast()).msg_hdr;
    message.msg_controllen = length as _;
    // The next bytes of a stream must not join those that wait to be sent: they would take the
    // timestamp over.
    let flags = SEND_FLAGS | libc::MSG_EOR;
    // SAFETY: the part and the control messages outlive the call, which only reads them.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &message, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives from the connected peer, with the time of arrival.
pub(in crate::socket) fn receive_stamped(
    fd: BorrowedFd<'_>,
    buf: &mut [u8],
) -> io::Result<StampedReceive> {
    let (count, found) = receive(fd, buf, 0)?;
    let segment_bytes = found.segment_bytes.filter(|bytes| *bytes > 0).unwrap_or(count);
    Ok(StampedReceive { count, segment_bytes, arrived_ns: found.time_ns })
}

/// Takes the next entry of the error queue. Returns `None` if it is no timestamp.
pub(in crate::socket) fn next_sent_stamp(fd: BorrowedFd<'_>) -> io::Result<Option<SentStamp>> {
    let (_, found) = receive(fd, &mut [], libc::MSG_ERRQUEUE)?;
    Ok(found.sent_stamp())
}

fn receive(fd: BorrowedFd<'_>, buf: &mut [u8], flags: c_int) -> io::Result<(usize, Found)> {
    let mut part = iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let mut control = ReceivedControl::EMPTY;
    let mut message =
        header(ptr::null_mut(), &mut part, ptr::from_mut(&mut control).cast()).msg_hdr;
    message.msg_controllen = RECEIVED_CONTROL_BYTES as _;
    // SAFETY: the only part is `buf`. It and the control buffer outlive the call.
    let count = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, flags | libc::MSG_DONTWAIT) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has written this header and its control buffer.
    Ok((count, unsafe { Found::read(&message) }))
}

/// The contents of the control messages that concern timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    time_ns: Option<u64>,
    /// The origin, the kind and the number of an entry of the error queue.
    entry: Option<(u8, u32, u32)>,
    segment_bytes: Option<usize>,
}

impl Found {
    /// Reads the control messages of a received message.
    ///
    /// # Safety
    ///
    /// `message` must have a control buffer of `msg_controllen` valid bytes, or a length of 0.
    unsafe fn read(message: &msghdr) -> Found {
        let mut found = Found::default();
        let take = |kind, control: *const libc::cmsghdr| match kind {
            STAMPS => {
                // SAFETY: this kind carries three of them: by software, unused, by hardware.
                let times: Option<[libc::timespec; 3]> = unsafe { payload(control) };
                found.time_ns = times.and_then(|times| time_ns(&times[0]));
            }
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                // SAFETY: these kinds begin with one.
                let error: Option<libc::sock_extended_err> = unsafe { payload(control) };
                found.entry = error.map(|error| (error.ee_origin, error.ee_info, error.ee_data));
            }
            // SAFETY: the message is valid.
            UDP_GRO => found.segment_bytes = unsafe { received_segment_bytes(control) },
            _ => {}
        };
        // SAFETY: the buffer is valid as promised.
        unsafe { each_control(message, take) };
        found
    }

    /// Returns the timestamp of a sent packet, or `None` for another entry of the error queue, such
    /// as an ICMP error.
    fn sent_stamp(&self) -> Option<SentStamp> {
        match self.entry? {
            (libc::SO_EE_ORIGIN_TIMESTAMPING, SCM_TSTAMP_SND, key) => {
                Some(SentStamp { key, sent_ns: self.time_ns? })
            }
            _ => None,
        }
    }
}

/// Returns a time in nanoseconds; `None` for zero, which stands for no time, and for invalid ones.
fn time_ns(time: &libc::timespec) -> Option<u64> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u64::try_from(time.tv_nsec).ok()?;
    let all = seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)?;
    Some(all).filter(|ns| *ns > 0)
}

#[cfg(test)]
mod tests;

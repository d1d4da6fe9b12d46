//! The kernel's software timestamps of packets (`SO_TIMESTAMPING`, timestamping in the kernel's
//! documentation of networking). Only Linux has them, and only for IP.
//!
//! The kernel notes by the wall clock when it gives a packet to the device's driver, and when it
//! gets one from it. The program asks for the first per call that sends, and finds it in the
//! socket's error queue. The second comes with the bytes received.

use std::io;
use std::os::fd::AsFd;

use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Socket, Type};

use super::sys;

/// Entries of an error queue that are read in search of one timestamp. Others are there only if a
/// segment was sent again, or if an earlier search came too soon.
const SEARCHED_MAX: usize = 16;

/// The bytes of one receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StampedReceive {
    pub(crate) count: usize,
    /// The length of each datagram but the last if a train was received; otherwise `count`.
    pub(crate) segment_bytes: usize,
    /// When the kernel got the datagram, or the last bytes of a stream that this call received.
    pub(crate) arrived_ns: Option<u64>,
}

/// A timestamp of a sent packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentStamp {
    /// Which packet: for datagrams the number of timestamps that the socket asked for before, for
    /// TCP the place of the last byte of the call, from where it was when the socket was enabled.
    pub(crate) key: u32,
    pub(crate) sent_ns: u64,
}

/// Returns the time by the clock of the timestamps.
pub(crate) fn wall_clock_ns() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    let seconds_ns = u64::try_from(time.tv_sec).unwrap_or(0).wrapping_mul(1_000_000_000);
    seconds_ns.wrapping_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Makes the kernel note when packets arrive, for as long as it exists. The kernel does that for
/// all packets of the host while any socket asks for it; a socket that asks and closes again and
/// again would make it rewrite its code each time.
#[derive(Debug)]
pub(crate) struct StampingKernel {
    _socket: Socket,
}

impl StampingKernel {
    /// # Errors
    ///
    /// `Unsupported` or the error of setsockopt(2) if the system has no timestamps.
    pub(crate) fn start() -> io::Result<StampingKernel> {
        // It needs no address. A host may lack either family.
        let of = |domain| Socket::new(domain, Type::DGRAM, None);
        let socket = of(Domain::IPV4).or_else(|_| of(Domain::IPV6))?;
        sys::enable_stamps(socket.as_fd())?;
        Ok(StampingKernel { _socket: socket })
    }
}

/// Lets a socket receive timestamps, and ask for them. A TCP socket must be connected.
pub(crate) fn enable_stamps(socket: &impl AsFd) -> io::Result<()> {
    sys::enable_stamps(socket.as_fd())
}

/// Sends and asks for a timestamp. Returns the number of bytes taken. With `segment_bytes`, sends a
/// train of UDP datagrams of that length.
///
/// # Errors
///
/// All errors of sendmsg(2). `EINVAL` if the kernel does not know the request (Linux before 4.6).
pub(crate) fn send_stamped(
    socket: &impl AsFd,
    bytes: &[u8],
    segment_bytes: Option<u16>,
) -> io::Result<usize> {
    sys::send_stamped(socket.as_fd(), bytes, segment_bytes)
}

/// Receives bytes with the time at which the kernel got them.
pub(crate) fn receive_stamped(socket: &impl AsFd, buf: &mut [u8]) -> io::Result<StampedReceive> {
    sys::receive_stamped(socket.as_fd(), buf)
}

/// Returns the first timestamp in the error queue that `is_wanted` accepts, and drops those before
/// it. `None` if there is none. Errors that the kernel reports for the socket stay.
pub(crate) fn take_sent_stamp(
    socket: &impl AsFd,
    mut is_wanted: impl FnMut(SentStamp) -> bool,
) -> Option<SentStamp> {
    for _ in 0..SEARCHED_MAX {
        match sys::next_sent_stamp(socket.as_fd()) {
            Ok(Some(stamp)) if is_wanted(stamp) => return Some(stamp),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    None
}

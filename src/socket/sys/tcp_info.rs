//! What the kernel knows of a TCP connection (`TCP_INFO` of tcp(7), `struct tcp_info` of Linux's
//! `tcp.h`). The fields are read by their places, because not every C library's `tcp_info` has all
//! of them. The kernel only ever appends fields, so a place never changes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::socklen_t;

use crate::socket::TcpInfo;

/// The places of the fields in bytes. The names are those of `struct tcp_info` without `tcpi_`.
const SND_MSS: usize = 16;
const LOST: usize = 32;
const RTT_US: usize = 68;
const SND_CWND: usize = 80;
const TOTAL_RETRANS: usize = 100;
const BYTES_ACKED: usize = 120;
const MIN_RTT_US: usize = 148;
const DELIVERY_RATE: usize = 160;
const BYTES_RETRANS: usize = 208;
const REORD_SEEN: usize = 220;

/// The bytes up to `bytes_acked`, which Linux has since 4.1.
const ACKED_BYTES_END: usize = BYTES_ACKED + 8;

/// The bytes up to `reord_seen`, which Linux has since 4.19.
const TCP_INFO_END: usize = REORD_SEEN + 4;

/// Returns how many bytes the peer of a TCP socket has acknowledged.
pub(in crate::socket) fn acked_bytes(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(Fields::<ACKED_BYTES_END>::read(fd)?.u64_at(BYTES_ACKED))
}

pub(in crate::socket) fn tcp_info(fd: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    /// What the kernel states for the least round trip if it has measured none.
    const NO_RTT_US: u32 = u32::MAX;
    let fields = Fields::<TCP_INFO_END>::read(fd)?;
    let time_ns = |us: u32| u64::from(us) * 1_000;
    let rtt_us = Some(fields.u32_at(RTT_US)).filter(|us| *us > 0);
    let min_rtt_us = Some(fields.u32_at(MIN_RTT_US)).filter(|us| *us != NO_RTT_US);
    Ok(TcpInfo {
        retransmits: fields.u32_at(TOTAL_RETRANS),
        bytes_retransmitted: fields.u64_at(BYTES_RETRANS),
        rtt_ns: rtt_us.map(time_ns),
        min_rtt_ns: min_rtt_us.and(rtt_us.and(min_rtt_us)).map(time_ns),
        cwnd: fields.u32_at(SND_CWND),
        mss: fields.u32_at(SND_MSS),
        delivery_rate: fields.u64_at(DELIVERY_RATE),
        lost: fields.u32_at(LOST),
        reordering: fields.u32_at(REORD_SEEN),
    })
}

/// The first bytes of a `struct tcp_info`.
struct Fields<const BYTES: usize>([u8; BYTES]);

impl<const BYTES: usize> Fields<BYTES> {
    /// Asks the kernel; `Unsupported` if it has fewer fields.
    fn read(fd: BorrowedFd<'_>) -> io::Result<Fields<BYTES>> {
        let mut bytes = [0_u8; BYTES];
        let mut length = BYTES as socklen_t;
        // SAFETY: `bytes` outlives the call, which writes no more than the length stated. It
        // copies bytes, which need no alignment.
        let result = unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                bytes.as_mut_ptr().cast(),
                &mut length,
            )
        };
        match result {
            0 if length as usize == BYTES => Ok(Fields(bytes)),
            0 => Err(io::ErrorKind::Unsupported.into()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn u32_at(&self, place: usize) -> u32 {
        u32::from_ne_bytes(self.bytes_at(place))
    }

    fn u64_at(&self, place: usize) -> u64 {
        u64::from_ne_bytes(self.bytes_at(place))
    }

    fn bytes_at<const N: usize>(&self, place: usize) -> [u8; N] {
        self.0[place..place + N].try_into().expect("the range has N bytes")
    }
}

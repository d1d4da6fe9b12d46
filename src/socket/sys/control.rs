//! Control messages: data that a program and the kernel exchange beside a datagram (cmsg(3)).

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

use libc::{c_int, c_uint, cmsghdr, msghdr};

use crate::socket::batch::LocalAddr;

/// The size of a control buffer for sends and for a client's receives. A send needs at most 64
/// bytes: `in6_pktinfo` (36 bytes with its header, padded to 40) and the segment length of a train
/// (24).
pub(super) const CONTROL_BYTES: usize = 128;

/// The size of a control buffer for receives. Every control message of a fixed size fits, because a
/// passed socket has any options that its creator set. Each has a header of 16 bytes and is padded
/// to 8: times (96) and their interface (32), overflow, mark and priority (24 each), train (24),
/// the IPv6 destination in two forms (80), the IPv4 destination (32), time to live and type of
/// service (24 each), options in two forms (112), original destination (32), checksum and fragment
/// size (24 each), and a security label of 120. A socket that receives only IPv6 needs less, except
/// for extension headers, which have up to 2 KiB each. The kernel truncates messages that do not
/// fit ([`ControlInfo::is_truncated`]).
pub(super) const RECEIVED_CONTROL_BYTES: usize = 768;

/// A control buffer with the alignment of `cmsghdr`.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; CONTROL_BYTES]);

impl Control {
    pub(super) const EMPTY: Control = Control([0; CONTROL_BYTES]);
}

/// A control buffer for receives. It begins with the bytes of a [`Control`].
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct ReceivedControl([u8; RECEIVED_CONTROL_BYTES]);

impl ReceivedControl {
    pub(super) const EMPTY: ReceivedControl = ReceivedControl([0; RECEIVED_CONTROL_BYTES]);
}

const _: () = assert!(RECEIVED_CONTROL_BYTES >= CONTROL_BYTES);

/// The contents of the control messages of one received datagram or train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ControlInfo {
    /// The address of this host to reply from. The interface is 0 unless the reply needs it.
    pub(super) destination: Option<LocalAddr>,
    /// True if the destination is a broadcast or multicast address.
    pub(super) to_group: bool,
    pub(super) overflow: Option<u32>,
    /// The length of each datagram of a train but the last, which may be shorter (`UDP_GRO`).
    pub(super) segment_bytes: Option<usize>,
    /// True if the control messages did not fit into the buffer (`MSG_CTRUNC`). Any may be missing.
    pub(super) is_truncated: bool,
}

impl ControlInfo {
    /// Reads the control messages of a received message.
    ///
    /// # Safety
    ///
    /// `message` must have a control buffer of `msg_controllen` valid bytes, or a length of 0.
    pub(super) unsafe fn read(message: &msghdr) -> ControlInfo {
        let is_truncated = message.msg_flags & libc::MSG_CTRUNC != 0;
        let mut info = ControlInfo { is_truncated, ..ControlInfo::default() };
        let take = |kind, found: *const cmsghdr| match kind {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: this kind carries an in_pktinfo.
                let asked: Option<libc::in_pktinfo> = unsafe { payload(found) };
                let (source, to_group) = asked.map_or((None, false), ipv4_source);
                info.destination = source.map(|ip| (ip.into(), 0));
                info.to_group |= to_group;
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: this kind carries an in6_pktinfo.
                let asked: Option<libc::in6_pktinfo> = unsafe { payload(found) };
                info.to_group |= asked.is_some_and(|asked| ipv6_addr(&asked).is_multicast());
                let source = asked.and_then(|asked| ipv6_source(&asked));
                info.destination = source.or(info.destination);
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                // SAFETY: this kind carries a u32.
                info.overflow = unsafe { payload(found) };
            }
            // SAFETY: the message is valid.
            UDP_GRO => info.segment_bytes = unsafe { segment_bytes(found) },
            _ => {}
        };
        // SAFETY: the buffer is valid as promised.
        unsafe { each_control(message, take) };
        info
    }
}

/// The kind of a control message with the length of the datagrams of a train.
pub(super) const UDP_GRO: (c_int, c_int) = (libc::SOL_UDP, libc::UDP_GRO);

/// Returns the length of the datagrams of a train.
///
/// # Safety
///
/// `found` must point to a valid header with the payload that its length states, and its kind must
/// be [`UDP_GRO`].
pub(super) unsafe fn segment_bytes(found: *const cmsghdr) -> Option<usize> {
    // SAFETY: this kind carries an int.
    let segment: Option<c_int> = unsafe { payload(found) };
    segment.and_then(|bytes| usize::try_from(bytes).ok())
}

/// Passes level and type of each complete control message to `take`, with a pointer to its header,
/// behind which is the payload that its length states.
///
/// # Safety
///
/// `message` must have a control buffer of `msg_controllen` valid bytes, or a length of 0.
#[inline(always)]
pub(super) unsafe fn each_control(
    message: &msghdr,
    mut take: impl FnMut((c_int, c_int), *const cmsghdr),
) {
    let end = message.msg_control.addr() + message.msg_controllen as usize;
    // SAFETY: the buffer is valid as promised; CMSG_FIRSTHDR and CMSG_NXTHDR stay inside it.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: a pointer that is not null points to a complete, aligned header in the buffer.
    while let Some(current) = unsafe { next.as_ref() }.copied() {
        // A truncated message (MSG_CTRUNC) states a length beyond the end of the buffer. For a
        // length below that of the header, some versions of CMSG_NXTHDR return the same message
        // again.
        let length = current.cmsg_len as usize;
        if !(size_of::<cmsghdr>()..=end - next.addr()).contains(&length) {
            break;
        }
        take((current.cmsg_level, current.cmsg_type), next);
        // SAFETY: the same reason as for CMSG_FIRSTHDR.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
}

/// Returns the source address for the reply, and whether the datagram was sent to a group. For a
/// group, the destination in the datagram's header is not the source for the reply (ip(7)).
///
/// A datagram that was queued before the option was set, as on a passed socket, has no such source
/// address, only the destination in its header. If that is the broadcast address of a subnet, it
/// looks like any other address, and the kernel refuses to send from it.
fn ipv4_source(info: libc::in_pktinfo) -> (Option<Ipv4Addr>, bool) {
    let ip = |addr: libc::in_addr| Ipv4Addr::from(addr.s_addr.to_ne_bytes());
    let (asked, source) = (ip(info.ipi_addr), ip(info.ipi_spec_dst));
    if !source.is_unspecified() {
        return (Some(source), source != asked);
    }
    let to_group = asked.is_multicast() || asked.is_broadcast();
    ((!to_group).then_some(asked), to_group)
}

/// Returns the source address for the reply, or `None` if routing picks it or another control
/// message names it. Routing picks it for a datagram to a group. For an IPv4 datagram on a
/// dual-stack socket the control message of IPv4 names it. Only a link-local address needs its
/// interface. For others the interface stays open, so that routing can pick the best one.
fn ipv6_source(info: &libc::in6_pktinfo) -> Option<LocalAddr> {
    let ip = ipv6_addr(info);
    let interface = if ip.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
    let is_source = !ip.is_multicast() && ip.to_ipv4_mapped().is_none();
    is_source.then_some((ip.into(), interface))
}

fn ipv6_addr(info: &libc::in6_pktinfo) -> Ipv6Addr {
    Ipv6Addr::from(info.ipi6_addr.s6_addr)
}

/// Returns the payload of a control message if it is complete.
///
/// # Safety
///
/// `message` must point to a valid header with the payload that its length states; `T` must be
/// plain data, for which any bytes are valid.
pub(super) unsafe fn payload<T: Copy>(message: *const cmsghdr) -> Option<T> {
    // SAFETY: CMSG_LEN only computes.
    let whole = unsafe { libc::CMSG_LEN(size_of::<T>() as c_uint) } as usize;
    // SAFETY: the header is valid and aligned as promised.
    if (unsafe { (*message).cmsg_len } as usize) < whole {
        return None;
    }
    // SAFETY: the length was checked, and read_unaligned needs no alignment.
    Some(unsafe { ptr::read_unaligned(libc::CMSG_DATA(message).cast::<T>()) })
}

/// Writes the control messages of a reply: the source address, and for a train the length of its
/// datagrams (`UDP_SEGMENT`, udp(7)). Returns their total length, which is 0 if there are none.
pub(super) fn write_control(
    control: &mut Control,
    source: Option<LocalAddr>,
    segment_bytes: Option<u16>,
) -> usize {
    let mut length = 0;
    // SAFETY: all zeroes is valid for both of these structures of integers.
    let (mut ipv4, mut ipv6): (libc::in_pktinfo, libc::in6_pktinfo) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    match source {
        Some((IpAddr::V4(ip), _)) => {
            ipv4.ipi_spec_dst.s_addr = u32::from_ne_bytes(ip.octets());
            length = write_payload(control, length, (libc::IPPROTO_IP, libc::IP_PKTINFO), ipv4);
        }
        Some((IpAddr::V6(ip), interface)) => {
            ipv6.ipi6_addr.s6_addr = ip.octets();
            ipv6.ipi6_ifindex = interface as _;
            length = write_payload(control, length, (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), ipv6);
        }
        None => {}
    }
    if let Some(bytes) = segment_bytes {
        length = write_payload(control, length, (libc::SOL_UDP, libc::UDP_SEGMENT), bytes);
    }
    length
}

/// Writes one control message after the first `used` bytes. Returns the new number of used bytes.
pub(super) fn write_payload<T: Copy>(
    control: &mut Control,
    used: usize,
    (level, kind): (c_int, c_int),
    payload: T,
) -> usize {
    // SAFETY: these only compute.
    let (length, space) = unsafe {
        (libc::CMSG_LEN(size_of::<T>() as c_uint), libc::CMSG_SPACE(size_of::<T>() as c_uint))
    };
    let end = used + space as usize;
    assert!(end <= CONTROL_BYTES && used.is_multiple_of(align_of::<cmsghdr>()));
    // SAFETY: a Control is aligned for a cmsghdr, and by the assertion `used` keeps the alignment
    // and there is room for the header and its payload. The payload needs no alignment.
    unsafe {
        let start = ptr::from_mut(control).cast::<u8>().add(used).cast::<cmsghdr>();
        (*start).cmsg_len = length as _;
        (*start).cmsg_level = level;
        (*start).cmsg_type = kind;
        ptr::write_unaligned(libc::CMSG_DATA(start).cast::<T>(), payload);
    }
    end
}

#[cfg(test)]
mod tests;

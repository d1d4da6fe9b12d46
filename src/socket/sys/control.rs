//! Control messages: what the kernel tells beside a datagram, and what it is told (cmsg(3)).

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

use libc::{c_int, c_uint, cmsghdr, msghdr};

use crate::socket::batch::LocalAddr;

/// Room for what is sent along: `in6_pktinfo` (36 bytes with its header, padded to 40) and the size
/// of a train's datagrams (24); and for what a client's own socket is told.
pub(super) const CONTROL_BYTES: usize = 128;

/// Room for every control message of a fixed size that a UDP socket can be asked for: a passed
/// socket comes with the options of its maker. Each has a header of 16 bytes and is padded to 8:
/// times (96) and their interface (32), overflow, mark and priority (24 each), train (24), of IPv6
/// the destination in two forms (80), of IPv4 the destination (32), time to live and type of
/// service (24 each), options in two forms (112), original destination (32), checksum and fragment
/// size (24 each); and a security label of 120. Of IPv6 alone there is less, but for its extension
/// headers, which have up to 2 KiB each. What has no room is cut ([`ControlInfo::is_cut`]).
pub(super) const RECEIVED_CONTROL_BYTES: usize = 768;

/// A control buffer, aligned as `cmsghdr` must be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; CONTROL_BYTES]);

impl Control {
    pub(super) const EMPTY: Control = Control([0; CONTROL_BYTES]);
}

/// A control buffer to receive into. A [`Control`] is at its start.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct ReceivedControl([u8; RECEIVED_CONTROL_BYTES]);

impl ReceivedControl {
    pub(super) const EMPTY: ReceivedControl = ReceivedControl([0; RECEIVED_CONTROL_BYTES]);
}

const _: () = assert!(RECEIVED_CONTROL_BYTES >= CONTROL_BYTES);

/// What the control messages of one received datagram or train say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ControlInfo {
    /// The address of this host that was asked; the interface only where it is needed to answer.
    pub(super) destination: Option<LocalAddr>,
    /// What was asked is an address of many: broadcast or multicast.
    pub(super) to_group: bool,
    pub(super) overflow: Option<u32>,
    /// The length of each datagram of a train but the last, which may be shorter (`UDP_GRO`).
    pub(super) segment_bytes: Option<usize>,
    /// The control buffer had no room for all of them (`MSG_CTRUNC`): any may be missing.
    pub(super) is_cut: bool,
}

impl ControlInfo {
    /// # Safety
    ///
    /// `message` must have a control buffer of `msg_controllen` valid bytes, or a length of 0.
    pub(super) unsafe fn read(message: &msghdr) -> ControlInfo {
        let is_cut = message.msg_flags & libc::MSG_CTRUNC != 0;
        let mut info = ControlInfo { is_cut, ..ControlInfo::default() };
        let end = message.msg_control.addr() + message.msg_controllen as usize;
        // SAFETY: the buffer is valid as promised; CMSG_FIRSTHDR and CMSG_NXTHDR stay inside it.
        let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
        // SAFETY: not null means a whole, aligned header inside the buffer.
        while let Some(current) = unsafe { next.as_ref() }.copied() {
            // One that is cut off states more than is left (MSG_CTRUNC). One that states less than
            // its own header would lead some versions of CMSG_NXTHDR to itself without end.
            let length = current.cmsg_len as usize;
            if !(size_of::<cmsghdr>()..=end - next.addr()).contains(&length) {
                break;
            }
            match (current.cmsg_level, current.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    // SAFETY: this kind carries an in_pktinfo.
                    let asked: Option<libc::in_pktinfo> = unsafe { payload(next) };
                    let (source, to_group) = asked.map_or((None, false), ipv4_source);
                    info.destination = source.map(|ip| (ip.into(), 0));
                    info.to_group |= to_group;
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    // SAFETY: this kind carries an in6_pktinfo.
                    let asked: Option<libc::in6_pktinfo> = unsafe { payload(next) };
                    info.to_group |= asked.is_some_and(|asked| ipv6_addr(&asked).is_multicast());
                    let source = asked.and_then(|asked| ipv6_source(&asked));
                    info.destination = source.or(info.destination);
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    // SAFETY: this kind carries a u32.
                    info.overflow = unsafe { payload(next) };
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    // SAFETY: this kind carries an int.
                    let segment: Option<c_int> = unsafe { payload(next) };
                    info.segment_bytes = segment.and_then(|bytes| usize::try_from(bytes).ok());
                }
                _ => {}
            }
            // SAFETY: as for CMSG_FIRSTHDR.
            next = unsafe { libc::CMSG_NXTHDR(message, next) };
        }
        info
    }
}

/// The source address for the answer, and whether the datagram was sent to many: then the address
/// in its header is not the one to answer from (ip(7)).
///
/// What was queued before the kernel was asked to note this, as on a socket that was passed, has no
/// such address, but that of the header. Where that is one of many and does not show it, such as a
/// subnet's, the kernel lets nothing leave from there.
fn ipv4_source(info: libc::in_pktinfo) -> (Option<Ipv4Addr>, bool) {
    let ip = |addr: libc::in_addr| Ipv4Addr::from(addr.s_addr.to_ne_bytes());
    let (asked, source) = (ip(info.ipi_addr), ip(info.ipi_spec_dst));
    if !source.is_unspecified() {
        return (Some(source), source != asked);
    }
    let to_group = asked.is_multicast() || asked.is_broadcast();
    ((!to_group).then_some(asked), to_group)
}

/// The source address for the answer. A datagram to a group was not sent to an address of ours:
/// routing picks one. A link-local address means nothing without its interface; any other is
/// left free to take the best way back. Of an IPv4 datagram a note of that family tells.
fn ipv6_source(info: &libc::in6_pktinfo) -> Option<LocalAddr> {
    let ip = ipv6_addr(info);
    let interface = if ip.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
    let is_ours = !ip.is_multicast() && ip.to_ipv4_mapped().is_none();
    is_ours.then_some((ip.into(), interface))
}

fn ipv6_addr(info: &libc::in6_pktinfo) -> Ipv6Addr {
    Ipv6Addr::from(info.ipi6_addr.s6_addr)
}

/// The payload of a control message, when all of it is there.
///
/// # Safety
///
/// `message` must point to a valid header with the payload that its length states; `T` must be
/// plain data, for which any bytes are valid.
unsafe fn payload<T: Copy>(message: *const cmsghdr) -> Option<T> {
    // SAFETY: CMSG_LEN only computes.
    let whole = unsafe { libc::CMSG_LEN(size_of::<T>() as c_uint) } as usize;
    // SAFETY: the header is valid and aligned as promised.
    if (unsafe { (*message).cmsg_len } as usize) < whole {
        return None;
    }
    // SAFETY: the length was checked; the bytes need not be aligned for a T.
    Some(unsafe { ptr::read_unaligned(libc::CMSG_DATA(message).cast::<T>()) })
}

/// Writes what an answer is sent with: the address to leave from, and for a train the length of its
/// datagrams (`UDP_SEGMENT`, udp(7)). Returns the length of it all, 0 when there is nothing to say.
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

/// Writes one control message behind the first `used` bytes, and returns how many are used then.
fn write_payload<T: Copy>(
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
    // SAFETY: a Control is aligned for a cmsghdr, and so is what follows a whole number of them;
    // by the assertion there is room for it and its payload, which need not be aligned.
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

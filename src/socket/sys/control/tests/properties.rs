//! Control messages with false lengths, compared with a reader that uses only slices.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const HEADER_BYTES: usize = size_of::<cmsghdr>();

/// The four kinds that are read, and two that are not.
const KINDS: [(c_int, c_int); 6] = [
    (libc::IPPROTO_IP, libc::IP_PKTINFO),
    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO),
    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL),
    (libc::SOL_UDP, libc::UDP_GRO),
    (libc::SOL_UDP, libc::UDP_SEGMENT),
    (libc::SOL_SOCKET, libc::SCM_RIGHTS),
];

/// A control message whose stated length may be false.
#[derive(Clone, Debug)]
struct Stated {
    length: usize,
    kind: (c_int, c_int),
    payload: Vec<u8>,
}

/// Returns a stated length: correct, almost correct, too short, or so large that sums overflow.
fn length(payload_bytes: usize) -> impl Strategy<Value = usize> {
    let true_length = HEADER_BYTES + payload_bytes;
    prop_oneof![
        6 => Just(true_length),
        2 => true_length.saturating_sub(9)..true_length + 9,
        1 => 0..HEADER_BYTES + 1,
        1 => 0..400_usize,
        1 => (0..400_usize).prop_map(|less| usize::MAX - less),
        1 => (0..400_usize).prop_map(|off| (usize::MAX / 2).wrapping_add(off)),
        1 => any::<usize>(),
    ]
}

fn stated() -> impl Strategy<Value = Stated> {
    let kind = prop_oneof![
        8 => prop::sample::select(KINDS.to_vec()),
        1 => any::<(c_int, c_int)>(),
    ];
    let payload = prop_oneof![
        prop::sample::select(vec![4, 8, 12, 20]).prop_flat_map(|bytes| vec(any::<u8>(), bytes)),
        vec(any::<u8>(), 0..48),
    ];
    (kind, payload).prop_flat_map(|(kind, payload)| {
        let payload = Just(payload);
        (Just(kind), payload.clone(), payload.prop_flat_map(|bytes| length(bytes.len())))
            .prop_map(|(kind, payload, length)| Stated { length, kind, payload })
    })
}

/// Writes the messages one after another. Each begins where the previous payload ends, or where the
/// previous message states its end.
fn laid_out(messages: &[Stated], by_payload: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Stated { length, kind: (level, kind), payload } in messages {
        let start = bytes.len();
        bytes.extend(length.to_ne_bytes());
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        let span = if by_payload || *length > 400 { HEADER_BYTES + payload.len() } else { *length };
        bytes.resize(start + span.max(HEADER_BYTES).next_multiple_of(size_of::<usize>()), 0xa5);
    }
    bytes
}

fn any_control() -> impl Strategy<Value = Vec<u8>> {
    let made = (vec(stated(), 0..8), any::<bool>(), any::<prop::sample::Index>(), any::<bool>());
    prop_oneof![
        6 => made.prop_map(|(messages, by_payload, cut, is_cut)| {
            let mut bytes = laid_out(&messages, by_payload);
            if is_cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            bytes
        }),
        1 => vec(any::<u8>(), 0..200),
    ]
}

/// Reads control messages from `bytes`. They are at the end of a heap block, so that memory
/// checkers notice a read beyond it. `behind` fills the rest of the last word.
fn read(bytes: &[u8], behind: u8) -> ControlInfo {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(size_of::<u64>()), behind);
    let words = padded.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
    let mut words: Box<[u64]> = words.collect();
    let mut message = header(ptr::null_mut(), ptr::null_mut(), ptr::null_mut()).msg_hdr;
    message.msg_control = words.as_mut_ptr().cast();
    message.msg_controllen = bytes.len() as _;
    // SAFETY: the buffer is as long as stated, aligned for a header, and outlives the call.
    unsafe { ControlInfo::read(&message) }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|first| u32::from_ne_bytes(*first))
}

/// Reads the same with slices, which panic where a pointer would leave the buffer.
fn model(mut bytes: &[u8]) -> ControlInfo {
    let mut info = ControlInfo::default();
    while let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) {
        let length = usize::from_ne_bytes(*header.first_chunk().unwrap());
        let Some(payload) =
            length.checked_sub(HEADER_BYTES).and_then(|payload_bytes| rest.get(..payload_bytes))
        else {
            break;
        };
        let word = |at: usize| number(&header[at..]).unwrap().cast_signed();
        let kind = (word(size_of::<usize>()), word(size_of::<usize>() + 4));
        match KINDS.iter().position(|known| *known == kind) {
            // The interface, the local address, and the destination in the datagram's header.
            Some(0) => {
                let asked = payload.first_chunk::<12>();
                let local = |asked: &[u8; 12]| ([asked[4], asked[5], asked[6], asked[7]].into(), 0);
                info.to_group |= asked.is_some_and(|asked| asked[4..8] != asked[8..12]);
                info.destination = asked.map(local);
            }
            Some(1) => {
                // If both IP versions have a message, that of IPv4 counts.
                let asked = payload.first_chunk::<20>();
                info.to_group |= asked.is_some_and(|asked| asked[0] == 0xff);
                info.destination = asked.and_then(ipv6_local).or(info.destination);
            }
            Some(2) => info.overflow = number(payload),
            Some(3) => {
                let segment = number(payload).map(u32::cast_signed);
                info.segment_bytes = segment.and_then(|bytes| usize::try_from(bytes).ok());
            }
            _ => {}
        }
        let next = length.next_multiple_of(size_of::<usize>());
        let Some(behind) = bytes.get(next..) else { break };
        bytes = behind;
    }
    info
}

fn ipv6_local(info: &[u8; 20]) -> Option<LocalAddr> {
    let (ip, interface) = info.split_first_chunk::<16>().unwrap();
    let ip = Ipv6Addr::from(*ip);
    let interface = number(interface).filter(|_| ip.is_unicast_link_local()).unwrap_or(0);
    let is_source = !ip.is_multicast() && ip.to_ipv4_mapped().is_none();
    is_source.then_some((IpAddr::from(ip), interface))
}

/// Returns true if a control message with this address names the source for the reply. For an
/// IPv4-mapped address, the control message of IPv4 does.
fn names_source(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => !ip.is_multicast() && ip.to_ipv4_mapped().is_none(),
    }
}

proptest! {
    /// cases P6 U10 U13 U16: whatever a buffer contains and wherever it ends, the reader returns
    /// its contents, and nothing from beyond its end.
    #[test]
    fn false_lengths_never_lead_the_reader_out_of_the_buffer(bytes in any_control()) {
        let info = read(&bytes, 0);
        prop_assert_eq!(info, read(&bytes, 0xff));
        prop_assert_eq!(info, model(&bytes));
    }

    /// cases U10 U13: written control messages are complete, and the reader understands them.
    #[test]
    fn written_control_messages_are_read_back(
        address in any::<Option<IpAddr>>(),
        interface: u32,
        segment_bytes: Option<u16>,
    ) {
        let source = address.map(|ip| (ip, interface));
        let mut control = Control([0xff; 128]);
        let length = write_control(&mut control, source, segment_bytes);
        let info = read(&control.0[..length], 0xff);
        let expected = source.filter(|(ip, _)| names_source(ip));
        prop_assert_eq!(info.destination.map(|(ip, _)| ip), expected.map(|(ip, _)| ip));
        let is_link_local = |(ip, _): &LocalAddr| {
            matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
        };
        let scope = expected.filter(is_link_local).map_or(0, |(_, interface)| interface);
        prop_assert_eq!(info.destination.map_or(0, |(_, interface)| interface), scope);
        // A sent train and a received train use different control messages.
        prop_assert_eq!(info.segment_bytes, None);
        let kinds = usize::from(source.is_some()) + usize::from(segment_bytes.is_some());
        prop_assert_eq!(length > 0, kinds > 0);
    }

    /// cases U10 U13 U16: the reader reads all correct messages in any order and number. The last
    /// of each kind counts.
    #[test]
    fn correct_messages_are_read_in_any_order(
        messages in vec((0..4_usize, vec(any::<u8>(), 20)), 0..8),
    ) {
        const PAYLOAD_BYTES: [usize; 4] = [12, 20, 4, 4];
        let stated = messages.iter().map(|(kind, payload)| {
            let payload = payload[..PAYLOAD_BYTES[*kind]].to_vec();
            Stated { length: HEADER_BYTES + payload.len(), kind: KINDS[*kind], payload }
        });
        let stated: Vec<Stated> = stated.collect();
        let info = read(&laid_out(&stated, true), 0xff);
        let last = |kind: usize| stated.iter().rfind(|message| message.kind == KINDS[kind]);
        prop_assert_eq!(info.overflow, last(2).and_then(|message| number(&message.payload)));
        let segment = last(3).and_then(|message| number(&message.payload));
        let segment = segment.and_then(|bytes| usize::try_from(bytes.cast_signed()).ok());
        prop_assert_eq!(info.segment_bytes, segment);
        let is_destination = |message: &&Stated| KINDS[..2].contains(&message.kind);
        let destinations = stated.iter().filter(is_destination);
        let mut ips = destinations.map(|message| match message.payload.len() {
            12 => IpAddr::from(*message.payload[4..].first_chunk::<4>().unwrap()),
            _ => IpAddr::from(*message.payload.first_chunk::<16>().unwrap()),
        });
        let ip = ips.rfind(names_source);
        prop_assert_eq!(info.destination.map(|(ip, _)| ip), ip);
    }
}

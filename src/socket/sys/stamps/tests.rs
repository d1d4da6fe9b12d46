//! Control messages with timestamps, and timestamps of real packets.

use std::net::UdpSocket;
use std::os::fd::AsFd;

use libc::cmsghdr;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const HEADER_BYTES: usize = size_of::<cmsghdr>();

const KINDS: [(c_int, c_int); 5] = [
    STAMPS,
    (libc::IPPROTO_IP, libc::IP_RECVERR),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    UDP_GRO,
    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL),
];

/// Returns messages of these kinds and payloads one after another. Each states its length and
/// `excess` bytes more.
fn laid_out(messages: &[((c_int, c_int), Vec<u8>)], excess: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for ((level, kind), payload) in messages {
        bytes.extend((HEADER_BYTES + payload.len() + excess).to_ne_bytes());
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(size_of::<usize>()), 0xa5);
    }
    bytes
}

/// Reads control messages from the end of a heap block, so that memory checkers notice a read
/// beyond it. `behind` fills the rest of the last word.
fn read(bytes: &[u8], behind: u8) -> Found {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(size_of::<u64>()), behind);
    let words = padded.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
    let mut words: Box<[u64]> = words.collect();
    let mut message = header(ptr::null_mut(), ptr::null_mut(), ptr::null_mut()).msg_hdr;
    message.msg_control = words.as_mut_ptr().cast();
    message.msg_controllen = bytes.len() as _;
    // SAFETY: the buffer is as long as stated, aligned for a header, and outlives the call.
    unsafe { Found::read(&message) }
}

/// The payload of a timestamp by software at this time.
fn time(seconds: i64, nanoseconds: i64) -> Vec<u8> {
    [seconds, nanoseconds, 0, 0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The payload of an entry of the error queue: a `sock_extended_err` and an address.
fn entry(origin: u8, info: u32, data: u32, address_bytes: usize) -> Vec<u8> {
    let mut bytes = 42_u32.to_ne_bytes().to_vec();
    bytes.extend([origin, 0, 0, 0]);
    bytes.extend(info.to_ne_bytes());
    bytes.extend(data.to_ne_bytes());
    bytes.resize(bytes.len() + address_bytes, 0);
    bytes
}

fn connected() -> (UdpSocket, UdpSocket) {
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets[0].connect(sockets[1].local_addr().unwrap()).unwrap();
    sockets[1].connect(sockets[0].local_addr().unwrap()).unwrap();
    let [first, second] = sockets;
    (first, second)
}

#[test]
fn only_a_timestamp_of_the_driver_counts_as_one_of_a_sent_packet() {
    const ICMP: u8 = 2;
    const SCHEDULED: u32 = 1;
    let of = |origin, info| {
        let messages = [(STAMPS, time(1, 7)), (KINDS[1], entry(origin, info, 9, 16))];
        read(&laid_out(&messages, 0), 0).sent_stamp()
    };
    let stamp = SentStamp { key: 9, sent_ns: 1_000_000_007 };
    assert_eq!(of(libc::SO_EE_ORIGIN_TIMESTAMPING, SCM_TSTAMP_SND), Some(stamp));
    assert_eq!(of(libc::SO_EE_ORIGIN_TIMESTAMPING, SCHEDULED), None);
    assert_eq!(of(ICMP, SCM_TSTAMP_SND), None);
}

#[test]
fn the_timestamps_of_datagrams_lie_in_order_between_the_calls() {
    let (client, server) = connected();
    [&client, &server].into_iter().for_each(|socket| enable_stamps(socket.as_fd()).unwrap());
    for key in 0..3 {
        assert_eq!(send_stamped(client.as_fd(), b"hello", None).unwrap(), 5);
        let sent = next_sent_stamp(client.as_fd()).unwrap().expect("loopback sends at once");
        assert_eq!(sent.key, key);
        let mut buf = [0; 16];
        let received = receive_stamped(server.as_fd(), &mut buf).unwrap();
        assert_eq!((received.count, received.segment_bytes), (5, 5));
        // The kernel may begin to note arrivals a moment after the first socket asked for them.
        if let Some(arrived_ns) = received.arrived_ns {
            assert!(arrived_ns >= sent.sent_ns, "{received:?} {sent:?}");
        }
    }
    let empty = next_sent_stamp(client.as_fd()).unwrap_err();
    assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
}

/// The error that ICMP reported stays for the next call on the socket.
#[test]
fn reading_the_error_queue_takes_no_error_of_the_socket() {
    let (client, server) = connected();
    enable_stamps(client.as_fd()).unwrap();
    drop(server);
    send_stamped(client.as_fd(), b"hello", None).unwrap();
    assert!(next_sent_stamp(client.as_fd()).unwrap().is_some());
    assert!(next_sent_stamp(client.as_fd()).is_err());
    let refused = receive_stamped(client.as_fd(), &mut [0; 16]).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

proptest! {
    /// case P6: whatever a buffer contains and wherever it ends, the reader returns its contents,
    /// and nothing from beyond its end.
    #[test]
    fn no_control_message_leads_the_reader_out_of_the_buffer(
        messages in vec((prop::sample::select(KINDS.to_vec()), vec(any::<u8>(), 0..64)), 0..5),
        excess in prop_oneof![4 => Just(0_usize), 1 => 0..80_usize, 1 => Just(usize::MAX / 2)],
        cut in any::<Index>(),
        is_cut: bool,
    ) {
        let mut bytes = laid_out(&messages, excess);
        if is_cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        prop_assert_eq!(read(&bytes, 0), read(&bytes, 0xff));
    }

    #[test]
    fn the_messages_of_a_timestamp_are_read_in_any_order(
        seconds in 0_i64..9_000_000_000,
        nanoseconds in 0_i64..1_000_000_000,
        info: u32,
        key: u32,
        is_ipv6: bool,
        segment in 1_i32..65_535,
        rotation in 0_usize..3,
    ) {
        let (kind, address_bytes) = if is_ipv6 { (KINDS[2], 28) } else { (KINDS[1], 16) };
        let origin = libc::SO_EE_ORIGIN_TIMESTAMPING;
        let mut messages = vec![
            (STAMPS, time(seconds, nanoseconds)),
            (kind, entry(origin, info, key, address_bytes)),
            (UDP_GRO, segment.to_ne_bytes().to_vec()),
        ];
        messages.rotate_left(rotation);
        let found = read(&laid_out(&messages, 0), 0xff);
        let time_ns = u64::try_from(seconds * 1_000_000_000 + nanoseconds).unwrap();
        prop_assert_eq!(found.time_ns, Some(time_ns).filter(|ns| *ns > 0));
        prop_assert_eq!(found.entry, Some((origin, info, key)));
        prop_assert_eq!(found.segment_bytes, usize::try_from(segment).ok());
    }

    #[test]
    fn a_time_that_is_no_time_is_left_out(seconds: i64, nanoseconds: i64) {
        let found = read(&laid_out(&[(STAMPS, time(seconds, nanoseconds))], 0), 0);
        let all = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let is_valid = seconds >= 0 && nanoseconds >= 0 && all > 0;
        prop_assert_eq!(found.time_ns, u64::try_from(all).ok().filter(|_| is_valid));
    }
}

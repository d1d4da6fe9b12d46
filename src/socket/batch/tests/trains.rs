//! Trains over loopback: receiving, answering and joining them.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::endpoint::ResolvedEndpoint;

/// Creates a server that receives trains.
fn train_server(addr: &str) -> Datagram {
    let server = udp_server(addr);
    server.receive_trains(true).unwrap();
    server
}

/// Creates a client that sends trains. With `receives`, it also receives them.
fn train_client(server: SocketAddr, receives: bool) -> Datagram {
    let client =
        Datagram::connect(&ResolvedEndpoint::Udp(server), None, &SocketOptions::default()).unwrap();
    client.receive_trains(receives).unwrap();
    client
}

/// Receives the next datagram or train. Returns the length of its datagrams, and its bytes.
fn next(client: &Datagram) -> (usize, Vec<u8>) {
    let mut buf = vec![0; 70_000];
    let (length, segment_bytes) = client.receive_train(&mut buf).unwrap();
    buf.truncate(length);
    (segment_bytes, buf)
}

/// case U13
#[test]
fn a_train_is_received_whole_and_answered_as_one() {
    let server = train_server("127.0.0.1:0");
    let addr = server.local_addr().unwrap();
    let (takes_trains, takes_none) = (train_client(addr, true), train_client(addr, false));
    let mut batch = LinuxBatch::echo(100);
    for client in [&takes_trains, &takes_none] {
        client.send_train(b"aaabbbccd", 3).unwrap();
        assert_eq!(batch.receive(&server, 4).unwrap(), 1);
        let message = batch.message(0);
        assert_eq!((message.count(), message.segment_bytes), (3, 3));
        assert!(message.datagrams().eq([&b"aaa"[..], b"bbb", b"ccd"]));
        queue_all(&mut batch, 1, TrainLimit::ANY);
        assert!(batch.queued().iter().map(|train| train.datagrams).eq([3]));
        send_all(&mut batch, &server);
    }
    assert_eq!(next(&takes_trains), (3, b"aaabbbccd".to_vec()));
    for expected in [b"aaa", b"bbb", b"ccd"] {
        assert_eq!(next(&takes_none), (3, expected.to_vec()));
    }
}

/// case U15
#[test]
fn replies_to_single_datagrams_leave_in_one_train_per_peer() {
    let server = train_server("127.0.0.1:0");
    let addr = server.local_addr().unwrap();
    let mut batch = LinuxBatch::echo(100);
    let mut try_two = || {
        let (a, b) = (train_client(addr, true), train_client(addr, false));
        a.send(b"a1").unwrap();
        b.send(b"b1").unwrap();
        a.send(b"a2").unwrap();
        a.send(b"3").unwrap();
        assert_eq!(batch.receive(&server, 4).unwrap(), 4);
        queue_all(&mut batch, 4, TrainLimit::ANY);
        (batch.queued().len() == 2).then_some((a, b))
    };
    // One in 128 pairs of peers shares an entry, and needs a third train.
    let two = (0..10).find_map(|_| try_two());
    let (a, b) = two.expect("one train for each peer");
    assert!(batch.queued().iter().map(|train| train.parts).eq([3, 1]));
    let parcel = batch.parcel().unwrap();
    assert_eq!((&*parcel.bytes, parcel.segment_bytes, parcel.count()), (&b"a1a23"[..], 2, 3));
    send_all(&mut batch, &server);
    assert_eq!(next(&a), (2, b"a1a23".to_vec()));
    assert_eq!(next(&b), (2, b"b1".to_vec()));
    batch.send_parcel(&server, &parcel).unwrap();
    assert_eq!(next(&a), (2, b"a1a23".to_vec()));
    for single in parcel.take_apart().flatten() {
        batch.send_parcel(&server, &single).unwrap();
    }
    assert_eq!([next(&a).1, next(&a).1, next(&a).1], [&b"a1"[..], b"a2", b"3"]);
}

/// cases U10 U15: replies from different addresses cannot share a train.
#[test]
fn replies_from_two_addresses_of_this_host_do_not_share_a_train() {
    let server = train_server("0.0.0.0:0");
    let port = server.local_addr().unwrap().port();
    let client = udp_client("127.0.0.1:0");
    let addrs = [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 1], [127, 0, 0, 2]];
    for (number, addr) in (0..).zip(addrs) {
        client.send_to(&[number], (IpAddr::from(addr), port)).unwrap();
    }
    let mut batch = LinuxBatch::echo(9);
    assert_eq!(batch.receive(&server, 4).unwrap(), 4);
    queue_all(&mut batch, 4, TrainLimit::ANY);
    send_all(&mut batch, &server);
    let mut replies = Vec::new();
    let mut buf = [0; 9];
    for _ in addrs {
        let (count, from) = client.recv_from(&mut buf).unwrap();
        assert_eq!((count, from.port()), (1, port));
        assert_eq!(from.ip(), IpAddr::from(addrs[usize::from(buf[0])]));
        replies.push(buf[0]);
    }
    let of = |asked: [u8; 2]| replies.iter().copied().filter(move |number| asked.contains(number));
    assert!(of([0, 2]).eq([0, 2]) && of([1, 3]).eq([1, 3]), "{replies:?}");
}

/// case U14
#[test]
fn no_train_of_a_forbidden_length_or_longer_is_sent() {
    let server = train_server("127.0.0.1:0");
    let client = train_client(server.local_addr().unwrap(), false);
    let mut batch = LinuxBatch::echo(2_000);
    // Returns the number of sends for the replies to two datagrams of this length.
    let mut sends = |length: usize, trains: TrainLimit| {
        let message = vec![7; length];
        (0..2).for_each(|_| client.send(&message).unwrap());
        assert_eq!(batch.receive(&server, 4).unwrap(), 2);
        queue_all(&mut batch, 2, trains);
        let sends = batch.queued().len();
        send_all(&mut batch, &server);
        assert_eq!([next(&client).1, next(&client).1], [message.clone(), message]);
        sends
    };
    let mut trains = TrainLimit::ANY;
    assert_eq!(sends(1_500, trains), 1);
    trains.forbid(1_400);
    assert_eq!([sends(1_400, trains), sends(1_399, trains)], [2, 1]);
    // A peer behind the path with the smallest MTU.
    trains.forbid(525);
    assert_eq!([sends(525, trains), sends(524, trains)], [2, 1]);
    // Every path carries this length, so the length is not the cause.
    trains.forbid(100);
    assert_eq!(sends(64, trains), 2);
}

/// cases U13 U14: the kernel built the queued train before trains became forbidden.
#[test]
fn a_queued_train_keeps_its_boundaries_when_trains_become_forbidden() {
    let server = train_server("127.0.0.1:0");
    let client = train_client(server.local_addr().unwrap(), false);
    let mut batch = LinuxBatch::echo(100);
    client.send_train(b"aabbc", 2).unwrap();
    client.send(b"d").unwrap();
    let mut trains = TrainLimit::ANY;
    trains.forbid(2);
    assert_eq!(batch.receive(&server, 4).unwrap(), 2);
    assert!(batch.message(0).datagrams().eq([&b"aa"[..], b"bb", b"c"]));
    queue_all(&mut batch, 2, trains);
    let allowed: Vec<bool> = batch.queued().iter().map(|train| trains.allows(train)).collect();
    assert_eq!(allowed, [false, true], "the first must be split");
}

/// One call of a client: it sends a datagram of this many bytes, or a train.
#[derive(Clone, Debug)]
enum Call {
    Single(usize),
    Train { segment_bytes: usize, bytes: usize },
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => (0_usize..4).prop_map(Call::Single),
        1 => (0_usize..3_000).prop_map(Call::Single),
        2 => (1_usize..1_000, 1_usize..12, 0_usize..1_000).prop_map(|(segment_bytes, count, cut)| {
            Call::Train { segment_bytes, bytes: segment_bytes * count - cut % segment_bytes }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// cases U1 U13 U15: random lengths, peers, orders, trains and single datagrams, over real
    /// sockets.
    #[test]
    fn every_datagram_comes_back_to_its_peer_whole_and_in_order(
        calls in prop::collection::vec((0_usize..3, call()), 1..40),
        takes_trains in any::<bool>(),
        makes_trains in any::<bool>(),
        slots in 1_usize..20,
    ) {
        let server = udp_server("127.0.0.1:0");
        server.receive_trains(takes_trains).unwrap();
        let trains = if makes_trains { TrainLimit::ANY } else { TrainLimit::NONE };
        let addr = server.local_addr().unwrap();
        let clients = [false, false, true].map(|receives| train_client(addr, receives));
        let options = BatchOptions { slots, slot_bytes: 65_535, reply: None };
        let mut batch = LinuxBatch::new(options);
        let mut expected = vec![Vec::new(); clients.len()];
        let mut number = 0_u8;
        for chunk in calls.chunks(8) {
            for (peer, call) in chunk {
                number = number.wrapping_add(1);
                let (bytes, segment_bytes) = match *call {
                    Call::Single(bytes) => (bytes, bytes),
                    Call::Train { segment_bytes, bytes } => (bytes, segment_bytes),
                };
                let content: Vec<u8> = (0..bytes).map(|at| number ^ at.to_le_bytes()[0]).collect();
                if bytes > segment_bytes {
                    let segment_bytes = u16::try_from(segment_bytes).unwrap();
                    clients[*peer].send_train(&content, segment_bytes).unwrap();
                } else {
                    clients[*peer].send(&content).unwrap();
                }
                expected[*peer].extend(split(&content, segment_bytes));
            }
            while let Ok(count) = batch.receive(&server, usize::MAX) {
                queue_all(&mut batch, count, trains);
                send_all(&mut batch, &server);
            }
        }
        let mut buf = vec![0; 70_000];
        for (client, expected) in clients.iter().zip(expected) {
            let mut came = Vec::new();
            while let Ok((length, segment_bytes)) = client.receive_train(&mut buf) {
                came.extend(split(&buf[..length], segment_bytes));
            }
            prop_assert!(came == expected, "{} of {}", came.len(), expected.len());
        }
    }
}

fn split(bytes: &[u8], segment_bytes: usize) -> Vec<Vec<u8>> {
    if bytes.is_empty() {
        return vec![Vec::new()];
    }
    bytes.chunks(segment_bytes).map(<[u8]>::to_vec).collect()
}

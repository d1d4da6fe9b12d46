//! Tests that Unix peers that read nothing leave room in the send buffer for the others.

use super::script::{ScriptSocket, SendBuf};
use super::*;

const SIZE_BYTES: usize = 64 << 10;
const DEAF: usize = 3;
const PEERS: usize = 8;
/// The most slices until the mover finds a peer that reads. It checks each probe of a deaf peer
/// about twenty times.
const SLICES_MAX: usize = 1000;

fn peer(number: usize) -> SockAddr {
    SockAddr::unix(format!("peer{number}")).unwrap()
}

/// Returns a server with an ordinary send buffer whose first `DEAF` peers do not read.
fn scene() -> Scene<HeldReplies> {
    let mut scene = Scene::of_unix();
    let deaf = (0..DEAF).map(peer).collect();
    scene.socket =
        ScriptSocket::with(SendBuf { size_bytes: SIZE_BYTES, deaf, ..SendBuf::default() });
    scene
}

fn send_buf(scene: &mut Scene<HeldReplies>) -> &mut SendBuf {
    scene.socket.0.get_mut().as_mut().unwrap()
}

/// Runs slices until the mover waits. Then the peers that are not deaf read.
fn run(scene: &mut Scene<HeldReplies>) {
    while scene.slice() == Next::Again {}
    send_buf(scene).unread_bytes = 0;
}

/// Lets a peer send a datagram. If the peer reads, runs slices until it has its reply.
fn request(scene: &mut Scene<HeldReplies>, number: usize, bytes: &[u8]) {
    let before = scene.batch.sent.len();
    scene.batch.arrive(from(peer(number), bytes));
    scene.readiness.merge(Readiness::READABLE);
    run(scene);
    let reply = (peer(number), bytes.to_vec());
    let mut slices = 0;
    while number >= DEAF && !scene.batch.sent[before..].contains(&reply) {
        slices += 1;
        assert!(slices < SLICES_MAX, "no reply: {:?}", scene.counters);
        scene.now = scene.mover.retry_at().expect("held replies are retried");
        run(scene);
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// case X3: a peer that reads gets its replies, whatever deaf peers have sent.
        #[test]
        fn deaf_peers_do_not_fill_the_send_buffer(
            requests in prop::collection::vec((0..PEERS, 0..2000_usize), 1..200),
        ) {
            let mut scene = scene();
            for (count, (number, length)) in requests.iter().enumerate() {
                let mut bytes = vec![7; *length];
                bytes.extend_from_slice(&count.to_be_bytes());
                request(&mut scene, *number, &bytes);
                let unread_bytes = send_buf(&mut scene).unread_by_deaf_bytes;
                prop_assert!(unread_bytes < SIZE_BYTES * 7 / 8, "{unread_bytes} bytes are unread");
            }
            // Each peer has its replies in the order of its datagrams, and none twice.
            for number in 0..PEERS {
                let mut sent: Vec<_> = scene.batch.sent.iter().filter(|sent| sent.0 == peer(number))
                    .map(|(_, bytes)| bytes[bytes.len() - 8..].to_vec()).collect();
                prop_assert!(sent.is_sorted(), "{sent:?}");
                let all = sent.len();
                sent.dedup();
                prop_assert_eq!(sent.len(), all);
            }
        }
    }
}

/// case X3: the mover does not retry a peer without end whose own queue is full too.
#[test]
fn replies_to_a_peer_without_room_are_dropped_at_the_stall_timeout_under_pressure() {
    let mut scene = scene();
    let reader = DEAF;
    scene.batch.rooms.insert(peer(reader), 0);
    send_buf(&mut scene).unread_by_deaf_bytes = SIZE_BYTES * 3 / 4;
    scene.batch.arrive(from(peer(reader), b"held"));
    scene.readiness.merge(Readiness::READABLE);
    run(&mut scene);
    assert_eq!(scene.mover.held(), 1);
    while let Some(at) = scene.mover.retry_at() {
        scene.now = at;
        run(&mut scene);
    }
    assert_eq!((scene.mover.held(), scene.counters.count(Cause::ReplyStalled)), (0, 1));
    // The peer gets its replies again once it has room.
    scene.batch.rooms.clear();
    request(&mut scene, reader, b"later");
}

/// case X3
#[test]
fn a_deaf_peer_gets_replies_again_once_it_reads() {
    let mut scene = scene();
    for _ in 0..200 {
        request(&mut scene, 0, &[7; 1000]);
    }
    // The peer reads no probe, so it counts as deaf and nothing is held for it.
    while let Some(at) = scene.mover.retry_at() {
        scene.now = at;
        run(&mut scene);
    }
    assert!(scene.counters.count(Cause::ReplyStalled) > 0, "{:?}", scene.counters);
    assert_eq!(scene.mover.held(), 0);
    let sent = scene.batch.sent.len();
    request(&mut scene, 0, b"ignored");
    assert_eq!(scene.batch.sent.len(), sent);

    *send_buf(&mut scene) = SendBuf { size_bytes: SIZE_BYTES, ..SendBuf::default() };
    request(&mut scene, 0, b"answered");
    assert_eq!(scene.batch.sent.last(), Some(&(peer(0), b"answered".to_vec())));
}

/// case X3: a dropped reply shows nothing about the peer, so the next probe is one reply again.
#[test]
fn a_reply_that_was_dropped_is_not_a_probe_that_the_peer_read() {
    let mut scene = scene();
    send_buf(&mut scene).unread_by_deaf_bytes = SIZE_BYTES * 3 / 4;
    for bytes in [b"a", b"b", b"c"] {
        scene.batch.arrive(from(peer(DEAF), bytes));
    }
    scene.batch.outcomes.push_back(Outcome::Fails(libc::ECONNREFUSED));
    while scene.slice() == Next::Again {}
    assert_eq!(scene.counters.count(Cause::ReplyRefused), 1);
    assert_eq!((scene.sent(), scene.mover.held()), (vec!["b"], 1));
    assert!(scene.mover.retry_at().is_some_and(|at| at > scene.now), "the probe is pending");
}

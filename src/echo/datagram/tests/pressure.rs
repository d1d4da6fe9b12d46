//! Unix peers that read nothing, and what is left of the send buffer for the others.

use super::script::{ScriptSocket, SendBuf};
use super::*;

const SIZE_BYTES: usize = 64 << 10;
const DEAF: usize = 3;
const PEERS: usize = 8;
/// Slices that the timer may take to find a peer that reads: each deaf one is looked at some
/// twenty times a probe.
const SLICES_MAX: usize = 1000;

fn peer(number: usize) -> SockAddr {
    SockAddr::unix(format!("peer{number}")).unwrap()
}

/// A server with an ordinary send buffer, of whose peers the first do not read.
fn scene() -> Scene {
    let mut scene = Scene::of_unix();
    let deaf = (0..DEAF).map(peer).collect();
    scene.socket =
        ScriptSocket::with(SendBuf { size_bytes: SIZE_BYTES, deaf, ..SendBuf::default() });
    scene
}

fn send_buf(scene: &mut Scene) -> &mut SendBuf {
    scene.socket.0.get_mut().as_mut().unwrap()
}

/// Slices until the mover waits; those who read then do.
fn run(scene: &mut Scene) {
    while scene.slice() == Next::Again {}
    send_buf(scene).unread_bytes = 0;
}

/// Has a peer ask, and the timer run until it is answered when it is one that reads.
fn ask(scene: &mut Scene, number: usize, bytes: &[u8]) {
    let before = scene.batch.sent.len();
    scene.batch.arrive(from(peer(number), bytes));
    scene.readiness.merge(Readiness::READABLE);
    run(scene);
    let answer = (peer(number), bytes.to_vec());
    let mut slices = 0;
    while number >= DEAF && !scene.batch.sent[before..].contains(&answer) {
        slices += 1;
        assert!(slices < SLICES_MAX, "no answer: {:?}", scene.counters);
        scene.now = scene.mover.retry_at().expect("what is held is tried again");
        run(scene);
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// case X3: whoever reads is answered, whatever the deaf have asked for.
        #[test]
        fn deaf_peers_do_not_use_the_send_buffer_up(
            asks in prop::collection::vec((0..PEERS, 0..2000_usize), 1..200),
        ) {
            let mut scene = scene();
            for (count, (number, length)) in asks.iter().enumerate() {
                let mut bytes = vec![7; *length];
                bytes.extend_from_slice(&count.to_be_bytes());
                ask(&mut scene, *number, &bytes);
                let unread_bytes = send_buf(&mut scene).unread_by_deaf_bytes;
                prop_assert!(unread_bytes < SIZE_BYTES * 7 / 8, "{unread_bytes} are left unread");
            }
            // Each peer has its answers in the order in which it asked, and none twice.
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

/// case X3: a peer whose own queue is full, too, is not tried for ever.
#[test]
fn a_peer_without_room_is_given_up_at_the_stall_timeout_in_a_crowd() {
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
    assert_eq!((scene.mover.held(), scene.counters.count(Cause::AnswerStalled)), (0, 1));
    // It is served once there is room.
    scene.batch.rooms.clear();
    ask(&mut scene, reader, b"later");
}

/// case X3
#[test]
fn the_deaf_are_heard_again_once_they_read() {
    let mut scene = scene();
    for _ in 0..200 {
        ask(&mut scene, 0, &[7; 1000]);
    }
    // Probed in vain, it is taken for deaf, and nothing is left to be tried.
    while let Some(at) = scene.mover.retry_at() {
        scene.now = at;
        run(&mut scene);
    }
    assert!(scene.counters.count(Cause::AnswerStalled) > 0, "{:?}", scene.counters);
    assert_eq!(scene.mover.held(), 0);
    let sent = scene.batch.sent.len();
    ask(&mut scene, 0, b"unheard");
    assert_eq!(scene.batch.sent.len(), sent);

    *send_buf(&mut scene) = SendBuf { size_bytes: SIZE_BYTES, ..SendBuf::default() };
    ask(&mut scene, 0, b"heard");
    assert_eq!(scene.batch.sent.last(), Some(&(peer(0), b"heard".to_vec())));
}

//! Tests of trains of replies: sent, refused, held, and split.

use super::*;

/// Returns a UDP socket whose replies to these datagrams of one peer may leave in trains.
fn of_trains(datagrams: &[&[u8]]) -> Scene<HeldTrains> {
    let mut scene = Scene::of_udp(datagrams);
    scene.mover.policy.trains = TrainLimit::ANY;
    scene
}

/// case U15
#[test]
fn a_train_is_one_send_and_counts_as_its_datagrams() {
    let mut scene = of_trains(&[b"aa", b"bb", b"cc"]);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!((scene.sent(), scene.batch.attempts), (vec!["aa", "bb", "cc"], 1));
    let traffic = scene.counters.traffic;
    assert_eq!((traffic.messages_out, traffic.bytes_out), (3, 6));
    assert_eq!(scene.mover.policy.trains, TrainLimit::ANY);
}

/// case U14: scripted, because no device of a test machine refuses trains.
#[test]
fn a_refused_train_is_sent_one_by_one_and_no_train_of_its_length_follows() {
    // Datagrams longer than every path takes, so the length may be the cause.
    let [a, b, c] = ["a", "b", "c"].map(|letter| letter.repeat(1_000));
    let only_shorter = TrainLimit::up_to(999);
    let refusals = [
        (libc::EIO, TrainLimit::NONE),
        (libc::EINVAL, only_shorter),
        (libc::EMSGSIZE, only_shorter),
    ];
    for (number, trains) in refusals {
        let mut scene = of_trains(&[a.as_bytes(), b.as_bytes(), c.as_bytes(), b"d"]);
        scene.batch.outcomes.push_back(Outcome::Fails(number));
        assert_eq!(scene.slice(), Next::Wait);
        assert_eq!(scene.sent(), [&a, &b, &c, "d"], "error {number}");
        assert_eq!(scene.mover.policy.trains, trains, "error {number}");
        assert_eq!(scene.counters.count(Cause::TrainRefused), 1);
        assert_eq!(scene.counters.traffic.messages_out, 4);
        assert_eq!((scene.mover.held(), scene.mover.wants_writable()), (0, false));
    }
}

/// case U14: a peer with an unusable address does not end the trains to other peers.
#[test]
fn a_train_whose_single_datagrams_are_refused_too_forbids_no_trains() {
    let mut scene = of_trains(&[b"aa", b"bb", b"cc"]);
    scene.batch.outcomes.extend([libc::EINVAL; 3].map(Outcome::Fails));
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!((scene.sent(), scene.mover.policy.trains), (vec!["cc"], TrainLimit::ANY));
    assert_eq!(scene.counters.count(Cause::ReplyUnreachable), 2);
}

/// Returns a train of one peer, as the socket received it.
fn received_train(bytes: &[u8], segment_bytes: usize) -> Incoming {
    Incoming { segment_bytes, ..from(udp(1), bytes) }
}

/// cases U13 U14: peers may still send such trains.
#[test]
fn a_train_of_a_forbidden_length_is_split_without_an_attempt() {
    let mut scene = of_trains(&[b"d"]);
    scene.batch.arrive(received_train(b"aabb", 2));
    scene.batch.arrive(from(udp(1), b"e"));
    scene.mover.policy.trains = TrainLimit::up_to(1);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.sent(), ["d", "aa", "bb", "e"]);
    assert_eq!((scene.batch.attempts, scene.counters.count(Cause::TrainRefused)), (4, 0));
    assert_eq!(scene.mover.policy.trains, TrainLimit::up_to(1), "the system refused nothing");
}

/// cases U5 U14
#[test]
fn a_train_of_a_forbidden_length_that_would_block_is_held_and_sent_in_order() {
    let mut scene = of_trains(&[]);
    scene.batch.arrive(received_train(b"aabb", 2));
    scene.batch.arrive(from(udp(1), b"c"));
    scene.mover.policy.trains = TrainLimit::NONE;
    scene.batch.outcomes.extend([Outcome::Sent, WOULD_BLOCK]);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!((scene.sent(), scene.mover.held()), (vec!["aa"], 2));
    assert_eq!(scene.counters.count(Cause::Held), 2);
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.sent(), ["aa", "bb", "c"]);
}

/// case U4
#[test]
fn a_train_with_a_passing_error_forbids_no_trains_and_its_datagrams_are_sent() {
    let mut scene = of_trains(&[b"aa", b"bb"]);
    scene.batch.outcomes.push_back(Outcome::Fails(libc::ENOBUFS));
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!((scene.sent(), scene.mover.policy.trains), (vec!["aa", "bb"], TrainLimit::ANY));
}

/// cases U5 U14
#[test]
fn datagrams_of_a_split_train_that_would_block_are_held_before_the_rest() {
    let mut scene = of_trains(&[b"aa", b"bb", b"c", b"d"]);
    scene.batch.outcomes.extend([Outcome::Fails(libc::EIO), Outcome::Sent, WOULD_BLOCK]);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!((scene.sent(), scene.mover.held()), (vec!["aa"], 3));
    assert_eq!(scene.counters.count(Cause::Held), 3);
    assert!(scene.mover.wants_writable() && !scene.readiness.is_writable());
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.sent(), ["aa", "bb", "c", "d"]);
    assert_eq!(scene.mover.policy.trains, TrainLimit::NONE);
}

/// case U5
#[test]
fn a_train_that_would_block_is_held_and_sent_as_one_train() {
    let mut scene = of_trains(&[b"aa", b"bb", b"c"]);
    scene.batch.outcomes.push_back(WOULD_BLOCK);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!((scene.mover.held(), scene.counters.count(Cause::Held)), (3, 3));
    let attempts = scene.batch.attempts;
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.sent(), ["aa", "bb", "c"]);
    assert_eq!(scene.batch.attempts, attempts + 2);
}

/// cases U5 U14
#[test]
fn a_held_train_that_is_refused_is_sent_one_by_one() {
    let [a, b] = ["a", "b"].map(|letter| letter.repeat(1_000));
    let mut scene = of_trains(&[a.as_bytes(), b.as_bytes(), b"c"]);
    scene.batch.outcomes.extend([WOULD_BLOCK, Outcome::Fails(libc::EMSGSIZE)]);
    assert_eq!(scene.slice(), Next::Wait);
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(
        (scene.sent(), scene.mover.policy.trains),
        (vec![&*a, &b, "c"], TrainLimit::up_to(999))
    );
}

/// cases S2 U5
#[test]
fn without_memory_replies_that_would_wait_for_the_socket_are_dropped_and_counted() {
    let mut scene = of_trains(&[b"aa", b"bb", b"c"]);
    scene.batch.has_no_memory = true;
    scene.batch.outcomes.push_back(WOULD_BLOCK);
    assert_eq!(scene.slice(), Next::Wait);
    let counts = [Cause::ReplyNoMemory, Cause::Held].map(|cause| scene.counters.count(cause));
    assert_eq!((counts, scene.mover.held()), ([3, 0], 0));
    assert!(!scene.mover.wants_writable(), "no reply waits for the socket");
}

/// cases S2 U14
#[test]
fn without_memory_a_refused_train_is_dropped_and_counted() {
    let mut scene = of_trains(&[b"aa", b"bb", b"c"]);
    scene.batch.has_no_memory = true;
    scene.batch.outcomes.push_back(Outcome::Fails(libc::EIO));
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!((scene.counters.count(Cause::ReplyNoMemory), scene.sent()), (2, vec!["c"]));
}

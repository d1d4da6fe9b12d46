//! Tests of replies to Unix datagram peers without room, for which no event reports room.

use super::*;

const HELD_REPLIES_PER_PEER_MAX: usize = 64;
const RETRIED_PER_SLICE: usize = 128;
const RECEIVE_RETRY: Duration = Duration::from_millis(100);

/// Returns the address of a peer that is bound to a socket file of this name.
fn peer(name: &str) -> SockAddr {
    SockAddr::unix(name).unwrap()
}

/// Returns a server that is readable with these datagrams and whose peer "deaf" has no room.
fn scene(datagrams: &[(&str, &str)]) -> Scene<HeldReplies> {
    let mut scene = Scene::of_unix();
    scene.batch.rooms.insert(peer("deaf"), 0);
    arrive(&mut scene, datagrams);
    scene
}

fn arrive(scene: &mut Scene<HeldReplies>, datagrams: &[(&str, &str)]) {
    for (name, bytes) in datagrams {
        scene.batch.arrive(from(peer(name), bytes.as_bytes()));
    }
    scene.readiness.merge(Readiness::READABLE);
}

/// Runs slices until the mover waits.
fn run(scene: &mut Scene<HeldReplies>) {
    while scene.slice() == Next::Again {}
    assert!(!scene.readiness.is_readable());
    assert!(!scene.mover.wants_writable(), "no event reports that a peer has room");
}

/// Runs slices at the time that the mover requested.
fn run_at_retry(scene: &mut Scene<HeldReplies>) {
    scene.now = scene.mover.retry_at().unwrap();
    run(scene);
}

/// case X3
#[test]
fn a_peer_without_room_delays_no_other_and_gets_its_replies_in_order() {
    let datagrams = [("deaf", "a"), ("b", "b"), ("deaf", "c"), ("b", "d"), ("deaf", "e")];
    let mut scene = scene(&datagrams);
    run(&mut scene);
    assert_eq!(scene.sent(), ["b", "d"]);
    assert_eq!((scene.mover.held(), scene.counters.count(Cause::Held)), (3, 3));

    let attempts = scene.batch.attempts;
    run(&mut scene);
    assert_eq!(scene.batch.attempts, attempts, "a retry that is not due makes no system call");

    scene.batch.rooms.clear();
    run_at_retry(&mut scene);
    assert_eq!(scene.sent(), ["b", "d", "a", "c", "e"]);
    assert_eq!((scene.mover.held(), scene.mover.retry_at()), (0, None));
}

/// case X3
#[test]
fn replies_to_a_peer_are_held_up_to_the_bound_and_the_rest_are_counted() {
    let numbers: Vec<_> =
        (0..HELD_REPLIES_PER_PEER_MAX + 6).map(|number| number.to_string()).collect();
    let datagrams: Vec<_> = numbers.iter().map(|number| ("deaf", number.as_str())).collect();
    let mut scene = scene(&datagrams);
    run(&mut scene);
    assert_eq!(scene.mover.held(), HELD_REPLIES_PER_PEER_MAX);
    assert_eq!(scene.counters.count(Cause::ReplyBacklogFull), 6);
    scene.batch.rooms.clear();
    run_at_retry(&mut scene);
    assert_eq!(scene.sent(), numbers[..HELD_REPLIES_PER_PEER_MAX], "the oldest are held");
}

/// case X3: each peer is within its own bound, but all peers together reach theirs.
#[test]
fn peers_with_held_replies_are_bounded_in_number_and_in_bytes() {
    let mut scene = Scene::of_unix();
    let names: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    for name in &names {
        scene.batch.rooms.insert(peer(name), 0);
        arrive(&mut scene, &[(name, "a")]);
    }
    run(&mut scene);
    let dropped = scene.counters.count(Cause::ReplyBacklogFull);
    assert!(scene.mover.held() <= 256, "{} are held", scene.mover.held());
    assert_eq!(scene.mover.held() as u64 + dropped, 1000);

    let mut scene = self::scene(&[]);
    let large = "x".repeat(256 << 10);
    let datagrams = [("deaf", large.as_str()); 40];
    arrive(&mut scene, &datagrams);
    run(&mut scene);
    assert_eq!(scene.mover.held(), 2, "as many as the bytes of one peer allow");
    assert_eq!(scene.counters.count(Cause::ReplyBacklogFull), 40 - 2);
    // A reply that was sent no longer counts against the bound.
    scene.batch.rooms.insert(peer("deaf"), 1);
    run_at_retry(&mut scene);
    arrive(&mut scene, &datagrams);
    run(&mut scene);
    assert_eq!((scene.sent().len(), scene.mover.held()), (1, 2));

    let mut scene = Scene::of_unix();
    for name in &names {
        scene.batch.rooms.insert(peer(name), 0);
        arrive(&mut scene, &[(name, &large)]);
    }
    run(&mut scene);
    assert_eq!(scene.mover.held() * large.len(), 16 << 20, "the bytes of all peers");
}

/// case X3: retries that send nothing count too, and the batches of a slice share the bound.
#[test]
fn a_slice_retries_a_bounded_number_of_replies_and_the_next_slice_the_others() {
    const PEERS: usize = 200;
    let mut scene = Scene::of_unix();
    let names: Vec<_> = (0..PEERS).map(|number| number.to_string()).collect();
    for name in &names {
        scene.batch.rooms.insert(peer(name), 0);
        arrive(&mut scene, &[(name, "a")]);
    }
    run(&mut scene);
    let tries_of_a_slice = |scene: &mut Scene<HeldReplies>| {
        // As many datagrams of another peer as four batches receive.
        arrive(scene, &[("b", "b"); BATCHES_PER_SLICE * Script::SLOTS]);
        let before = scene.batch.attempts;
        assert_eq!(scene.slice(), Next::Again);
        scene.batch.attempts - before - BATCHES_PER_SLICE * Script::SLOTS
    };
    for has_room in [false, true] {
        if has_room {
            scene.batch.rooms.clear();
        }
        // Later than every retry.
        scene.now += Duration::from_secs(1);
        assert_eq!(tries_of_a_slice(&mut scene), RETRIED_PER_SLICE);
        assert_eq!(tries_of_a_slice(&mut scene), PEERS - RETRIED_PER_SLICE);
    }
    assert_eq!(scene.mover.held(), 0);
}

/// case X3: peers that take one reply each time are due again before the next slice.
#[test]
fn the_peer_that_has_been_due_longest_is_retried_first() {
    const PEERS: usize = 200;
    let mut scene = Scene::of_unix();
    let names: Vec<_> = (0..PEERS).map(|number| number.to_string()).collect();
    for name in &names {
        scene.batch.rooms.insert(peer(name), 0);
        arrive(&mut scene, &[(name.as_str(), "a"); 8]);
        run(&mut scene);
    }
    // A peer that takes a reply and has no room for the next one costs two tries.
    for _ in 0..PEERS.div_ceil(RETRIED_PER_SLICE / 2) {
        scene.now += Duration::from_millis(1);
        scene.batch.rooms.values_mut().for_each(|room| *room = 1);
        scene.slice();
    }
    let served: std::collections::HashSet<_> = scene.batch.sent.iter().map(|(to, _)| to).collect();
    assert_eq!(served.len(), PEERS);
}

/// case X3: a peer that takes its replies does not wait because of one that has been deaf for long.
#[test]
fn each_peer_has_its_own_back_off() {
    let mut scene = scene(&[("deaf", "a")]);
    run(&mut scene);
    (0..20).for_each(|_| run_at_retry(&mut scene));
    let long = scene.mover.retry_at().unwrap() - scene.now;
    scene.batch.rooms.insert(peer("slow"), 0);
    arrive(&mut scene, &[("slow", "b")]);
    run(&mut scene);
    let short = scene.mover.retry_at().unwrap() - scene.now;
    assert!(short < long, "{short:?} {long:?}");
    scene.batch.rooms.remove(&peer("slow"));
    let attempts = scene.batch.attempts;
    run_at_retry(&mut scene);
    assert_eq!((scene.sent(), scene.batch.attempts), (vec!["b"], attempts + 1));
}

/// case X3
#[test]
fn retries_back_off_to_a_longest_wait_and_progress_resets_it() {
    let mut scene = scene(&[("deaf", "a"), ("deaf", "b"), ("deaf", "c")]);
    run(&mut scene);
    let wait = |scene: &Scene<HeldReplies>| scene.mover.retry_at().unwrap() - scene.now;
    let first = wait(&scene);
    assert!(first > Duration::ZERO);
    let mut waits = vec![first];
    for _ in 0..20 {
        let attempts = scene.batch.attempts;
        run_at_retry(&mut scene);
        assert_eq!(scene.batch.attempts, attempts + 1, "one call per retry of a peer without room");
        waits.push(wait(&scene));
    }
    assert!(waits.is_sorted(), "{waits:?}");
    assert!(waits[20] > first && waits[20] == waits[15], "{waits:?}");

    scene.batch.rooms.insert(peer("deaf"), 1);
    run_at_retry(&mut scene);
    assert_eq!((scene.sent(), wait(&scene)), (vec!["a"], first));
    scene.batch.rooms.clear();
    run_at_retry(&mut scene);
    assert_eq!((scene.sent(), scene.mover.retry_at()), (vec!["a", "b", "c"], None));

    scene.batch.rooms.insert(peer("deaf"), 0);
    arrive(&mut scene, &[("deaf", "d")]);
    run(&mut scene);
    assert_eq!(wait(&scene), first, "a new hold starts with the shortest wait");
}

/// case X3: a peer that sends may have read its queue and made room.
#[test]
fn a_peer_that_sends_again_gets_its_held_replies_first() {
    let mut scene = scene(&[("deaf", "a"), ("deaf", "b")]);
    run(&mut scene);
    scene.batch.rooms.insert(peer("deaf"), 1);
    arrive(&mut scene, &[("deaf", "c")]);
    run(&mut scene);
    assert_eq!((scene.sent(), scene.mover.held()), (vec!["a"], 2));
    scene.batch.rooms.insert(peer("deaf"), 9);
    arrive(&mut scene, &[("b", "other"), ("deaf", "d")]);
    run(&mut scene);
    assert_eq!(scene.sent(), ["a", "b", "c", "other", "d"]);
    assert_eq!(scene.mover.held(), 0);
}

/// case X3
#[test]
fn replies_that_a_peer_does_not_take_for_the_stall_timeout_are_dropped_and_counted() {
    let mut scene = scene(&[("deaf", "a"), ("deaf", "b"), ("deaf", "c"), ("deaf", "d")]);
    scene.stall_timeout = Duration::from_secs(1);
    let start = scene.now;
    run(&mut scene);
    while scene.now < start + Duration::from_millis(600) {
        run_at_retry(&mut scene);
    }
    scene.batch.rooms.insert(peer("deaf"), 1);
    run_at_retry(&mut scene);
    let progressed_at = scene.now;
    while scene.mover.held() > 0 {
        assert!(scene.now < progressed_at + scene.stall_timeout, "held for too long");
        assert_eq!(scene.mover.held(), 3);
        run_at_retry(&mut scene);
    }
    assert!(scene.now >= progressed_at + scene.stall_timeout, "it starts at the last progress");
    assert_eq!((scene.sent(), scene.counters.count(Cause::ReplyStalled)), (vec!["a"], 3));
    assert_eq!(scene.mover.retry_at(), None);
}

/// case X4
#[test]
fn replies_to_a_receiver_that_is_gone_are_counted_and_the_others_are_sent() {
    for number in [libc::ECONNREFUSED, libc::ENOENT] {
        let mut scene = scene(&[("gone", "a"), ("b", "b"), ("deaf", "c"), ("deaf", "d")]);
        scene.batch.outcomes.push_back(Outcome::Fails(number));
        run(&mut scene);
        assert_eq!((scene.sent(), scene.mover.held()), (vec!["b"], 2));
        assert_eq!(scene.counters.count(Cause::ReplyRefused), 1);
        // A receiver with held replies can go away too.
        scene.batch.outcomes.extend([Outcome::Fails(libc::EINTR), Outcome::Fails(number)]);
        scene.batch.rooms.clear();
        run_at_retry(&mut scene);
        assert_eq!((scene.sent(), scene.mover.held()), (vec!["b", "d"], 0));
        assert_eq!(scene.counters.count(Cause::ReplyRefused), 2);
    }
}

/// cases X3 U9: the mover waits for the earlier of the two retries.
#[test]
fn a_failing_receive_does_not_delay_the_retry_of_a_peer() {
    let mut scene = scene(&[("deaf", "a")]);
    scene.batch.fail_receives(libc::ENOMEM, RECEIVE_ERRORS_PER_SLICE);
    assert_eq!(scene.slice(), Next::Wait);
    assert!(scene.mover.retry_at().unwrap() < scene.now + RECEIVE_RETRY);
    scene.batch.rooms.clear();
    scene.now = scene.mover.retry_at().unwrap();
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.sent(), ["a"]);
    assert!(!scene.readiness.is_readable(), "the slice also receives again");
}

/// case S2: as for a stream. Peers whose replies need no memory get them.
#[test]
fn without_memory_a_reply_that_would_be_held_is_dropped_and_counted() {
    let mut scene = scene(&[("deaf", "a"), ("b", "b"), ("deaf", "c")]);
    scene.batch.has_no_memory = true;
    run(&mut scene);
    assert_eq!(scene.sent(), ["b"]);
    let counts = [Cause::ReplyNoMemory, Cause::Held].map(|cause| scene.counters.count(cause));
    assert_eq!((counts, scene.mover.held(), scene.mover.retry_at()), ([2, 0], 0, None));

    scene.batch.has_no_memory = false;
    arrive(&mut scene, &[("deaf", "d"), ("deaf", "e")]);
    run(&mut scene);
    scene.batch.rooms.clear();
    run_at_retry(&mut scene);
    assert_eq!(scene.sent(), ["b", "d", "e"]);
}

/// case S2: the replies before it keep their order.
#[test]
fn without_memory_a_reply_that_would_be_held_behind_others_is_dropped_and_counted() {
    let mut scene = scene(&[("deaf", "a")]);
    run(&mut scene);
    scene.batch.has_no_memory = true;
    arrive(&mut scene, &[("deaf", "b")]);
    run(&mut scene);
    let counts = [Cause::ReplyNoMemory, Cause::Held].map(|cause| scene.counters.count(cause));
    assert_eq!((counts, scene.mover.held()), ([1, 1], 1));
    scene.batch.rooms.clear();
    run_at_retry(&mut scene);
    assert_eq!((scene.sent(), scene.mover.held()), (vec!["a"], 0));
}

//! Answers to Unix datagram peers, each of which may have no room without any event to come.

use super::*;

const HELD_REPLIES_PER_PEER_MAX: usize = 64;
const RECEIVE_RETRY: Duration = Duration::from_millis(100);

/// A peer bound to a socket file of this name.
fn peer(name: &str) -> SockAddr {
    SockAddr::unix(name).unwrap()
}

/// A server whose peer "deaf" has no room, told readable with these datagrams.
fn scene(datagrams: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::of_unix();
    scene.batch.rooms.insert(peer("deaf"), 0);
    arrive(&mut scene, datagrams);
    scene
}

fn arrive(scene: &mut Scene, datagrams: &[(&str, &str)]) {
    for (name, bytes) in datagrams {
        scene.batch.arrive(from(peer(name), bytes.as_bytes()));
    }
    scene.readiness.merge(Readiness::READABLE);
}

/// Slices until the mover waits.
fn run(scene: &mut Scene) {
    while scene.slice() == Next::Again {}
    assert!(!scene.readiness.is_readable());
    assert!(!scene.mover.wants_writable(), "no event tells that a peer has room");
}

/// A slice when the mover asked for one.
fn run_at_retry(scene: &mut Scene) {
    scene.now = scene.mover.retry_at().unwrap();
    run(scene);
}

/// case X3
#[test]
fn a_peer_without_room_holds_up_no_other_and_gets_its_answers_in_order() {
    let datagrams = [("deaf", "a"), ("b", "b"), ("deaf", "c"), ("b", "d"), ("deaf", "e")];
    let mut scene = scene(&datagrams);
    run(&mut scene);
    assert_eq!(scene.sent(), ["b", "d"]);
    assert_eq!((scene.mover.held(), scene.counters.count(Cause::Held)), (3, 3));

    let attempts = scene.batch.attempts;
    run(&mut scene);
    assert_eq!(scene.batch.attempts, attempts, "a retry that is not due is no system call");

    scene.batch.rooms.clear();
    run_at_retry(&mut scene);
    assert_eq!(scene.sent(), ["b", "d", "a", "c", "e"]);
    assert_eq!((scene.mover.held(), scene.mover.retry_at()), (0, None));
}

/// case X3
#[test]
fn no_more_is_held_for_a_peer_than_the_bound_and_the_rest_is_counted() {
    let numbers: Vec<_> =
        (0..HELD_REPLIES_PER_PEER_MAX + 6).map(|number| number.to_string()).collect();
    let datagrams: Vec<_> = numbers.iter().map(|number| ("deaf", number.as_str())).collect();
    let mut scene = scene(&datagrams);
    run(&mut scene);
    assert_eq!(scene.mover.held(), HELD_REPLIES_PER_PEER_MAX);
    assert_eq!(scene.counters.count(Cause::AnswerBacklogFull), 6);
    scene.batch.rooms.clear();
    run_at_retry(&mut scene);
    assert_eq!(scene.sent(), numbers[..HELD_REPLIES_PER_PEER_MAX], "the oldest are kept, in order");
}

/// case X3: each peer is within its own bound, and still there is one for all of them.
#[test]
fn peers_without_room_are_bounded_in_number_and_in_bytes() {
    let mut scene = Scene::of_unix();
    let names: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    for name in &names {
        scene.batch.rooms.insert(peer(name), 0);
        arrive(&mut scene, &[(name, "a")]);
    }
    run(&mut scene);
    let dropped = scene.counters.count(Cause::AnswerBacklogFull);
    assert!(scene.mover.held() <= 256, "{} are held", scene.mover.held());
    assert_eq!(scene.mover.held() as u64 + dropped, 1000);

    let mut scene = self::scene(&[]);
    let large = "x".repeat(256 << 10);
    let datagrams = [("deaf", large.as_str()); 40];
    arrive(&mut scene, &datagrams);
    run(&mut scene);
    assert_eq!(scene.mover.held(), 2, "a peer's share of the bytes");
    assert_eq!(scene.counters.count(Cause::AnswerBacklogFull), 40 - 2);
    // What has gone gives its bytes back to the bound.
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
    assert_eq!(scene.mover.held() * large.len(), 16 << 20, "the bytes of all");
}

/// case X3: a peer that takes its answers does not wait on account of one that is deaf for long.
#[test]
fn each_peer_has_a_back_off_of_its_own() {
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
fn retries_back_off_to_a_longest_wait_and_start_over_with_progress() {
    let mut scene = scene(&[("deaf", "a"), ("deaf", "b"), ("deaf", "c")]);
    run(&mut scene);
    let wait = |scene: &Scene| scene.mover.retry_at().unwrap() - scene.now;
    let first = wait(&scene);
    assert!(first > Duration::ZERO);
    let mut waits = vec![first];
    for _ in 0..20 {
        let attempts = scene.batch.attempts;
        run_at_retry(&mut scene);
        assert_eq!(scene.batch.attempts, attempts + 1, "one call for a peer without room");
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
    assert_eq!(wait(&scene), first, "a new hold-up starts from the beginning");
}

/// case X3: whoever sends is awake, and may have read what it had queued.
#[test]
fn a_peer_that_sends_again_is_given_what_is_held_for_it_first() {
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
fn what_a_peer_does_not_take_for_the_stall_timeout_is_dropped_and_counted() {
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
        assert!(scene.now < progressed_at + scene.stall_timeout, "held for longer");
        assert_eq!(scene.mover.held(), 3);
        run_at_retry(&mut scene);
    }
    assert!(scene.now >= progressed_at + scene.stall_timeout, "measured from the last progress");
    assert_eq!((scene.sent(), scene.counters.count(Cause::AnswerStalled)), (vec!["a"], 3));
    assert_eq!(scene.mover.retry_at(), None);
}

/// case X4
#[test]
fn answers_to_a_receiver_that_is_gone_are_counted_and_the_others_go() {
    for number in [libc::ECONNREFUSED, libc::ENOENT] {
        let mut scene = scene(&[("gone", "a"), ("b", "b"), ("deaf", "c"), ("deaf", "d")]);
        scene.batch.outcomes.push_back(Outcome::Fails(number));
        run(&mut scene);
        assert_eq!((scene.sent(), scene.mover.held()), (vec!["b"], 2));
        assert_eq!(scene.counters.count(Cause::AnswerRefused), 1);
        // One that is waited for can go away too.
        scene.batch.outcomes.extend([Outcome::Fails(libc::EINTR), Outcome::Fails(number)]);
        scene.batch.rooms.clear();
        run_at_retry(&mut scene);
        assert_eq!((scene.sent(), scene.mover.held()), (vec!["b", "d"], 0));
        assert_eq!(scene.counters.count(Cause::AnswerRefused), 2);
    }
}

/// cases X3 U9: the nearer of the two, whichever asks first.
#[test]
fn a_retry_for_a_peer_is_not_put_off_by_a_failing_receive() {
    let mut scene = scene(&[("deaf", "a")]);
    scene.batch.fail_receives(libc::ENOMEM, RECEIVE_ERRORS_PER_SLICE);
    assert_eq!(scene.slice(), Next::Wait);
    assert!(scene.mover.retry_at().unwrap() < scene.now + RECEIVE_RETRY);
    scene.batch.rooms.clear();
    scene.now = scene.mover.retry_at().unwrap();
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.sent(), ["a"]);
    assert!(!scene.readiness.is_readable(), "the receive was tried again with it");
}

/// case S2: as for a stream, and the peers that need no memory are answered.
#[test]
fn without_memory_an_answer_that_would_wait_is_dropped_and_counted() {
    let mut scene = scene(&[("deaf", "a"), ("b", "b"), ("deaf", "c")]);
    scene.batch.has_no_memory = true;
    run(&mut scene);
    assert_eq!(scene.sent(), ["b"]);
    let counts = [Cause::AnswerNoMemory, Cause::Held].map(|cause| scene.counters.count(cause));
    assert_eq!((counts, scene.mover.held(), scene.mover.retry_at()), ([2, 0], 0, None));

    scene.batch.has_no_memory = false;
    arrive(&mut scene, &[("deaf", "d"), ("deaf", "e")]);
    run(&mut scene);
    scene.batch.rooms.clear();
    run_at_retry(&mut scene);
    assert_eq!(scene.sent(), ["b", "d", "e"]);
}

/// case S2: the answers before it keep their order.
#[test]
fn without_memory_an_answer_that_would_wait_behind_others_is_dropped_and_counted() {
    let mut scene = scene(&[("deaf", "a")]);
    run(&mut scene);
    scene.batch.has_no_memory = true;
    arrive(&mut scene, &[("deaf", "b")]);
    run(&mut scene);
    let counts = [Cause::AnswerNoMemory, Cause::Held].map(|cause| scene.counters.count(cause));
    assert_eq!((counts, scene.mover.held()), ([1, 1], 1));
    scene.batch.rooms.clear();
    run_at_retry(&mut scene);
    assert_eq!((scene.sent(), scene.mover.held()), (vec!["a"], 0));
}

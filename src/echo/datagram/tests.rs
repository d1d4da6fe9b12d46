use socket2::SockAddr;

use self::script::{Incoming, Outcome, Scene, Script, from, udp};
use super::*;

mod peers;
mod pressure;
mod properties;
mod script;
mod trains;

// The bounds are numbers here, so that a test fails if one of them changes.
const BATCHES_PER_SLICE: usize = 4;
const RECEIVE_ERRORS_PER_SLICE: usize = 16;

const WOULD_BLOCK: Outcome = Outcome::Fails(libc::EAGAIN);

/// case L2
#[test]
fn an_event_without_a_datagram_is_not_an_error() {
    let mut scene = Scene::of_udp(&[]);
    assert_eq!(scene.slice(), Next::Wait);
    assert!(!scene.readiness.is_readable());
    assert_eq!((scene.counters, scene.mover.retry_at()), (TransportCounters::default(), None));
}

/// cases U1 U7: although fewer datagrams come than a batch holds, only `WouldBlock` ends the
/// receiving.
#[test]
fn every_datagram_gets_a_reply_and_an_empty_one_gets_an_empty_reply() {
    let mut scene = Scene::of_udp(&[b"a", b"", b"c"]);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.sent(), ["a", "", "c"]);
    assert_eq!(scene.batch.receives, 2, "one returned three datagrams and one WouldBlock");
    assert!(!scene.readiness.is_readable());
    let traffic = scene.counters.traffic;
    assert_eq!((traffic.messages_in, traffic.bytes_in), (3, 2));
    assert_eq!((traffic.messages_out, traffic.bytes_out), (3, 2));
    assert_eq!(scene.observed, ["a", "", "c"]);
}

/// case U3
#[test]
fn a_truncated_datagram_is_counted_and_gets_no_reply() {
    let mut scene = Scene::of_udp(&[b"a"]);
    scene.batch.arrive(Incoming { truncated: true, ..from(udp(1), b"cut") });
    scene.batch.arrive(from(udp(1), b"b"));
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.sent(), ["a", "b"]);
    assert_eq!(scene.observed, ["a", "b"], "the observer does not see it either");
    assert_eq!(scene.counters.count(Cause::Truncated), 1);
    assert_eq!(scene.counters.traffic.messages_in, 3);
}

/// case X1
#[test]
fn a_datagram_from_a_sender_without_a_name_is_counted_and_gets_no_reply() {
    let mut scene = Scene::of_unix();
    scene.batch.arrive(Incoming { answerable: false, ..from(udp(1), b"who am I") });
    scene.batch.arrive(from(udp(2), b"b"));
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.sent(), ["b"]);
    assert_eq!(scene.observed, ["who am I", "b"]);
    assert_eq!(scene.counters.count(Cause::Unnamed), 1);
}

/// cases U4 U6: scripted, because most of these errors need a firewall, a route or a full device
/// queue.
#[test]
fn a_reply_that_fails_is_counted_and_the_next_ones_are_sent() {
    let failures = [
        (libc::EMSGSIZE, Cause::ReplyTooLong),
        (libc::EPERM, Cause::ReplyForbidden),
        (libc::EACCES, Cause::ReplyForbidden),
        (libc::ENETUNREACH, Cause::ReplyUnreachable),
        (libc::EHOSTUNREACH, Cause::ReplyUnreachable),
        (libc::EINVAL, Cause::ReplyUnreachable),
        (libc::ENOBUFS, Cause::ReplyNoMemory),
        (libc::ENOMEM, Cause::ReplyNoMemory),
        (libc::EIO, Cause::ReplyFailed),
    ];
    for (number, cause) in failures {
        for failing in 0..3 {
            let mut scene = Scene::of_udp(&[b"a", b"b", b"c"]);
            scene.batch.outcomes.extend(vec![Outcome::Sent; failing]);
            scene.batch.outcomes.push_back(Outcome::Fails(number));
            assert_eq!(scene.slice(), Next::Wait);
            let expected: Vec<_> = (0..3).filter(|nth| *nth != failing).collect();
            let expected: Vec<_> = expected.iter().map(|nth| ["a", "b", "c"][*nth]).collect();
            assert_eq!(scene.sent(), expected, "error {number}");
            assert_eq!(scene.counters.count(cause), 1, "error {number}");
            assert!(!scene.mover.wants_writable() && scene.mover.retry_at().is_none());
        }
    }
}

/// case U4
#[test]
fn each_failure_of_a_batch_is_counted_by_its_own_cause() {
    let mut scene = Scene::of_udp(&[b"a", b"b", b"c"]);
    scene.batch.outcomes.extend([libc::EPERM, libc::EINTR, libc::ENOBUFS].map(Outcome::Fails));
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.sent(), ["c"], "the interrupted call lost nothing");
    assert_eq!(scene.counters.count(Cause::ReplyForbidden), 1);
    assert_eq!(scene.counters.count(Cause::ReplyNoMemory), 1);
}

/// case U6
#[test]
fn after_a_partial_send_the_next_call_starts_at_the_first_unsent_reply() {
    let mut scene = Scene::of_udp(&[b"a", b"b", b"c", b"d"]);
    use Outcome::{Sent, Stops};
    scene.batch.outcomes.extend([Sent, Stops, Sent, Sent, Stops, Sent]);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.sent(), ["a", "b", "c", "d"]);
    assert_eq!(scene.batch.sends, 3);
}

/// case U5
#[test]
fn replies_that_would_block_are_held_in_order_and_nothing_is_received_meanwhile() {
    // Two datagrams more than one batch receives.
    let mut scene = Scene::of_udp(&[b"a", b"b", b"c", b"d", b"e", b"f"]);
    scene.batch.outcomes.extend([Outcome::Sent, WOULD_BLOCK]);
    scene.readiness.merge(Readiness::WRITABLE);
    assert!(!scene.mover.wants_writable(), "only while a reply is held");
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!((scene.sent(), scene.batch.receives), (vec!["a"], 1));
    assert_eq!((scene.mover.held(), scene.mover.wants_writable()), (3, true));
    assert_eq!(scene.counters.count(Cause::Held), 3);
    assert!(scene.readiness.is_readable() && !scene.readiness.is_writable());
    assert_eq!(scene.mover.retry_at(), None, "an event reports when there is room");

    scene.readiness.merge(Readiness::READABLE);
    let attempts = scene.batch.attempts;
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(
        (scene.batch.receives, scene.batch.attempts),
        (1, attempts),
        "it is not writable yet"
    );

    scene.batch.outcomes.extend([Outcome::Fails(libc::EINTR), Outcome::Sent, WOULD_BLOCK]);
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!((scene.sent(), scene.batch.receives), (vec!["a", "b"], 1));
    assert!(scene.mover.wants_writable() && !scene.readiness.is_writable());

    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.sent(), ["a", "b", "c", "d", "e", "f"], "without a new readable event");
    assert_eq!((scene.mover.held(), scene.mover.wants_writable()), (0, false));
}

/// cases U4 U5
#[test]
fn a_held_reply_that_fails_does_not_delay_the_next() {
    let mut scene = Scene::of_udp(&[b"a", b"b", b"c"]);
    scene.batch.outcomes.extend([WOULD_BLOCK, Outcome::Fails(libc::EMSGSIZE)]);
    assert_eq!(scene.slice(), Next::Wait);
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!((scene.sent(), scene.counters.count(Cause::ReplyTooLong)), (vec!["b", "c"], 1));
}

/// case L5
#[test]
fn a_slice_ends_after_a_bounded_number_of_batches() {
    let mut scene = Scene::of_udp(&[b"x".as_slice(); 100 * Script::SLOTS]);
    for slice in 1..=10 {
        assert_eq!(scene.slice(), Next::Again);
        assert_eq!(scene.batch.receives, slice * BATCHES_PER_SLICE);
        assert!(scene.readiness.is_readable());
    }
}

/// case U9
#[test]
fn datagrams_behind_a_receive_error_get_their_replies() {
    let mut scene = Scene::of_udp(&[]);
    scene.batch.fail_receives(libc::ECONNREFUSED, 3);
    scene.batch.arrive(from(udp(1), b"a"));
    scene.batch.fail_receives(libc::EINTR, 1);
    scene.batch.fail_receives(libc::EHOSTUNREACH, 1);
    scene.batch.arrive(from(udp(1), b"b"));
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.sent(), ["a", "b"]);
    assert_eq!(scene.counters.count(Cause::ReceiveFailed), 4, "an interruption is not a failure");
    assert!(!scene.readiness.is_readable());
    assert_eq!(scene.mover.retry_at(), None);
}

/// case U9
#[test]
fn a_lasting_receive_error_is_retried_on_a_timer_and_does_not_spin() {
    let mut scene = Scene::of_udp(&[]);
    scene.batch.fail_receives(libc::ENOMEM, 2 * RECEIVE_ERRORS_PER_SLICE + 1);
    scene.batch.arrive(from(udp(1), b"a"));
    for slice in 1..=2 {
        assert_eq!(scene.slice(), Next::Wait);
        assert_eq!(scene.batch.receives, slice * RECEIVE_ERRORS_PER_SLICE);
        assert!(scene.readiness.is_readable(), "no event will come for the rest");
        let retry_at = scene.mover.retry_at().unwrap();
        assert!(retry_at > scene.now);
        scene.now = retry_at;
    }
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!((scene.sent(), scene.mover.retry_at()), (vec!["a"], None));
}

/// case U16
#[test]
fn the_growth_of_the_overflow_count_is_counted() {
    let mut scene = Scene::of_udp(&[]);
    let mut lost = 0;
    // No count; the first losses; no count; no change; more losses; and a count that wraps.
    let reported = [
        (None, 0),
        (Some(3), 3),
        (None, 0),
        (Some(3), 0),
        (Some(10), 7),
        (Some(u32::MAX - 1), u64::from(u32::MAX - 11)),
        (Some(4), 6),
    ];
    for (overflow, growth) in reported {
        scene.batch.overflow = overflow;
        scene.batch.arrive(from(udp(1), b"a"));
        scene.readiness.merge(Readiness::READABLE);
        scene.slice();
        lost += growth;
        assert_eq!(scene.counters.count(Cause::Overflowed), lost, "{overflow:?}");
    }
}

#[test]
fn a_discarding_server_observes_every_message_and_sends_no_reply() {
    let mut scene = Scene::of_udp(&[b"a", b"b"]);
    scene.batch.arrive(Incoming { answerable: false, ..from(udp(1), b"c") });
    scene.answers = false;
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!(scene.observed, ["a", "b", "c"]);
    assert_eq!((scene.batch.attempts, scene.counters.count(Cause::Unnamed)), (0, 0));
}

#[test]
fn a_one_off_server_receives_one_datagram_and_leaves_the_rest() {
    let mut scene = Scene::of_udp(&[b"a", b"b"]);
    scene.receiving = Receiving::One;
    scene.batch.outcomes.push_back(WOULD_BLOCK);
    assert_eq!(scene.slice(), Next::Again);
    assert_eq!((scene.observed.len(), scene.mover.held()), (1, 1));
    // The server has received its one datagram and still owes the reply.
    scene.receiving = Receiving::Nothing;
    assert_eq!(scene.slice(), Next::Wait);
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.slice(), Next::Wait);
    assert_eq!((scene.sent(), scene.batch.receives), (vec!["a"], 1));
}

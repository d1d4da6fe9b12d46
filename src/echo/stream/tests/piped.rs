//! Tests of the bulk path, which must keep all that the copying path guarantees.
//!
//! The pipes are real; only the stream is scripted.

use super::*;
use crate::socket::Pipe;

const SHORT_SPLICES_MAX: u8 = 16;

impl Scene {
    /// Creates a stream that is already in bulk.
    fn in_bulk(inputs: &[Input], outputs: &[Output]) -> Scene {
        let mut scene = Scene::new(inputs, outputs);
        scene.mover.phase = Phase::Echoing(BulkDetector::bulk());
        scene.splices = true;
        scene
    }

    fn has_unsent_in_pipe(&self) -> bool {
        matches!(self.mover.unsent.as_deref(), Some([Unsent::Piped(_)]))
    }
}

/// Longer than the scratch buffer, so that one read cannot return as much as one splice.
const LONG: Input = Bytes(b"longer than a read");

/// case S16
#[test]
fn a_stream_with_full_reads_is_bulk() {
    const FULL_READS: usize = 1;
    let mut scene = Scene::new(&[const { Bytes(b"12345678") }; FULL_READS], &[]);
    scene.stream.inputs.push_back(LONG);
    scene.splices = true;
    while scene.step() == Step::Again {}
    assert_eq!(scene.written(), "12345678".repeat(FULL_READS) + "longer than a read");
    let traffic = scene.counters.traffic;
    let bytes = 8 * FULL_READS as u64 + 18;
    assert_eq!((traffic.bytes_in, traffic.bytes_out), (bytes, bytes));
    let messages = FULL_READS as u64 + 1;
    assert_eq!((traffic.messages_in, traffic.messages_out), (messages, messages));
    assert_eq!(traffic.bytes_spliced, 18);
    assert_eq!(scene.observed.len(), 8 * FULL_READS, "the observer does not see spliced bytes");
}

/// case S16
#[test]
fn a_stream_with_short_reads_is_not_bulk() {
    let mut scene = Scene::new(&[], &[]);
    scene.splices = true;
    for _ in 0..10 {
        scene.stream.inputs.extend([Bytes(b"1234567"), Input::Fails(libc::EAGAIN)]);
        while scene.stream.inputs.front().is_some() {
            scene.readiness.merge(Readiness::READABLE);
            scene.step();
        }
    }
    assert_eq!(scene.stream.splices, 0);
}

/// case S16
#[test]
fn short_splices_in_a_row_end_bulk() {
    let mut scene = Scene::in_bulk(&[], &[]);
    for number in 1..=2 * SHORT_SPLICES_MAX {
        scene.stream.inputs.push_back(Bytes(b"few"));
        scene.readiness.merge(Readiness::READABLE);
        while scene.step() == Step::Again {}
        let splices = number.min(SHORT_SPLICES_MAX);
        assert_eq!(scene.counters.traffic.bytes_spliced, 3 * u64::from(splices));
    }
    assert_eq!(scene.counters.traffic.bytes_out, 3 * 2 * u64::from(SHORT_SPLICES_MAX));
}

/// case S16: each message ends with a short splice.
#[test]
fn a_short_splice_among_long_ones_does_not_end_bulk() {
    let mut scene = Scene::in_bulk(&[], &[]);
    for _ in 0..10 {
        scene.stream.inputs.extend([LONG, Bytes(b"end"), Bytes(b".")]);
        scene.readiness.merge(Readiness::READABLE);
        while scene.step() == Step::Again {}
    }
    assert_eq!(scene.counters.traffic.bytes_spliced, 10 * 22);
}

/// cases S16, S1, S2
#[test]
fn after_a_short_splice_the_rest_stays_in_the_pipe_and_reading_stops_until_it_is_sent() {
    let mut scene = Scene::in_bulk(&[LONG, Bytes(b"next")], &[Takes(3), WOULD_BLOCK]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "lon");
    assert!(scene.has_unsent_in_pipe() && scene.mover.has_unsent());
    assert!(scene.readiness.is_readable() && !scene.readiness.is_writable());
    let splices = scene.stream.splices;
    for _ in 0..10 {
        scene.readiness.merge(Readiness::READABLE);
        assert_eq!(scene.step(), Step::Wait);
    }
    assert_eq!((scene.stream.splices, scene.stream.reads), (splices, 0));

    let start = scene.now;
    scene.now = scene.now.after(Duration::from_secs(1));
    scene.stream.outputs.extend([Takes(4), WOULD_BLOCK]);
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.written(), scene.mover.has_unsent()), ("longer ", true));
    assert_eq!(scene.mover.quiet_for(start.after(Duration::from_secs(5))), Duration::from_secs(4));
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.written(), scene.mover.has_unsent()), ("longer than a readnext", false));
}

/// cases S16, S3, S4, S5
#[test]
fn a_fin_behind_bulk_is_seen_after_the_flush() {
    let mut scene = Scene::in_bulk(&[LONG, Fin], &[Takes(3), WOULD_BLOCK]);
    scene.readiness.merge(Readiness::READ_CLOSED);
    assert_eq!(scene.step(), Step::Wait);
    scene.stream.inputs.clear();
    scene.stream.inputs.extend([Fin, Fin]);
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Finished);
    assert_eq!(scene.written(), "longer than a read");
}

/// cases S16, S6
#[test]
fn a_reset_while_splicing_from_the_stream_ends_it() {
    // Linux reports an error once. A read after it would take the reset for the end of the stream.
    let mut scene = Scene::in_bulk(&[LONG, Input::Fails(libc::ECONNRESET)], &[]);
    assert_eq!(scene.slice().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!((scene.written(), scene.stream.reads), ("longer than a read", 0));
}

/// cases S16, S6, S7: on the first splice, and on a splice of bytes that were kept.
#[test]
fn a_reset_or_a_closed_pipe_while_splicing_to_the_stream_ends_it() {
    for number in [libc::ECONNRESET, libc::EPIPE] {
        let expected = io::Error::from_raw_os_error(number).kind();
        let mut scene = Scene::in_bulk(&[LONG], &[Output::Fails(number)]);
        assert_eq!(scene.slice().unwrap_err().kind(), expected);

        let mut scene = Scene::in_bulk(&[LONG], &[WOULD_BLOCK, Output::Fails(number)]);
        assert_eq!(scene.step(), Step::Wait);
        scene.readiness.merge(Readiness::WRITABLE);
        assert_eq!(scene.slice().unwrap_err().kind(), expected);
    }
}

/// cases S16, S8
#[test]
fn an_interrupted_splice_is_tried_again_in_the_same_slice() {
    let interrupted = Output::Fails(libc::EINTR);
    let inputs = [Input::Fails(libc::EINTR), Bytes(b"12345678"), LONG];
    let mut scene = Scene::in_bulk(&inputs, &[Takes(8), interrupted, Takes(2), interrupted]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.written(), scene.mover.has_unsent()), ("12345678longer than a read", false));
    assert_eq!(scene.counters.traffic.bytes_spliced, 18);
}

/// cases S16, S8: such a splice would mean that the pipe holds less than the mover has counted.
#[test]
fn a_splice_that_takes_nothing_ends_the_stream() {
    let mut scene = Scene::in_bulk(&[LONG], &[Takes(0)]);
    assert_eq!(scene.slice().unwrap_err().kind(), ErrorKind::WriteZero);
}

/// cases S16, S9, S13: Linux gives `WouldBlock` to a splice at an out-of-band mark until a read has
/// passed the mark.
#[test]
fn a_splice_that_would_block_at_an_urgent_mark_is_followed_by_a_read() {
    let mut scene = Scene::in_bulk(&[Input::Fails(libc::EAGAIN), Bytes(b"behind")], &[]);
    scene.readiness.merge(Readiness::URGENT);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "behind");
}

/// cases S16, S9
#[test]
fn a_splice_that_would_block_without_a_mark_is_not_followed_by_a_read() {
    let mut scene = Scene::in_bulk(&[LONG, Input::Fails(libc::EAGAIN), Bytes(b"later")], &[]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "longer than a read");
    assert!(!scene.readiness.is_readable());
}

/// cases S16, S11
#[test]
fn bulk_that_the_server_ends_gets_all_unsent_bytes_first() {
    let mut scene = Scene::in_bulk(&[LONG, LONG], &[Takes(1), WOULD_BLOCK]);
    assert_eq!(scene.step(), Step::Wait);
    scene.mover.finish();
    assert_eq!(scene.step(), Step::Wait, "FIN would overtake the rest");
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Flushed);
    assert_eq!(scene.written(), "longer than a read");
    scene.mover.linger();
    let splices = scene.stream.splices;
    scene.readiness.merge(Readiness::READABLE);
    scene.step();
    assert_eq!(scene.stream.splices, splices, "discarded input is not spliced");
}

/// cases S16, L5
#[test]
fn endless_bulk_ends_the_slice() {
    let mut scene = Scene::in_bulk(&[LONG; 100], &[]);
    assert_eq!(scene.step(), Step::Again);
    assert_eq!(scene.counters.traffic.messages_in, READS_PER_SLICE as u64);
}

/// case S16: splice(2) is refused while the pipe is empty, and while it holds bytes.
#[test]
fn after_a_refused_splice_the_server_copies_the_pipe_and_never_splices_again() {
    for number in [libc::EINVAL, libc::ENOSYS, libc::EPERM] {
        let mut scene = Scene::in_bulk(&[Input::Fails(number), Bytes(b"words")], &[]);
        assert_eq!(scene.step(), Step::Wait);
        assert_eq!((scene.written(), scene.stream.splices), ("words", 1));

        let mut scene = Scene::in_bulk(&[LONG, LONG], &[Takes(3), Output::Fails(number)]);
        scene.stream.outputs.extend([Takes(4), WOULD_BLOCK]);
        assert_eq!(scene.step(), Step::Wait);
        assert!(scene.mover.has_unsent() && !scene.has_unsent_in_pipe());
        scene.readiness.merge(Readiness::WRITABLE);
        while scene.step() == Step::Again {}
        assert_eq!(scene.written(), "longer than a readlonger than a read");
        assert_eq!((scene.stream.splices, scene.counters.traffic.bytes_spliced), (3, 3));
        assert!(scene.pipes.lend().is_none());
    }
}

/// case S16: other streams have all the pipes.
#[test]
fn bulk_without_a_pipe_is_copied() {
    let mut scene = Scene::in_bulk(&[LONG], &[]);
    let mut lent = Vec::new();
    while let Some(pipe) = scene.pipes.lend() {
        lent.push(pipe);
        assert!(lent.len() < 1_000);
    }
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.written(), scene.stream.splices), ("longer than a read", 0));
    // A pipe that closes with its bytes makes room for another, like a pipe that is given back.
    drop(lent.pop());
    scene.stream.inputs.push_back(LONG);
    scene.readiness.merge(Readiness::READABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.counters.traffic.bytes_spliced, 18);
}

/// case S16: the mover gives the pipe back when it is empty.
#[test]
fn a_pipe_is_held_only_while_it_holds_bytes() {
    let mut scene = Scene::in_bulk(&[LONG], &[]);
    let mut others: Vec<Pipe> = std::iter::from_fn(|| scene.pipes.lend()).collect();
    scene.pipes.give_back(others.pop().unwrap());
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.counters.traffic.bytes_spliced, 18);
    let pipe = scene.pipes.lend().unwrap();
    assert!(scene.pipes.lend().is_none());

    scene.pipes.give_back(pipe);
    scene.stream.inputs.push_back(LONG);
    scene.stream.outputs.push_back(WOULD_BLOCK);
    scene.readiness.merge(Readiness::READABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert!(scene.pipes.lend().is_none(), "the pipe is in use");
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert!(scene.pipes.lend().is_some());
}

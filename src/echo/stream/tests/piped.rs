//! The bulk path, scripted: what holds for the copying one holds for it.
//!
//! The pipes are the system's; only the stream is a script.

use super::*;
use crate::socket::Pipe;

const SHORT_SPLICES_MAX: u8 = 16;

impl Scene {
    /// A stream that is in bulk already.
    fn in_bulk(inputs: &[Input], outputs: &[Output]) -> Scene {
        let mut scene = Scene::new(inputs, outputs);
        scene.mover.phase = Phase::Echoing(BulkDetector::bulk());
        scene.splices = true;
        scene
    }

    fn is_owed_by_pipe(&self) -> bool {
        matches!(self.mover.unsent.as_deref(), Some([Unsent::Piped(_)]))
    }
}

/// Longer than the scratch buffer, so that what is spliced at once could not have been read so.
const LONG: Input = Bytes(b"longer than a read");

/// case S16
#[test]
fn full_reads_make_bulk_of_a_stream() {
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
    assert_eq!(scene.heard.len(), 8 * FULL_READS, "what is spliced is seen by nobody");
}

/// case S16
#[test]
fn reads_that_do_not_fill_the_buffer_are_no_bulk() {
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

/// case S16: its messages end in a short splice each.
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
fn what_a_short_splice_left_stays_in_the_pipe_and_reading_stops_until_it_is_paid() {
    let mut scene = Scene::in_bulk(&[LONG, Bytes(b"next")], &[Takes(3), WOULD_BLOCK]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "lon");
    assert!(scene.is_owed_by_pipe() && scene.mover.has_unsent());
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
    // Linux tells of an error once: a read that followed would take the reset for the end.
    let mut scene = Scene::in_bulk(&[LONG, Input::Fails(libc::ECONNRESET)], &[]);
    assert_eq!(scene.slice().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!((scene.written(), scene.stream.reads), ("longer than a read", 0));
}

/// cases S16, S6, S7: on the first splice, and on one of what was kept.
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
fn an_interrupted_splice_is_made_good_in_the_same_slice() {
    let interrupted = Output::Fails(libc::EINTR);
    let inputs = [Input::Fails(libc::EINTR), Bytes(b"12345678"), LONG];
    let mut scene = Scene::in_bulk(&inputs, &[Takes(8), interrupted, Takes(2), interrupted]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.written(), scene.mover.has_unsent()), ("12345678longer than a read", false));
    assert_eq!(scene.counters.traffic.bytes_spliced, 18);
}

/// cases S16, S8: it would mean that the pipe holds less than is known of it.
#[test]
fn a_splice_that_takes_nothing_ends_the_stream() {
    let mut scene = Scene::in_bulk(&[LONG], &[Takes(0)]);
    assert_eq!(scene.slice().unwrap_err().kind(), ErrorKind::WriteZero);
}

/// cases S16, S9, S13: Linux gives `WouldBlock` to a splice at an out-of-band mark for as long as
/// no read has passed it.
#[test]
fn a_splice_that_would_block_at_an_urgent_mark_does_not_say_that_nothing_is_there() {
    let mut scene = Scene::in_bulk(&[Input::Fails(libc::EAGAIN), Bytes(b"behind")], &[]);
    scene.readiness.merge(Readiness::URGENT);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "behind");
}

/// cases S16, S9
#[test]
fn a_splice_that_would_block_otherwise_needs_no_read_to_say_it_again() {
    let mut scene = Scene::in_bulk(&[LONG, Input::Fails(libc::EAGAIN), Bytes(b"later")], &[]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "longer than a read");
    assert!(!scene.readiness.is_readable());
}

/// cases S16, S11
#[test]
fn bulk_that_this_side_ends_is_paid_in_full_first() {
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
    assert_eq!(scene.stream.splices, splices, "what is thrown away is not spliced");
}

/// cases S16, L5
#[test]
fn endless_bulk_ends_the_slice() {
    let mut scene = Scene::in_bulk(&[LONG; 100], &[]);
    assert_eq!(scene.step(), Step::Again);
    assert_eq!(scene.counters.traffic.messages_in, READS_PER_SLICE as u64);
}

/// case S16: before anything is in a pipe, and when bytes are.
#[test]
fn a_stream_that_cannot_be_spliced_is_copied_for_good_with_what_the_pipe_held() {
    for number in [libc::EINVAL, libc::ENOSYS, libc::EPERM] {
        let mut scene = Scene::in_bulk(&[Input::Fails(number), Bytes(b"words")], &[]);
        assert_eq!(scene.step(), Step::Wait);
        assert_eq!((scene.written(), scene.stream.splices), ("words", 1));

        let mut scene = Scene::in_bulk(&[LONG, LONG], &[Takes(3), Output::Fails(number)]);
        scene.stream.outputs.extend([Takes(4), WOULD_BLOCK]);
        assert_eq!(scene.step(), Step::Wait);
        assert!(scene.mover.has_unsent() && !scene.is_owed_by_pipe());
        scene.readiness.merge(Readiness::WRITABLE);
        while scene.step() == Step::Again {}
        assert_eq!(scene.written(), "longer than a readlonger than a read");
        assert_eq!((scene.stream.splices, scene.counters.traffic.bytes_spliced), (3, 3));
        assert!(scene.pipes.lend().is_none());
    }
}

/// case S16: others have all the pipes.
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
    // One closed with what it holds makes room, as one that is given back does.
    drop(lent.pop());
    scene.stream.inputs.push_back(LONG);
    scene.readiness.merge(Readiness::READABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.counters.traffic.bytes_spliced, 18);
}

/// case S16: it goes back the moment it is empty.
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
    assert!(scene.pipes.lend().is_none(), "it is in use");
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert!(scene.pipes.lend().is_some());
}

use super::*;
use crate::testing::Input::{self, Bytes, Fin};
use crate::testing::Output::{self, Takes};
use crate::testing::ScriptedStream;

mod bounded;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod piped;
mod properties;

// Bounds are written as numbers, so that a changed one fails a test.
const READS_PER_SLICE: usize = 4;
const UNSENT_BYTES_MAX: usize = 64 << 20;

/// Small enough that a short word fills it.
const SCRATCH: usize = 8;

/// One stream with all that a slice of it needs.
struct Scene {
    mover: ByteMover,
    stream: ScriptedStream,
    readiness: Readiness,
    reply: Reply,
    counters: TransportCounters,
    now: Moment,
    unsent_bytes: UnsentBytes,
    pipes: PipePool,
    splices: bool,
    heard: Vec<u8>,
}

impl Scene {
    /// A stream that has just been told ready in both directions.
    fn new(inputs: &[Input], outputs: &[Output]) -> Scene {
        let now = Moment::default();
        let stream = ScriptedStream {
            inputs: inputs.iter().cloned().collect(),
            outputs: outputs.iter().copied().collect(),
            ..ScriptedStream::default()
        };
        let mut readiness = Readiness::READABLE;
        readiness.merge(Readiness::WRITABLE);
        Scene {
            mover: ByteMover::new(now),
            stream,
            readiness,
            reply: Reply::Echo,
            counters: TransportCounters::default(),
            now,
            unsent_bytes: UnsentBytes::default(),
            pipes: PipePool::new(true),
            splices: false,
            heard: Vec::new(),
        }
    }

    fn slice(&mut self) -> io::Result<Step> {
        let mut scratch = [0; SCRATCH];
        let mut work = StreamWork {
            scratch: &mut scratch,
            reply: &self.reply,
            unsent_bytes: &self.unsent_bytes,
            counters: &mut self.counters,
            pipes: &mut self.pipes,
            splices: self.splices,
            now: self.now,
        };
        let heard = &mut self.heard;
        self.mover.advance(&mut self.stream, &mut self.readiness, &mut work, |_, bytes| {
            heard.extend_from_slice(bytes);
        })
    }

    /// A slice that must go well.
    fn step(&mut self) -> Step {
        self.slice().unwrap()
    }

    fn written(&self) -> &str {
        std::str::from_utf8(&self.stream.written).unwrap()
    }
}

const WOULD_BLOCK: Output = Output::Fails(libc::EAGAIN);

/// case S1
#[test]
fn what_a_short_write_left_is_kept_and_reading_stops_until_it_is_paid() {
    let inputs = [Bytes(b"whole me"), Bytes(b"next")];
    let mut scene = Scene::new(&inputs, &[Takes(3), WOULD_BLOCK]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.written(), scene.stream.reads), ("who", 1));
    assert!(scene.mover.has_unsent());
    assert!(scene.readiness.is_readable(), "what is unread is remembered");
    assert!(!scene.readiness.is_writable());

    // The one event is for writing: no other will tell of the input that is queued already.
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "whole menext");
    assert!(!scene.mover.has_unsent());
    assert_eq!(scene.counters.traffic.bytes_in, scene.counters.traffic.bytes_out);
}

/// case S1
#[test]
fn a_rest_that_is_taken_bit_by_bit_is_paid_in_order() {
    let outputs = [WOULD_BLOCK, Takes(1), WOULD_BLOCK, Takes(2), Takes(2), WOULD_BLOCK];
    let mut scene = Scene::new(&[Bytes(b"letters"), Bytes(b"!")], &outputs);
    for written in ["", "l", "lette"] {
        assert_eq!(scene.step(), Step::Wait);
        assert_eq!((scene.written(), scene.stream.reads), (written, 1));
        scene.readiness.merge(Readiness::WRITABLE);
    }
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "letters", "the short read had drained the socket");
    scene.readiness.merge(Readiness::READABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "letters!");
}

/// case S1: a readable event that comes first neither reads nor writes.
#[test]
fn nothing_is_written_before_the_stream_is_writable() {
    let mut scene = Scene::new(&[Bytes(b"early")], &[]);
    scene.readiness.clear_writable();
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.stream.writes, scene.mover.has_unsent()), (0, true));
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "early");
}

/// case S2
#[test]
fn a_peer_that_never_reads_costs_one_buffer_and_no_read() {
    let flood = [const { Bytes(b"12345678") }; 100];
    let mut scene = Scene::new(&flood, &[Takes(2); 1]);
    scene.stream.outputs.extend([WOULD_BLOCK; 100]);
    for _ in 0..50 {
        assert_eq!(scene.step(), Step::Wait);
        assert!(scene.unsent_bytes.count() <= SCRATCH);
        // Its data goes on arriving, and each time brings an event for both directions.
        scene.readiness.merge(Readiness::READABLE);
        scene.readiness.merge(Readiness::WRITABLE);
    }
    assert_eq!((scene.stream.reads, scene.written()), (1, "12"));
}

/// case S2: what the stall timeout is measured by.
#[test]
fn a_stream_is_quiet_from_the_last_byte_that_moved() {
    let second = Duration::from_secs(1);
    let mut scene = Scene::new(&[Bytes(b"abc")], &[WOULD_BLOCK, WOULD_BLOCK, Takes(1)]);
    scene.stream.outputs.push_back(WOULD_BLOCK);
    let start = scene.now;
    let quiet_for = |scene: &Scene| scene.mover.quiet_for(start.after(10 * second));
    for (at, quiet) in [(1, 9), (2, 9), (3, 7), (4, 6)] {
        scene.now = start.after(at * second);
        scene.readiness.merge(Readiness::WRITABLE);
        assert_eq!(scene.step(), Step::Wait);
        assert_eq!(quiet_for(&scene), quiet * second, "after {at} s");
    }
    assert_eq!(scene.mover.quiet_for(start), Duration::ZERO, "an earlier clock is no panic");
}

/// case S4
#[test]
fn data_and_fin_in_one_edge_are_both_seen() {
    let mut scene = Scene::new(&[Bytes(b"bye"), Fin], &[]);
    scene.readiness.merge(Readiness::READ_CLOSED);
    assert_eq!(scene.step(), Step::Finished);
    assert_eq!(scene.written(), "bye");
}

/// case S5
#[test]
fn a_fin_behind_an_owed_echo_is_seen_after_the_flush() {
    let mut scene = Scene::new(&[Bytes(b"last"), Fin], &[Takes(1), WOULD_BLOCK]);
    scene.readiness.merge(Readiness::READ_CLOSED);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.written(), scene.stream.reads), ("l", 1));
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Finished);
    assert_eq!(scene.written(), "last");
}

/// case S6
#[test]
fn a_reset_while_reading_ends_the_stream() {
    let mut scene = Scene::new(&[Bytes(b"12345678"), Input::Fails(libc::ECONNRESET)], &[]);
    assert_eq!(scene.slice().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(scene.written(), "12345678");
}

/// cases S6 S7: on the first write of an answer, and on the flush of one that was kept.
#[test]
fn a_reset_or_a_closed_pipe_while_writing_ends_the_stream() {
    for number in [libc::ECONNRESET, libc::EPIPE] {
        let expected = io::Error::from_raw_os_error(number).kind();
        let mut scene = Scene::new(&[Bytes(b"a")], &[Output::Fails(number)]);
        assert_eq!(scene.slice().unwrap_err().kind(), expected);

        let mut scene = Scene::new(&[Bytes(b"a")], &[WOULD_BLOCK, Output::Fails(number)]);
        assert_eq!(scene.step(), Step::Wait);
        // As an error event does: both directions, and the system call tells the cause.
        scene.readiness.merge(Readiness::READABLE);
        scene.readiness.merge(Readiness::WRITABLE);
        assert_eq!(scene.slice().unwrap_err().kind(), expected);
        assert_eq!(scene.stream.reads, 1, "the flush comes first");
    }
}

/// case S8
#[test]
fn a_write_that_takes_nothing_ends_the_stream() {
    let mut scene = Scene::new(&[Bytes(b"a")], &[Takes(0)]);
    assert_eq!(scene.slice().unwrap_err().kind(), ErrorKind::WriteZero);
}

/// case S8
#[test]
fn an_interrupted_read_or_write_is_tried_again_in_the_same_slice() {
    let interrupted_read = Input::Fails(libc::EINTR);
    let interrupted_write = Output::Fails(libc::EINTR);
    let mut scene = Scene::new(
        &[interrupted_read, Bytes(b"again")],
        &[interrupted_write, Takes(2), interrupted_write, interrupted_write],
    );
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.written(), scene.mover.has_unsent()), ("again", false));
}

/// case S8: on the flush of a rest too.
#[test]
fn an_interrupted_flush_is_tried_again_in_the_same_slice() {
    let outputs = [WOULD_BLOCK, Output::Fails(libc::EINTR), Takes(1), Output::Fails(libc::EINTR)];
    let mut scene = Scene::new(&[Bytes(b"rest")], &outputs);
    assert_eq!(scene.step(), Step::Wait);
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "rest");
}

/// case S8: signals in plenty cost a stream its slice, but nothing that came for it.
#[test]
fn a_read_that_is_interrupted_for_a_whole_slice_comes_back() {
    let mut scene = Scene::new(&[const { Input::Fails(libc::EINTR) }; READS_PER_SLICE], &[]);
    scene.stream.inputs.push_back(Bytes(b"late"));
    assert_eq!(scene.step(), Step::Again);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "late");
}

/// case S9
#[test]
fn a_read_that_fills_the_buffer_exactly_is_followed_by_another() {
    let mut scene = Scene::new(&[Bytes(b"12345678")], &[]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.stream.reads, 2, "only WouldBlock could tell that it was all");
    assert!(!scene.readiness.is_readable());

    let mut scene = Scene::new(&[Bytes(b"12345678"), Fin], &[]);
    assert_eq!(scene.step(), Step::Finished);
}

/// Saves the read that would say `WouldBlock`, where the system promises as much.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn a_short_read_of_an_open_stream_is_the_last() {
    let mut scene = Scene::new(&[Bytes(b"1234567")], &[]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.stream.reads, scene.readiness.is_readable()), (1, false));
}

/// case S11
#[test]
fn a_stream_that_this_side_ends_is_paid_in_full_first() {
    let mut scene = Scene::new(&[Bytes(b"owed"), Bytes(b"unread")], &[Takes(1), WOULD_BLOCK]);
    assert_eq!(scene.step(), Step::Wait);
    scene.mover.finish();
    assert_eq!(scene.step(), Step::Wait, "FIN would overtake the rest");
    scene.readiness.merge(Readiness::WRITABLE);
    scene.readiness.merge(Readiness::READABLE);
    assert_eq!(scene.step(), Step::Flushed);
    assert_eq!((scene.written(), scene.stream.reads), ("owed", 1));
}

/// case S11
#[test]
fn a_lingering_stream_discards_input_until_fin_and_answers_none() {
    let mut scene = Scene::new(&[Bytes(b"12345678"), Bytes(b"more")], &[]);
    let start = scene.now;
    scene.mover.finish();
    assert_eq!(scene.step(), Step::Flushed);
    scene.mover.linger();
    scene.mover.finish();
    scene.now = scene.now.after(Duration::from_secs(1));
    assert_eq!(scene.step(), Step::Wait, "to finish it again does not pay it again");
    scene.stream.inputs.extend([Bytes(b"tail"), Fin]);
    scene.readiness.merge(Readiness::READABLE);
    scene.readiness.merge(Readiness::READ_CLOSED);
    assert_eq!(scene.step(), Step::Finished);
    assert_eq!((scene.stream.writes, scene.heard.len()), (0, 0));
    assert_eq!(scene.counters, TransportCounters::default());
    // Else a peer that goes on sending would never be idle.
    assert_eq!(scene.mover.quiet_for(start), Duration::ZERO);
    assert_eq!(scene.mover.quiet_for(scene.now), Duration::from_secs(1));
}

/// case S13
#[test]
fn a_read_cut_short_by_an_out_of_band_mark_is_followed_by_another() {
    let mut scene = Scene::new(&[Bytes(b"be"), Bytes(b"hind")], &[]);
    scene.readiness.merge(Readiness::URGENT);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "behind");
    assert!(!scene.readiness.contains(Readiness::URGENT), "the mark is passed");
}

/// case L5
#[test]
fn endless_data_ends_the_slice_after_a_bounded_number_of_reads() {
    let mut scene = Scene::new(&[const { Bytes(b"12345678") }; 10 * READS_PER_SLICE], &[]);
    for slice in 1..=10 {
        assert_eq!(scene.step(), Step::Again);
        assert_eq!(scene.stream.reads, slice * READS_PER_SLICE);
        assert!(scene.readiness.is_readable());
    }
    assert_eq!(scene.step(), Step::Wait);
}

#[test]
fn each_chunk_is_answered_with_the_reply_whatever_it_was() {
    let mut scene = Scene::new(&[Bytes(b"12345678"), Bytes(b"9")], &[Takes(1), WOULD_BLOCK]);
    scene.reply = Reply::Text((*b"a long answer\n").into());
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.written(), scene.stream.reads), ("a", 1));
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "a long answer\na long answer\n");
    assert_eq!(scene.heard, b"123456789");
    let traffic = scene.counters.traffic;
    assert_eq!((traffic.messages_in, traffic.bytes_in, traffic.bytes_out), (2, 9, 28));
}

#[test]
fn a_discarding_server_reads_all_and_writes_nothing() {
    let mut scene = Scene::new(&[Bytes(b"12345678"), Bytes(b"9")], &[]);
    scene.reply = Reply::Nothing;
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.stream.writes, scene.mover.has_unsent()), (0, false));
    assert_eq!(scene.heard, b"123456789");
    scene.reply = Reply::Text([].into());
    scene.stream.inputs.extend([Bytes(b"empty"), Fin]);
    scene.readiness.merge(Readiness::READABLE);
    scene.readiness.merge(Readiness::READ_CLOSED);
    assert_eq!(scene.step(), Step::Finished);
    assert_eq!(scene.stream.writes, 0, "an empty reply is no write of nothing");
}

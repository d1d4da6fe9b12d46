use super::*;
use crate::testing::Input::{self, Bytes, Fin};
use crate::testing::Output::{self, Takes};
use crate::testing::ScriptedStream;

mod bounded;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod piped;
mod properties;

// Written as numbers, so that a changed bound fails a test.
const READS_PER_SLICE: usize = 4;
const UNSENT_BYTES_MAX: usize = 64 << 20;

/// So small that a short word fills the buffer.
const SCRATCH: usize = 8;

/// A scripted stream with everything that a slice of it needs.
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
    observed: Vec<u8>,
}

impl Scene {
    /// Creates a stream that is ready in both directions.
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
            observed: Vec::new(),
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
        let observed = &mut self.observed;
        self.mover.advance(&mut self.stream, &mut self.readiness, &mut work, |_, bytes| {
            observed.extend_from_slice(bytes);
        })
    }

    /// Runs a slice that must succeed.
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
fn after_a_short_write_the_rest_is_kept_and_reading_stops_until_it_is_sent() {
    let inputs = [Bytes(b"whole me"), Bytes(b"next")];
    let mut scene = Scene::new(&inputs, &[Takes(3), WOULD_BLOCK]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.written(), scene.stream.reads), ("who", 1));
    assert!(scene.mover.has_unsent());
    assert!(scene.readiness.is_readable(), "unread input is remembered");
    assert!(!scene.readiness.is_writable());

    // Only a writable event comes: no event announces the input that is already queued.
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "whole menext");
    assert!(!scene.mover.has_unsent());
    assert_eq!(scene.counters.traffic.bytes_in, scene.counters.traffic.bytes_out);
}

/// case S1
#[test]
fn unsent_bytes_that_the_socket_takes_in_pieces_are_sent_in_order() {
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

/// case S1: a readable event alone reads, but does not write.
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
fn a_peer_that_never_reads_costs_one_buffer_and_one_read() {
    let flood = [const { Bytes(b"12345678") }; 100];
    let mut scene = Scene::new(&flood, &[Takes(2); 1]);
    scene.stream.outputs.extend([WOULD_BLOCK; 100]);
    for _ in 0..50 {
        assert_eq!(scene.step(), Step::Wait);
        assert!(scene.unsent_bytes.count() <= SCRATCH);
        // The peer goes on sending, and each arrival causes an event for both directions.
        scene.readiness.merge(Readiness::READABLE);
        scene.readiness.merge(Readiness::WRITABLE);
    }
    assert_eq!((scene.stream.reads, scene.written()), (1, "12"));
}

/// case S2
#[test]
fn the_quiet_time_of_a_stream_starts_with_the_last_byte_that_moved() {
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
    assert_eq!(scene.mover.quiet_for(start), Duration::ZERO, "an earlier moment does not panic");
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
fn a_fin_behind_an_unsent_echo_is_seen_after_the_flush() {
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

/// cases S6 S7: on the first write of a reply, and on the flush of a reply that was kept.
#[test]
fn a_reset_or_a_closed_pipe_while_writing_ends_the_stream() {
    for number in [libc::ECONNRESET, libc::EPIPE] {
        let expected = io::Error::from_raw_os_error(number).kind();
        let mut scene = Scene::new(&[Bytes(b"a")], &[Output::Fails(number)]);
        assert_eq!(scene.slice().unwrap_err().kind(), expected);

        let mut scene = Scene::new(&[Bytes(b"a")], &[WOULD_BLOCK, Output::Fails(number)]);
        assert_eq!(scene.step(), Step::Wait);
        // An error event sets both directions, and the system call returns the cause.
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

/// case S8: also on the flush of unsent bytes.
#[test]
fn an_interrupted_flush_is_tried_again_in_the_same_slice() {
    let outputs = [WOULD_BLOCK, Output::Fails(libc::EINTR), Takes(1), Output::Fails(libc::EINTR)];
    let mut scene = Scene::new(&[Bytes(b"rest")], &outputs);
    assert_eq!(scene.step(), Step::Wait);
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "rest");
}

/// case S8: many signals use up a slice, but lose no input.
#[test]
fn a_read_that_is_interrupted_for_a_whole_slice_is_tried_in_the_next() {
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
    assert_eq!(scene.stream.reads, 2, "only WouldBlock shows that the socket is empty");
    assert!(!scene.readiness.is_readable());

    let mut scene = Scene::new(&[Bytes(b"12345678"), Fin], &[]);
    assert_eq!(scene.step(), Step::Finished);
}

/// A short read saves the read that would return `WouldBlock`, where the system guarantees that it
/// has emptied the socket.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn a_short_read_of_an_open_stream_is_not_followed_by_another() {
    let mut scene = Scene::new(&[Bytes(b"1234567")], &[]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.stream.reads, scene.readiness.is_readable()), (1, false));
}

/// case S11
#[test]
fn a_stream_that_the_server_ends_gets_all_unsent_bytes_first() {
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
fn a_lingering_stream_discards_input_until_fin_and_answers_nothing() {
    let mut scene = Scene::new(&[Bytes(b"12345678"), Bytes(b"more")], &[]);
    let start = scene.now;
    scene.mover.finish();
    assert_eq!(scene.step(), Step::Flushed);
    scene.mover.linger();
    scene.mover.finish();
    scene.now = scene.now.after(Duration::from_secs(1));
    assert_eq!(scene.step(), Step::Wait, "a second finish has no effect");
    scene.stream.inputs.extend([Bytes(b"tail"), Fin]);
    scene.readiness.merge(Readiness::READABLE);
    scene.readiness.merge(Readiness::READ_CLOSED);
    assert_eq!(scene.step(), Step::Finished);
    assert_eq!((scene.stream.writes, scene.observed.len()), (0, 0));
    assert_eq!(scene.counters, TransportCounters::default());
    // Otherwise a peer that goes on sending would never be idle.
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
fn each_chunk_is_answered_with_the_fixed_reply() {
    let mut scene = Scene::new(&[Bytes(b"12345678"), Bytes(b"9")], &[Takes(1), WOULD_BLOCK]);
    scene.reply = Reply::Text((*b"a long reply\n").into());
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.written(), scene.stream.reads), ("a", 1));
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "a long reply\na long reply\n");
    assert_eq!(scene.observed, b"123456789");
    let traffic = scene.counters.traffic;
    assert_eq!((traffic.messages_in, traffic.bytes_in, traffic.bytes_out), (2, 9, 26));
}

#[test]
fn a_discarding_server_reads_everything_and_writes_nothing() {
    let mut scene = Scene::new(&[Bytes(b"12345678"), Bytes(b"9")], &[]);
    scene.reply = Reply::Nothing;
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.stream.writes, scene.mover.has_unsent()), (0, false));
    assert_eq!(scene.observed, b"123456789");
    scene.reply = Reply::Text([].into());
    scene.stream.inputs.extend([Bytes(b"empty"), Fin]);
    scene.readiness.merge(Readiness::READABLE);
    scene.readiness.merge(Readiness::READ_CLOSED);
    assert_eq!(scene.step(), Step::Finished);
    assert_eq!(scene.stream.writes, 0, "an empty reply causes no write");
}

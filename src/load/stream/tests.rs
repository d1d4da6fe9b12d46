use std::ops::Range;

use super::*;
use crate::endpoint::Transport;
use crate::load::Options;
use crate::load::clock::Clock;
use crate::load::tests::{TIMEOUT_NS, messages, options_without_target, run_of};
use crate::measured::Messages;
use crate::testing::Input::{self, Bytes, Echo};
use crate::testing::Output::{self, Takes};
use crate::testing::ScriptedStream;

mod failures;
mod overdue;
mod properties;

// Bounds are written as numbers, so that a changed one fails a test.
const READS_PER_SLICE: usize = 4;
const WRITES_PER_SLICE: usize = 4;

const NO_INPUT: Input = Input::Fails(libc::EAGAIN);
const NO_ROOM: Output = Output::Fails(libc::EAGAIN);

/// One stream with everything that its slices need.
struct Scene {
    mover: StreamMover,
    /// An echo server at the other end.
    peer: ScriptedStream,
    readiness: Readiness,
    run: Run,
}

impl Scene {
    /// Creates a stream in a closed loop.
    fn new(length_bytes: usize, depth: usize) -> Scene {
        Scene::of(&options_without_target(Transport::Tcp, length_bytes, depth))
    }

    fn of(options: &Options) -> Scene {
        Scene {
            mover: StreamMover::new(0, 0),
            peer: ScriptedStream { echoes: true, ..ScriptedStream::default() },
            readiness: Readiness::NONE,
            run: run_of(options),
        }
    }

    fn inputs(mut self, inputs: &[Input]) -> Scene {
        self.peer.inputs.extend(inputs.iter().cloned());
        self
    }

    fn outputs(mut self, outputs: &[Output]) -> Scene {
        self.peer.outputs.extend(outputs);
        self
    }

    /// Sets the clock.
    fn at(&mut self, now_ns: u64) -> &mut Scene {
        self.run.clock = Clock::stopped_at(now_ns);
        self
    }

    /// Runs a slice with the remembered readiness, as after a wake.
    fn woken(&mut self) -> io::Result<Step> {
        let now_ns = self.run.clock.now_ns();
        self.run.not_before_ns = None;
        self.mover.expire(&mut self.run, now_ns);
        self.mover.advance(&mut self.peer, &mut self.readiness, &mut self.run)
    }

    /// Runs a slice after an event for both directions.
    fn slice(&mut self) -> io::Result<Step> {
        self.readiness.merge(Readiness::READABLE);
        self.readiness.merge(Readiness::WRITABLE);
        self.woken()
    }

    /// Runs a slice after an event, which must not fail.
    fn step(&mut self) -> Step {
        self.slice().unwrap()
    }

    #[track_caller]
    fn assert_counts(&self, sent: u64, received: u64, lost: u64) {
        let measured = self.run.recorder.measured;
        assert_eq!((measured.sent, measured.received, measured.lost), (sent, received, lost));
        assert_eq!(self.run.recorder.in_flight(), self.mover.in_flight() as u64);
    }

    /// Returns the bytes of these messages.
    fn bytes(&self, numbers: Range<u64>) -> Vec<u8> {
        let length = self.run.length_max();
        let message = |number| {
            let mut bytes = vec![0; length];
            self.run.pattern.fill(MessageId { flow: 0, number }, 0, &mut bytes);
            bytes
        };
        numbers.flat_map(message).collect()
    }

    /// Returns the message and the offset of the first wrong byte.
    fn difference(&self) -> Option<(Option<u64>, u64)> {
        let difference = self.run.recorder.first_difference.as_ref()?;
        Some((difference.message, difference.offset))
    }
}

#[test]
fn at_depth_one_each_echo_lets_the_next_message_go() {
    let mut scene = Scene::new(64, 1);
    for sent in 1..100 {
        assert_eq!(scene.step(), Step::Wait);
        scene.assert_counts(sent, sent - 1, 0);
    }
    assert_eq!(scene.peer.written, scene.bytes(0..99));
    assert_eq!((scene.peer.writes, scene.peer.reads), (99, 99), "one call each");
}

#[test]
fn at_a_larger_depth_messages_leave_together_up_to_the_depth() {
    let mut scene = Scene::new(10, 7);
    assert_eq!(scene.step(), Step::Wait);
    scene.assert_counts(7, 0, 0);
    assert_eq!(scene.peer.writes, 1);
    scene.peer.inputs.push_back(Echo(35));
    assert_eq!(scene.step(), Step::Wait);
    scene.assert_counts(10, 3, 0);
    assert_eq!(scene.peer.written, scene.bytes(0..10));
}

/// case B9
#[test]
fn an_echo_in_pieces_of_one_byte_is_one_echo() {
    let mut scene = Scene::new(20, 1);
    scene.step();
    for piece in 0..19 {
        scene.peer.inputs.push_back(Echo(1));
        assert_eq!(scene.step(), Step::Wait);
        scene.assert_counts(1, 0, 0);
        assert_eq!(scene.mover.read_bytes, piece + 1);
    }
    scene.peer.inputs.push_back(Echo(1));
    scene.step();
    scene.assert_counts(2, 1, 0);
    assert_eq!(scene.run.recorder.measured.corrupted, 0);
}

/// case B9
#[test]
fn many_echoes_in_one_read_are_counted_one_by_one() {
    let mut scene = Scene::new(12, 500);
    scene.step();
    scene.assert_counts(500, 0, 0);
    scene.step();
    scene.assert_counts(1000, 500, 0);
    assert_eq!(scene.run.recorder.latency().count(), 500);
}

/// case S1
#[test]
fn a_message_that_a_full_socket_cut_continues_where_it_was_cut() {
    let mut scene = Scene::new(64, 2).outputs(&[Takes(70), NO_ROOM, Takes(1), NO_ROOM]);
    assert_eq!(scene.step(), Step::Wait);
    assert!(!scene.readiness.is_writable());
    scene.assert_counts(2, 0, 0);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.peer.written.len(), 71);
    while scene.peer.written.len() < 640 {
        scene.step();
    }
    assert!(scene.peer.written[..640] == scene.bytes(0..10));
    assert_eq!(scene.run.recorder.measured.corrupted, 0);
}

#[test]
fn a_socket_without_room_is_not_written_to_before_an_event() {
    let mut scene = Scene::new(64, 4).outputs(&[NO_ROOM]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.woken().unwrap(), Step::Wait);
    assert_eq!(scene.peer.writes, 1);
    scene.step();
    assert_eq!(scene.peer.written, scene.bytes(0..4), "no byte is repeated or left out");
}

/// case L5: the socket always has room and always delivers echoes.
#[test]
fn a_slice_ends_at_its_bound_of_reads_and_writes_and_asks_for_another() {
    let mut scene = Scene::new(1, 100_000).outputs(&[Takes(1); 100]);
    assert_eq!(scene.step(), Step::Again);
    assert_eq!(scene.peer.writes, WRITES_PER_SLICE);
    let mut scene = Scene::new(10, 5).inputs(&[const { Echo(10) }; 100]);
    scene.run.scratch = vec![0; 10].into();
    scene.step();
    assert_eq!((scene.step(), scene.peer.reads), (Step::Again, 1 + READS_PER_SLICE));
    assert!(scene.readiness.is_readable());
}

#[test]
fn messages_longer_than_the_scratch_buffer_are_sent_and_received_in_pieces() {
    const LENGTH: usize = 200_001;
    let mut scene = Scene::new(LENGTH, 3);
    while scene.run.recorder.measured.received < 10 {
        scene.step();
    }
    assert!(scene.peer.written[..10 * LENGTH] == scene.bytes(0..10));
    assert_eq!(scene.run.recorder.measured.corrupted, 0);
    assert!(scene.mover.in_flight() <= 3);
}

/// case S9: a read that fills the buffer exactly may not be the last.
#[test]
fn a_read_that_fills_the_buffer_is_followed_by_another() {
    let mut scene = Scene::new(8, 2);
    scene.run.scratch = vec![0; 16].into();
    scene.step();
    let reads = scene.peer.reads;
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.peer.reads, reads + 2, "only WouldBlock says that the socket is drained");
}

/// case B7
#[test]
fn a_wrong_byte_is_reported_with_its_message_and_its_offset() {
    for (at, place) in [(0, (0, 0)), (7, (0, 7)), (30, (1, 10)), (59, (2, 19)), (64, (3, 4))] {
        let mut scene = Scene::new(20, 2);
        scene.peer.corrupted = Some(at);
        while scene.run.recorder.measured.received < 8 {
            scene.step();
        }
        assert_eq!(scene.run.recorder.measured.corrupted, 1);
        assert_eq!(scene.difference(), Some((Some(place.0), place.1)), "byte {at}");
        let difference = scene.run.recorder.first_difference.clone().unwrap();
        assert_eq!(difference.sent, Some(scene.peer.written[at]));
        assert_eq!(difference.received, Some(scene.peer.written[at] ^ 0x10));
    }
}

/// case B7
#[test]
fn a_message_with_many_wrong_bytes_in_many_pieces_is_corrupted_once() {
    let mut scene = Scene::new(100, 1);
    scene.step();
    let wrong = |count| Bytes(&[0xff; 100][..count]);
    for count in [30, 1, 69] {
        scene.peer.inputs.push_back(wrong(count));
        scene.step();
    }
    let measured = scene.run.recorder.measured;
    assert_eq!((measured.received, measured.corrupted, measured.sent), (1, 1, 2));
}

#[test]
fn without_verification_no_byte_is_compared() {
    let mut scene = Scene::new(20, 1);
    scene.run.verify = false;
    scene.step();
    scene.peer.inputs.push_back(Bytes(&[0; 20]));
    scene.step();
    assert_eq!(scene.run.recorder.measured, messages(2, 1, 0));
}

/// case B7: a greeting.
#[test]
fn bytes_that_answer_no_message_are_counted_once_between_two_messages() {
    let mut scene = Scene::new(8, 1).inputs(&[Bytes(b"220 he"), NO_INPUT]);
    scene.run.is_draining = true;
    scene.run.end_at(0);
    scene.step();
    for _ in 0..5 {
        scene.peer.inputs.push_back(Bytes(b"llo"));
        scene.step();
    }
    assert_eq!(scene.run.recorder.measured.corrupted, 1);
    assert_eq!(scene.difference(), Some((None, 0)));
}

/// case B3: a repeated echo is not taken for that of the next message.
#[test]
fn a_repeated_echo_does_not_answer_the_next_message() {
    let mut scene = Scene::new(8, 1);
    scene.step();
    let twice = scene.bytes(0..1).repeat(2);
    scene.peer.inputs.push_back(Bytes(twice.leak()));
    scene.step();
    assert_eq!(scene.run.recorder.measured, Messages { corrupted: 1, ..messages(2, 1, 0) });
}

#[test]
fn in_an_open_loop_a_message_is_sent_when_it_is_due_and_not_before() {
    let options = options_without_target(Transport::Tcp, 8, 100);
    let mut scene = Scene::of(&Options { rate: Some(1_000_000), ..options });
    for now_ns in [0, 999] {
        assert_eq!(scene.at(now_ns).step(), Step::Wait);
        assert_eq!((scene.peer.writes, scene.run.not_before_ns), (1, Some(1_000)));
    }
    scene.at(3_500).step();
    scene.assert_counts(4, 1, 0);
    assert_eq!(scene.run.not_before_ns, Some(4_000));
    // They are 2,500, 1,500 and 500 ns late.
    let lag = scene.run.recorder.schedule_lag.histogram();
    assert_eq!((lag.min(), lag.max() / 10, lag.len()), (0, 250, 4));
    assert_eq!(scene.run.recorder.held_back, 0);
}

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::*;
use crate::load::Options;
use crate::load::clock::Clock;
use crate::load::tests::{TIMEOUT_NS, messages, options_without_target, run_of};
use crate::measured::Messages;

mod corruption;
mod properties;
mod refusals;
mod trains;

// A number, so that a changed bound fails a test.
const ERRORS_PER_SEND: usize = 3;

/// Bytes, and the length of each datagram in them.
type Train = (Vec<u8>, usize);

/// A wire whose calls are scripted.
#[derive(Debug, Default)]
struct Script {
    is_unix: bool,
    reconnects: Cell<usize>,
    /// The error of a reconnect.
    reconnect_failure: Cell<Option<i32>>,
    /// The errors of the next sends; later sends succeed.
    failures: RefCell<VecDeque<i32>>,
    sent: RefCell<Vec<Vec<u8>>>,
    /// The error of sending a train.
    train_failure: Cell<Option<i32>>,
    /// How many datagrams each send took.
    trains: RefCell<Vec<usize>>,
    /// The results of the next receives; later ones would block.
    arriving: RefCell<VecDeque<Result<Train, i32>>>,
    sends: Cell<usize>,
    receives: Cell<usize>,
}

impl Wire for Script {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.take(bytes, bytes.len())
    }

    fn send_train(&self, bytes: &[u8], segment_bytes: u16) -> io::Result<()> {
        let segments = bytes.len().div_ceil(segment_bytes.into());
        assert!(bytes.len() <= 65_507 && (2..=64).contains(&segments));
        if let Some(number) = self.train_failure.get() {
            self.sends.set(self.sends.get() + 1);
            return Err(io::Error::from_raw_os_error(number));
        }
        self.take(bytes, segment_bytes.into())
    }

    fn receive(&self, buf: &mut [u8]) -> io::Result<usize> {
        let (count, segment_bytes) = self.receive_train(buf)?;
        assert!(count <= segment_bytes, "a train, but the mover takes none");
        Ok(count)
    }

    fn receive_train(&self, buf: &mut [u8]) -> io::Result<(usize, usize)> {
        self.receives.set(self.receives.get() + 1);
        let arrived = self.arriving.borrow_mut().pop_front().unwrap_or(Err(libc::EAGAIN));
        let (bytes, segment_bytes) = arrived.map_err(io::Error::from_raw_os_error)?;
        let count = bytes.len().min(buf.len());
        buf[..count].copy_from_slice(&bytes[..count]);
        Ok((count, segment_bytes))
    }

    fn reconnect(&self, _: &ResolvedEndpoint) -> io::Result<()> {
        if !self.is_unix {
            return Ok(());
        }
        self.reconnects.set(self.reconnects.get() + 1);
        self.reconnect_failure.get().map_or(Ok(()), |n| Err(io::Error::from_raw_os_error(n)))
    }
}

impl Script {
    fn take(&self, bytes: &[u8], segment_bytes: usize) -> io::Result<()> {
        self.sends.set(self.sends.get() + 1);
        if let Some(number) = self.failures.borrow_mut().pop_front() {
            return Err(io::Error::from_raw_os_error(number));
        }
        let datagrams = bytes.chunks(segment_bytes).map(<[u8]>::to_vec);
        self.trains.borrow_mut().push(datagrams.len());
        self.sent.borrow_mut().extend(datagrams);
        Ok(())
    }
}

/// One socket with everything that its slices need.
struct Scene {
    mover: DatagramMover,
    wire: Script,
    readiness: Readiness,
    run: Run,
}

impl Scene {
    /// Creates a UDP socket in a closed loop.
    fn new(length_bytes: usize, depth: usize) -> Scene {
        Scene::of(&options_without_target(Transport::Udp, length_bytes, depth))
    }

    /// Creates one without trains.
    fn without_trains(length_bytes: usize, depth: usize) -> Scene {
        let options = options_without_target(Transport::Udp, length_bytes, depth);
        Scene::of(&Options { offload: false, ..options })
    }

    fn of(options: &Options) -> Scene {
        Scene {
            mover: DatagramMover::new(0, options.asks_for_trains()),
            wire: Script::default(),
            readiness: Readiness::NONE,
            run: run_of(options),
        }
    }

    /// Makes the next sends fail with these errors.
    fn failing(mut self, failures: &[i32]) -> Scene {
        self.wire.failures = RefCell::new(failures.iter().copied().collect());
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
        self.mover.advance(&self.wire, &mut self.readiness, &mut self.run)
    }

    /// Runs a slice after a readable event.
    fn slice(&mut self) -> io::Result<Step> {
        self.readiness.merge(Readiness::READABLE);
        self.woken()
    }

    /// Runs a slice after a readable event, which must not fail.
    fn step(&mut self) -> Step {
        self.slice().unwrap()
    }

    fn arrives(&mut self, bytes: &[u8]) {
        self.train_arrives(bytes, bytes.len());
    }

    /// Queues a train of datagrams of this length; the last may be shorter.
    fn train_arrives(&mut self, bytes: &[u8], segment_bytes: usize) {
        self.wire.arriving.get_mut().push_back(Ok((bytes.to_vec(), segment_bytes)));
    }

    /// Queues the echoes of these messages as one train.
    fn echo_train(&mut self, numbers: &[usize]) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| self.sent(*number)).collect();
        self.train_arrives(&bytes, self.run.length_max());
    }

    /// Queues the echoes of these messages.
    fn echo(&mut self, numbers: &[usize]) {
        numbers.iter().for_each(|number| self.arrives(&self.sent(*number)));
    }

    /// Queues an echo with one byte changed.
    fn echo_wrong(&mut self, number: usize, at: usize) {
        let mut bytes = self.sent(number);
        bytes[at] ^= 0x40;
        self.arrives(&bytes);
    }

    fn sent(&self, number: usize) -> Vec<u8> {
        self.wire.sent.borrow()[number].clone()
    }

    #[track_caller]
    fn assert_counts(&self, expected: Messages) {
        assert_eq!(self.run.recorder.measured, expected);
        assert_eq!(self.run.recorder.in_flight(), self.mover.window.len() as u64);
    }

    /// Returns the numbers in the messages that were sent.
    fn numbers(&self) -> Vec<u64> {
        self.wire.sent.borrow().iter().map(|bytes| carried_number(bytes).0).collect()
    }

    /// Returns how many datagrams each send took.
    fn trains(&self) -> Vec<usize> {
        self.wire.trains.borrow().clone()
    }

    /// Returns the message and the offset of the first wrong byte.
    fn difference(&self) -> Option<(Option<u64>, u64)> {
        let difference = self.run.recorder.first_difference.as_ref()?;
        Some((difference.message, difference.offset))
    }
}

#[test]
fn each_echo_costs_one_receive_and_one_send_of_the_next_message() {
    let mut scene = Scene::new(64, 1);
    scene.woken().unwrap();
    for number in 0..50 {
        scene.assert_counts(messages(number + 1, number, 0));
        scene.echo(&[usize::try_from(number).unwrap()]);
        assert_eq!(scene.step(), Step::Wait);
    }
    assert_eq!((scene.wire.sends.get(), scene.wire.receives.get()), (51, 50));
    assert_eq!(scene.numbers(), (0..51).collect::<Vec<_>>());
}

#[test]
fn no_more_messages_are_in_flight_than_the_depth() {
    let mut scene = Scene::new(64, 10);
    assert_eq!(scene.step(), Step::Wait);
    scene.assert_counts(messages(10, 0, 0));
    scene.echo(&[0, 1, 2]);
    scene.step();
    scene.assert_counts(messages(13, 3, 0));
}

/// case L5
#[test]
fn a_slice_ends_at_its_bound_of_datagrams_each_way_and_asks_for_another() {
    let mut scene = Scene::without_trains(64, 1_000);
    assert_eq!((scene.step(), scene.wire.sends.get()), (Step::Again, 64));
    while scene.woken().unwrap() == Step::Again {}
    scene.echo(&(0..1_000).collect::<Vec<_>>());
    let receives = scene.wire.receives.get();
    assert_eq!(scene.step(), Step::Again);
    assert_eq!(scene.wire.receives.get(), receives + 64);
    assert!(scene.readiness.is_readable());
}

#[test]
fn a_dropped_datagram_is_lost_after_its_timeout_and_the_next_is_sent() {
    let mut scene = Scene::new(64, 2);
    scene.step();
    scene.echo(&[1]);
    scene.at(10).step();
    scene.at(TIMEOUT_NS - 1).step();
    scene.assert_counts(messages(3, 1, 0));
    scene.at(TIMEOUT_NS).step();
    scene.assert_counts(messages(4, 1, 1));
}

/// case B3
#[test]
fn a_late_echo_never_answers_a_newer_message() {
    let mut scene = Scene::new(64, 1);
    scene.step();
    scene.at(TIMEOUT_NS).step();
    scene.echo(&[0]);
    scene.at(TIMEOUT_NS + 5).step();
    scene.assert_counts(Messages { late: 1, ..messages(2, 0, 1) });
    scene.echo(&[1]);
    scene.at(TIMEOUT_NS + 7).step();
    scene.assert_counts(Messages { late: 1, ..messages(3, 1, 1) });
    assert_eq!(scene.run.recorder.latency().histogram().max(), 7);
}

#[test]
fn an_echo_after_the_timeout_is_lost_and_late_even_without_a_slice_in_between() {
    let mut scene = Scene::new(64, 1);
    scene.step();
    scene.echo(&[0, 0]);
    scene.at(TIMEOUT_NS);
    scene.readiness.merge(Readiness::READABLE);
    scene.run.is_draining = true;
    scene.mover.advance(&scene.wire, &mut scene.readiness, &mut scene.run).unwrap();
    scene.assert_counts(Messages { late: 1, duplicated: 1, ..messages(2, 0, 1) });
}

/// case B3
#[test]
fn a_repeated_echo_is_one_echo_and_one_duplicate() {
    let mut scene = Scene::new(64, 2);
    scene.step();
    scene.echo(&[0, 0, 0, 1]);
    scene.step();
    scene.assert_counts(Messages { duplicated: 2, ..messages(4, 2, 0) });
}

/// case B3: reading stops when no echo is expected, and a later slice reads what is queued.
#[test]
fn a_duplicate_behind_the_last_echo_is_read_with_the_next_one_or_in_the_drain() {
    let mut scene = Scene::new(64, 1);
    scene.step();
    scene.echo(&[0, 0]);
    assert_eq!(scene.step(), Step::Wait);
    scene.assert_counts(messages(2, 1, 0));
    assert!(scene.readiness.is_readable(), "the queued echo is remembered");
    scene.echo(&[1, 1]);
    scene.step();
    scene.assert_counts(Messages { duplicated: 1, ..messages(3, 2, 0) });
    scene.run.end_at(0);
    scene.run.is_draining = true;
    scene.echo(&[2]);
    scene.woken().unwrap();
    scene.assert_counts(Messages { duplicated: 2, ..messages(3, 3, 0) });
    assert!(!scene.readiness.is_readable());
}

/// case B3
#[test]
fn swapped_echoes_both_count_and_one_is_out_of_order() {
    let mut scene = Scene::new(64, 2);
    scene.step();
    scene.echo(&[1, 0]);
    scene.step();
    scene.assert_counts(Messages { reordered: 1, ..messages(4, 2, 0) });
}

#[test]
fn an_interrupted_call_is_repeated() {
    let mut scene = Scene::new(64, 1).failing(&[libc::EINTR, libc::EINTR]);
    scene.step();
    scene.wire.arriving.get_mut().push_back(Err(libc::EINTR));
    scene.echo(&[0]);
    scene.step();
    scene.assert_counts(messages(2, 1, 0));
}

#[test]
fn in_an_open_loop_a_datagram_is_sent_when_it_is_due_and_not_before() {
    let options = options_without_target(Transport::Udp, 64, 100);
    let mut scene = Scene::of(&Options { rate: Some(1_000_000), ..options });
    scene.step();
    assert_eq!(scene.run.not_before_ns, Some(1_000));
    scene.at(999).step();
    scene.assert_counts(messages(1, 0, 0));
    scene.at(3_000).step();
    scene.assert_counts(messages(4, 0, 0));
    assert_eq!(scene.run.not_before_ns, Some(4_000));
}

/// case B1
#[test]
fn a_message_due_while_the_flow_is_at_its_depth_counts_as_held_back() {
    let options = options_without_target(Transport::Udp, 64, 1);
    let mut scene = Scene::of(&Options { rate: Some(1_000_000), ..options });
    scene.step();
    scene.at(10_000).step();
    scene.assert_counts(messages(1, 0, 0));
    scene.echo(&[0]);
    scene.step();
    scene.assert_counts(messages(2, 1, 0));
    let lag = scene.run.recorder.schedule_lag.histogram();
    assert_eq!((scene.run.recorder.held_back, lag.len()), (1, 2));
    assert!(lag.max() <= 1, "the generator was late for no message: {}", lag.max());
}

#[test]
fn giving_up_all_twice_counts_once() {
    let mut scene = Scene::new(64, 5);
    scene.step();
    scene.mover.give_up_all(LossCause::Other, &mut scene.run);
    scene.mover.give_up_all(LossCause::Other, &mut scene.run);
    scene.assert_counts(messages(5, 0, 5));
}

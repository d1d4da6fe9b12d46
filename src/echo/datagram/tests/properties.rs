//! Tests of the packet mover against a model of edge-triggered events and of peers that come and
//! go.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// One thing that happens to the socket from outside.
#[derive(Clone, Debug)]
enum Step {
    Arrives {
        peer: u16,
        length: usize,
        /// More than one datagram make a train.
        count: usize,
        /// The last datagram of the train is shorter.
        is_cut: bool,
        truncated: bool,
        answerable: bool,
    },
    ReceiveFails(usize),
    /// The socket has no room (`true`), or has room again.
    Blocks(bool),
    /// A peer has room for `room` replies.
    Room {
        peer: u16,
        room: usize,
    },
    Passes(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    let arrives = (0..4_u16, 0..4_usize, prop::bool::weighted(0.1), prop::bool::weighted(0.9));
    let train = (0..4_u16, 1..4_usize, 2..6_usize, any::<bool>());
    prop_oneof![
        12 => arrives.prop_map(|(peer, length, truncated, answerable)| {
            Step::Arrives { peer, length, count: 1, is_cut: false, truncated, answerable }
        }),
        2 => train.prop_map(|(peer, length, count, is_cut)| {
            let (truncated, answerable) = (false, true);
            Step::Arrives { peer, length, count, is_cut, truncated, answerable }
        }),
        1 => (1..20_usize).prop_map(Step::ReceiveFails),
        2 => any::<bool>().prop_map(Step::Blocks),
        3 => (0..4_u16, 0..5_usize).prop_map(|(peer, room)| Step::Room { peer, room }),
        2 => (0..40_u64).prop_map(|millis| Step::Passes(Duration::from_millis(millis))),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let failures = [libc::EINTR, libc::EMSGSIZE, libc::ECONNREFUSED, libc::ENOBUFS, libc::EIO];
    prop_oneof![
        8 => Just(Outcome::Sent),
        2 => Just(Outcome::Fails(libc::EAGAIN)),
        1 => Just(Outcome::Stops),
        2 => prop::sample::select(failures.to_vec()).prop_map(Outcome::Fails),
    ]
}

/// The datagrams that need a reply, by peer.
type Received = [Vec<Vec<u8>>; 4];

struct Driver<P> {
    scene: Scene<P>,
    received: Received,
    arrivals: usize,
    is_due: bool,
}

impl<P: Policy> Driver<P> {
    /// Applies one step. A datagram makes no event here: [`Driver::turn`] does, if a receive has
    /// returned `WouldBlock` since the last one.
    fn apply(&mut self, step: &Step) {
        let batch = &mut self.scene.batch;
        match *step {
            Step::Arrives { peer, length, count, is_cut, truncated, answerable } => {
                let mut datagrams: Vec<Vec<u8>> = Vec::new();
                for _ in 0..count {
                    // A datagram starts with its number, unless it is empty.
                    let number = u16::try_from(self.arrivals).unwrap().to_be_bytes();
                    let full = [&number[..], &b"xyz"[length.min(3)..]].concat();
                    datagrams.push(if length == 0 { Vec::new() } else { full });
                    self.arrivals += 1;
                }
                let segment_bytes = datagrams[0].len();
                let last = datagrams.last_mut().unwrap();
                last.truncate(if is_cut { segment_bytes - 1 } else { segment_bytes });
                let incoming = from(udp(peer), &datagrams.concat());
                batch.arrive(Incoming { segment_bytes, truncated, answerable, ..incoming });
                if !truncated && answerable {
                    self.received[usize::from(peer)].extend(datagrams);
                }
            }
            Step::ReceiveFails(times) => batch.fail_receives(libc::EHOSTUNREACH, times),
            Step::Blocks(is_blocked) => batch.is_blocked = is_blocked,
            Step::Room { peer, room } => drop(batch.rooms.insert(udp(peer), room)),
            Step::Passes(time) => self.scene.now += time,
        }
    }

    /// Runs a turn of the loop if a slice is due. Returns true if it was.
    fn turn(&mut self) -> bool {
        let scene = &mut self.scene;
        if !scene.batch.arrivals.is_empty() && std::mem::take(&mut scene.batch.is_drained) {
            scene.readiness.merge(Readiness::READABLE);
            self.is_due = true;
        }
        let wakes = scene.mover.wants_writable() && !scene.batch.is_blocked;
        if wakes && std::mem::take(&mut scene.batch.has_blocked) {
            scene.readiness.merge(Readiness::WRITABLE);
            self.is_due = true;
        }
        self.is_due |= scene.mover.retry_at().is_some_and(|at| at <= scene.now);
        if !self.is_due {
            return false;
        }
        let next = scene.slice();
        self.is_due = next == Next::Again;
        if next == Next::Wait {
            let has_reason = if scene.mover.wants_writable() {
                !scene.readiness.is_writable()
            } else {
                !scene.readiness.is_readable() || scene.mover.retry_at().is_some()
            };
            assert!(has_reason, "it waits with {:?}", scene.readiness);
        }
        self.check_counters();
        true
    }

    /// Checks that each received datagram was answered, or counted as dropped, or is held.
    fn check_counters(&self) {
        let Scene { mover, batch, counters, .. } = &self.scene;
        let (traffic, sent) = (&counters.traffic, &batch.sent);
        assert_eq!(traffic.messages_out, sent.len() as u64);
        let bytes_out: usize = sent.iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(traffic.bytes_out, bytes_out as u64);
        let is_drop =
            |cause| !matches!(cause, Cause::Held | Cause::ReceiveFailed | Cause::TrainRefused);
        let causes = Cause::ALL.iter().filter(|(cause, _)| is_drop(*cause));
        let dropped: u64 = causes.map(|(cause, _)| counters.count(*cause)).sum();
        let settled = sent.len() as u64 + dropped + mover.held() as u64;
        if self.scene.answers {
            assert_eq!(settled, traffic.messages_in, "{counters:?}");
        } else {
            assert!(sent.is_empty() && settled == counters.count(Cause::Truncated), "{counters:?}");
        }
    }

    /// Runs turns until no slice is due and no retry is planned.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            if self.turn() {
                continue;
            }
            match self.scene.mover.retry_at() {
                Some(at) => self.scene.now = at,
                None => return,
            }
        }
        panic!("the mover always has a retry");
    }

    fn check(&self) {
        let Scene { mover, batch, counters, .. } = &self.scene;
        assert_eq!(mover.held(), 0);
        assert!(batch.arrivals.is_empty());
        assert_eq!(counters.traffic.messages_in, self.arrivals as u64);
        for (port, received) in (0..).zip(&self.received) {
            let mut rest = received.iter();
            for (_, reply) in batch.sent.iter().filter(|(peer, _)| *peer == udp(port)) {
                // Fails for a second reply to one datagram too, because `any` consumes the first.
                assert!(rest.any(|bytes| bytes == reply), "{reply:?} is out of order");
            }
        }
    }
}

/// Applies the steps, then runs the mover until it rests. `recovers`: all peers have room in the
/// end; otherwise the stall timeout drops what they do not take.
fn run<P: Policy>(mut scene: Scene<P>, steps: &[Step], outcomes: &[Outcome], recovers: bool) {
    scene.readiness = Readiness::NONE;
    scene.batch.is_drained = true;
    scene.batch.outcomes.extend(outcomes);
    scene.stall_timeout = Duration::from_millis(if recovers { 3_600_000 } else { 50 });
    let mut driver = Driver { scene, received: Received::default(), arrivals: 0, is_due: false };
    for step in steps {
        driver.apply(step);
        driver.turn();
    }
    driver.scene.batch.is_blocked = false;
    if recovers {
        driver.scene.batch.rooms.clear();
    }
    driver.finish();
    driver.check();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 750,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// cases L2 U1 U3 U4 U5 U6 U9 U14 U15: whatever happens, each datagram is answered once, in
    /// its peer's order, or counted as dropped. Nothing is received while replies wait.
    #[test]
    fn every_reply_of_a_udp_socket_is_sent_or_counted(
        steps in vec(step(), 0..100),
        outcomes in vec(outcome(), 0..100),
        makes_trains in any::<bool>(),
        answers in prop::bool::weighted(0.9),
        receiving in prop_oneof![8 => Just(Receiving::Batches), 1 => Just(Receiving::One)],
    ) {
        let mut scene = Scene { answers, receiving, ..Scene::of_udp(&[]) };
        scene.batch.is_strict = true;
        if makes_trains {
            scene.mover.policy.trains = TrainLimit::ANY;
        }
        // UDP peers always have room.
        let is_room = |step: &Step| matches!(step, Step::Room { .. });
        let steps: Vec<_> = steps.into_iter().filter(|one| !is_room(one)).collect();
        run(scene, &steps, &outcomes, true);
    }

    /// cases L2 U3 U9 X1 X3 X4: the same for a Unix socket, where each peer has its own room.
    #[test]
    fn every_reply_of_a_unix_socket_is_sent_or_counted(
        steps in vec(step(), 0..100),
        outcomes in vec(outcome(), 0..100),
        recovers in any::<bool>(),
    ) {
        // Only UDP has trains.
        let is_train =
            |step: &Step| matches!(step, Step::Arrives { count: 2.., .. });
        let steps: Vec<_> = steps.into_iter().filter(|one| !is_train(one)).collect();
        run(Scene::of_unix(), &steps, &outcomes, recovers);
    }
}

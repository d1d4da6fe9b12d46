//! The packet mover against a model of edge-triggered events and of peers that come and go.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What happens to the socket from outside.
#[derive(Clone, Debug)]
enum Happening {
    Arrives {
        peer: u16,
        length: usize,
        /// More than one make a train.
        count: usize,
        /// The last of a train is shorter.
        is_cut: bool,
        truncated: bool,
        answerable: bool,
    },
    ReceiveFails(usize),
    /// The socket has no room, or has room again.
    Blocks(bool),
    /// A peer has room for so many answers.
    Room {
        peer: u16,
        room: usize,
    },
    Passes(Duration),
}

fn happening() -> impl Strategy<Value = Happening> {
    let arrives = (0..4_u16, 0..4_usize, prop::bool::weighted(0.1), prop::bool::weighted(0.9));
    let train = (0..4_u16, 1..4_usize, 2..6_usize, any::<bool>());
    prop_oneof![
        12 => arrives.prop_map(|(peer, length, truncated, answerable)| {
            Happening::Arrives { peer, length, count: 1, is_cut: false, truncated, answerable }
        }),
        2 => train.prop_map(|(peer, length, count, is_cut)| {
            let (truncated, answerable) = (false, true);
            Happening::Arrives { peer, length, count, is_cut, truncated, answerable }
        }),
        1 => (1..20_usize).prop_map(Happening::ReceiveFails),
        2 => any::<bool>().prop_map(Happening::Blocks),
        3 => (0..4_u16, 0..5_usize).prop_map(|(peer, room)| Happening::Room { peer, room }),
        2 => (0..40_u64).prop_map(|millis| Happening::Passes(Duration::from_millis(millis))),
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

/// What came, whom to answer, by peer.
type Received = [Vec<Vec<u8>>; 4];

struct Driver {
    scene: Scene,
    received: Received,
    arrivals: usize,
    is_due: bool,
}

impl Driver {
    /// An event for reading comes only after a receive said `WouldBlock`.
    fn happen(&mut self, happening: &Happening) {
        let batch = &mut self.scene.batch;
        match *happening {
            Happening::Arrives { peer, length, count, is_cut, truncated, answerable } => {
                let mut datagrams: Vec<Vec<u8>> = Vec::new();
                for _ in 0..count {
                    // Starts with its number, unless it is empty.
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
            Happening::ReceiveFails(times) => batch.fail_receives(libc::EHOSTUNREACH, times),
            Happening::Blocks(is_blocked) => batch.is_blocked = is_blocked,
            Happening::Room { peer, room } => drop(batch.rooms.insert(udp(peer), room)),
            Happening::Passes(time) => self.scene.now += time,
        }
    }

    /// A turn of the loop, when there is reason for one. Returns whether there was.
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
            let has_seen_the_end = if scene.mover.wants_writable() {
                !scene.readiness.is_writable()
            } else {
                !scene.readiness.is_readable() || scene.mover.retry_at().is_some()
            };
            assert!(has_seen_the_end, "waits with {:?}", scene.readiness);
        }
        self.check_counters();
        true
    }

    /// After every slice: what was received was answered, or dropped for a cause, or is held.
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

    /// Turns until nothing is due any more, at any time.
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
        panic!("it never comes to rest");
    }

    fn check(&self) {
        let Scene { mover, batch, counters, .. } = &self.scene;
        assert_eq!(mover.held(), 0);
        assert!(batch.arrivals.is_empty());
        assert_eq!(counters.traffic.messages_in, self.arrivals as u64);
        for (port, received) in (0..).zip(&self.received) {
            let mut rest = received.iter();
            for (_, answer) in batch.sent.iter().filter(|(peer, _)| *peer == udp(port)) {
                // Also when one is answered twice: each is taken out of the rest.
                assert!(rest.any(|bytes| bytes == answer), "{answer:?} out of order");
            }
        }
    }
}

/// `recovers`: in the end all have room; otherwise the stall timeout has its say.
fn run(mut scene: Scene, happenings: &[Happening], outcomes: &[Outcome], recovers: bool) {
    scene.readiness = Readiness::NONE;
    scene.batch.is_drained = true;
    scene.batch.outcomes.extend(outcomes);
    scene.stall_timeout = Duration::from_millis(if recovers { 3_600_000 } else { 50 });
    let mut driver = Driver { scene, received: Received::default(), arrivals: 0, is_due: false };
    for happening in happenings {
        driver.happen(happening);
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
    /// its peer's order, or counted as dropped; and nothing is received while answers wait.
    #[test]
    fn answers_that_wait_for_the_socket_are_all_accounted_for(
        happenings in vec(happening(), 0..100),
        outcomes in vec(outcome(), 0..100),
        makes_trains in any::<bool>(),
        answers in prop::bool::weighted(0.9),
        receive_limit in prop_oneof![8 => Just(usize::MAX), 1 => 1..3_usize],
    ) {
        let mut scene = Scene { answers, receive_limit, ..Scene::of_udp(&[]) };
        scene.batch.is_strict = true;
        if makes_trains {
            scene.mover.trains = TrainLimit::ANY;
        }
        // UDP peers take what they are sent.
        let is_room = |happening: &Happening| matches!(happening, Happening::Room { .. });
        let happenings: Vec<_> = happenings.into_iter().filter(|one| !is_room(one)).collect();
        run(scene, &happenings, &outcomes, true);
    }

    /// cases L2 U3 U9 X1 X3 X4: likewise where each peer has its own room.
    #[test]
    fn answers_that_wait_for_their_peers_are_all_accounted_for(
        happenings in vec(happening(), 0..100),
        outcomes in vec(outcome(), 0..100),
        recovers in any::<bool>(),
    ) {
        // Only UDP has trains.
        let is_train =
            |happening: &Happening| matches!(happening, Happening::Arrives { count: 2.., .. });
        let happenings: Vec<_> = happenings.into_iter().filter(|one| !is_train(one)).collect();
        run(Scene::of_unix(), &happenings, &outcomes, recovers);
    }
}

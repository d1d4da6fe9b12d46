//! A wire that drops, duplicates, swaps and corrupts: all counts match what it did.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What the wire does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Echoed,
    Dropped,
    Doubled,
    /// It changes places with the message sent next, if that is in flight.
    Swapped,
    /// One byte is wrong, at this index modulo the length.
    Corrupted(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Echoed),
        1 => Just(Fate::Dropped),
        1 => Just(Fate::Doubled),
        1 => Just(Fate::Swapped),
        1 => (0_usize..1_000).prop_map(Fate::Corrupted),
    ]
}

/// Returns the numbers of the messages that arrive, in order, each with its fate.
fn arriving(numbers: std::ops::Range<usize>, fates: &[Fate]) -> Vec<(usize, Fate)> {
    let mut order: Vec<usize> = numbers.collect();
    for at in 1..order.len() {
        if fates[order[at - 1]] == Fate::Swapped {
            order.swap(at - 1, at);
        }
    }
    let arrives = |number: &usize| fates[*number] != Fate::Dropped;
    let mut all: Vec<_> = order.into_iter().filter(arrives).map(|n| (n, fates[n])).collect();
    let doubled: Vec<_> = all.iter().copied().filter(|(_, fate)| *fate == Fate::Doubled).collect();
    all.extend(doubled);
    all
}

impl Scene {
    /// Returns the bytes that arrive for a message.
    fn arriving_bytes(&self, (number, fate): (usize, Fate)) -> Vec<u8> {
        let mut bytes = self.sent(number);
        if let Fate::Corrupted(at) = fate {
            let at = at % bytes.len();
            bytes[at] ^= 0x40;
        }
        bytes
    }
}

/// Computes the expected counts by a model: the first echo answers its message.
fn expected(order: &[(usize, Fate)], count: usize) -> Messages {
    let mut answered = std::collections::BTreeSet::new();
    let mut expected = Messages { sent: count as u64, ..Messages::default() };
    for (number, fate) in order {
        expected.corrupted += u64::from(matches!(fate, Fate::Corrupted(_)));
        let is_overtaken = answered.last().is_some_and(|last| number < last);
        if answered.insert(*number) {
            expected.received += 1;
            expected.reordered += u64::from(is_overtaken);
        } else {
            expected.duplicated += 1;
        }
    }
    expected.lost = expected.sent - expected.received;
    expected
}

proptest! {
    /// cases B3 B7
    #[test]
    fn each_count_matches_what_the_wire_did(
        fates in vec(fate(), 1..200),
        depth in 1_usize..20,
        length in 32_usize..200,
        failures in vec(
            prop::sample::select(vec![libc::EAGAIN, libc::EINTR]),
            0..20,
        ),
        offload: bool,
        train_failure in prop::option::of(
            prop::sample::select(vec![libc::EINVAL, libc::EAGAIN, libc::ENOBUFS]),
        ),
        trains in vec(1_usize..70, 1..5),
    ) {
        let count = fates.len();
        let options = options_without_target(Transport::Udp, length, depth);
        let options = Options { count: Some(count as u64), offload, ..options };
        let mut scene = Scene::of(&options).failing(&failures);
        scene.wire.train_failure.set(train_failure);
        let mut trains = trains.into_iter().cycle();
        let (mut order, mut now_ns, mut seen) = (Vec::new(), 0, 0);
        loop {
            while scene.step() == Step::Again {}
            prop_assert_eq!(scene.run.recorder.in_flight(), scene.mover.window.len() as u64);
            prop_assert!(scene.mover.window.len() <= depth);
            let sent = scene.wire.sent.borrow().len();
            let arrived = arriving(seen..sent, &fates);
            let mut rest = &arrived[..];
            while !rest.is_empty() {
                // How many arrive as one train, if trains are received.
                let together = match scene.mover.takes_trains {
                    true => trains.next().unwrap().min(rest.len()),
                    false => 1,
                };
                let bytes: Vec<u8> =
                    rest[..together].iter().flat_map(|fate| scene.arriving_bytes(*fate)).collect();
                scene.train_arrives(&bytes, length);
                rest = &rest[together..];
            }
            seen = sent;
            order.extend(arrived);
            scene.run.is_draining = scene.run.is_count_reached();
            if !scene.wire.arriving.borrow().is_empty() || scene.mover.held().is_some() {
                continue;
            }
            if seen == count && scene.mover.window.len() == 0 {
                break;
            }
            // Only dropped messages are in flight.
            now_ns += TIMEOUT_NS;
            scene.at(now_ns);
        }
        prop_assert_eq!(scene.run.recorder.measured, expected(&order, count));
        prop_assert_eq!(scene.numbers(), (0..count as u64).collect::<Vec<_>>());
        let trains = scene.run.recorder.trains;
        prop_assert_eq!((trains.sent, trains.received), (count as u64, order.len() as u64));
        prop_assert_eq!(trains.sends, scene.trains().len() as u64);
        prop_assert!(scene.trains().iter().all(|train| *train <= depth));
    }

    /// case B3: the counts add up, whatever arrives at any time.
    #[test]
    fn sent_equals_received_plus_lost_plus_in_flight_whatever_arrives(
        turns in vec((vec((0_usize..50, 0_usize..30, any::<u8>()), 0..6), 0..TIMEOUT_NS), 1..60),
        length in 1_usize..30,
        depth in 1_usize..300,
        verify: bool,
        segment_bytes in prop::option::of(1_usize..40),
    ) {
        let mut scene = match segment_bytes {
            Some(_) => Scene::new(length, depth),
            None => Scene::without_trains(length, depth),
        };
        scene.run.verify = verify;
        let mut now_ns = 0;
        for (arrivals, step_ns) in turns {
            scene.step();
            let sent = scene.wire.sent.borrow().len();
            let mut together = Vec::new();
            for (back, at, flip) in arrivals {
                let mut bytes = scene.sent(sent - 1 - back.min(sent - 1));
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= flip);
                bytes.truncate(usize::from(flip));
                match segment_bytes {
                    Some(_) => together.extend(bytes),
                    None => scene.arrives(&bytes),
                }
            }
            // The train is split anywhere, not only where messages end.
            if let Some(segment_bytes) = segment_bytes.filter(|_| depth > 1) {
                scene.train_arrives(&together, segment_bytes);
            }
            now_ns += step_ns;
            scene.at(now_ns);
            prop_assert_eq!(scene.run.recorder.in_flight(), scene.mover.window.len() as u64);
        }
        scene.mover.give_up_all(LossCause::Disconnected, &mut scene.run);
        let all = scene.run.recorder.measured;
        prop_assert_eq!(all.sent, all.received + all.lost);
        prop_assert!(all.late <= all.lost);
    }
}

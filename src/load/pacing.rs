//! When messages are due: the schedule of an open loop, and how to wait for it.
//!
//! Latency counts from the moment a message was *due*, whatever delayed it. So a server that stalls
//! cannot improve its figures by slowing the generator down (coordinated omission). Each flow has
//! its own sequence of due times that depends only on the start. Messages that are due and not yet
//! sent need no memory, however long the stall.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::reactor::Key;

/// mio rounds a poll timeout up to a whole millisecond, and a wake-up takes some tens of
/// microseconds. The loop does not sleep when the next message is due sooner than this.
const SLEEP_MARGIN_NS: u64 = 1_100_000;

const SECOND_NS: u128 = 1_000_000_000;

/// The spacing of an open loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spacing {
    /// Message k is due at `start + k / rate`. The flows take the messages in turn.
    #[default]
    Fixed,
    /// Random due times with the same mean rate: each flow sends its share as a Poisson process.
    Poisson,
}

/// The due times of one flow, in order.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    rate: u64,
    /// The place of the flow among all flows, and their number.
    place: u64,
    flows: u64,
    start_ns: u64,
    /// Messages taken so far.
    taken: u64,
    due_ns: u64,
    /// For a Poisson process: its random numbers, and the due time since the start with its
    /// fraction.
    random: Option<(fastrand::Rng, f64)>,
}

impl Schedule {
    /// Creates the schedule of flow `place` of `flows` at `rate` messages per second in all.
    pub(super) fn new(
        rate: u64,
        spacing: Spacing,
        (place, flows): (u64, u64),
        start_ns: u64,
    ) -> Schedule {
        // A fixed seed makes runs repeatable; each flow has its own.
        let random = (spacing == Spacing::Poisson)
            .then(|| (fastrand::Rng::with_seed(place.wrapping_add(1)), 0.0));
        let mut schedule = Schedule { rate, place, flows, start_ns, taken: 0, due_ns: 0, random };
        schedule.due_ns = schedule.next_due();
        schedule
    }

    /// Returns when the next message is due.
    pub(super) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Takes the next message off the schedule.
    pub(super) fn take(&mut self) {
        self.taken += 1;
        self.due_ns = self.next_due();
    }

    /// Drops the messages due before this time. A Poisson process has no memory, so it restarts
    /// there.
    pub(super) fn skip_to(&mut self, time_ns: u64) {
        if self.due_ns >= time_ns {
            return;
        }
        let since_start_ns = time_ns.saturating_sub(self.start_ns);
        match &mut self.random {
            Some((_, elapsed_ns)) => {
                #[expect(clippy::cast_precision_loss, reason = "2^53 ns are a hundred days")]
                let from_ns = since_start_ns as f64;
                *elapsed_ns = from_ns;
            }
            None => self.taken = self.index_at(time_ns),
        }
        self.due_ns = self.next_due();
    }

    /// Returns how many messages of a fixed schedule are due before this time. Due times are
    /// fractions rounded down, so this is the fraction rounded up.
    fn index_at(&self, time_ns: u64) -> u64 {
        let since_start = u128::from(time_ns.saturating_sub(self.start_ns));
        let all = (since_start * u128::from(self.rate)).div_ceil(SECOND_NS);
        let own = all.saturating_sub(u128::from(self.place)).div_ceil(u128::from(self.flows));
        u64::try_from(own).unwrap_or(u64::MAX)
    }

    /// Returns how many of the messages not taken yet are due from `from_ns` to before `until_ns`;
    /// for a Poisson process, the expected number.
    pub(super) fn due_between(&self, from_ns: u64, until_ns: u64) -> u64 {
        let first_ns = self.due_ns.max(from_ns);
        let Some(last_ns) = until_ns.checked_sub(1).filter(|last_ns| *last_ns >= first_ns) else {
            return 0;
        };
        match self.random {
            None => self.index_at(until_ns).saturating_sub(self.index_at(first_ns)),
            Some(_) => {
                let length = u128::from(last_ns - first_ns) * u128::from(self.rate);
                let count = 1 + length / (SECOND_NS * u128::from(self.flows));
                u64::try_from(count).unwrap_or(u64::MAX)
            }
        }
    }

    /// Returns how many of the messages not taken yet are due before this time, `most` at the most.
    /// The number is exact for both kinds of spacing.
    pub(super) fn due_before(&self, until_ns: u64, most: u64) -> u64 {
        if self.random.is_none() {
            return self.index_at(until_ns).saturating_sub(self.taken).min(most);
        }
        let mut ahead = self.clone();
        let mut count = 0;
        while count < most && ahead.due_ns < until_ns {
            ahead.take();
            count += 1;
        }
        count
    }

    fn next_due(&mut self) -> u64 {
        let since_start = match &mut self.random {
            // Computed from the start and the index alone, so errors do not accumulate.
            None => {
                let index =
                    u128::from(self.place) + u128::from(self.taken) * u128::from(self.flows);
                u64::try_from(index * SECOND_NS / u128::from(self.rate)).unwrap_or(u64::MAX)
            }
            Some((random, elapsed_ns)) => {
                // 1 - [0, 1) is never 0, which has no logarithm.
                let gap = -(1.0 - random.f64()).ln();
                #[expect(clippy::cast_precision_loss, reason = "rates and flows are below 2^53")]
                let mean_ns = 1e9 * self.flows as f64 / self.rate as f64;
                *elapsed_ns += gap * mean_ns;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a float to integer cast saturates; time is not negative"
                )]
                let whole_ns = *elapsed_ns as u64;
                whole_ns
            }
        };
        self.start_ns.saturating_add(since_start)
    }
}

/// Orders the flows by their next due times. Each flow is queued at most once.
#[derive(Debug, Default)]
pub(super) struct DueQueue {
    queue: BinaryHeap<Reverse<(u64, u32)>>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    key: Option<Key>,
    is_queued: bool,
}

impl DueQueue {
    pub(super) fn with_flows(flows: usize) -> DueQueue {
        DueQueue { queue: BinaryHeap::with_capacity(flows), entries: vec![Entry::default(); flows] }
    }

    /// Queues a flow unless it is queued.
    pub(super) fn push(&mut self, flow: u32, key: Key, due_ns: u64) {
        let entry = &mut self.entries[flow as usize];
        entry.key = Some(key);
        if !entry.is_queued {
            entry.is_queued = true;
            self.queue.push(Reverse((due_ns, flow)));
        }
    }

    /// Removes the first flow if it is due, and returns its key.
    pub(super) fn next_due(&mut self, now_ns: u64) -> Option<Key> {
        let Reverse((due_ns, flow)) = *self.queue.peek()?;
        if due_ns > now_ns {
            return None;
        }
        self.queue.pop();
        let entry = &mut self.entries[flow as usize];
        entry.is_queued = false;
        entry.key
    }

    /// Returns when the first flow is due.
    pub(super) fn first_due_ns(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse((due_ns, _))| *due_ns)
    }
}

/// Returns how long the loop may sleep until `due_ns`; `None` if that is too near to sleep.
pub(super) fn sleep_for(due_ns: u64, now_ns: u64) -> Option<Duration> {
    let left_ns = due_ns.saturating_sub(now_ns);
    left_ns.checked_sub(SLEEP_MARGIN_NS).filter(|ns| *ns > 0).map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dues(mut schedule: Schedule, count: usize) -> Vec<u64> {
        let mut take = || {
            let due_ns = schedule.due_ns();
            schedule.take();
            due_ns
        };
        (0..count).map(|_| take()).collect()
    }

    fn schedule(rate: u64, spacing: Spacing, place: u64, flows: u64) -> Schedule {
        Schedule::new(rate, spacing, (place, flows), 1_000)
    }

    #[test]
    fn fixed_due_times_are_whole_intervals_after_the_start() {
        assert_eq!(dues(schedule(1_000, Spacing::Fixed, 0, 1), 3), [1_000, 1_001_000, 2_001_000]);
        // Message k of the run is message k / 3 of flow k mod 3.
        assert_eq!(dues(schedule(1_000, Spacing::Fixed, 2, 3), 2), [2_001_000, 5_001_000]);
    }

    #[test]
    fn an_interval_of_fractional_nanoseconds_accumulates_no_error() {
        let mut schedule = schedule(3, Spacing::Fixed, 0, 1);
        (0..3_000_000).for_each(|_| schedule.take());
        assert_eq!(schedule.due_ns(), 1_000 + 1_000_000 * 1_000_000_000);
    }

    /// case B12
    #[test]
    fn at_a_rate_finer_than_the_clock_every_message_is_due_at_once() {
        assert_eq!(dues(schedule(u64::MAX, Spacing::Fixed, 0, 1), 3), [1_000; 3]);
        assert_eq!(dues(schedule(u64::MAX, Spacing::Poisson, 0, 1), 3), [1_000; 3]);
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_deviation_of_an_exponential_distribution() {
        const COUNT: usize = 100_000;
        let dues = dues(schedule(10_000, Spacing::Poisson, 4, 10), COUNT);
        let gaps: Vec<f64> = dues.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // 10,000 per second on 10 flows: 1 ms on average between two messages of one flow.
        assert!((mean / 1e6 - 1.0).abs() < 0.02, "mean {mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "deviation equals mean");
    }

    #[test]
    fn skipping_drops_earlier_messages_and_keeps_later_due_times() {
        for (place, flows) in [(0, 1), (2, 3)] {
            let mut skipped = schedule(3_000, Spacing::Fixed, place, flows);
            let mut taken = schedule(3_000, Spacing::Fixed, place, flows);
            skipped.skip_to(2_000_000);
            while taken.due_ns() < 2_000_000 {
                taken.take();
            }
            assert_eq!(dues(skipped, 5), dues(taken, 5));
        }
        let mut poisson = schedule(1_000, Spacing::Poisson, 0, 1);
        poisson.skip_to(1_000_000_000);
        assert!(poisson.due_ns() >= 1_000_000_000);
        let mut absurd = schedule(u64::MAX, Spacing::Poisson, 0, 1);
        absurd.skip_to(1_000_000_000);
        assert!(absurd.due_ns() >= 999_999_999);
    }

    #[test]
    fn no_sleep_is_granted_within_the_margin_before_a_due_time() {
        assert_eq!(sleep_for(500, 1_000), None, "overdue");
        assert_eq!(sleep_for(SLEEP_MARGIN_NS, 0), None);
        assert_eq!(sleep_for(SLEEP_MARGIN_NS + 5, 0), Some(Duration::from_nanos(5)));
    }

    proptest! {
        #[test]
        fn due_between_counts_the_messages_of_a_period_without_taking_them(
            rate in 1_u64..3_000_000,
            (place, flows) in (0_u64..20).prop_flat_map(|place| (Just(place), place + 1..40)),
            taken in 0_usize..20,
            from_ns in 0_u64..1_000_000,
            length_ns in 0_u64..3_000_000,
        ) {
            let mut schedule = schedule(rate, Spacing::Fixed, place, flows);
            (0..taken).for_each(|_| schedule.take());
            let until_ns = from_ns + length_ns;
            let counted = schedule.due_between(from_ns, until_ns);
            let mut expected = 0;
            while schedule.due_ns() < until_ns {
                expected += u64::from(schedule.due_ns() >= from_ns);
                schedule.take();
            }
            prop_assert_eq!(counted, expected);
        }

        /// The number must be exact, because these messages may be sent together.
        #[test]
        fn due_before_counts_exactly_the_messages_that_can_be_taken(
            rate in prop_oneof![1_u64..3_000_000, Just(5_000_000_000), Just(u64::MAX)],
            spacing in prop::sample::select(vec![Spacing::Fixed, Spacing::Poisson]),
            (place, flows) in (0_u64..20).prop_flat_map(|place| (Just(place), place + 1..40)),
            taken in 0_usize..20,
            skipped_ns in prop::option::of(0_u64..2_000_000),
            until_ns in 0_u64..3_000_000,
            most in 0_u64..100,
        ) {
            let mut schedule = schedule(rate, spacing, place, flows);
            (0..taken).for_each(|_| schedule.take());
            schedule.skip_to(skipped_ns.unwrap_or(0));
            let counted = schedule.due_before(until_ns, most);
            let mut expected = 0;
            while expected < most && schedule.due_ns() < until_ns {
                schedule.take();
                expected += 1;
            }
            prop_assert_eq!(counted, expected);
        }

        #[test]
        fn all_flows_together_keep_the_fixed_rate(
            rate in 1_u64..2_000_000,
            flows in 1_u64..50,
            each in 1_usize..50,
        ) {
            let of_flow = |place| dues(schedule(rate, Spacing::Fixed, place, flows), each);
            let mut all: Vec<u64> = (0..flows).flat_map(of_flow).collect();
            all.sort_unstable();
            let expected = (0..all.len() as u128)
                .map(|k| 1_000 + u64::try_from(k * SECOND_NS / u128::from(rate)).unwrap());
            prop_assert!(all.into_iter().eq(expected));
        }
    }
}

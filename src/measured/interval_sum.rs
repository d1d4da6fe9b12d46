//! Adds the intervals of several loops that started together.

use std::collections::VecDeque;

use super::Interval;

/// Intervals of loops, added up as they come.
///
/// The loops end an interval at the same planned times, each a little later by its own work, and a
/// loop that could not run has one long interval instead of several. The intervals that end at the
/// same time, give or take half of the shortest, become one. Every interval is in exactly one sum,
/// and no sum mixes phases.
#[derive(Debug)]
pub struct IntervalSum {
    loops: Vec<Waiting>,
    /// The end of the last sum. Sums follow each other without a gap.
    end_ns: Option<u64>,
}

/// The intervals of one loop that wait for those of the others.
#[derive(Debug, Default)]
struct Waiting {
    intervals: VecDeque<Interval>,
    has_ended: bool,
}

impl Waiting {
    /// Returns how many intervals at the front are of this phase and end by `until_ns`; `None`
    /// while another may come.
    fn ending_by(&self, until_ns: u64, phase: Phase) -> Option<usize> {
        let is_later =
            |interval: &Interval| phase_of(interval) > phase || interval.end_ns > until_ns;
        let later = self.intervals.iter().position(is_later);
        // The next interval, which is as long, could end in time too.
        let is_last =
            |interval: &Interval| interval.end_ns.saturating_add(length_ns(interval)) > until_ns;
        let all = self.intervals.len();
        match later {
            Some(count) => Some(count),
            None if self.has_ended || self.intervals.back().is_some_and(is_last) => Some(all),
            None => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Warmup,
    Measuring,
    Drain,
}

fn phase_of(interval: &Interval) -> Phase {
    match (interval.is_warmup, interval.is_drain) {
        (_, true) => Phase::Drain,
        (true, _) => Phase::Warmup,
        _ => Phase::Measuring,
    }
}

fn length_ns(interval: &Interval) -> u64 {
    interval.end_ns.saturating_sub(interval.start_ns)
}

impl IntervalSum {
    /// Creates the sum of so many loops.
    pub fn of_loops(loops: usize) -> IntervalSum {
        IntervalSum { loops: (0..loops).map(|_| Waiting::default()).collect(), end_ns: None }
    }

    /// Takes the next interval of a loop.
    ///
    /// # Panics
    ///
    /// There is no such loop.
    pub fn push(&mut self, index: usize, interval: Interval) {
        self.loops[index].intervals.push_back(interval);
    }

    /// Notes that a loop has no more intervals.
    ///
    /// # Panics
    ///
    /// There is no such loop.
    pub fn end(&mut self, index: usize) {
        self.loops[index].has_ended = true;
    }

    /// Returns the next sum, as soon as every loop has its part of it.
    pub fn next_sum(&mut self) -> Option<Interval> {
        let is_awaited = |waiting: &Waiting| !waiting.has_ended && waiting.intervals.is_empty();
        if self.loops.iter().any(is_awaited) {
            return None;
        }
        let heads = || self.loops.iter().filter_map(|waiting| waiting.intervals.front());
        let phase = heads().map(phase_of).min()?;
        let heads = || heads().filter(|head| phase_of(head) == phase);
        let until_ns = heads().map(|head| head.end_ns).max()?;
        let until_ns = until_ns.saturating_add(heads().map(length_ns).min()? / 2);
        let counts = self.loops.iter().map(|waiting| waiting.ending_by(until_ns, phase));
        let counts = counts.collect::<Option<Vec<usize>>>()?;
        let mut sum: Option<Interval> = None;
        for (waiting, count) in self.loops.iter_mut().zip(counts) {
            let Some(own) = joined(waiting.intervals.drain(..count)) else { continue };
            match &mut sum {
                Some(sum) => sum.add(&own),
                None => sum = Some(own),
            }
        }
        let mut sum = sum?;
        // The drain of a loop that ended early comes late.
        sum.start_ns = self.end_ns.unwrap_or(sum.start_ns);
        sum.end_ns = sum.end_ns.max(sum.start_ns);
        self.end_ns = Some(sum.end_ns);
        Some(sum)
    }
}

/// Joins intervals of one loop that follow each other.
fn joined(mut intervals: impl Iterator<Item = Interval>) -> Option<Interval> {
    let mut all = intervals.next()?;
    for next in intervals {
        all.add(&next);
        // These are states, not counts.
        all.messages.in_flight_at_end = next.messages.in_flight_at_end;
        all.flows_open = next.flows_open;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measured::{Distribution, Messages};

    fn interval(start_ns: u64, end_ns: u64, received: u64) -> Interval {
        Interval {
            start_ns,
            end_ns,
            is_warmup: false,
            is_drain: false,
            messages: Messages { received, in_flight_at_end: 1, ..Messages::default() },
            latency: Distribution::new(),
            flows_open: 2,
        }
    }

    fn all_of(sum: &mut IntervalSum) -> Vec<(u64, u64, u64)> {
        std::iter::from_fn(|| sum.next_sum())
            .map(|interval| (interval.start_ns, interval.end_ns, interval.messages.received))
            .collect()
    }

    #[test]
    fn intervals_that_end_together_become_one() {
        let mut sum = IntervalSum::of_loops(2);
        sum.push(0, interval(0, 100, 5));
        assert!(sum.next_sum().is_none(), "the other loop has its part of it");
        sum.push(1, interval(0, 103, 7));
        let first = sum.next_sum().unwrap();
        assert_eq!((first.start_ns, first.end_ns, first.messages.received), (0, 103, 12));
        assert_eq!((first.messages.in_flight_at_end, first.flows_open), (2, 4));
        sum.push(0, interval(100, 201, 1));
        sum.push(1, interval(103, 200, 1));
        assert_eq!(all_of(&mut sum), [(103, 201, 2)], "without a gap");
    }

    #[test]
    fn a_loop_that_stood_still_has_one_long_interval() {
        let mut sum = IntervalSum::of_loops(2);
        sum.push(1, interval(0, 310, 9));
        sum.push(0, interval(0, 100, 1));
        sum.push(0, interval(100, 200, 1));
        assert!(sum.next_sum().is_none(), "one more fits into the long one");
        sum.push(0, interval(200, 300, 1));
        assert_eq!(all_of(&mut sum), [(0, 310, 12)]);
    }

    #[test]
    fn phases_do_not_mix_and_a_loop_that_ended_is_not_awaited() {
        let mut sum = IntervalSum::of_loops(2);
        sum.push(0, Interval { is_warmup: true, ..interval(0, 50, 1) });
        sum.push(1, Interval { is_warmup: true, ..interval(0, 51, 1) });
        sum.push(0, Interval { is_drain: true, ..interval(50, 60, 3) });
        sum.push(1, interval(51, 150, 4));
        assert_eq!(all_of(&mut sum), [(0, 51, 2), (51, 150, 4)]);
        sum.end(1);
        sum.end(0);
        assert_eq!(all_of(&mut sum), [(150, 150, 3)], "the drain of a loop that ended early");
    }

    proptest! {
        #[test]
        fn every_interval_is_in_exactly_one_sum(
            steps in prop::collection::vec((0..3_usize, 1_u64..300, 0_u64..100), 0..60),
        ) {
            let mut sum = IntervalSum::of_loops(3);
            let (mut ends, mut pushed, mut sums) = ([0; 3], 0, Vec::new());
            for (index, length, received) in steps {
                let (start_ns, end_ns) = (ends[index], ends[index] + length);
                ends[index] = end_ns;
                pushed += received;
                sum.push(index, interval(start_ns, end_ns, received));
                sums.extend(all_of(&mut sum));
            }
            (0..3).for_each(|index| sum.end(index));
            sums.extend(all_of(&mut sum));
            prop_assert_eq!(sums.iter().map(|(_, _, received)| received).sum::<u64>(), pushed);
            prop_assert!(sums.windows(2).all(|pair| pair[0].1 == pair[1].0), "{:?}", sums);
        }
    }
}

//! What the loop counts, and what it measures of its turns if asked to: what each brought, and for
//! how long it kept the thread busy.

use std::time::{Duration, Instant};

use crate::units::duration_ns;

/// Counts of the loop since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopCounts {
    /// Turns.
    pub turns: u64,
    /// Poll calls: one a turn, but for those that were [spared](super::Spin).
    pub polls: u64,
    /// Events that reached a living source.
    pub events: u64,
    /// Late events whose source was gone.
    pub events_stale: u64,
    /// Slices given to handlers.
    pub slices: u64,
    /// Slices that ended with work left.
    pub slices_used_up: u64,
    /// Of each turn that is over, if they are [measured](super::Reactor::measure_turns).
    pub measures: TurnMeasures,
}

/// What turns were like, of those since [`Reactor::measure_turns`](super::Reactor::measure_turns)
/// that are over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnMeasures {
    /// Events that reached a living source in a turn.
    pub events: Histogram,
    /// Nanoseconds from the moment a turn had its events until it was over: the time for which all
    /// who were not served in it had to wait.
    pub busy_ns: Histogram,
}

/// How often values occurred, by powers of two: in 264 bytes, and without allocating.
///
/// ```
/// use resound::reactor::Histogram;
///
/// let mut histogram = Histogram::default();
/// [0, 1, 3, 4, 5].into_iter().for_each(|value| histogram.add(value));
/// let first: Vec<_> = histogram.buckets().take(5).collect();
/// assert_eq!(first, [(0, 1), (1, 1), (2, 0), (4, 2), (8, 1)]);
/// assert_eq!((histogram.count(), histogram.sum()), (5, 13));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; Histogram::BUCKETS],
    sum: u64,
}

impl Histogram {
    /// For 0, for each power of two up to 2^29, and for what is above: in nanoseconds, everything
    /// over half a second.
    const BUCKETS: usize = 32;

    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        // The bits of the value before: 0 for 1, 1 for 2, 2 for 3 and 4, 3 for 5 to 8.
        let place =
            value.checked_sub(1).map_or(0, |before| 1 + (u64::BITS - before.leading_zeros()));
        self.counts[(place as usize).min(Histogram::BUCKETS - 1)] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many values there were up to each bound and above the one before; the last bound is
    /// [`u64::MAX`].
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let last = Histogram::BUCKETS - 1;
        let bound = move |place| match place {
            0 => 0,
            _ if place == last => u64::MAX,
            _ => 1 << (place - 1),
        };
        self.counts.iter().enumerate().map(move |(place, count)| (bound(place), *count))
    }
}

/// What the loop knows for measuring its turns.
#[derive(Debug)]
pub(super) struct Meter {
    /// As many as had been counted when the last turn was over.
    events_before: u64,
}

impl Meter {
    pub(super) fn new(counts: &LoopCounts) -> Meter {
        Meter { events_before: counts.events }
    }

    /// A turn that had its events at `begun_at` is over.
    pub(super) fn end_turn(&mut self, counts: &mut LoopCounts, begun_at: Instant) {
        counts.measures.events.add(counts.events - self.events_before);
        self.events_before = counts.events;
        let busy: Duration = Instant::now().saturating_duration_since(begun_at);
        counts.measures.busy_ns.add(duration_ns(busy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted_once_up_to_the_first_bound_that_is_not_below_it() {
        let bounds: Vec<u64> = Histogram::default().buckets().map(|(bound, _)| bound).collect();
        assert_eq!(bounds.len(), Histogram::BUCKETS);
        assert!(bounds.is_sorted() && bounds[1] == 1 && *bounds.last().unwrap() == u64::MAX);
        let near = bounds.iter().flat_map(|bound| [bound.saturating_sub(1), *bound, bound | 1]);
        for value in near {
            let mut histogram = Histogram::default();
            histogram.add(value);
            let expected = bounds.iter().copied().find(|bound| value <= *bound);
            let counted = histogram.buckets().find(|(_, count)| *count > 0);
            assert_eq!(counted, Some((expected.unwrap(), 1)), "{value}");
            assert_eq!((histogram.count(), histogram.sum()), (1, value));
        }
    }

    #[test]
    fn a_sum_that_no_integer_holds_stays_at_the_largest() {
        let mut histogram = Histogram::default();
        histogram.add(u64::MAX);
        histogram.add(u64::MAX);
        assert_eq!((histogram.count(), histogram.sum()), (2, u64::MAX));
    }
}

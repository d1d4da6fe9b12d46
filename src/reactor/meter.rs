//! The counts of the loop, and its optional measurements of turns: how many events each turn
//! brought, and how long it kept the thread busy.

use std::time::{Duration, Instant};

use crate::units::duration_ns;

/// Counts of the loop since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopCounts {
    /// Turns.
    pub turns: u64,
    /// Poll calls: one per turn, except those that a [spinning](super::Spin) loop skips.
    pub polls: u64,
    /// Events that reached a source.
    pub events: u64,
    /// Late events, whose source was gone.
    pub events_stale: u64,
    /// Slices given to handlers.
    pub slices: u64,
    /// Slices that ended with work left.
    pub slices_used_up: u64,
    /// Measurements of completed turns, if [enabled](super::Reactor::measure_turns).
    pub measures: TurnMeasures,
}

/// Measurements of the turns that have completed since
/// [`Reactor::measure_turns`](super::Reactor::measure_turns) enabled them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnMeasures {
    /// Events per turn that reached a source.
    pub events: Histogram,
    /// Nanoseconds from the end of a turn's poll to the end of the turn. A source without a slice
    /// in that turn waits for this time.
    pub busy_ns: Histogram,
}

/// A histogram with one bucket per power of two. It takes 264 bytes and never allocates.
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
    /// One bucket for 0, one for each power of two up to 2^29, and one for larger values. In
    /// nanoseconds the last bucket holds everything above half a second.
    const BUCKETS: usize = 32;

    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        // The bit length of `value - 1`: 0 for 1, 1 for 2, 2 for 3 and 4, 3 for 5 to 8.
        let place =
            value.checked_sub(1).map_or(0, |before| 1 + (u64::BITS - before.leading_zeros()));
        self.counts[(place as usize).min(Histogram::BUCKETS - 1)] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of the values, or [`u64::MAX`] if it is larger.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Returns each bucket as its upper bound and the number of values up to that bound and above
    /// the previous one. The last bound is [`u64::MAX`].
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

/// The state that the loop needs to measure its turns.
#[derive(Debug)]
pub(super) struct Meter {
    /// [`LoopCounts::events`] at the end of the previous turn.
    events_before: u64,
}

impl Meter {
    pub(super) fn new(counts: &LoopCounts) -> Meter {
        Meter { events_before: counts.events }
    }

    /// Measures a turn that ends now and whose poll returned at `begun_at`.
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
    fn every_value_is_counted_once_in_the_bucket_of_the_first_bound_that_reaches_it() {
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
    fn a_sum_that_overflows_saturates() {
        let mut histogram = Histogram::default();
        histogram.add(u64::MAX);
        histogram.add(u64::MAX);
        assert_eq!((histogram.count(), histogram.sum()), (2, u64::MAX));
    }
}

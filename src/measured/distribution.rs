//! The distribution of times: a bounded histogram. Distributions are merged, never averaged.

mod percentile;
mod summary;

use hdrhistogram::Histogram;

pub use self::percentile::{Percentile, PercentileList};
pub use self::summary::{Summary, Times};
use crate::stats::quantile_ranks;

/// The longest time that the histogram holds: an hour. A longer one counts as an hour and as
/// saturated.
const VALUE_NS_MAX: u64 = 3_600 * 1_000_000_000;

/// Significant decimal digits of every value. A value is exact within 0.1 %, and the histogram
/// takes 270 KiB.
const SIGNIFICANT_DIGITS: u8 = 3;

/// A percentile is reported only if at least this many samples lie beyond it. With fewer, chance
/// decides its value.
const SAMPLES_BEYOND_MIN: u64 = 10;

/// The greatest count that a document may have. The counts of a thousand documents then fit 64
/// bits.
const READ_COUNT_MAX: u64 = 1 << 53;

/// Times in nanoseconds, up to an hour. Percentiles have three significant digits; minimum, maximum
/// and mean are exact. [`Distribution::new`] allocates all memory; [`Distribution::record`]
/// allocates none.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    histogram: Histogram<u64>,
    saturated: u64,
    min_ns: u64,
    max_ns: u64,
    sum_ns: u128,
}

impl Distribution {
    /// Creates a distribution without values.
    ///
    /// ```
    /// use resound::measured::Distribution;
    ///
    /// let mut distribution = Distribution::new();
    /// (1..=1000).for_each(|micros| distribution.record(micros * 1_000));
    /// let summary = distribution.summary(&"50,99.9".parse()?);
    /// assert_eq!(summary.count, 1000);
    /// let p50 = summary.percentile("50").expect("500 samples lie beyond it");
    /// assert!(p50.abs_diff(500_000) <= 500);
    /// assert_eq!(summary.percentile("99.9"), None, "one sample lies beyond it");
    /// # Ok::<(), String>(())
    /// ```
    #[expect(clippy::missing_panics_doc, reason = "the bounds are constants that are valid")]
    pub fn new() -> Distribution {
        let histogram = Histogram::new_with_bounds(1, VALUE_NS_MAX, SIGNIFICANT_DIGITS);
        Distribution {
            histogram: histogram.expect("the bounds are valid"),
            saturated: 0,
            min_ns: u64::MAX,
            max_ns: 0,
            sum_ns: 0,
        }
    }

    /// Creates the distribution of a histogram and a summary that were read from a document. The
    /// mean is exact to the nanosecond. `None` if they contradict each other.
    pub(super) fn read(histogram: Histogram<u64>, summary: &Summary) -> Option<Distribution> {
        let Summary { count, min, mean, max, .. } = *summary;
        let is_sane = count == histogram.len()
            && count <= READ_COUNT_MAX
            && histogram.equivalent(min, histogram.min())
            && histogram.equivalent(max, histogram.max())
            && (min..=max).contains(&mean);
        let sum_ns = u128::from(mean) * u128::from(count);
        match count {
            0 => is_sane.then(Distribution::new),
            _ => is_sane.then_some(Distribution {
                histogram,
                saturated: 0,
                min_ns: min,
                max_ns: max,
                sum_ns,
            }),
        }
    }

    /// Creates the distribution of a histogram that was read from a document without a summary.
    /// Minimum, mean and, unless it is known, maximum are those of buckets. `None` if the histogram
    /// contradicts the maximum.
    pub(super) fn read_buckets(
        histogram: Histogram<u64>,
        max_ns: Option<u64>,
    ) -> Option<Distribution> {
        let (min, max) = (histogram.min(), max_ns.unwrap_or(histogram.max()).min(VALUE_NS_MAX));
        let mean = whole(histogram.mean()).clamp(min, max.max(min));
        let none = Summary::empty(&PercentileList::default());
        let summary = Summary { count: histogram.len(), min, mean, max, ..none };
        Distribution::read(histogram, &summary)
    }

    /// Adds a time. A time beyond an hour counts as an hour and as saturated.
    pub fn record(&mut self, value_ns: u64) {
        self.record_many(value_ns, 1);
    }

    /// Adds a time `count` times.
    pub fn record_many(&mut self, value_ns: u64, count: u64) {
        if count == 0 {
            return;
        }
        self.saturated += if value_ns > VALUE_NS_MAX { count } else { 0 };
        let value_ns = value_ns.min(VALUE_NS_MAX);
        self.min_ns = self.min_ns.min(value_ns);
        self.max_ns = self.max_ns.max(value_ns);
        self.sum_ns += u128::from(value_ns) * u128::from(count);
        self.histogram.saturating_record_n(value_ns, count);
    }

    /// Adds all values of another distribution.
    #[expect(clippy::missing_panics_doc, reason = "all have the same bounds")]
    pub fn add(&mut self, other: &Distribution) {
        self.histogram.add(&other.histogram).expect("the bounds are the same");
        self.saturated += other.saturated;
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        self.sum_ns += other.sum_ns;
    }

    /// Returns the values that were added after `earlier`, a copy of this distribution. Minimum,
    /// maximum and mean of the result are those of buckets, not exact.
    #[expect(clippy::missing_panics_doc, reason = "a copy has no value that this has not")]
    pub fn since(&self, earlier: &Distribution) -> Distribution {
        let mut later = self.clone();
        later.histogram.subtract(&earlier.histogram).expect("the values of a copy are in this");
        later.saturated -= earlier.saturated;
        later.sum_ns -= earlier.sum_ns;
        later.min_ns = later.histogram.min();
        later.max_ns = later.histogram.max().min(self.max_ns);
        later
    }

    /// Removes all values and keeps the memory.
    pub fn clear(&mut self) {
        self.histogram.reset();
        self.saturated = 0;
        (self.min_ns, self.max_ns, self.sum_ns) = (u64::MAX, 0, 0);
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Returns the number of values that were beyond an hour.
    pub fn saturated(&self) -> u64 {
        self.saturated
    }

    /// Returns the histogram. Its buckets are ranges of three significant digits.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// Returns the exact minimum; `None` without values.
    pub fn min_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.min_ns)
    }

    /// Returns the exact maximum; `None` without values.
    pub fn max_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max_ns)
    }

    /// Returns the exact mean; 0 without values.
    #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 a last digit does not matter")]
    pub fn mean_ns(&self) -> f64 {
        if self.count() == 0 { 0.0 } else { self.sum_ns as f64 / self.count() as f64 }
    }

    /// Returns the value at a percentile if at least ten values lie beyond it.
    pub fn percentile(&self, percentile: Percentile) -> Option<u64> {
        let is_reported = percentile.has_beyond(self.count(), SAMPLES_BEYOND_MIN);
        is_reported.then(|| self.value_at(percentile))
    }

    /// Returns the value at the percentile's rank, as HdrHistogram does: the greatest value of its
    /// bucket, but not more than the maximum. Percentile 0 is the minimum. 0 without values.
    pub(crate) fn value_at(&self, percentile: Percentile) -> u64 {
        self.value_of_rank(percentile.rank(self.count()))
    }

    /// Returns the greatest value of the bucket that holds the sample of a rank, which counts from
    /// 1, but not more than the maximum. Rank 0 is the minimum.
    fn value_of_rank(&self, rank: u64) -> u64 {
        if self.count() == 0 || rank == 0 {
            return self.min_ns().unwrap_or(0);
        }
        let mut count = 0;
        let mut ranges = self.histogram.iter_recorded();
        let range = ranges.find(|range| {
            count += range.count_since_last_iteration();
            count >= rank
        });
        range.map_or(self.max_ns, |range| range.value_iterated_to()).min(self.max_ns)
    }

    /// Returns the 95 % interval of a percentile that is reported: the values of the two ranks
    /// between which the percentile of the population lies with that probability, if samples are
    /// independent. `None` if there are too few samples below it.
    pub(super) fn interval(&self, percentile: Percentile) -> Option<[u64; 2]> {
        self.percentile(percentile)?;
        let (lower, upper) = quantile_ranks(self.count(), percentile.share())?;
        Some([self.value_of_rank(lower), self.value_of_rank(upper)])
    }

    /// Returns the figures of the distribution at these percentiles.
    pub fn summary(&self, percentiles: &PercentileList) -> Summary {
        if self.count() == 0 {
            return Summary::empty(percentiles);
        }
        let at =
            |(text, percentile): (&str, Percentile)| (text.to_owned(), self.percentile(percentile));
        let interval =
            |(text, percentile): (&str, Percentile)| (text.to_owned(), self.interval(percentile));
        Summary {
            count: self.count(),
            min: self.min_ns,
            mean: whole(self.mean_ns()),
            max: self.max_ns,
            stddev: whole(self.histogram.stdev()),
            percentiles: percentiles.iter().map(at).collect(),
            intervals: percentiles.iter().map(interval).collect(),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float to integer cast saturates; no value is negative"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// case B8
    #[test]
    fn a_value_beyond_the_histogram_saturates_and_is_counted() {
        const HOUR_NS: u64 = 3_600_000_000_000;
        let mut distribution = Distribution::new();
        distribution.record(u64::MAX);
        distribution.record(HOUR_NS + 1);
        distribution.record(HOUR_NS);
        assert_eq!((distribution.count(), distribution.saturated()), (3, 2));
        assert_eq!(distribution.summary(&PercentileList::default()).max, HOUR_NS);
    }

    #[test]
    fn a_percentile_is_reported_if_ten_samples_lie_beyond_it() {
        let mut distribution = Distribution::new();
        (0..99).for_each(|_| distribution.record(1_000));
        let reported = |distribution: &Distribution, text: &str| {
            distribution.percentile(text.parse().unwrap())
        };
        assert_eq!(reported(&distribution, "90"), None);
        distribution.record(1_000);
        assert_eq!(reported(&distribution, "90"), Some(1_000));
        assert_eq!(reported(&distribution, "99"), None);
        (0..9_900).for_each(|_| distribution.record(1_000));
        assert_eq!(reported(&distribution, "99.9"), Some(1_000));
        assert_eq!(reported(&distribution, "99.99"), None);
    }

    #[test]
    fn minimum_maximum_and_mean_are_exact_and_bound_every_percentile() {
        let mut parts = [Distribution::new(), Distribution::new()];
        for (part, values) in parts.iter_mut().zip([[1_234_567, 7_654_321], [1_234_569, 3]]) {
            values.iter().for_each(|value| part.record(*value));
        }
        let [mut merged, other] = parts;
        merged.add(&other);
        let summary = merged.summary(&PercentileList::default());
        assert_eq!((summary.min, summary.max), (3, 7_654_321));
        assert_eq!(summary.mean, 2_530_865, "10,123,460 / 4");
        assert_eq!(merged.value_at("0".parse().unwrap()), 3);
        assert_eq!(merged.value_at("99.99".parse().unwrap()), 7_654_321);
        merged.clear();
        merged.record(5_000_011);
        assert_eq!((merged.min_ns(), merged.max_ns()), (Some(5_000_011), Some(5_000_011)));
        assert_eq!(merged.value_at(Percentile::P50), 5_000_011);
        merged.record_many(7, 0);
        assert_eq!((merged.count(), merged.min_ns()), (1, Some(5_000_011)));
    }

    #[test]
    fn values_since_a_copy_are_those_added_later() {
        let mut distribution = Distribution::new();
        distribution.record_many(1_000, 30);
        let earlier = distribution.clone();
        distribution.record_many(2_000, 40);
        let later = distribution.since(&earlier);
        assert_eq!((later.count(), later.min_ns(), later.max_ns()), (40, Some(2_000), Some(2_000)));
        assert_eq!(later.mean_ns(), 2_000.0);
        assert_eq!(later.percentile(Percentile::P50), Some(2_000));
        assert_eq!(distribution.since(&distribution).count(), 0);
    }

    #[test]
    fn the_summary_of_no_values_is_all_zeros() {
        let list = PercentileList::default();
        assert_eq!(Distribution::new().summary(&list), Summary::empty(&list));
    }

    #[test]
    fn a_percentile_has_an_interval_of_values_around_it() {
        let mut distribution = Distribution::new();
        (1..=1_000).for_each(|value| distribution.record(value));
        let summary = distribution.summary(&"50,99,99.9".parse().unwrap());
        // Ranks 469 and 532 of the binomial distribution; up to 2,047 a bucket is one value.
        let intervals: Vec<_> = summary.intervals.iter().map(|(_, interval)| *interval).collect();
        assert_eq!(intervals[0], Some([469, 532]));
        assert!(intervals[1].is_some_and(|[low, high]| low < 990 && high > 990), "{intervals:?}");
        assert_eq!(intervals[2], None, "too few samples for the percentile itself");
    }

    proptest! {
        /// The crate gives the same answer, except where rounding makes it miss a rank.
        #[test]
        fn a_percentile_is_the_bucket_of_the_sample_at_its_rank(
            mut values in prop::collection::vec(0_u64..10_000_000_000, 1..3_000),
            word in "[0-9]{1,2}(\\.[0-9]{1,4})?",
        ) {
            let mut distribution = Distribution::new();
            values.iter().for_each(|value| distribution.record(*value));
            values.sort_unstable();
            let percentile: Percentile = word.parse().unwrap();
            let rank = usize::try_from(percentile.rank(values.len() as u64)).unwrap().max(1);
            let highest = distribution.histogram().highest_equivalent(values[rank - 1]);
            let found = distribution.value_at(percentile);
            if percentile.rank(values.len() as u64) > 0 {
                prop_assert_eq!(found, highest.min(*values.last().unwrap()));
            }
            prop_assert!(found >= values[0] && found <= *values.last().unwrap());
        }

        #[test]
        fn merging_equals_recording_all_values_in_one_distribution(
            first in prop::collection::vec(0_u64..10_000_000_000, 0..200),
            second in prop::collection::vec(0_u64..10_000_000_000, 0..200),
        ) {
            let mut parts = [Distribution::new(), Distribution::new(), Distribution::new()];
            first.iter().for_each(|value| parts[0].record(*value));
            second.iter().for_each(|value| parts[1].record(*value));
            first.iter().chain(&second).for_each(|value| parts[2].record(*value));
            let [mut merged, other, all] = parts;
            merged.add(&other);
            let list = PercentileList::default();
            prop_assert_eq!(merged.summary(&list), all.summary(&list));
        }
    }
}

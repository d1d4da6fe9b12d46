//! How values of time are distributed: a bounded histogram, merged and never averaged.

use std::str::FromStr;

use hdrhistogram::Histogram;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// The longest time told apart: an hour. What is longer counts as that, and is counted apart.
const VALUE_NS_MAX: u64 = 3_600 * 1_000_000_000;

/// Significant decimal digits of every value: within 0.1 %, in 270 KiB.
const SIGNIFICANT_DIGITS: u8 = 3;

/// A percentile is said only when at least this many samples lie beyond it: with fewer, it is a
/// matter of chance.
const SAMPLES_BEYOND_MIN: f64 = 10.0;

/// Times in nanoseconds, from 1 ns to an hour, to three significant digits. Its memory is taken
/// when it is made: [`Distribution::record`] allocates nothing.
#[derive(Clone, Debug)]
pub struct Distribution {
    histogram: Histogram<u64>,
    saturated: u64,
}

impl Distribution {
    /// With no value.
    ///
    /// ```
    /// use resound::report::Distribution;
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
        Distribution { histogram: histogram.expect("the bounds are valid"), saturated: 0 }
    }

    /// Adds one time. One beyond an hour counts as an hour, and as saturated.
    pub fn record(&mut self, value_ns: u64) {
        self.record_many(value_ns, 1);
    }

    /// Adds one time as often as that.
    pub fn record_many(&mut self, value_ns: u64, count: u64) {
        self.saturated += if value_ns > VALUE_NS_MAX { count } else { 0 };
        self.histogram.saturating_record_n(value_ns.min(VALUE_NS_MAX), count);
    }

    /// Adds all of another's values.
    #[expect(clippy::missing_panics_doc, reason = "all have the same bounds")]
    pub fn add(&mut self, other: &Distribution) {
        self.histogram.add(&other.histogram).expect("the bounds are the same");
        self.saturated += other.saturated;
    }

    /// Forgets all values, and keeps the memory.
    pub fn clear(&mut self) {
        self.histogram.reset();
        self.saturated = 0;
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// How many of them were beyond the histogram.
    pub fn saturated(&self) -> u64 {
        self.saturated
    }

    /// The values themselves.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// The value at a percentile, when enough values lie beyond it to tell.
    pub fn percentile(&self, percentile: f64) -> Option<u64> {
        percentile_of(&self.histogram, percentile)
    }

    /// Its figures at these percentiles.
    pub fn summary(&self, percentiles: &PercentileList) -> Summary {
        if self.count() == 0 {
            return Summary::empty(percentiles);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float to integer cast saturates; no value is negative"
        )]
        let whole = |value: f64| value.round() as u64;
        let at = |(text, value): &(String, f64)| (text.clone(), self.percentile(*value));
        Summary {
            count: self.count(),
            min: self.histogram.min(),
            mean: whole(self.histogram.mean()),
            max: self.histogram.max(),
            stddev: whole(self.histogram.stdev()),
            percentiles: percentiles.0.iter().map(at).collect(),
        }
    }
}

/// The value at a percentile, when enough values lie beyond it to tell.
pub(super) fn percentile_of(histogram: &Histogram<u64>, percentile: f64) -> Option<u64> {
    #[expect(clippy::cast_precision_loss, reason = "a count of samples is below 2^53")]
    let beyond = histogram.len() as f64 * (100.0 - percentile) / 100.0;
    // The product of two decimals is a hair off where it should be whole.
    const ROUNDING: f64 = 1e-9;
    (beyond + ROUNDING >= SAMPLES_BEYOND_MIN).then(|| histogram.value_at_percentile(percentile))
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution::new()
    }
}

/// Percentiles as they were typed, with their values: `50,90,99,99.9,99.99`.
#[derive(Clone, Debug, PartialEq)]
pub struct PercentileList(Vec<(String, f64)>);

impl PercentileList {
    /// Each as typed and as a number.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(text, value)| (text.as_str(), *value))
    }
}

impl Default for PercentileList {
    fn default() -> PercentileList {
        let standard = [("50", 50.0), ("90", 90.0), ("99", 99.0), ("99.9", 99.9), ("99.99", 99.99)];
        PercentileList(standard.map(|(text, value)| (text.to_owned(), value)).to_vec())
    }
}

impl FromStr for PercentileList {
    type Err = String;

    fn from_str(text: &str) -> Result<PercentileList, String> {
        const LENGTH_MAX: usize = 100;
        let parse = |word: &str| {
            parse_percentile(word).map(|value| (word.to_owned(), value)).ok_or_else(|| {
                "expected percentiles from 0 to below 100, such as 50,90,99,99.9".to_owned()
            })
        };
        let mut list = Vec::<(String, f64)>::new();
        for word in text.split(',').map(str::trim) {
            let percentile = parse(word)?;
            // Said twice it is the same, and a key of a JSON object must not come twice.
            if !list.contains(&percentile) {
                list.push(percentile);
            }
        }
        if list.len() > LENGTH_MAX {
            return Err(format!("expected at most {LENGTH_MAX} percentiles, such as 50,99"));
        }
        Ok(PercentileList(list))
    }
}

/// A percentile from 0 to below 100, in plain decimals, of no more digits than a number can tell
/// apart: as it was typed it is a key of reports, and part of messages.
pub(super) fn parse_percentile(word: &str) -> Option<f64> {
    const WORD_BYTES_MAX: usize = 20;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let is_plain = word.chars().all(|c| c.is_ascii_digit() || c == '.');
    word.parse::<f64>().ok().filter(|value| is_plain && (0.0..100.0).contains(value))
}

/// The figures of a distribution, in whole nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many values there were; all else is 0 when there was none.
    pub count: u64,
    /// The least.
    pub min: u64,
    /// The mean.
    pub mean: u64,
    /// The greatest.
    pub max: u64,
    /// The standard deviation.
    pub stddev: u64,
    /// Percentiles as typed, and their values where enough samples lie beyond them.
    #[serde(serialize_with = "as_map")]
    pub percentiles: Vec<(String, Option<u64>)>,
}

impl Summary {
    /// That of no value at all.
    pub fn empty(percentiles: &PercentileList) -> Summary {
        let percentiles = percentiles.iter().map(|(text, _)| (text.to_owned(), None)).collect();
        Summary { count: 0, min: 0, mean: 0, max: 0, stddev: 0, percentiles }
    }

    /// A percentile by the text it was asked by.
    pub fn percentile(&self, text: &str) -> Option<u64> {
        self.percentiles.iter().find(|(other, _)| other == text).and_then(|(_, value)| *value)
    }
}

fn as_map<S: Serializer>(
    pairs: &[(String, Option<u64>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(pairs.len()))?;
    pairs.iter().try_for_each(|(text, value)| map.serialize_entry(text, value))?;
    map.end()
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// case B8
    #[test]
    fn a_value_beyond_the_histogram_saturates_and_is_counted() {
        let mut distribution = Distribution::new();
        distribution.record(u64::MAX);
        distribution.record(VALUE_NS_MAX + 1);
        distribution.record(VALUE_NS_MAX);
        assert_eq!((distribution.count(), distribution.saturated()), (3, 2));
        let max = distribution.summary(&PercentileList::default()).max;
        let near = VALUE_NS_MAX..VALUE_NS_MAX + VALUE_NS_MAX / 500;
        assert!(near.contains(&max), "{max}");
    }

    #[test]
    fn a_percentile_is_said_when_ten_samples_lie_beyond_it() {
        let mut distribution = Distribution::new();
        (0..99).for_each(|_| distribution.record(1_000));
        assert_eq!(distribution.percentile(90.0), None);
        distribution.record(1_000);
        assert_eq!(distribution.percentile(90.0), Some(1_000));
        assert_eq!(distribution.percentile(99.0), None);
        (0..9_900).for_each(|_| distribution.record(1_000));
        assert_eq!(distribution.percentile(99.9), Some(1_000));
        assert_eq!(distribution.percentile(99.99), None);
    }

    #[test]
    fn no_value_is_a_summary_of_zeros() {
        let list = PercentileList::default();
        assert_eq!(Distribution::new().summary(&list), Summary::empty(&list));
    }

    #[test]
    fn what_is_no_percentile_is_refused() {
        for text in ["", "100", "-1", "x", "50,,99", "1e1", "nan", "+5", "101"] {
            let refused = text.parse::<PercentileList>().unwrap_err();
            assert!(refused.contains("such as"), "{text:?}");
        }
        assert_eq!("50, 99.9".parse::<PercentileList>().unwrap().0[1], ("99.9".to_owned(), 99.9));
    }

    proptest! {
        #[test]
        fn merging_is_the_same_as_recording_all_in_one(
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

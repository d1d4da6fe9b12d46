//! Whether the thirds of a run agree.

use serde::{Deserialize, Serialize};

use super::{Distribution, Percentile};

/// Percentiles of two thirds that differ by more than this share are a drift, if chance does not
/// explain the difference. A smaller one is within what runs differ by anyway.
const DRIFT_SHARE_MIN: f64 = 0.1;

/// The response times of each third of the measured time. They tell a run that was steady from one
/// that warmed up, slowed down or had a disturbed part, which one figure for all does not describe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// Whether p50 or p99 of two thirds differ by more than 10 %, and their 95 % intervals do not
    /// overlap.
    pub found: bool,
    /// The thirds, in their order.
    pub thirds: [Third; 3],
}

/// The response times of a third of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Third {
    /// Echoes that came in it.
    pub count: u64,
    /// The median; null with fewer than ten samples beyond it, as every percentile.
    pub p50: Option<u64>,
    /// The 99th percentile.
    pub p99: Option<u64>,
}

impl Drift {
    /// Compares the thirds of a run. `None` if a third has too few echoes for a median.
    pub fn of(thirds: &[Distribution; 3]) -> Option<Drift> {
        let is_known = |third: &Distribution| third.percentile(Percentile::P50).is_some();
        let found = [Percentile::P50, Percentile::P99].iter().any(|p| differs(thirds, *p));
        thirds
            .iter()
            .all(is_known)
            .then(|| Drift { found, thirds: thirds.each_ref().map(Third::of) })
    }
}

impl Third {
    fn of(values: &Distribution) -> Third {
        Third {
            count: values.count(),
            p50: values.percentile(Percentile::P50),
            p99: values.percentile(Percentile::P99),
        }
    }
}

/// Returns true if a percentile of two thirds differs by more than chance and [`DRIFT_SHARE_MIN`]
/// explain. Thirds with too few samples are left out.
#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 a last digit does not matter")]
fn differs(thirds: &[Distribution; 3], percentile: Percentile) -> bool {
    let known = thirds
        .iter()
        .filter_map(|third| Some((third.percentile(percentile)?, third.interval(percentile)?)));
    let known: Vec<(u64, [u64; 2])> = known.collect();
    let value = |(value, _): &&(u64, [u64; 2])| *value;
    let (Some(least), Some(greatest)) =
        (known.iter().min_by_key(value), known.iter().max_by_key(value))
    else {
        return false;
    };
    let is_large = greatest.0 as f64 > (1.0 + DRIFT_SHARE_MIN) * least.0 as f64;
    is_large && greatest.1[0] > least.1[1]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` times around a median, in steps of a thousandth.
    fn third(median_ns: u64, count: u64) -> Distribution {
        let mut third = Distribution::new();
        (0..count).for_each(|index| third.record(median_ns + median_ns / 1_000 * (index % 21)));
        third
    }

    #[test]
    fn thirds_that_agree_are_no_drift_and_one_that_is_slower_is() {
        let steady = Drift::of(&[third(100_000, 900), third(104_000, 900), third(100_000, 900)]);
        assert!(!steady.unwrap().found);
        let drift = Drift::of(&[third(100_000, 900), third(100_000, 900), third(120_000, 900)]);
        let drift = drift.unwrap();
        assert!(drift.found);
        assert_eq!(drift.thirds.map(|third| third.count), [900; 3]);
    }

    #[test]
    fn a_tail_that_only_one_third_has_is_a_drift() {
        let mut disturbed = third(100_000, 2_000);
        disturbed.record_many(5_000_000, 100);
        let drift = Drift::of(&[third(100_000, 2_000), disturbed, third(100_000, 2_000)]);
        assert!(drift.unwrap().found);
    }

    #[test]
    fn a_difference_that_chance_explains_is_no_drift() {
        let few = |first: u64| {
            let mut third = Distribution::new();
            (0..20).for_each(|index| third.record(first + 10_000 * index));
            third
        };
        let drift = Drift::of(&[few(100_000), few(100_000), few(130_000)]);
        assert!(!drift.unwrap().found, "the intervals of the medians overlap");
        assert_eq!(Drift::of(&[few(100_000), Distribution::new(), few(100_000)]), None);
    }
}

//! The median of samples, and its exact interval by the sign test.

use super::quantile_ranks;

/// The fewest samples whose lowest and highest enclose the median in 95 % of all cases.
pub const INTERVAL_SAMPLES_MIN: usize = 6;

/// Returns the samples in ascending order.
fn ordered(samples: &[f64]) -> Vec<f64> {
    let mut ordered = samples.to_vec();
    ordered.sort_unstable_by(f64::total_cmp);
    ordered
}

/// Returns the median, which of an even number of samples is the mean of the middle two. `None`
/// without samples.
pub fn median(samples: &[f64]) -> Option<f64> {
    let ordered = ordered(samples);
    let middle = ordered.len() / 2;
    let upper = *ordered.get(middle)?;
    Some(if ordered.len() % 2 == 1 { upper } else { f64::midpoint(ordered[middle - 1], upper) })
}

/// Returns the interval that holds the median of the population with a probability of at least
/// 95 %, whatever the distribution is: the medians that the exact sign test does not reject. `None`
/// for fewer than [`INTERVAL_SAMPLES_MIN`] samples.
///
/// ```
/// use resound::stats::{median, median_interval};
///
/// let ratios = [1.02, 0.99, 1.04, 1.03, 1.01, 1.05, 1.03];
/// assert_eq!(median(&ratios), Some(1.03));
/// assert_eq!(median_interval(&ratios), Some([0.99, 1.05]));
/// ```
pub fn median_interval(samples: &[f64]) -> Option<[f64; 2]> {
    let ranks = quantile_ranks(samples.len() as u64, 0.5)?;
    let ordered = ordered(samples);
    let at = |rank: u64| ordered.get(usize::try_from(rank).ok()?.checked_sub(1)?).copied();
    Some([at(ranks.0)?, at(ranks.1)?])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Samples with their median and interval: `numpy.median`, and the `confidence_interval()` of
    /// `scipy.stats.quantile_test(samples, p=0.5)`, of scipy 1.17.1.
    const CASES: &[(&[f64], f64, [f64; 2])] = &[
        (&[1.0, 1.03, 0.973, 0.915, 0.956, 0.906], 0.9644999999999999, [0.906, 1.03]),
        (&[1.006, 1.143, 0.952, 0.94, 1.05, 1.036, 1.011], 1.011, [0.94, 1.143]),
        (&[0.911, 0.997, 1.072, 0.874, 0.955, 0.827, 0.879, 0.832], 0.895, [0.827, 1.072]),
        (
            &[0.977, 0.881, 1.027, 1.016, 0.981, 0.777, 0.948, 0.995, 1.011, 0.858, 0.953],
            0.977,
            [0.858, 1.016],
        ),
        (
            &[0.907, 0.922, 1.112, 0.922, 0.997, 1.092, 0.943, 0.989, 1.011, 1.006, 0.885, 1.008],
            0.993,
            [0.922, 1.011],
        ),
        (
            &[
                1.146, 0.857, 1.09, 1.012, 0.938, 1.221, 1.079, 0.887, 1.007, 1.059, 0.981, 1.071,
                0.993, 1.069, 1.155,
            ],
            1.059,
            [0.981, 1.09],
        ),
        (
            &[
                0.935, 1.021, 0.955, 1.013, 0.888, 0.944, 0.981, 1.094, 1.121, 0.876, 0.924, 1.067,
                0.819, 0.955, 0.99, 1.134, 1.071, 0.968, 0.964, 0.975, 1.165,
            ],
            0.975,
            [0.944, 1.067],
        ),
        (
            &[
                0.958, 0.97, 1.036, 0.988, 0.98, 0.895, 0.999, 0.957, 1.124, 1.067, 0.998, 1.069,
                0.967, 1.111, 0.999, 1.06, 0.879, 1.035, 0.845, 0.816, 0.97, 0.914, 1.017, 1.252,
                0.92, 0.94, 1.021, 1.051, 0.983, 0.98,
            ],
            0.9855,
            [0.967, 1.021],
        ),
    ];

    #[test]
    fn medians_and_intervals_are_those_of_scipy() {
        for (samples, middle, interval) in CASES {
            assert_eq!(median(samples), Some(*middle), "{samples:?}");
            assert_eq!(median_interval(samples), Some(*interval), "{samples:?}");
        }
    }

    #[test]
    fn too_few_samples_have_no_interval() {
        assert_eq!(median(&[]), None);
        for count in 0..INTERVAL_SAMPLES_MIN {
            assert_eq!(median_interval(&vec![1.0; count]), None, "{count}");
        }
        assert_eq!(median_interval(&[1.0; INTERVAL_SAMPLES_MIN]), Some([1.0, 1.0]));
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_median_and_its_ends_are_samples(
            samples in prop::collection::vec(0.1..10.0_f64, 6..80),
        ) {
            let [lower, upper] = median_interval(&samples).unwrap();
            let middle = median(&samples).unwrap();
            prop_assert!(lower <= middle && middle <= upper);
            prop_assert!(samples.contains(&lower) && samples.contains(&upper));
        }

        #[test]
        fn a_factor_scales_the_median_and_its_interval(
            samples in prop::collection::vec(1..1_000_u32, 6..40),
        ) {
            let samples: Vec<f64> = samples.into_iter().map(f64::from).collect();
            let doubled: Vec<f64> = samples.iter().map(|value| value * 2.0).collect();
            let twice = |value: f64| value * 2.0;
            prop_assert_eq!(median(&doubled), median(&samples).map(twice));
            prop_assert_eq!(
                median_interval(&doubled), median_interval(&samples).map(|ends| ends.map(twice))
            );
        }
    }
}

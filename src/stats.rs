//! Statistics of samples, as pure functions.

mod median;
mod rank_sum;

pub use self::median::{INTERVAL_SAMPLES_MIN, median, median_interval};
pub use self::rank_sum::{RankSum, rank_sum, ratio, ratio_interval};

/// The share of all cases in which an interval misses the true value, on each of its two sides:
/// 95 % intervals.
const MISS_SHARE: f64 = 0.025;

/// The distance in standard deviations beyond which the normal distribution has [`MISS_SHARE`] on
/// one side.
const NORMAL_QUANTILE: f64 = 1.959_963_984_540_054;

/// Up to this variance, ranks come from the binomial distribution, in steps whose number grows with
/// the standard deviation, some 10,000 here. Beyond it, the normal distribution gives
/// the same ranks within a few of thousands.
const EXACT_VARIANCE_MAX: f64 = 1e8;

/// Terms of the binomial distribution below this share of the greatest do not change a sum.
const TERM_MIN: f64 = 1e-20;

/// Returns the ranks (from 1) of the two samples of `count` between which the quantile `p` of the
/// population lies with a probability of at least 95 %, whatever the distribution is. `None` if
/// there are too few samples on one side.
///
/// The number of samples below the quantile has a binomial distribution if the samples are
/// independent of each other.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the values lie between 0 and a count, and a float to integer cast saturates"
)]
pub(crate) fn quantile_ranks(count: u64, p: f64) -> Option<(u64, u64)> {
    let mean = count as f64 * p;
    let variance = mean * (1.0 - p);
    let (lower, upper) = if variance <= EXACT_VARIANCE_MAX {
        binomial_quantiles(count, p)
    } else {
        let reach = NORMAL_QUANTILE * variance.sqrt();
        ((mean - reach).floor() as u64, (mean + reach).ceil() as u64)
    };
    // At most `upper` samples lie below the quantile, so the next one lies above it.
    (lower > 0 && upper < count).then_some((lower, upper + 1))
}

/// Returns the least counts that the binomial distribution reaches with a probability of more than
/// [`MISS_SHARE`], and of at least 1 - [`MISS_SHARE`]. Walks from the greatest term, so no term is
/// too small for a float.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the mode lies between 0 and the count"
)]
fn binomial_quantiles(count: u64, p: f64) -> (u64, u64) {
    let odds = p / (1.0 - p);
    let mode = (((count as f64 + 1.0) * p).floor() as u64).min(count);
    // The term below and the term above one, as a share of it.
    let down = |at: u64| at as f64 / ((count - at + 1) as f64 * odds);
    let up = |at: u64| (count - at) as f64 * odds / (at + 1) as f64;
    let (mut at, mut term, mut below) = (mode, 1.0, 0.0);
    while at > 0 && term > TERM_MIN {
        term *= down(at);
        below += term;
        at -= 1;
    }
    (at, term) = (mode, 1.0);
    let mut all = below + 1.0;
    while at < count && term > TERM_MIN {
        term *= up(at);
        all += term;
        at += 1;
    }
    let (mut lower, mut term) = (mode, 1.0);
    let mut under = below;
    while lower > 0 && under > MISS_SHARE * all {
        term *= down(lower);
        under -= term;
        lower -= 1;
    }
    let (mut upper, mut term) = (mode, 1.0);
    let mut up_to = below + 1.0;
    while upper < count && up_to < (1.0 - MISS_SHARE) * all {
        term *= up(upper);
        up_to += term;
        upper += 1;
    }
    (lower, upper)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The probability that at most `at` of `count` samples lie below the quantile.
    fn cumulative(at: u64, count: u64, p: f64) -> f64 {
        let mut coefficient = 1.0;
        let mut sum = 0.0;
        for k in 0..=at {
            let power = |base: f64, exponent: u64| base.powi(i32::try_from(exponent).unwrap());
            sum += coefficient * power(p, k) * power(1.0 - p, count - k);
            coefficient *= (count - k) as f64 / (k + 1) as f64;
        }
        sum
    }

    /// The ranks of the median in the tables of order-statistic intervals (for example Conover,
    /// Practical Nonparametric Statistics).
    #[test]
    fn the_ranks_of_the_median_are_those_of_the_tables() {
        assert_eq!(quantile_ranks(5, 0.5), None, "five samples cannot give 95 %");
        assert_eq!(quantile_ranks(6, 0.5), Some((1, 6)));
        assert_eq!(quantile_ranks(10, 0.5), Some((2, 9)));
        assert_eq!(quantile_ranks(20, 0.5), Some((6, 15)));
        assert_eq!(quantile_ranks(100, 0.5), Some((40, 61)));
    }

    #[test]
    fn the_first_and_the_last_samples_bound_no_quantile_near_the_ends() {
        assert_eq!(quantile_ranks(0, 0.5), None);
        assert_eq!(quantile_ranks(100, 0.99), None);
        assert_eq!(quantile_ranks(100, 0.0), None);
        assert!(
            quantile_ranks(1_000, 0.99).is_some_and(|(lower, upper)| lower < 990 && upper > 990)
        );
    }

    /// The two ways meet: 400 million samples have the greatest exact variance.
    #[test]
    fn many_samples_have_ranks_of_the_normal_distribution() {
        let exact = quantile_ranks(400_000_000, 0.5).unwrap();
        let reach = NORMAL_QUANTILE * 1e4;
        assert!((exact.0 as f64 - (2e8 - reach)).abs() < 2.0, "{exact:?}");
        assert!((exact.1 as f64 - (2e8 + reach)).abs() < 3.0, "{exact:?}");
        let (lower, upper) = quantile_ranks(u64::MAX, 0.999).unwrap();
        assert!(lower < upper);
    }

    proptest! {
        #[test]
        fn an_interval_covers_at_least_95_percent_and_no_rank_less_would_do(
            count in 1..300_u64,
            p in 0.001..0.999_f64,
        ) {
            if let Some((lower, upper)) = quantile_ranks(count, p) {
                prop_assert!(0 < lower && lower < upper && upper <= count);
                let missed_below = cumulative(lower - 1, count, p);
                let missed_above = 1.0 - cumulative(upper - 1, count, p);
                prop_assert!(missed_below <= MISS_SHARE + 1e-9, "{missed_below}");
                prop_assert!(missed_above <= MISS_SHARE + 1e-9, "{missed_above}");
                prop_assert!(cumulative(lower, count, p) > MISS_SHARE - 1e-9);
                prop_assert!(1.0 - cumulative(upper - 2, count, p) > MISS_SHARE - 1e-9);
            }
        }
    }
}

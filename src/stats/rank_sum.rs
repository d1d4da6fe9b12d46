//! Two groups of samples that are not paired: the Mann–Whitney test, and the ratio between the
//! groups with the interval that belongs to it.

use statrs::function::erf::erfc;

use super::{MISS_SHARE, NORMAL_QUANTILE, median};

/// Up to this size of both groups, and without equal samples, the distribution of U is exact.
/// Beyond it, the normal distribution differs by less than 0.001.
const EXACT_SIZE_MAX: usize = 50;

/// The result of a Mann–Whitney test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankSum {
    /// The number of pairs in which the sample of the first group is the greater one; equal samples
    /// count one half.
    pub u: f64,
    /// The probability of a `u` at least as far from its mean, on either side, if both groups come
    /// from one population.
    pub p: f64,
}

/// Tests if samples of one group tend to be greater than those of the other. `None` if a group is
/// empty.
pub fn rank_sum(first: &[f64], second: &[f64]) -> Option<RankSum> {
    if first.is_empty() || second.is_empty() {
        return None;
    }
    let mut u: f64 = 0.0;
    for a in first {
        for b in second {
            u += if a > b {
                1.0
            } else if a == b {
                0.5
            } else {
                0.0
            };
        }
    }
    let (n, m) = (first.len(), second.len());
    let lower = u.min((n * m) as f64 - u);
    let ties = tie_term(first, second);
    let p = if ties == 0.0 && n.max(m) <= EXACT_SIZE_MAX {
        2.0 * cumulative(n, m).iter().take_while(|(at, _)| *at as f64 <= lower).last()?.1
    } else {
        let deviation = deviation(n, m, ties);
        let distance = (n * m) as f64 / 2.0 - lower - 0.5;
        if deviation > 0.0 { erfc(distance / deviation / 2_f64.sqrt()) } else { 1.0 }
    };
    Some(RankSum { u, p: p.min(1.0) })
}

/// Returns the median of the ratios of each sample of `second` to each of `first` (the
/// Hodges–Lehmann estimate, for a factor instead of a difference). All samples must be above 0.
/// `None` if a group is empty.
pub fn ratio(first: &[f64], second: &[f64]) -> Option<f64> {
    median(&ratios(first, second))
}

/// Returns the factors between the groups that the Mann-Whitney test does not reject at 5 %. `None`
/// if the groups are too small to reject any: 3 and 4 samples, for example.
///
/// ```
/// use resound::stats::{rank_sum, ratio, ratio_interval};
///
/// let (before, after) = ([100.0, 101.0, 102.0, 103.0], [110.0, 111.0, 112.0, 113.0]);
/// assert_eq!(ratio(&before, &after).map(|ratio| (ratio * 100.0).round()), Some(110.0));
/// assert!(ratio_interval(&before, &after).is_some_and(|[lower, _]| lower > 1.0));
/// assert!(rank_sum(&before, &after).is_some_and(|test| test.p < 0.05));
/// ```
pub fn ratio_interval(first: &[f64], second: &[f64]) -> Option<[f64; 2]> {
    let (n, m) = (first.len(), second.len());
    let rejected = if n.max(m) <= EXACT_SIZE_MAX {
        cumulative(n, m).iter().take_while(|(_, share)| *share <= MISS_SHARE).count()
    } else {
        normal_rank(n, m)
    };
    let mut ratios = ratios(first, second);
    ratios.sort_unstable_by(f64::total_cmp);
    let lower = rejected.checked_sub(1)?;
    Some([*ratios.get(lower)?, *ratios.get(ratios.len().checked_sub(rejected)?)?])
}

fn ratios(first: &[f64], second: &[f64]) -> Vec<f64> {
    first.iter().flat_map(|a| second.iter().map(move |b| b / a)).collect()
}

/// Returns how many of the lowest values of U the normal distribution rejects on one side.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float to integer cast saturates"
)]
fn normal_rank(n: usize, m: usize) -> usize {
    ((n * m) as f64 / 2.0 - NORMAL_QUANTILE * deviation(n, m, 0.0)).max(0.0) as usize
}

/// Returns each value of U up to its mean, with the probability of at most that value.
///
/// The numbers of ways to reach a value are the coefficients of a Gaussian binomial. Each step only
/// uses lower coefficients, so the great ones in the middle do not spoil the small ones of the
/// tail.
fn cumulative(n: usize, m: usize) -> Vec<(usize, f64)> {
    let middle = n * m / 2;
    let mut ways = vec![0.0; middle + 1];
    ways[0] = 1.0;
    for step in 1..=n {
        for at in (m + step..=middle).rev() {
            ways[at] -= ways[at - m - step];
        }
        for at in step..=middle {
            ways[at] += ways[at - step];
        }
    }
    let lower: f64 = ways.iter().sum();
    // The distribution is symmetric. An even number of pairs has its mean among the values.
    let all = if (n * m).is_multiple_of(2) { 2.0 * lower - ways[middle] } else { 2.0 * lower };
    let mut sum = 0.0;
    let up_to = |(at, ways): (usize, f64)| {
        sum += ways;
        (at, sum / all)
    };
    ways.into_iter().enumerate().map(up_to).collect()
}

/// Returns the standard deviation of U.
fn deviation(n: usize, m: usize, tie_term: f64) -> f64 {
    let all = (n + m) as f64;
    ((n * m) as f64 / 12.0 * (all + 1.0 - tie_term / (all * (all - 1.0)))).sqrt()
}

/// Returns the sum of t³ - t over all sets of t equal samples; 0 if no two samples are equal.
fn tie_term(first: &[f64], second: &[f64]) -> f64 {
    let mut all: Vec<f64> = first.iter().chain(second).copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    let size = |equal: &[f64]| equal.len() as f64;
    all.chunk_by(|a, b| a == b).map(size).map(|t| t * t * t - t).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two groups, then U and p of `scipy.stats.mannwhitneyu(first, second)`, of scipy 1.17.1, with
    /// `method="exact"` without equal samples and `method="asymptotic"` with equal ones.
    const CASES: &[(&[f64], &[f64], f64, f64)] = &[
        (&[19.0, 22.0, 16.0, 29.0, 24.0], &[20.0, 11.0, 17.0, 12.0], 17.0, 0.1111111111111111),
        (&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0], 0.0, 0.02857142857142857),
        (&[5.0, 6.0, 7.0, 8.0], &[1.0, 2.0, 3.0], 12.0, 0.05714285714285714),
        (&[1.5], &[2.5], 0.0, 1.0),
        (&[1.0, 2.0, 3.0], &[3.0, 4.0, 5.0], 0.5, 0.12118327283746319),
        (
            &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0],
            &[2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 4.0],
            8.0,
            0.06425763970681275,
        ),
        (
            &[1.0728, 1.0534, 0.9018, 0.9921, 1.0035, 0.8999],
            &[1.1118, 0.9942, 1.1939, 1.1044, 1.093, 1.0211],
            5.0,
            0.04112554112554113,
        ),
        (
            &[0.9882, 0.8189, 0.893, 1.037, 0.8083, 1.0883, 0.8398, 1.0786],
            &[0.9955, 1.171, 1.0976, 0.929, 1.2274, 1.2513, 1.0762, 1.054],
            11.0,
            0.028127428127428127,
        ),
        (
            &[0.9841, 0.9071, 1.1161, 0.9472, 0.9949, 0.9237, 0.9393, 0.8801, 1.1339, 0.9847],
            &[
                1.1931, 1.0847, 1.0106, 1.0485, 1.0243, 1.0841, 1.0434, 1.0513, 0.9438, 0.9993,
                1.2781, 1.013,
            ],
            24.0,
            0.01689950915957108,
        ),
        (
            &[
                0.9, 1.0343, 1.1511, 0.8647, 0.9794, 0.9388, 0.8385, 1.0763, 0.9977, 1.0072,
                0.9275, 1.0465, 0.9475, 0.9858, 0.8951,
            ],
            &[
                0.9592, 1.2381, 1.0297, 1.1153, 1.0796, 1.0365, 1.0296, 1.1537, 1.0511, 1.067,
                1.0857, 1.2185, 1.1596, 1.1255, 1.0239,
            ],
            31.0,
            0.00039404962121622364,
        ),
        (
            &[
                0.9, 1.1, 1.1, 1.0, 1.1, 1.1, 1.1, 1.1, 1.0, 1.2, 0.9, 1.1, 1.1, 1.1, 1.2, 1.2,
                0.9, 0.8, 1.1, 0.9,
            ],
            &[
                1.0, 1.1, 0.9, 0.9, 1.1, 1.1, 1.0, 1.1, 1.0, 0.9, 1.0, 1.0, 0.9, 1.1, 1.0, 1.1,
                1.0, 1.0,
            ],
            228.0,
            0.14278598907060808,
        ),
    ];

    /// Two groups, then the interval of their ratio: the least and the greatest of all ratios r for
    /// which `scipy.stats.mannwhitneyu(first, second / (r * (1 ± 1e-9)), method="exact")` has a p
    /// above 0.05, of scipy 1.17.1.
    const INTERVALS: &[(&[f64], &[f64], [f64; 2])] = &[
        (
            &[0.9049, 0.9152, 1.0197, 0.9247],
            &[1.1226, 1.1207, 1.3265, 0.9424],
            [0.9241933902128077, 1.4659078351199026],
        ),
        (
            &[1.0929, 0.9911, 0.9986, 0.865, 0.955],
            &[1.1669, 1.0744, 1.0921, 1.0522, 1.2159, 1.081],
            [0.9992680025619911, 1.2625433526011562],
        ),
        (
            &[0.8025, 0.9331, 0.8213, 0.7224, 0.9484, 1.1427, 1.0047, 0.8894],
            &[0.986, 1.213, 1.1005, 1.0885, 1.0775, 1.0875, 1.1741, 1.1448],
            [1.083407982482333, 1.3713395638629284],
        ),
        (
            &[
                1.0218, 0.901, 1.0524, 0.9339, 1.1156, 0.8806, 0.9863, 0.9993, 0.8759, 1.1879,
                1.1572,
            ],
            &[1.0342, 1.1702, 1.1251, 0.8341, 1.1108, 1.0767, 1.0923, 0.9727, 1.0545],
            [0.9452312656866261, 1.1710197137996596],
        ),
    ];

    #[test]
    fn u_and_p_are_those_of_scipy() {
        for (first, second, u, p) in CASES {
            let found = rank_sum(first, second).unwrap();
            assert_eq!(found.u, *u, "{first:?} {second:?}");
            assert!((found.p - p).abs() < 1e-10, "{} is not {p}: {first:?} {second:?}", found.p);
        }
    }

    #[test]
    fn the_interval_of_a_ratio_is_what_scipys_test_does_not_reject() {
        for (first, second, interval) in INTERVALS {
            let found = ratio_interval(first, second).unwrap();
            for (found, expected) in found.into_iter().zip(interval) {
                assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
            }
        }
    }

    #[test]
    fn small_groups_have_no_interval_and_empty_ones_no_test() {
        assert_eq!(rank_sum(&[], &[1.0]), None);
        assert_eq!(ratio(&[1.0], &[]), None);
        assert_eq!(ratio_interval(&[], &[]), None);
        assert_eq!(ratio_interval(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(ratio_interval(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0, 7.0]), None);
        assert!(ratio_interval(&[1.0; 4], &[2.0; 4]).is_some());
    }

    #[test]
    fn equal_groups_do_not_differ() {
        let same = [5.0; 8];
        assert_eq!(rank_sum(&same, &same), Some(RankSum { u: 32.0, p: 1.0 }));
        assert_eq!(ratio_interval(&same, &same), Some([1.0, 1.0]));
    }

    /// The ways meet: at the greatest exact size the normal distribution rejects almost as many.
    #[test]
    fn the_normal_distribution_continues_the_exact_one() {
        let size = EXACT_SIZE_MAX;
        let distribution = cumulative(size, size);
        let exact = distribution.iter().take_while(|(_, share)| *share <= MISS_SHARE).count();
        assert!(exact.abs_diff(normal_rank(size, size)) <= 2, "{exact}");
        let many: Vec<f64> = (0..60).map(f64::from).map(|value| value + 100.0).collect();
        let more: Vec<f64> = many.iter().map(|value| value * 2.0).collect();
        let [lower, upper] = ratio_interval(&many, &more).unwrap();
        assert!(lower > 1.8 && upper < 2.2, "{lower} {upper}");
    }

    proptest! {
        #[test]
        fn the_probabilities_grow_to_at_least_one_half(n in 1..20_usize, m in 1..20_usize) {
            let shares: Vec<f64> = cumulative(n, m).into_iter().map(|(_, share)| share).collect();
            prop_assert!(shares.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(*shares.last().unwrap() >= 0.5 - 1e-12);
        }

        #[test]
        fn the_groups_may_change_places(
            first in prop::collection::vec(0.1..10.0_f64, 1..30),
            second in prop::collection::vec(0.1..10.0_f64, 1..30),
        ) {
            let (there, back) =
                (rank_sum(&first, &second).unwrap(), rank_sum(&second, &first).unwrap());
            prop_assert!((there.p - back.p).abs() < 1e-12 && there.p <= 1.0 && there.p >= 0.0);
            prop_assert_eq!(there.u + back.u, (first.len() * second.len()) as f64);
            if let Some([lower, upper]) = ratio_interval(&first, &second) {
                let middle = ratio(&first, &second).unwrap();
                prop_assert!(lower <= middle && middle <= upper);
                let [low, high] = ratio_interval(&second, &first).unwrap();
                prop_assert!((low * upper - 1.0).abs() < 1e-9);
                prop_assert!((high * lower - 1.0).abs() < 1e-9);
            }
        }

        #[test]
        fn the_interval_excludes_1_exactly_if_the_test_rejects(
            first in prop::collection::vec(0.5..2.0_f64, 4..12),
            second in prop::collection::vec(0.5..2.0_f64, 4..12),
        ) {
            let p = rank_sum(&first, &second).unwrap().p;
            let [lower, upper] = ratio_interval(&first, &second).unwrap();
            let is_excluded = lower > 1.0 || upper < 1.0;
            prop_assert_eq!(p <= 0.05, is_excluded, "p {} [{}, {}]", p, lower, upper);
        }
    }
}

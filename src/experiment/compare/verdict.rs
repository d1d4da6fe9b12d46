//! What the values of one figure say: differs, same, or undecided.

use super::ROUNDS_MIN;
use super::figures::Figure;
use crate::measured::{Change, Metric};
use crate::stats::{median, median_interval, rank_sum, ratio, ratio_interval};

/// Two groups of this size are the smallest of equal size that have an interval.
const GROUP_MIN: u64 = 4;

/// An estimate above this says nothing but that more rounds are no way out.
const MORE_ROUNDS_MAX: f64 = 1_000.0;

/// Judges a figure by pairs of a value of A and one of B.
pub(super) fn of_pairs(figure: &Figure, pairs: &[(f64, f64)], noise: f64) -> Metric {
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let ratios: Vec<f64> = pairs.iter().map(|(a, b)| b / a).collect();
    let metric = Metric {
        a: median(&a),
        b: median(&b),
        ratio: median(&ratios),
        interval: median_interval(&ratios),
        ratios,
        ..named(figure)
    };
    judged(metric, pairs.len() as u64, ROUNDS_MIN, noise)
}

/// Judges a figure by two groups of values.
pub(super) fn of_groups(figure: &Figure, a: &[f64], b: &[f64], noise: f64) -> Metric {
    let metric = Metric {
        a: median(a),
        b: median(b),
        ratio: ratio(a, b),
        interval: ratio_interval(a, b),
        p: rank_sum(a, b).map(|test| test.p),
        ..named(figure)
    };
    judged(metric, a.len().min(b.len()) as u64, GROUP_MIN, noise)
}

/// Returns a figure without values.
pub(super) fn named(figure: &Figure) -> Metric {
    let (name, unit) = (figure.name.to_owned(), figure.unit.to_owned());
    Metric { name, unit, ..Metric::default() }
}

/// Judges the interval of a ratio from this many rounds. It needs `rounds_min`.
///
/// All distances are those of logarithms, in which a ratio and its inverse are equally far from 1.
fn judged(mut metric: Metric, rounds: u64, rounds_min: u64, noise: f64) -> Metric {
    let Some(ratio) = metric.ratio else { return metric };
    let Some([lower, upper]) = metric.interval else {
        metric.more_rounds = Some(rounds_min.saturating_sub(rounds).max(1));
        return metric;
    };
    let (limit, distance) = (noise.ln_1p(), ratio.ln().abs());
    let reach = lower.ln().abs().max(upper.ln().abs());
    let excludes_1 = lower > 1.0 || upper < 1.0;
    if excludes_1 && distance > limit {
        metric.verdict = Change::Differs;
    } else if reach <= limit {
        metric.verdict = Change::Same;
        metric.within = Some((upper - 1.0).abs().max((1.0 - lower).abs()));
    } else {
        // The half of the interval that points to 1, and how far it may reach.
        let towards_1 = if ratio > 1.0 { (ratio / lower).ln() } else { (upper / ratio).ln() };
        let (half, allowed) = match distance > limit {
            true => (towards_1, distance),
            false => ((upper / ratio).ln().max((ratio / lower).ln()), limit - distance),
        };
        metric.more_rounds = more_rounds(rounds, half, allowed);
    }
    metric
}

/// Returns about how many more rounds shorten a half of the interval to `allowed`. Its length falls
/// with the square root of their number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value lies between 1 and a bound"
)]
fn more_rounds(rounds: u64, half: f64, allowed: f64) -> Option<u64> {
    let more = rounds as f64 * ((half / allowed).powi(2) - 1.0);
    (more <= MORE_ROUNDS_MAX).then(|| more.ceil().max(1.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Figure = super::super::FIGURES[0];

    fn of(ratios: &[f64]) -> Metric {
        let pairs: Vec<_> = ratios.iter().map(|ratio| (100.0, 100.0 * ratio)).collect();
        of_pairs(&RATE, &pairs, 0.02)
    }

    #[test]
    fn fewer_than_six_rounds_have_a_ratio_and_no_verdict() {
        let metric = of(&[1.5; 5]);
        assert_eq!((metric.ratio, metric.interval), (Some(1.5), None));
        assert_eq!((metric.verdict, metric.more_rounds), (Change::Undecided, Some(1)));
        assert_eq!(of(&[1.5; 6]).verdict, Change::Differs);
        assert_eq!(of(&[]).ratio, None);
    }

    #[test]
    fn a_change_within_the_noise_is_none_however_certain() {
        let metric = of(&[1.015; 11]);
        assert_eq!(metric.verdict, Change::Same);
        assert!(metric.within.is_some_and(|within| (within - 0.015).abs() < 1e-9));
        assert_eq!(of(&[1.03; 11]).verdict, Change::Differs);
        assert_eq!(of(&[0.97; 11]).verdict, Change::Differs);
        assert_eq!(of(&[0.985; 11]).verdict, Change::Same);
    }

    #[test]
    fn an_undecided_figure_says_about_how_many_rounds_would_decide() {
        let wide = [0.90, 0.93, 0.96, 0.99, 1.0, 1.04, 1.05, 1.06, 1.07, 1.1, 1.2];
        let metric = of(&wide);
        assert_eq!(metric.verdict, Change::Undecided);
        // The estimate is 1.04; its interval begins at 0.93 (rank 2 of 11).
        let expected = 11.0 * (((1.04_f64 / 0.93).ln() / 1.04_f64.ln()).powi(2) - 1.0);
        assert_eq!(metric.more_rounds.map(|more| more as f64), Some(expected.ceil()));
        // An estimate at the edge of the noise is hard to decide.
        let mut edge = wide;
        edge[5] = 1.0199;
        assert_eq!(of(&edge).more_rounds, None);
    }

    #[test]
    fn groups_are_judged_by_all_ratios_between_them() {
        let metric =
            of_groups(&RATE, &[100.0, 101.0, 102.0, 99.0], &[110.0, 111.0, 112.0, 109.0], 0.02);
        assert_eq!(metric.verdict, Change::Differs);
        assert!(metric.p.is_some_and(|p| p < 0.05));
        let few = of_groups(&RATE, &[100.0, 101.0], &[110.0, 111.0], 0.02);
        assert_eq!((few.verdict, few.interval), (Change::Undecided, None));
    }
}

//! The result of a comparison as one sentence.

use super::is_better_high;
use crate::measured::{Change, Comparison, Method, Metric, Regression};

/// Returns what a comparison says, in words.
pub(super) fn conclusion(comparison: &Comparison) -> String {
    if comparison.rounds == 0 {
        return "nothing can be said: no round can be used".to_owned();
    }
    if comparison.method == Some(Method::Single) {
        if let Some(worse) = comparison.regression.as_ref().and_then(worse) {
            return format!(
                "{worse}, by the intervals of these two runs, which do not include differences \
                 between runs: compare rounds, or several documents of each side, to include them"
            );
        }
        return "one run of each side cannot tell a difference from chance: compare rounds, or \
                several documents of each side"
            .to_owned();
    }
    let with = |verdict: Change| -> Vec<&Metric> {
        comparison.metrics.iter().filter(|metric| metric.verdict == verdict).collect()
    };
    let (differ, same) = (with(Change::Differs), with(Change::Same));
    let mut undecided = with(Change::Undecided);
    undecided.retain(|metric| metric.ratio.is_some());
    let mut parts = Vec::new();
    if !differ.is_empty() {
        parts.push(format!("B differs from A: {}", list(&differ, change)));
    } else if !same.is_empty() {
        parts.push("no difference between A and B was found".to_owned());
    }
    if !same.is_empty() {
        let reach = same.iter().filter_map(|metric| metric.within).fold(0.0, f64::max);
        let (names, within) = (list(&same, name), reach * 100.0);
        parts.push(format!("the same within {within:.1} %: {names}"));
    }
    if !undecided.is_empty() {
        let rounds = if comparison.rounds == 1 { "round" } else { "rounds" };
        let names = list(&undecided, more);
        parts.push(format!("undecided after {} {rounds}: {names}", comparison.rounds));
    }
    let control = comparison.control.iter().flatten();
    let moved: Vec<_> = control.filter(|metric| metric.verdict == Change::Differs).collect();
    if !moved.is_empty() {
        let names = list(&moved, change);
        parts.push(format!("but A differs from itself as well ({names}), so trust none of it"));
    }
    parts.join("; ")
}

/// Returns `B is worse by more than 5 % in p50, p90`; `None` if it is not.
fn worse(Regression { max, worse }: &Regression) -> Option<String> {
    let percent = (max * 10_000.0).round() / 100.0;
    let worse = worse.join(", ");
    (!worse.is_empty()).then(|| format!("B is worse by more than {percent} % in {worse}"))
}

/// Returns the names of figures for people.
pub(super) fn listed(metrics: &[&Metric]) -> String {
    list(metrics, name)
}

fn list(metrics: &[&Metric], text: impl Fn(&Metric) -> String) -> String {
    metrics.iter().map(|metric| text(metric)).collect::<Vec<_>>().join(", ")
}

/// Returns the name of a figure for people.
fn name(metric: &Metric) -> String {
    match metric.name.as_str() {
        "cpu_per_message" => "CPU per message".to_owned(),
        name => name.to_owned(),
    }
}

/// Returns `p99 (about 12 more would decide)`.
fn more(metric: &Metric) -> String {
    let name = name(metric);
    match metric.more_rounds {
        Some(more) if metric.interval.is_none() => {
            format!("{name} (an interval needs {more} more)")
        }
        Some(more) => format!("{name} (about {more} more would decide)"),
        None => format!("{name} (over 1,000 more would)"),
    }
}

/// Returns `p99 is 8.1 % higher (worse)`.
fn change(metric: &Metric) -> String {
    let ratio = metric.ratio.unwrap_or(1.0);
    let word = if ratio > 1.0 { "higher" } else { "lower" };
    let is_better = (ratio > 1.0) == is_better_high(&metric.name);
    let judgement = if is_better { "better" } else { "worse" };
    let name = name(metric);
    format!("{name} is {:.1} % {word} ({judgement})", ((ratio - 1.0) * 100.0).abs())
}

//! The figures of a run that are compared, and what speaks against using them.

use crate::measured::{Percentile, PercentileList, RunResult, Status, Verdict, Warning};

/// A figure that is compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
}

/// The figures, in the order of the report.
pub(super) const FIGURES: [Figure; 6] = [
    Figure { name: "rate", unit: "1/s" },
    Figure { name: "cpu_per_message", unit: "ns" },
    Figure { name: "p50", unit: "ns" },
    Figure { name: "p90", unit: "ns" },
    Figure { name: "p99", unit: "ns" },
    Figure { name: "p99.9", unit: "ns" },
];

/// The values of [`FIGURES`] in one run. A percentile without enough samples is `None`, and so is a
/// value of 0, which has no ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figures(pub(super) [Option<f64>; 6]);

impl Figures {
    pub(super) fn of(result: &RunResult) -> Figures {
        let percentile = |text| percentile(result, text).map(|value| value as f64);
        let values = [
            Some(result.rate.achieved),
            Some(result.generator.cpu_ns_per_message as f64),
            percentile("50"),
            percentile("90"),
            percentile("99"),
            percentile("99.9"),
        ];
        Figures(values.map(|value| value.filter(|value| *value > 0.0)))
    }
}

/// Returns true if a run has the distribution behind its percentiles. Older documents have only the
/// percentiles themselves.
pub(super) fn has_histogram(result: &RunResult) -> bool {
    result.latency_ns.values.count() > 0
}

/// Returns a percentile of the response times.
fn percentile(result: &RunResult, text: &str) -> Option<u64> {
    let percentile: Percentile = text.parse().ok()?;
    if has_histogram(result) {
        return result.latency_ns.values.percentile(percentile);
    }
    listed(&result.latency_ns.summary.percentiles, text).copied().flatten()
}

/// Returns the interval of a percentile within its run.
pub(super) fn interval(result: &RunResult, text: &str) -> Option<[u64; 2]> {
    if !has_histogram(result) {
        return listed(&result.latency_ns.summary.intervals, text).copied().flatten();
    }
    let list: PercentileList = text.parse().ok()?;
    result.latency_ns.values.summary(&list).intervals.first()?.1
}

/// Returns what a document lists beside a percentile, which can be typed in several ways.
fn listed<'a, T>(list: &'a [(String, T)], text: &str) -> Option<&'a T> {
    let percentile: Percentile = text.parse().ok()?;
    let is_it = |typed: &String| typed.parse() == Ok(percentile);
    list.iter().find(|(typed, _)| is_it(typed)).map(|(_, value)| value)
}

/// Returns why a run lacks percentiles, other than by too few samples.
pub(super) fn lack(result: &RunResult) -> Option<String> {
    if has_histogram(result) {
        return None;
    }
    let of_percentile = FIGURES.iter().filter_map(|figure| figure.name.strip_prefix('p'));
    let is_absent = |text: &&str| listed(&result.latency_ns.summary.percentiles, text).is_none();
    let absent: Vec<_> = of_percentile.filter(is_absent).map(|text| format!("p{text}")).collect();
    let absent = absent.join(", ");
    (!absent.is_empty())
        .then(|| format!("it has no histogram, and latency_ns.percentiles lacks {absent}"))
}

/// Returns why the figures of a run cannot be used.
pub(super) fn fault(result: &RunResult) -> Option<String> {
    let corrupted = result.messages.corrupted + result.warmup_messages.corrupted;
    if corrupted > 0 {
        let noun = if corrupted == 1 { "echo differs" } else { "echoes differ" };
        return Some(format!("{corrupted} {noun} from what was sent"));
    }
    match (result.status, &result.error) {
        (Status::Ok, _) if result.rate.achieved > 0.0 => None,
        (Status::Ok, _) => Some("no echo came while it measured".to_owned()),
        (_, Some(error)) => Some(error.clone()),
        (_, None) => Some("the run ended early".to_owned()),
    }
}

/// Returns what the reader should know about the client's side of a run, whose figures are used.
pub(super) fn weakness(result: &RunResult) -> Option<&'static str> {
    match result.generator.verdict {
        _ if result.flows.failed_locally > 0 => Some("connections failed on this host"),
        Some(Verdict::Ok) | None => {
            let has_dropped = result.udp.is_some_and(|udp| udp.receive_drops > 0);
            has_dropped.then_some("the generator's own receive buffer dropped replies")
        }
        Some(Verdict::Saturated) => Some("the generator was the limit"),
        Some(Verdict::Starved) => Some("the generator was kept from running"),
        Some(Verdict::Behind) => Some("the generator sent later than asked"),
    }
}

/// Returns the warnings that all runs of a side have, such as one of a setting without effect. The
/// others come from the luck of a run.
pub(super) fn common_warnings<'a>(
    side: &str,
    mut of_runs: impl Iterator<Item = &'a Vec<Warning>>,
) -> Vec<Warning> {
    let mut common = of_runs.next().cloned().unwrap_or_default();
    for warnings in of_runs {
        common.retain(|warning| warnings.contains(warning));
    }
    common.into_iter().map(|Warning(text)| Warning(format!("{side}: {text}"))).collect()
}

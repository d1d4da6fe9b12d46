//! The figures of a run that are compared, and what speaks against using them.

use crate::measured::{Percentile, RunResult, Status, Verdict};

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
        let percentile = |text: &str| {
            let percentile: Percentile = text.parse().ok()?;
            result.latency_ns.values.percentile(percentile).map(|value| value as f64)
        };
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

/// Returns what the reader should know about the generator of a run, whose figures are used.
pub(super) fn weakness(result: &RunResult) -> Option<&'static str> {
    match result.generator.verdict {
        Some(Verdict::Ok) | None => None,
        Some(Verdict::Saturated) => Some("the generator was the limit"),
        Some(Verdict::Starved) => Some("the generator was kept from running"),
        Some(Verdict::Behind) => Some("the generator sent later than asked"),
    }
}

//! The summary lines of `ping`.

use crate::error::Error;
use crate::measured::ping::{Figures, Results, Target};
use crate::measured::{Messages, PercentileList, Summary};
use crate::report::time_text;
use crate::units::{counted, duration_ns};

/// The nanoseconds of each unit, the largest first.
const UNITS: [(u64, &str); 4] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];

/// Returns the lines at the end of a run, for each target that could be probed.
pub fn summaries(targets: &[Target], results: &[Result<Results, Error>]) -> String {
    let results = targets.iter().zip(results);
    results.filter_map(|(target, result)| Some(summary(target, result.as_ref().ok()?))).collect()
}

/// Returns the counts of probes and the round-trip times of a target.
fn summary(target: &Target, outcome: &Results) -> String {
    let summary = outcome.latency.summary(&PercentileList::default());
    let mut lines = vec![
        String::new(),
        format!("--- {} ping statistics ---", target.endpoint),
        format!(
            "{}, time {}",
            counts(&outcome.messages, AT_END),
            time_text(duration_ns(outcome.elapsed))
        ),
    ];
    if !outcome.losses.is_empty() {
        let losses: Vec<_> =
            outcome.losses.iter().map(|(loss, count)| format!("{count} {loss}")).collect();
        lines.push(format!("lost: {}", losses.join(", ")));
    }
    if let Some(reason) = all_corrupted(outcome) {
        lines.push(reason);
    }
    if summary.count > 0 {
        lines.extend(times("rtt", &summary));
    }
    if let Some(split) = outcome.split.as_ref().filter(|split| split.count() > 0) {
        let split = split.split(&PercentileList::default());
        for (name, times_ns) in
            [("send", split.send_ns), ("away", split.away_ns), ("wake", split.wake_ns)]
        {
            lines.extend(times(name, &times_ns.summary));
        }
    }
    lines.join("\n") + "\n"
}

/// Returns why the run failed although replies came, if every reply was corrupted.
pub(super) fn all_corrupted(outcome: &Results) -> Option<String> {
    let corrupted = outcome.messages.corrupted;
    outcome
        .is_all_corrupted()
        .then(|| format!("no echo: each answer ({corrupted}) differed from what was sent"))
}

/// Returns the line about the figures of a running `ping`. With several targets, it names its own.
pub fn figures_line(target: &Target, is_several: bool, figures: &Figures) -> String {
    let start = if is_several { format!("{}: ", target.endpoint) } else { String::new() };
    let summary = figures.latency.summary(&PercentileList::default());
    let counts = counts(&figures.messages, "in flight");
    match times("rtt", &summary).first().filter(|_| summary.count > 0) {
        Some(times) => format!("{start}{counts}, {times}\n"),
        None => format!("{start}{counts}\n"),
    }
}

/// The state of probes that had no reply when the run ended.
const AT_END: &str = "in flight at the end";

fn counts(messages: &Messages, in_flight: &str) -> String {
    let Messages { sent, received, lost, late, duplicated, reordered, corrupted, .. } = *messages;
    let mut counts = format!("{} sent, {received} received", counted(sent, "probe"));
    for (count, name) in [
        (late, "late"),
        (duplicated, "duplicated"),
        (reordered, "out of order"),
        (corrupted, "corrupted"),
        (messages.in_flight_at_end, in_flight),
    ] {
        if count > 0 {
            counts += &format!(", {count} {name}");
        }
    }
    // A probe in flight is neither received nor lost.
    let settled = received + lost;
    if settled == 0 {
        return counts + ", loss not known yet";
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of probes are below 2^53")]
    let share = lost as f64 * 100.0 / settled as f64;
    // At most four decimals, without trailing zeros.
    let share = format!("{share:.4}");
    counts + &format!(", {}% loss", share.trim_end_matches('0').trim_end_matches('.'))
}

/// Returns one line for the extremes and one for the percentiles. The times of a line share one
/// unit, so that they can be compared at a glance.
fn times(name: &str, summary: &Summary) -> Vec<String> {
    let values = [summary.min, summary.mean, summary.max, summary.stddev];
    let mut lines = vec![format!("{name} min/avg/max/mdev = {}", in_one_unit(&values))];
    let known = summary.percentiles.iter().filter_map(|(text, value)| Some((text, (*value)?)));
    let (names, values): (Vec<_>, Vec<_>) =
        known.map(|(text, value)| (format!("p{text}"), value)).unzip();
    if !names.is_empty() {
        lines.push(format!("{name} {} = {}", names.join("/"), in_one_unit(&values)));
    }
    lines
}

/// Formats the times with three decimals, as ping(8) does, in the unit of the largest.
fn in_one_unit(values_ns: &[u64]) -> String {
    let greatest = values_ns.iter().copied().max().unwrap_or(0);
    let (scale, unit) = unit_of(greatest);
    let texts: Vec<_> = values_ns.iter().map(|value| scaled(*value, scale)).collect();
    format!("{} {unit}", texts.join("/"))
}

fn unit_of(time_ns: u64) -> (u64, &'static str) {
    *UNITS.iter().find(|(scale, _)| time_ns >= *scale).unwrap_or(&UNITS[3])
}

fn scaled(value: u64, scale: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three decimals are printed")]
    let scaled = value as f64 / scale as f64;
    format!("{scaled:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_line_share_one_unit() {
        assert_eq!(in_one_unit(&[61_900, 1_071_200, 0]), "0.062/1.071/0.000 ms");
        assert_eq!(in_one_unit(&[]), " ns");
    }

    #[test]
    fn loss_is_a_share_of_the_probes_that_were_answered_or_lost() {
        let messages =
            Messages { sent: 4, received: 2, lost: 1, in_flight_at_end: 1, ..Messages::default() };
        let expected = "4 probes sent, 2 received, 1 in flight at the end, 33.3333% loss";
        assert_eq!(counts(&messages, AT_END), expected);
        let one = Messages { sent: 1, received: 1, duplicated: 2, ..Messages::default() };
        assert_eq!(counts(&one, AT_END), "1 probe sent, 1 received, 2 duplicated, 0% loss");
        let none = counts(&Messages::default(), "in flight");
        assert_eq!(none, "0 probes sent, 0 received, loss not known yet");
    }
}

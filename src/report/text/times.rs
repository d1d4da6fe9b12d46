//! The table of times.

use super::page::Page;
use super::{count_text, counted, time_text};
use crate::measured::{Drift, LoadLoop, Mode, RunResult, Summary, Third};

/// Writes the table of times, and says what its gaps mean.
pub(super) fn times(result: &RunResult, page: &mut Page) {
    let optional = [
        ("service time", result.service_time_ns.as_ref()),
        ("schedule lag", result.generator.schedule_lag_ns.as_ref()),
    ];
    let mut columns = vec![(response_name(result), &result.latency_ns.summary)];
    columns.extend(optional.into_iter().filter_map(|(name, times)| Some((name, &times?.summary))));
    let title = match result.mode {
        Mode::Echo => "round trip",
        Mode::Connect => "connect, echo",
    };
    if result.latency_ns.summary.count == 0 {
        page.entry(title, "no echo came in time");
        return;
    }
    // On a narrow page, the columns that do not fit form a second table below.
    for columns in columns.chunks(page.cells()) {
        table(title, columns, page);
    }
    let has_gap = columns
        .iter()
        .any(|(_, column)| column.percentiles.iter().any(|(_, value)| value.is_none()));
    let samples = counted(result.latency_ns.summary.count, "sample");
    let gaps = if has_gap { "; -: fewer than 10 samples beyond it" } else { "" };
    page.entry("", &format!("{samples}{gaps}"));
    lengths(result, page);
    if let Some(intervals) = intervals_text(&result.latency_ns.summary) {
        page.entry("", &format!("95 % intervals of the {}: {intervals}", response_name(result)));
    }
    if result.load_loop == LoadLoop::Open {
        page.entry(
            "",
            "response time: from the moment a message was due; service time: from the moment it \
             was sent",
        );
    }
    // Below the notes, because a line without a name belongs to the entry above it.
    if let Some(drift) = result.drift.as_ref().filter(|drift| drift.found) {
        page.entry("DRIFT", &drift_text(drift));
    }
}

/// Writes a row for each length, or for each part of a range of lengths, if there are several.
fn lengths(result: &RunResult, page: &mut Page) {
    let [first, _, ..] = &result.lengths[..] else { return };
    // Beside the number of messages and the greatest time there is room for these percentiles.
    let percentiles = &first.latency_ns.summary.percentiles;
    let shown = percentiles.len().min(page.cells().saturating_sub(2));
    let names = percentiles.iter().take(shown).map(|(name, _)| format!("p{name}"));
    let head = ["messages".to_owned()].into_iter().chain(names).chain(["max".to_owned()]);
    page.row("bytes", head);
    for class in &result.lengths {
        let name = match class.length_min == class.length {
            true => count_text(class.length),
            false => format!("{}-{}", count_text(class.length_min), count_text(class.length)),
        };
        let summary = &class.latency_ns.summary;
        let values = summary.percentiles.iter().take(shown).map(|(_, value)| *value);
        let max = (summary.count > 0).then_some(summary.max);
        let times = values.chain([max]);
        let times = times.map(|value| value.map_or_else(|| "-".to_owned(), time_text));
        page.row(&name, [count_text(class.messages)].into_iter().chain(times));
    }
}

/// Names the percentiles of the thirds of a run that was not steady.
fn drift_text(drift: &Drift) -> String {
    let of = |value: fn(&Third) -> Option<u64>| {
        let times = drift.thirds.iter().map(|third| value(third).map_or("-".to_owned(), time_text));
        times.collect::<Vec<_>>().join(", ")
    };
    let (p50, p99) = (of(|third| third.p50), of(|third| third.p99));
    format!("the thirds of the run differ: p50 {p50}; p99 {p99}")
}

fn response_name(result: &RunResult) -> &'static str {
    match result.load_loop {
        LoadLoop::Closed => "response",
        LoadLoop::Open => "response time",
    }
}

/// Returns the interval of each percentile that has one.
fn intervals_text(summary: &Summary) -> Option<String> {
    let intervals = summary.intervals.iter().filter_map(|(percentile, interval)| {
        let [least, greatest] = (*interval)?;
        Some(format!("p{percentile} {} to {}", time_text(least), time_text(greatest)))
    });
    let text = intervals.collect::<Vec<_>>().join(", ");
    (!text.is_empty()).then_some(text)
}

/// Writes times side by side, each in a column with its name.
fn table(title: &str, columns: &[(&str, &Summary)], page: &mut Page) {
    page.row(title, columns.iter().map(|(name, _)| (*name).to_owned()));
    let mut row = |name: &str, value: &dyn Fn(&Summary) -> Option<u64>| {
        let cells = columns.iter().map(|(_, summary)| {
            let value = if summary.count == 0 { None } else { value(summary) };
            value.map_or_else(|| "-".to_owned(), time_text)
        });
        page.row(name, cells);
    };
    row("min", &|summary| Some(summary.min));
    // All columns have the same percentiles.
    for (percentile, _) in columns.first().map_or(&[][..], |(_, first)| &first.percentiles) {
        row(&format!("p{percentile}"), &|summary| summary.percentile(percentile));
    }
    row("max", &|summary| Some(summary.max));
    row("mean", &|summary| Some(summary.mean));
    row("stddev", &|summary| Some(summary.stddev));
}

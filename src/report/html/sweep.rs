//! The page of a sweep: latency against load, with the knee and the limit of the generator.

use maud::{Markup, html};
use serde_json::Value;

use super::axis::{Axis, Unit};
use super::chart::{Band, Chart, Kind, Mark, Series};
use super::figure::{Figure, Table};
use super::frame::framed;
use super::sections::{command, tile, typed, warnings};
use crate::measured::RunResult;
use crate::report::words::{count_text, percent_text, rate_text, time_text};

/// A sweep that is shown.
struct Sweep<'a> {
    /// What tells it from the others of the page; empty if it is alone.
    name: &'a str,
    document: &'a Value,
    /// The flag with many values.
    flag: &'a str,
    /// The runs by the value of the flag.
    points: Vec<(f64, RunResult)>,
}

impl Sweep<'_> {
    fn of<'a>(name: &'a str, document: &'a Value) -> Sweep<'a> {
        let flag = document.pointer("/swept/flag").and_then(Value::as_str).unwrap_or("rate");
        let runs = document["points"].as_array().into_iter().flatten();
        let mut points: Vec<(f64, RunResult)> = runs
            .filter_map(|run| {
                let result = RunResult::from_json(&run.to_string()).ok()?;
                let value = run.pointer(&format!("/options/meant/{flag}")).and_then(Value::as_f64);
                Some((value.or(result.rate.asked)?, result))
            })
            .collect();
        points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Sweep { name, document, flag, points }
    }

    fn prefix(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!("{}: ", self.name) }
    }

    fn unit(&self) -> Unit {
        if self.flag == "rate" { Unit::Rate } else { Unit::Count }
    }

    fn title(&self) -> &'static str {
        match self.flag {
            "rate" => "messages per second asked for",
            "connections" => "connections",
            "length" => "bytes per message",
            "depth" => "messages in flight per connection",
            "threads" => "threads of the generator",
            _ => "value",
        }
    }

    /// Returns the points of a curve; runs without the value leave a gap.
    fn curve(&self, value: impl Fn(&RunResult) -> Option<f64>) -> Vec<(f64, f64)> {
        self.points.iter().filter_map(|(x, run)| Some((*x, value(run)?))).collect()
    }

    /// Returns the ranges of values at which the generator was the limit of every run. Each ends
    /// halfway to the next value that proves something, and the last one at `end` if there is none.
    fn generator_limits(&self, end: f64) -> Vec<(f64, f64)> {
        let values: Vec<(f64, bool)> = self
            .points
            .chunk_by(|(one, _), (other, _)| one == other)
            .map(|runs| (runs[0].0, runs.iter().any(|(_, run)| is_ok(run))))
            .collect();
        let mut ranges = Vec::new();
        let mut at = 0_usize;
        for same in values.chunk_by(|(_, one), (_, other)| one == other) {
            let (first, last) = (same[0].0, same[same.len() - 1].0);
            let before = at.checked_sub(1).map_or(first, |before| values[before].0);
            at += same.len();
            let halfway = |one: f64, other: f64| (one * other).sqrt(); // on an axis of logarithms
            let to = values.get(at).map_or(end, |(next, _)| halfway(last, *next));
            if !same[0].1 {
                ranges.push((halfway(before, first), to));
            }
        }
        ranges
    }
}

fn is_ok(run: &RunResult) -> bool {
    run.client_limit().is_none()
}

/// Returns the page of one sweep, or of several on the same axes.
pub(super) fn page(documents: &[(String, Value)]) -> String {
    let sweeps: Vec<_> =
        documents.iter().map(|(name, document)| Sweep::of(name, document)).collect();
    let figures = [latency(&sweeps), reached(&sweeps)];
    let title = match &sweeps[..] {
        [sweep] => format!("sweep of the {} - resound", flag_words(sweep)),
        _ => format!("{} sweeps - resound", sweeps.len()),
    };
    let body = html! {
        header {
            p.kind { "resound sweep" }
            h1 {
                @if let [sweep] = &sweeps[..] { "Latency by " (flag_words(sweep)) }
                @else { (sweeps.len()) " sweeps" }
            }
            @for sweep in &sweeps { (head(sweep)) }
        }
        @if figures.iter().any(Option::is_some) {
            section.figures aria-label="figures" {
                @for figure in figures.iter().flatten() { (figure.html()) }
            }
        }
        @for sweep in &sweeps {
            (warnings(&sweep.document["warnings"]))
            section {
                h2 { (sweep.prefix()) "Points" }
                (table(sweep).html("points of the sweep"))
                (environment(sweep))
            }
            section { h2 { "Command" } (command(&typed(&sweep.document["options"]["typed"]))) }
        }
    };
    let named: Vec<_> = documents
        .iter()
        .map(|(name, document)| (if name.is_empty() { "sweep" } else { name.as_str() }, document))
        .collect();
    framed(&title, &body, &named)
}

fn flag_words(sweep: &Sweep<'_>) -> &'static str {
    match sweep.flag {
        "connections" => "connections",
        "length" => "message length",
        "depth" => "depth",
        "threads" => "threads",
        _ => "rate",
    }
}

/// Says what the sweep found.
fn head(sweep: &Sweep<'_>) -> Markup {
    let document = sweep.document;
    let first = sweep.points.first().map(|(_, run)| run);
    let least = |value: &Value| if value["at_least"] == true { "at least " } else { "" };
    let number = |value: &Value| value.as_f64().map_or("-".to_owned(), |v| sweep.unit().text(v));
    let (found, knee) = (&document["found"], &document["knee"]);
    let find = document.pointer("/swept/find").and_then(Value::as_array).into_iter().flatten();
    let find = find.filter_map(Value::as_str).collect::<Vec<_>>().join(" and ");
    html! {
        @if !sweep.name.is_empty() { h2 { (sweep.name) } }
        @if let Some(run) = first {
            p.sub { (run.endpoint) ", " (sweep.points.len()) " points" }
        }
        @if let Some(error) = document["error"].as_str() { p.error { (error) } }
        section.tiles aria-label="result" {
            @if found.is_object() {
                (tile("highest rate found", &format!("{}{}", least(found), number(&found["rate"])),
                    &format!("at which {find}"), false))
                (tile("what limits it", limit_text(&found["limit"]), "",
                    found["limit"] == "generator"))
            } @else if !find.is_empty() {
                (tile("highest rate found", "none", &format!("at which {find}"), true))
            }
            @if knee.is_object() {
                (tile("knee", &format!("{}{}", least(knee), number(&knee["value"])),
                    sweep.title(), false))
                @if !found.is_object() {
                    (tile("what limits it", limit_text(&knee["limit"]), "",
                        knee["limit"] == "generator"))
                }
            } @else if find.is_empty() && !sweep.points.is_empty() && is_load(sweep.flag) {
                @let proven = sweep.points.iter().any(|(_, run)| is_ok(run));
                @let why = if proven { "the runs do not show up to which load the server keeps up" }
                    else { "the generator was the limit in every run" };
                (tile("knee", "none", why, !proven))
            }
        }
    }
}

/// Returns true for a flag whose values can have a knee.
fn is_load(flag: &str) -> bool {
    !matches!(flag, "length" | "threads")
}

fn limit_text(limit: &Value) -> &'static str {
    match limit.as_str() {
        Some("server") => "the server",
        Some("generator") => "the generator",
        _ => "nothing in this range",
    }
}

/// Returns latency against load.
fn latency(sweeps: &[Sweep<'_>]) -> Option<Figure> {
    let mut series = Vec::new();
    for (number, sweep) in sweeps.iter().enumerate() {
        let prefix = sweep.prefix();
        let at = |name: &'static str| {
            sweep.curve(|run| run.latency_ns.summary.percentile(name).map(|ns| ns as f64))
        };
        if let [_] = sweeps {
            let max = sweep.curve(|run| {
                let latency = &run.latency_ns.summary;
                (latency.count > 0).then_some(latency.max as f64)
            });
            series.push(Series::new("p50", 0, at("50")));
            series.push(Series::new("p99", 1, at("99")));
            series.push(Series::new("p99.9", 5, at("99.9")));
            series.push(Series::new("max", 4, max).of_kind(Kind::Dots));
        } else {
            series.push(Series::new(&format!("{prefix}p99"), number, at("99")));
            let p50 = Series::new(&format!("{prefix}p50"), number, at("50"));
            series.push(p50.of_kind(Kind::Dashed));
        }
    }
    series.retain(|series| !series.points.is_empty());
    let values: Vec<f64> = series.iter().flat_map(|s| s.points.iter().map(|(_, y)| *y)).collect();
    let y = Axis::log("response time", Unit::Time, values.into_iter());
    let chart = marked(Chart::of(load_axis(sweeps), y, series), sweeps);
    let table = sweeps.iter().map(table).reduce(joined).unwrap_or_default();
    let shaded = match chart.bands.is_empty() {
        true => "",
        false => {
            " Where the figure is shaded, the generator was the limit: it says nothing about the \
             server there."
        }
    };
    (!chart.series.is_empty()).then(|| Figure {
        id: "latency".to_owned(),
        title: "Latency against load".to_owned(),
        text: format!("The response times of each point.{shaded}"),
        chart,
        table,
    })
}

/// Returns the rate that was reached against the load.
fn reached(sweeps: &[Sweep<'_>]) -> Option<Figure> {
    let mut series = Vec::new();
    for (number, sweep) in sweeps.iter().enumerate() {
        let achieved = sweep.curve(|run| Some(run.rate.achieved));
        series.push(Series::new(&format!("{}achieved", sweep.prefix()), number, achieved));
    }
    if let [sweep] = sweeps {
        let asked = Series::new("asked for", 1, sweep.curve(|run| run.rate.asked));
        series.push(asked.of_kind(Kind::Dashed));
    }
    series.retain(|series| !series.points.is_empty());
    let values: Vec<f64> = series.iter().flat_map(|s| s.points.iter().map(|(_, y)| *y)).collect();
    let y = match sweeps.first().is_some_and(|sweep| sweep.flag == "rate") {
        true => Axis::log("echoes per second", Unit::Rate, values.into_iter()),
        false => Axis::linear("echoes per second", Unit::Rate, values.into_iter()),
    };
    let chart = marked(Chart::of(load_axis(sweeps), y, series), sweeps);
    let table = sweeps.iter().map(table).reduce(joined).unwrap_or_default();
    (!chart.series.is_empty()).then(|| Figure {
        id: "reached".to_owned(),
        title: "Rate reached".to_owned(),
        text: "Echoes per second at each point.".to_owned(),
        chart,
        table,
    })
}

fn joined(mut one: Table, other: Table) -> Table {
    one.rows.extend(other.rows);
    one
}

/// Returns the axis of the values, with the first and the last at its ends.
fn load_axis(sweeps: &[Sweep<'_>]) -> Axis {
    let values: Vec<f64> =
        sweeps.iter().flat_map(|sweep| sweep.points.iter().map(|(x, _)| *x)).collect();
    let (title, unit) =
        sweeps.first().map_or(("value", Unit::Count), |sweep| (sweep.title(), sweep.unit()));
    Axis::log(title, unit, values.into_iter())
}

/// Marks the knee or the answer of a lone sweep, and where the generator was the limit.
fn marked(mut chart: Chart, sweeps: &[Sweep<'_>]) -> Chart {
    let [sweep] = sweeps else { return chart };
    let ranges = sweep.generator_limits(chart.x.max);
    let width = |(from, to): &(f64, f64)| to / from; // on an axis of logarithms
    let widest = ranges.iter().map(width).fold(0.0, f64::max);
    for range in ranges {
        // One name is enough, and does not fit into a narrow range.
        let is_widest = width(&range).total_cmp(&widest).is_eq();
        let text = if is_widest { "the generator's own limit" } else { "" };
        chart.bands.push(Band { from: range.0, to: range.1, text: text.to_owned() });
    }
    let answers = [("found", "/found/rate"), ("knee", "/knee/value")];
    let answer = answers.iter().find_map(|(name, pointer)| {
        let value = sweep.document.pointer(pointer).and_then(Value::as_f64)?;
        Some((name, value))
    });
    if let Some((name, at)) = answer.filter(|(_, value)| *value > 0.0) {
        let text = format!("{name}: {}", sweep.unit().text(at));
        chart.marks.push(Mark { at, text });
    }
    chart
}

fn table(sweep: &Sweep<'_>) -> Table {
    let names = ["rate achieved", "of asked", "p50", "p99", "p99.9", "max", "lost", "generator"];
    let mut table = Table::new([sweep.title()].into_iter().chain(names));
    for (value, run) in &sweep.points {
        let latency = &run.latency_ns.summary;
        let time = |name: &str| latency.percentile(name).map_or("-".to_owned(), time_text);
        let asked = run.rate.asked.map(|asked| percent_text(run.rate.achieved, asked));
        table.push([
            format!("{}{}", sweep.prefix(), sweep.unit().text(*value)),
            rate_text(run.rate.achieved),
            asked.unwrap_or_else(|| "-".to_owned()),
            time("50"),
            time("99"),
            time("99.9"),
            if latency.count > 0 { time_text(latency.max) } else { "-".to_owned() },
            count_text(run.messages.lost),
            if is_ok(run) { "ok".to_owned() } else { "the limit".to_owned() },
        ]);
    }
    table
}

/// Says where the points were measured.
fn environment(sweep: &Sweep<'_>) -> Markup {
    let Some((_, run)) = sweep.points.first() else { return html! {} };
    let environment = &run.environment;
    html! {
        p.note {
            (run.program) " on " (environment.host) ", " (environment.kernel)
            @if let Some(cpu) = &environment.cpu_model { ", " (cpu) }
            @if environment.loopback { "; loopback: no network is in the figures" }
            @if environment.shared_cpus { "; both ends may run on the same CPUs" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{Verdict, samples};

    /// Returns the shaded ranges of a sweep with these values. At those that are not ok, the
    /// generator was the limit.
    fn shaded(values: &[(f64, bool)]) -> Vec<(f64, f64)> {
        let point = |(value, is_ok): &(f64, bool)| {
            let mut run = samples::open_run();
            run.generator.verdict = Some(if *is_ok { Verdict::Ok } else { Verdict::Starved });
            (*value, run)
        };
        let points = values.iter().map(point).collect();
        Sweep { name: "", document: &Value::Null, flag: "rate", points }.generator_limits(5_000.0)
    }

    /// case B19
    #[test]
    fn every_value_at_which_the_generator_was_the_limit_is_shaded_and_no_other() {
        let (ok, bad) = (true, false);
        for (values, ranges) in [
            (&[(1.0, ok), (4.0, ok)][..], &[][..]),
            (&[(1.0, ok), (4.0, bad), (16.0, bad)], &[(2.0, 5_000.0)]),
            (&[(1.0, ok), (4.0, bad), (16.0, ok)], &[(2.0, 8.0)]),
            (&[(1.0, bad), (4.0, ok), (16.0, bad)], &[(1.0, 2.0), (8.0, 5_000.0)]),
            (&[(1.0, bad), (4.0, bad)], &[(1.0, 5_000.0)]),
            // A search repeats a value; one run that is ok proves something there.
            (&[(1.0, ok), (4.0, bad), (4.0, ok), (16.0, ok)], &[]),
            (&[], &[]),
        ] {
            assert_eq!(shaded(values), ranges, "{values:?}");
        }
    }
}

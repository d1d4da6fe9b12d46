//! The figures of latency and rate of one run, or of several on the same axes.

use hdrhistogram::Histogram;

use super::Run;
use super::axis::{Axis, Unit};
use super::chart::{Chart, Heat, Kind, SHADES, Series};
use super::figure::{Figure, Table};
use crate::measured::{Distribution, LoadLoop, Slot, Times};
use crate::report::words::{count_text, rate_text, time_text};

/// Points of a spectrum for each halving of the share of samples beyond.
const POINTS_PER_HALVING: u32 = 5;

/// A spectrum ends where fewer samples than this lie beyond, as the percentiles do.
const SAMPLES_BEYOND_MIN: f64 = 10.0;

/// The rows of a heat map, at most.
const ROWS_MAX: f64 = 36.0;

/// With more runs than this, the service times would hide the response times.
const RUNS_WITH_SERVICE_TIME: usize = 3;

/// The shades of a heat map begin at these shares of the echoes of a slot.
const SHARES: [f64; SHADES as usize] = [0.0, 0.001, 0.01, 0.05, 0.15, 0.3];

/// Returns the percentile spectrum; `None` if no run has enough echoes.
pub(super) fn spectrum(runs: &[Run]) -> Option<Figure> {
    let mut series = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let prefix = if runs.len() > 1 { format!("{}: ", run.name) } else { String::new() };
        let response = points_of(&run.result.latency_ns.values);
        series.push(Series::new(&format!("{prefix}response time"), number, response));
        let mut add = |name: &str, times: &Option<Times>, color: usize| {
            let points = times.as_ref().map(|times| points_of(&times.values)).unwrap_or_default();
            let line = Series::new(&format!("{prefix}{name}"), color, points);
            series.push(line.of_kind(Kind::Dashed));
        };
        if runs.len() == 1 {
            add("service time", &run.result.service_time_ns, 1);
            add("schedule lag of the generator", &run.result.generator.schedule_lag_ns, 2);
        } else if runs.len() <= RUNS_WITH_SERVICE_TIME {
            add("service time", &run.result.service_time_ns, number);
        }
    }
    series.retain(|series| !series.points.is_empty());
    let x = series.iter().flat_map(|series| &series.points).map(|(x, _)| *x).fold(10.0, f64::max);
    let values = series.iter().flat_map(|series| &series.points).map(|(_, y)| *y);
    let y = Axis::log("time", Unit::Time, values.collect::<Vec<_>>().into_iter());
    let x = Axis { max: x, ..Axis::log("percentile", Unit::Percentile, [1.0, 10.0].into_iter()) };
    let table = spectrum_table(&series);
    (!series.is_empty()).then(|| Figure {
        id: "spectrum".to_owned(),
        title: "Latency by percentile".to_owned(),
        text: "How many of all messages took how long: each step to the right leaves a tenth of \
               the messages beyond it. A curve ends where fewer than ten samples lie beyond."
            .to_owned(),
        chart: Chart::of(x, y, series),
        table,
    })
}

/// Returns `1 / (1 - p)` and the value for percentiles p up to the last with enough samples beyond.
fn points_of(values: &Distribution) -> Vec<(f64, f64)> {
    let inverse_max = values.count() as f64 / SAMPLES_BEYOND_MIN;
    let mut points: Vec<(f64, f64)> = Vec::new();
    if inverse_max < 2.0 {
        return points;
    }
    // Steps of equal width on the axis, whatever steps the values have.
    let steps = f64::from(POINTS_PER_HALVING);
    let mut exponent = 0.0;
    while exponent / steps <= inverse_max.log2() {
        let inverse = (exponent / steps).exp2();
        let value = values.histogram().value_at_quantile(1.0 - 1.0 / inverse);
        points.push((round(inverse), value.max(1) as f64));
        exponent += 1.0;
    }
    points
}

/// Returns a number with five significant digits, which keeps the page small.
fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powf(4.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

fn spectrum_table(series: &[Series]) -> Table {
    let names = series.iter().map(|series| series.name.clone());
    let mut table = Table::new(["percentile".to_owned()].into_iter().chain(names));
    for (text, inverse) in [
        ("0 %", 1.0),
        ("50 %", 2.0),
        ("75 %", 4.0),
        ("90 %", 10.0),
        ("95 %", 20.0),
        ("99 %", 100.0),
        ("99.9 %", 1e3),
        ("99.99 %", 1e4),
        ("99.999 %", 1e5),
        ("99.9999 %", 1e6),
    ] {
        // The nearest point of the curve: less than a tenth of a halving away.
        let value = |series: &Series| {
            let near = series.points.iter().find(|(x, _)| *x >= inverse * 0.93);
            near.map_or("-".to_owned(), |(_, y)| Unit::Time.text(*y))
        };
        let cells: Vec<String> = series.iter().map(value).collect();
        if cells.iter().any(|cell| cell != "-") {
            table.push([text.to_owned()].into_iter().chain(cells));
        }
    }
    table
}

/// Returns the latency over time: of one run as a heat map, of several as lines. `None` if no run
/// recorded its course.
pub(super) fn over_time(runs: &[Run]) -> Option<Figure> {
    let mut series = Vec::new();
    let line = |slots: &[Slot], value: fn(&Slot) -> Option<u64>| -> Vec<(f64, f64)> {
        let point = |slot: &Slot| Some((middle_s(slot), value(slot)?.max(1) as f64));
        slots.iter().filter_map(point).collect()
    };
    for (number, run) in runs.iter().enumerate() {
        let slots = &run.result.timeline;
        if runs.len() == 1 {
            series.push(Series::new("p50", 3, line(slots, |slot| slot.p50)));
            series.push(Series::new("p99", 1, line(slots, |slot| slot.p99)));
            let max = Series::new("max", 4, line(slots, |slot| slot.max));
            series.push(max.of_kind(Kind::Dots));
        } else {
            let p99 = line(slots, |slot| slot.p99);
            series.push(Series::new(&format!("{}: p99", run.name), number, p99));
            let p50 = line(slots, |slot| slot.p50);
            let p50 = Series::new(&format!("{}: p50", run.name), number, p50);
            series.push(p50.of_kind(Kind::Dashed));
        }
    }
    series.retain(|series| !series.points.is_empty());
    let heat = if runs.len() == 1 { heat_of(&runs[0].result.timeline) } else { None };
    let edges = heat.as_ref().map(|heat| heat.edges.clone()).unwrap_or_default();
    let values = series.iter().flat_map(|series| series.points.iter().map(|(_, y)| *y));
    let values: Vec<f64> = values.chain(edges).collect();
    let text = match runs.len() {
        1 => {
            "Each column is a slot of time; the darker a cell, the larger the share of the slot's \
              echoes in it. What looks alike from left to right was steady."
        }
        _ => "The percentiles of each slot of time. Lines that stay level were steady.",
    };
    (!series.is_empty()).then(|| Figure {
        id: "over-time".to_owned(),
        title: "Latency over time".to_owned(),
        text: text.to_owned(),
        chart: Chart {
            heat,
            ..Chart::of(
                time_axis(runs),
                Axis::log("response time", Unit::Time, values.into_iter()),
                series,
            )
        },
        table: time_table(runs),
    })
}

/// Returns the rates over time; `None` if no run recorded its course.
pub(super) fn rates(runs: &[Run]) -> Option<Figure> {
    let mut series = Vec::new();
    let end = end_s(runs);
    for (number, run) in runs.iter().enumerate() {
        let prefix = if runs.len() > 1 { format!("{}: ", run.name) } else { String::new() };
        let points: Vec<_> =
            run.result.timeline.iter().map(|slot| (middle_s(slot), round(rate(slot)))).collect();
        if points.is_empty() {
            continue;
        }
        series.push(Series::new(&format!("{prefix}achieved"), number, points));
        if let Some(asked) = run.result.rate.asked {
            let name = format!("{prefix}asked for");
            let color = if runs.len() == 1 { 1 } else { number };
            let asked = Series::new(&name, color, vec![(0.0, asked), (end, asked)]);
            series.push(asked.of_kind(Kind::Dashed));
        }
    }
    let values: Vec<f64> = series.iter().flat_map(|s| s.points.iter().map(|(_, y)| *y)).collect();
    let y = Axis::linear("echoes per second", Unit::Rate, values.into_iter());
    let is_open = runs.iter().any(|run| run.result.load_loop == LoadLoop::Open);
    let text = match is_open {
        true => "Echoes per second in each slot of time, beside the rate asked for.",
        false => "Echoes per second in each slot of time. No rate was asked for.",
    };
    (!series.is_empty()).then(|| Figure {
        id: "rates".to_owned(),
        title: "Rate over time".to_owned(),
        text: text.to_owned(),
        chart: Chart::of(time_axis(runs), y, series),
        table: rate_table(runs),
    })
}

fn middle_s(slot: &Slot) -> f64 {
    round((slot.start_ns as f64 + slot.end_ns as f64) / 2e9)
}

fn rate(slot: &Slot) -> f64 {
    let ns = slot.end_ns.saturating_sub(slot.start_ns);
    if ns == 0 { 0.0 } else { slot.received as f64 * 1e9 / ns as f64 }
}

fn end_s(runs: &[Run]) -> f64 {
    let ends = runs.iter().filter_map(|run| run.result.timeline.last());
    ends.map(|slot| slot.end_ns as f64 / 1e9).fold(0.001, f64::max)
}

fn time_axis(runs: &[Run]) -> Axis {
    let max = end_s(runs);
    Axis { max, ..Axis::linear("time", Unit::Seconds, [max].into_iter()) }
}

fn time_table(runs: &[Run]) -> Table {
    let mut table = Table::new(["time", "p50", "p99", "max"]);
    let time = |value: Option<u64>| value.map_or("-".to_owned(), time_text);
    for run in runs {
        for slot in &run.result.timeline {
            let name = slot_name(runs, run, slot);
            table.push([name, time(slot.p50), time(slot.p99), time(slot.max)]);
        }
    }
    table
}

fn rate_table(runs: &[Run]) -> Table {
    let mut table = Table::new(["time", "echoes per second", "lost"]);
    for run in runs {
        for slot in &run.result.timeline {
            let name = slot_name(runs, run, slot);
            table.push([name, rate_text(rate(slot)), count_text(slot.lost)]);
        }
    }
    table
}

/// Returns when a slot began, and the run if there are several.
fn slot_name(runs: &[Run], run: &Run, slot: &Slot) -> String {
    let from = Unit::Seconds.text(round(slot.start_ns as f64 / 1e9));
    if runs.len() > 1 { format!("{}: {from}", run.name) } else { from }
}

/// Returns the heat map of a run; `None` if no slot has echoes.
fn heat_of(slots: &[Slot]) -> Option<Heat> {
    let histograms: Vec<_> = slots.iter().map(Slot::times).collect();
    let present = || histograms.iter().flatten().filter(|histogram| !histogram.is_empty());
    let least = present().map(Histogram::min_nz).min()?.max(1) as f64;
    let greatest = present().map(Histogram::max).max()?.max(2) as f64 * 1.06;
    // Rows of at least the width of the histogram's buckets, so that none stays empty for it.
    let rows = ((greatest / least).log2() * 8.0).ceil().clamp(2.0, ROWS_MAX);
    let step = (greatest / least).powf(1.0 / rows);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 36")]
    let count = rows as usize;
    let row_of = |value: u64| {
        let row = ((value.max(1) as f64 / least).ln() / step.ln()).max(0.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 36")]
        let row = row as usize;
        row.min(count - 1)
    };
    let cells = histograms.iter().map(|histogram| {
        let mut counts = vec![0_u64; count];
        for range in histogram.iter().flat_map(|histogram| histogram.iter_recorded()) {
            let value = range.value_iterated_to();
            counts[row_of(value - value / 33)] += range.count_since_last_iteration();
        }
        let all: u64 = counts.iter().sum();
        counts.into_iter().map(|count| char::from(b'0' + shade(count, all))).collect()
    });
    Some(Heat {
        columns: slots.iter().map(|s| (s.start_ns as f64 / 1e9, s.end_ns as f64 / 1e9)).collect(),
        edges: (0..=count).map(|row| round(least * step.powf(row as f64))).collect(),
        cells: cells.collect(),
    })
}

fn shade(count: u64, all: u64) -> u8 {
    if count == 0 {
        return 0;
    }
    let share = count as f64 / all as f64;
    SHARES
        .iter()
        .zip(1..)
        .filter(|(least, _)| share >= **least)
        .map(|(_, shade)| shade)
        .last()
        .unwrap_or(1)
}

//! The page of a comparison: the pairs, and a forest plot of the ratios.

use maud::{Markup, html};
use serde_json::Value;

use super::axis::{Axis, Unit};
use super::chart::{Chart, Kind, Series};
use super::figure::{Figure, Table};
use super::forest::{Row, forest};
use super::frame::framed;
use super::sections::{command, typed, value_text, warnings};
use crate::report::words::{rate_text, time_text};

/// The figures whose pairs are shown: the name, the place in the document of a run, the unit.
const PAIRS: &[(&str, &str, Unit)] = &[
    ("Rate of each round", "/rate/achieved", Unit::Rate),
    ("p50 of each round", "/latency_ns/percentiles/50", Unit::Time),
    ("p99 of each round", "/latency_ns/percentiles/99", Unit::Time),
];

/// Returns the page of one comparison, or of several below each other.
pub(super) fn page(documents: &[(String, Value)]) -> String {
    let title = match documents {
        [(_, document)] => {
            format!("{} and {} - resound compare", side(document, "a"), side(document, "b"))
        }
        _ => format!("{} comparisons - resound", documents.len()),
    };
    let body = html! {
        @for (number, (name, document)) in documents.iter().enumerate() {
            (comparison(number, name, document))
        }
    };
    let named: Vec<_> = documents
        .iter()
        .map(|(name, document)| (if name.is_empty() { "compare" } else { name.as_str() }, document))
        .collect();
    framed(&title, &body, &named)
}

fn side<'a>(document: &'a Value, key: &str) -> &'a str {
    document[key].as_str().unwrap_or_default()
}

fn comparison(number: usize, name: &str, document: &Value) -> Markup {
    let metrics = list(&document["metrics"]);
    let pairs = PAIRS.iter().enumerate().filter_map(|(index, pair)| {
        pairs_figure(&format!("pairs-{number}-{index}"), document, pair)
    });
    let words = typed(match &document["typed"] {
        Value::Array(_) => &document["typed"],
        _ => &document["options"]["typed"],
    });
    html! {
        header {
            p.kind { "resound compare" @if !name.is_empty() { ": " (name) } }
            h1 { "B compared with A" }
            p.answer { (side(document, "conclusion")) }
            p.sub { (value_text("rounds", &document["rounds"])) " rounds" }
            @if let Some(error) = document["error"].as_str() { p.error { (error) } }
        }
        section { dl {
            div { dt { "A" } dd { (side(document, "a")) } }
            div { dt { "B" } dd { (side(document, "b")) } }
        } }
        (forest_html(number, document, metrics, "Change from A to B"))
        section.figures aria-label="pairs" { @for figure in pairs { (figure.html()) } }
        (warnings(&document["warnings"]))
        @if let control @ [_, ..] = list(&document["control"]) {
            section { h2 { "Control: A against A" } (table(control).html("control")) }
        }
        @if let left_out @ [_, ..] = list(&document["left_out"]) {
            section {
                h2 { "Runs that are left out" }
                ul { @for run in left_out {
                    li { "round " (value_text("", &run["round"])) ", " (side(run, "side")) ": "
                        (side(run, "reason")) }
                } }
            }
        }
        @if let Some(run) = first_run(document) { (environment(run)) }
        @if !words.is_empty() { section { h2 { "Command" } (command(&words)) } }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn first_run(document: &Value) -> Option<&Value> {
    list(&document["pairs"])
        .iter()
        .flat_map(|pair| [&pair["a"], &pair["b"]])
        .find(|run| run.is_object())
}

fn environment(run: &Value) -> Markup {
    let environment = &run["environment"];
    html! {
        p.note {
            (side(run, "program")) " on " (side(environment, "host")) ", "
            (side(environment, "kernel"))
            @if let Some(cpu) = environment["cpu_model"].as_str() { ", " (cpu) }
            @if environment["loopback"] == true { "; loopback: no network is in the figures" }
        }
    }
}

fn forest_html(number: usize, document: &Value, metrics: &[Value], title: &str) -> Markup {
    let noise = document["noise"].as_f64().filter(|noise| (0.0..0.9).contains(noise));
    let rows: Vec<Row> = metrics.iter().filter_map(row).collect();
    let id = format!("forest-{number}");
    html! {
        figure #(id) aria-labelledby=(format!("{id}-title")) {
            h3 #(format!("{id}-title")) { (title) }
            @if !rows.is_empty() {
                div.plot tabindex="0" role="group" aria-label=(format!("figure: {title}")) {
                    (forest(&rows, noise.unwrap_or(0.02), &format!("{title}. {}", spoken(&rows))))
                }
                p.legend {
                    span { svg.key viewBox="0 0 26 10" aria-hidden="true" {
                        circle class="dot differs" cx="13" cy="5" r="5" {} } "differs" }
                    span { svg.key viewBox="0 0 26 10" aria-hidden="true" {
                        circle class="dot same" cx="13" cy="5" r="5" {} } "same" }
                    span { svg.key viewBox="0 0 26 10" aria-hidden="true" {
                        circle class="dot undecided" cx="13" cy="5" r="5" {} } "undecided" }
                }
            }
            figcaption {
                "The ratio of B to A of each figure, with its 95 % interval. A change is certain \
                 when the interval leaves out the line, and worth a thought when it leaves the \
                 shaded noise."
            }
            (table(metrics).html(title))
        }
    }
}

fn row(metric: &Value) -> Option<Row> {
    let ratio = metric["ratio"].as_f64().filter(|ratio| *ratio > 0.0)?;
    let interval = match list(&metric["interval"]) {
        [low, high] => Some([low.as_f64()?, high.as_f64()?]),
        _ => None,
    };
    // It becomes a class of the picture.
    let known = metric["verdict"].as_str().filter(|verdict| ["differs", "same"].contains(verdict));
    let verdict = known.unwrap_or("undecided");
    Some(Row { name: metric_name(metric), ratio, interval, verdict: verdict.to_owned() })
}

fn metric_name(metric: &Value) -> String {
    side(metric, "name").replace("cpu_per_message", "CPU per message")
}

/// Returns what the plot shows, for a reader that does not see it.
fn spoken(rows: &[Row]) -> String {
    let row = |row: &Row| format!("{}: {:.3} times, {}", row.name, row.ratio, row.verdict);
    rows.iter().map(row).collect::<Vec<_>>().join("; ")
}

fn table(metrics: &[Value]) -> Table {
    let mut table = Table::new(["figure", "A", "B", "B to A", "95 % interval", "verdict"]);
    for metric in metrics {
        let value = |key: &str| match (metric[key].as_f64(), metric["unit"].as_str()) {
            (None, _) => "-".to_owned(),
            (Some(value), Some("ns")) => Unit::Time.text(value),
            (Some(value), _) => rate_text(value),
        };
        let interval = match list(&metric["interval"]) {
            [low, high] => format!("{} to {}", ratio_text(low), ratio_text(high)),
            _ => "-".to_owned(),
        };
        let ratio = ratio_text(&metric["ratio"]);
        table.push([metric_name(metric), value("a"), value("b"), ratio, interval, verdict(metric)]);
    }
    table
}

fn ratio_text(value: &Value) -> String {
    value.as_f64().map_or("-".to_owned(), |ratio| format!("{ratio:.3}"))
}

fn verdict(metric: &Value) -> String {
    let within = metric["within"].as_f64();
    let more = metric["more_rounds"].as_u64();
    match (side(metric, "verdict"), within, more) {
        ("same", Some(within), _) => format!("same within {:.1} %", within * 100.0),
        ("undecided", _, Some(more)) if metric["interval"].is_null() => {
            format!("undecided: an interval needs {more} more")
        }
        ("undecided", _, Some(more)) => format!("undecided: about {more} more rounds"),
        (verdict, ..) => verdict.to_owned(),
    }
}

/// Returns the values of both sides by round; `None` without pairs.
fn pairs_figure(
    id: &str,
    document: &Value,
    (title, pointer, unit): &(&str, &str, Unit),
) -> Option<Figure> {
    let of = |key: &str| -> Vec<(f64, f64)> {
        let pairs = list(&document["pairs"]).iter();
        let point =
            |pair: &Value| Some((pair["round"].as_f64()?, pair[key].pointer(pointer)?.as_f64()?));
        pairs.filter_map(point).collect()
    };
    let (a, b) = (of("a"), of("b"));
    let rounds = a.iter().chain(&b).map(|(round, _)| *round).fold(1.0, f64::max);
    let mut table = Table::new(["round", "A", "B"]);
    let text = |value: f64| match unit {
        Unit::Time => time_text_of(value),
        _ => rate_text(value),
    };
    for (round, value) in &a {
        let other = b.iter().find(|(other, _)| other == round);
        let other = other.map_or("-".to_owned(), |(_, value)| text(*value));
        table.push([Unit::Count.text(*round), text(*value), other]);
    }
    let values: Vec<f64> = a.iter().chain(&b).map(|(_, value)| *value).collect();
    // Equal ratios are equal distances.
    let name = if *unit == Unit::Time { "response time" } else { "echoes per second" };
    let y = Axis::log(name, *unit, values.into_iter());
    let x =
        Axis { min: 0.5, max: rounds + 0.5, ..Axis::linear("round", Unit::Count, [].into_iter()) };
    let series = [("A", 0, a), ("B", 1, b)]
        .map(|(name, color, points)| Series::new(name, color, points).of_kind(Kind::Dots));
    let is_empty = series.iter().any(|series| series.points.is_empty());
    (!is_empty).then(|| Figure {
        id: id.to_owned(),
        title: (*title).to_owned(),
        text: "Each round has a run of A and a run of B, one directly after the other.".to_owned(),
        chart: Chart::of(x, y, series.into()),
        table,
    })
}

fn time_text_of(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float to integer cast saturates; no time is negative"
    )]
    time_text(value as u64)
}

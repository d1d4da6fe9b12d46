//! The page of one run, or of several runs on the same axes.

use maud::{Markup, html};
use serde_json::Value;

use super::Run;
use super::figure::Table;
use super::latency::{over_time, rates, spectrum};
use super::sections::{command, counts, facts, table_of, tile, value_text, warnings};
use crate::measured::{LoadLoop, Mode, RunResult, Status, Summary, Verdict};
use crate::report::health_text;
use crate::report::words::{bytes_text, count_text, counted, percent_text, rate_text, time_text};

/// Lists of a document that become a table, with their titles.
const LISTS: &[(&str, &str)] = &[
    ("parts", "Parts of this load"),
    ("loops", "Loops of the generator"),
    ("lengths", "Latency by message length"),
];

pub(super) fn title(runs: &[Run]) -> String {
    match runs {
        [run] => format!("{} - resound bench", run.name),
        _ => format!("{} runs of resound bench", runs.len()),
    }
}

pub(super) fn body(runs: &[Run]) -> Markup {
    let figures = [spectrum(runs), over_time(runs), rates(runs)];
    html! {
        (header(runs))
        @if let [run] = runs { (tiles(&run.result)) }
        @else { section { h2 { "The runs" } (runs_table(runs).html("the runs")) } }
        @if figures.iter().any(Option::is_some) {
            section.figures aria-label="figures" {
                @for figure in figures.iter().flatten() { (figure.html()) }
            }
        }
        @if let [run] = runs { (details(run)) }
        @else {
            @for run in runs {
                details.run { summary { h2 { (run.name) } } (details(run)) }
            }
        }
    }
}

fn header(runs: &[Run]) -> Markup {
    html! {
        header {
            @match runs {
                [run] => {
                    p.kind { "resound bench" }
                    h1 { (run.name) }
                    p.sub { (subtitle(run)) }
                    p { (pills(&run.result)) }
                    @if let Some(error) = &run.result.error { p.error { (error) } }
                }
                _ => {
                    p.kind { "resound bench" }
                    h1 { (runs.len()) " runs" }
                }
            }
        }
    }
}

/// Says where and when a run took place.
fn subtitle(run: &Run) -> String {
    let result = &run.result;
    let mut text = match run.name == result.endpoint {
        true => String::new(),
        false => format!("{}, ", result.endpoint),
    };
    text.push_str(match result.load_loop {
        LoadLoop::Closed => "closed loop",
        LoadLoop::Open => "open loop",
    });
    text.push_str(&format!(
        ", {}, {}, measured for {}",
        counted(result.connections, "connection"),
        length_text(run),
        time_text(result.elapsed_ns)
    ));
    // RFC 3339 without the part of a second.
    if let Some(time) = run.document["run"]["measured_from"].as_str() {
        let time = time.split(['.', 'Z']).next().unwrap_or_default().replace('T', " ");
        text.push_str(&format!(", {time} UTC"));
    }
    text
}

fn length_text(run: &Run) -> String {
    match run.document.get("lengths").and_then(Value::as_array).filter(|list| list.len() > 1) {
        Some(_) => "mixed lengths".to_owned(),
        None => counted(run.result.length, "byte") + " per message",
    }
}

/// Returns the judgements that a reader must see first.
fn pills(result: &RunResult) -> Markup {
    let failed = result.asserts.iter().filter(|assert| !assert.held).count();
    let is_ok = !result.generator.was_limit();
    html! {
        @match result.status {
            Status::Ok => {}
            Status::Partial => span.pill.bad { "partial" }
            Status::Error => span.pill.bad { "error" }
        }
        @if result.messages.sent > 0 {
            span.pill.good[is_ok].bad[!is_ok] {
                @if is_ok { "generator: ok" } @else { "the generator was the limit" }
            }
        }
        @if !result.asserts.is_empty() {
            span.pill.good[failed == 0].bad[failed > 0] {
                @if failed == 0 { "every assert held" }
                @else { (counted(failed as u64, "assert")) " not held" }
            }
        }
        @if result.drift.as_ref().is_some_and(|drift| drift.found) {
            span.pill.bad { "drift: not steady" }
        }
    }
}

fn tiles(result: &RunResult) -> Markup {
    let unit = if result.mode == Mode::Connect { "connections" } else { "messages" };
    let rate = result.rate.achieved;
    let asked = match result.rate.asked {
        Some(asked) => format!("{} of {} asked for", percent_text(rate, asked), rate_text(asked)),
        None => "no rate asked for".to_owned(),
    };
    let latency = &result.latency_ns.summary;
    let interval = |name: &str| {
        let found = latency.intervals.iter().find(|(other, _)| other == name);
        found.and_then(|(_, interval)| *interval).map_or_else(String::new, |[least, greatest]| {
            format!("95 %: {} to {}", time_text(least), time_text(greatest))
        })
    };
    let messages = &result.messages;
    html! {
        section.tiles aria-label="main figures" {
            (tile(&format!("{unit}/s"), &rate_text(rate), &asked, false))
            @for (name, value) in &latency.percentiles {
                @if let Some(value) = value {
                    (tile(&format!("p{name}"), &time_text(*value), &interval(name), false))
                }
            }
            @if latency.count > 0 { (tile("max", &time_text(latency.max), "", false)) }
            (tile("lost", &count_text(messages.lost),
                &format!("of {} sent", count_text(messages.sent)), messages.lost > 0))
            @if messages.corrupted > 0 {
                (tile("corrupted", &count_text(messages.corrupted), "", true))
            }
        }
    }
}

/// Returns a table with a row for each run.
fn runs_table(runs: &[Run]) -> Table {
    let names =
        ["run", "endpoint", "rate", "asked", "p50", "p99", "p99.9", "max", "lost", "health"];
    let mut table = Table::new(names);
    for Run { name, result, .. } in runs {
        let summary = &result.latency_ns.summary;
        let time = |name: &str| summary.percentile(name).map_or("-".to_owned(), time_text);
        table.push([
            name.clone(),
            result.endpoint.clone(),
            rate_text(result.rate.achieved),
            result.rate.asked.map_or("-".to_owned(), rate_text),
            time("50"),
            time("99"),
            time("99.9"),
            time_text(summary.max),
            count_text(result.messages.lost),
            match result.generator.verdict {
                Some(Verdict::Ok) => "ok".to_owned(),
                Some(_) => "the generator was the limit".to_owned(),
                None => "nothing was measured".to_owned(),
            },
        ]);
    }
    table
}

/// Returns everything about one run but the figures.
fn details(run: &Run) -> Markup {
    let result = &run.result;
    html! {
        (warnings(&run.document["warnings"]))
        div.columns {
            @if result.latency_ns.summary.count > 0 {
                section.wide { h2 { "Times" } (times_table(result).html("times")) (drift(result)) }
            }
            (outcome(run))
            (generator(result))
            (kernel(&run.document))
            (split(&run.document))
            @for (key, title) in LISTS {
                @if let Some(list @ [_, _, ..]) = run.document[key].as_array().map(Vec::as_slice) {
                    section.wide { h2 { (title) } (table_of(list).html(title)) }
                }
            }
            (asserts(result))
            (environment(run))
        }
        section {
            h2 { "Command" }
            (command(&result.options.typed))
            details {
                summary { "The report as text" }
                pre.text tabindex="0" aria-label="report" { (result.to_string()) }
            }
        }
    }
}

fn times_table(result: &RunResult) -> Table {
    let columns: Vec<(&str, &Summary)> = [
        ("response time", Some(&result.latency_ns)),
        ("service time", result.service_time_ns.as_ref()),
        ("schedule lag", result.generator.schedule_lag_ns.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, times)| Some((name, &times?.summary)))
    .collect();
    let head = ["percentile"].into_iter().chain(columns.iter().map(|(name, _)| *name));
    let mut table = Table::new(head.chain(["95 % interval of the response time"]));
    let mut push = |name: &str, value: &dyn Fn(&Summary) -> Option<u64>, interval: String| {
        let cell = |summary: &Summary| {
            let value = value(summary).filter(|_| summary.count > 0);
            value.map_or("-".to_owned(), time_text)
        };
        let cells = columns.iter().map(|(_, summary)| cell(summary));
        table.push([name.to_owned()].into_iter().chain(cells).chain([interval]));
    };
    push("min", &|summary| Some(summary.min), String::new());
    let latency = &result.latency_ns.summary;
    for ((name, _), (_, interval)) in latency.percentiles.iter().zip(&latency.intervals) {
        let text = interval.map_or_else(String::new, |[least, greatest]| {
            format!("{} to {}", time_text(least), time_text(greatest))
        });
        push(&format!("p{name}"), &|summary| summary.percentile(name), text);
    }
    push("max", &|summary| Some(summary.max), String::new());
    push("mean", &|summary| Some(summary.mean), String::new());
    push("stddev", &|summary| Some(summary.stddev), String::new());
    table
}

fn drift(result: &RunResult) -> Markup {
    let Some(drift) = result.drift.as_ref().filter(|drift| drift.found) else {
        return html! {};
    };
    let time = |value: Option<u64>| value.map_or("-".to_owned(), time_text);
    let mut table = Table::new(["third of the run", "echoes", "p50", "p99"]);
    for (name, third) in ["first", "second", "third"].iter().zip(&drift.thirds) {
        let count = count_text(third.count);
        table.push([(*name).to_owned(), count, time(third.p50), time(third.p99)]);
    }
    html! {
        p.error { "The thirds of the run differ, so its figures mix different states." }
        (table.html("thirds of the run"))
    }
}

fn outcome(run: &Run) -> Markup {
    let result = &run.result;
    let rows = |key: &str| counts(run.document.get(key));
    let mean = |bytes: u64| match result.elapsed_ns {
        0 => None,
        ns => Some(format!("{}/s", bytes_text(bytes as f64 * 1e9 / ns as f64))),
    };
    html! {
        section {
            h2 { "Messages" }
            (named(&rows("messages")))
            @if result.messages.lost > 0 { h3 { "Lost" } (named(&rows("losses"))) }
            (facts(&[
                ("throughput sent", mean(result.bytes.sent)),
                ("throughput received", mean(result.bytes.received)),
                ("warm-up", Some(time_text(result.warmup_ns))),
                ("wait for the last echoes", Some(time_text(result.drain_ns))),
            ]))
        }
        section { h2 { "Connections" } (named(&rows("flows"))) }
    }
}

/// Returns names and values in a list.
fn named(rows: &[(String, String)]) -> Markup {
    let rows: Vec<_> =
        rows.iter().map(|(name, text)| (name.as_str(), Some(text.clone()))).collect();
    facts(&rows)
}

fn generator(result: &RunResult) -> Markup {
    let generator = &result.generator;
    let hiccups = &result.hiccups;
    let lag = generator.schedule_lag_ns.as_ref().map(|lag| &lag.summary);
    let some = |count: u64| (count > 0).then(|| count_text(count));
    html! {
        section {
            h2 { "Generator" }
            p.error[generator.was_limit()] { (health_text(result)) }
            (facts(&[
                ("CPU", Some(percent_text(generator.cpu_share, 1.0))),
                ("CPU time per message", Some(time_text(generator.cpu_ns_per_message))),
                ("waited for a CPU", generator.wait_share.map(|share| percent_text(share, 1.0))),
                ("schedule lag p99", lag.and_then(|lag| lag.percentile("99")).map(time_text)),
                ("schedule lag max", lag.map(|lag| time_text(lag.max))),
                ("held back", some(generator.held_back)),
                ("unsent", some(generator.unsent)),
                ("hiccups of 10 ms and more", Some(count_text(hiccups.count))),
                ("longest hiccup", some(hiccups.count).map(|_| time_text(hiccups.longest_ns))),
                ("hiccups in all", some(hiccups.count).map(|_| time_text(hiccups.total_ns))),
                ("lost in a hiccup", some(hiccups.lost)),
                ("throttled by its cgroup", hiccups.throttled_ns.map(time_text)),
            ]))
        }
    }
}

/// Returns the kernel's figures of the sockets.
fn kernel(document: &Value) -> Markup {
    html! {
        @for (key, title) in [("tcp", "TCP_INFO"), ("udp", "UDP"), ("sockets", "Sockets")] {
            @if let Some(figures) = document.get(key).filter(|figures| figures.is_object()) {
                @let table = table_of(std::slice::from_ref(figures));
                section {
                    h2 { (title) }
                    dl {
                        @for (name, text) in table.head.iter().zip(&table.rows[0]) {
                            @if text != "-" && !text.is_empty() {
                                div { dt { (name) } dd { (text) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the parts of a round trip, if the run split it.
fn split(document: &Value) -> Markup {
    let Some(split) = document.get("split").filter(|split| split.is_object()) else {
        return html! {};
    };
    let parts = [
        ("send: call to driver", "send_ns"),
        ("away: driver to receive stamp", "away_ns"),
        ("wake: receive stamp to program", "wake_ns"),
    ];
    let mut table = Table::new(["part", "p50", "p90", "p99", "max"]);
    for (name, key) in parts {
        let at = |percentile: &str| value_text("_ns", &split[key]["percentiles"][percentile]);
        let max = value_text("_ns", &split[key]["max"]);
        table.push([name.to_owned(), at("50"), at("90"), at("99"), max]);
    }
    let p50 = parts.map(|(_, key)| split[key]["percentiles"]["50"].as_f64().unwrap_or_default());
    html! {
        section.wide {
            h2 { "Where the time goes" }
            p {
                "Kernel timestamps of " (value_text("samples", &split["samples"]))
                " messages split their round trips."
            }
            (stacked(&p50))
            (table.html("parts of a round trip"))
        }
    }
}

/// Draws the medians of the parts as one bar.
fn stacked(values: &[f64; 3]) -> Markup {
    let all: f64 = values.iter().sum();
    let share = |value: f64| if all > 0.0 { value / all * 100.0 } else { 0.0 };
    let text = format!(
        "of the medians: send {:.0} %, away {:.0} %, wake {:.0} %",
        share(values[0]),
        share(values[1]),
        share(values[2])
    );
    let mut at = 0.0;
    html! {
        svg.stacked viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label=(text) {
            @for (color, value) in values.iter().enumerate() {
                rect class=(format!("bar c{color}")) y="0" height="6" x=(format!("{at:.2}"))
                    width=(format!("{:.2}", share(*value))) {}
                @let () = at += share(*value);
            }
        }
        p.note { (text) }
    }
}

fn asserts(result: &RunResult) -> Markup {
    if result.asserts.is_empty() {
        return html! {};
    }
    let mut table = Table::new(["assert", "result"]);
    for assert in &result.asserts {
        let held = if assert.held { "held" } else { "NOT held" };
        table.push([assert.expression.as_str(), held]);
    }
    html! { section { h2 { "Asserts" } (table.html("asserts")) } }
}

fn environment(run: &Run) -> Markup {
    let environment = &run.result.environment;
    let yes = |is_so: bool, text: &str| is_so.then(|| text.to_owned());
    let allowed = environment.cpus_allowed.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    html! {
        section {
            h2 { "Environment" }
            (facts(&[
                ("program", Some(run.result.program.clone())),
                ("host", Some(environment.host.clone())),
                ("system", Some(environment.kernel.clone())),
                ("CPU", environment.cpu_model.clone()),
                ("CPUs online", environment.cpus_online.map(count_text)),
                ("CPUs allowed", Some(allowed)),
                ("governor", environment.governor.clone()),
                ("clock", environment.clock_source.clone()),
                ("path", yes(environment.loopback, "loopback: no network is in the figures")),
                ("shared", yes(environment.shared_cpus, "both ends may run on the same CPUs")),
                ("run", Some(run.result.run.id.clone()).filter(|id| !id.is_empty())),
            ]))
        }
    }
}

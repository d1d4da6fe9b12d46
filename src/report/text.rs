//! The report for people: the load, the results, and how far to trust them. Lines have at most 100
//! columns, or the columns of the terminal; only a single word that is longer exceeds them.

mod bars;
mod generator;
mod kernel;
mod page;
mod parts;
mod split;
mod sweep;
mod terminal;
mod times;

use std::fmt;

use self::generator::generator;
use self::kernel::kernel;
use self::page::COLUMNS_MAX;
pub(super) use self::page::Page;
use self::parts::parts;
use self::split::split;
use self::times::times;
use super::words::{bytes_text, count_text, counted, one_line, percent_text, rate_text, time_text};
use crate::measured::{
    Assertion, BindUse, Flows, LoadLoop, Messages, Mode, Outcome, RunResult, Status, Unit,
    verdict_name,
};

impl fmt::Display for RunResult {
    /// Writes text of many lines, each with a newline at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut page = Page::new(COLUMNS_MAX);
        head(self, &mut page);
        fault(self, &mut page);
        body(self, &mut page);
        f.write_str(page.as_str())
    }
}

fn body(result: &RunResult, page: &mut Page) {
    if result.messages.sent > 0 {
        conditions(result, page);
        speed(result, page);
        times(result, page);
        split(result, page);
    }
    if result.messages.sent > 0 || result.flows != Flows::default() {
        outcome(result, page);
        trains(result, page);
        kernel(result, page);
        sockets(result, page);
        generator(result, page);
        parts(result, page);
        page.entry("environment", &environment_text(result));
    }
    for warning in &result.warnings {
        page.entry("WARNING", &one_line(&warning.0));
    }
    for outcome in &result.asserts {
        page.entry("assert", &assert_text(outcome));
    }
}

fn head(result: &RunResult, page: &mut Page) {
    if !result.endpoint.is_empty() {
        let server = if result.embedded_server { " (a server in this process)" } else { "" };
        page.entry("endpoint", &format!("{}{server}", one_line(&result.endpoint)));
    }
    if let Some(label) = &result.label {
        page.entry("label", &one_line(label));
    }
}

/// Says why there is no run, or only a part of one.
fn fault(result: &RunResult, page: &mut Page) {
    let reason = result.error.as_deref().map(one_line);
    match (result.status, reason) {
        (Status::Ok, _) => {}
        (Status::Partial, reason) => {
            let reason = reason.unwrap_or_else(|| "the run ended early".to_owned());
            let is_whole = result.planned_ns.is_some_and(|planned| result.elapsed_ns >= planned);
            let less = match is_whole && result.load_made < 1.0 {
                true => "less load than was asked for",
                false => "a shorter run",
            };
            page.entry("PARTIAL", &format!("{reason}; the figures are of {less}"));
        }
        (Status::Error, reason) => {
            page.entry("ERROR", &reason.unwrap_or_else(|| "the run failed".to_owned()));
        }
    }
}

/// Says how long messages are.
fn size_text(result: &RunResult) -> String {
    let least = result.lengths.iter().map(|class| class.length_min).min();
    let greatest = result.lengths.iter().map(|class| class.length).max();
    match least.zip(greatest) {
        Some((least, greatest)) if least < greatest => format!(
            "{} to {} per message, {} on average",
            count_text(least),
            counted(greatest, "byte"),
            count_text(result.length)
        ),
        _ => format!("{} per message", counted(result.length, "byte")),
    }
}

/// Says what load was made, how long it was measured, and what was left out.
fn conditions(result: &RunResult, page: &mut Page) {
    let size = size_text(result);
    let flows = counted(result.connections, flow_noun(result));
    let flight = match result.load_loop {
        LoadLoop::Closed => {
            let each = counted(result.depth, "message");
            let all = count_text(result.depth.saturating_mul(result.connections));
            format!("closed loop: {flows}, {each} in flight on each ({all} in all), {size}")
        }
        LoadLoop::Open => {
            let each = count_text(result.depth);
            let most = format!("at most {each} in flight on each");
            let by_clock = match result.arrival.as_deref() {
                Some(arrival) if arrival != "fixed" => format!("sent by the clock ({arrival})"),
                _ => "sent by the clock".to_owned(),
            };
            format!("open loop: {by_clock} over {flows}, {most}, {size}")
        }
    };
    page.entry("load", &flight);
    if result.mode == Mode::Connect {
        page.entry("", "every message is a connection: connect, one echo, close");
    }
    page.entry("measured", &time_text(result.elapsed_ns));
    let warmup = match result.warmup_ns {
        0 if result.warmup_messages == Messages::default() => "no warm-up".to_owned(),
        warmup_ns => format!(
            "the warm-up of {} before it ({})",
            time_text(warmup_ns),
            warmup_text(&result.warmup_messages)
        ),
    };
    let drain = match result.drain_ns {
        0 => "no wait for the last echoes".to_owned(),
        drain_ns => format!("the wait of {} for the last echoes after it", time_text(drain_ns)),
    };
    page.entry("left out", &format!("{warmup}, {drain}"));
}

fn warmup_text(messages: &Messages) -> String {
    let Messages { sent, lost, late, duplicated, reordered, corrupted, .. } = *messages;
    let mut text = format!("{} sent", counted(sent, "message"));
    let trouble = [
        ("lost", lost),
        ("late", late),
        ("duplicated", duplicated),
        ("reordered", reordered),
        ("corrupted", corrupted),
    ];
    for (name, count) in trouble.into_iter().filter(|(_, count)| *count > 0) {
        text.push_str(&format!(", {} {name}", count_text(count)));
    }
    text
}

/// Returns the achieved rate beside the rate asked for. If the run ended early, it adds the rate
/// over all the time asked for, which an assertion compares.
fn rate_of(result: &RunResult) -> String {
    let unit = match result.mode {
        Mode::Echo => "messages",
        Mode::Connect => "connections",
    };
    let achieved = result.rate.achieved;
    let mut text = match result.rate.asked {
        Some(asked) => format!(
            "{} {unit} per second achieved of {} asked for ({})",
            rate_text(achieved),
            rate_text(asked),
            percent_text(achieved, asked)
        ),
        None => format!("{} {unit} per second achieved, no rate asked for", rate_text(achieved)),
    };
    if let Some(planned_ns) = result.planned_ns.filter(|planned_ns| *planned_ns > result.elapsed_ns)
    {
        let (over_planned, time) = (rate_text(result.rate.over_planned), time_text(planned_ns));
        text.push_str(&format!("; {over_planned} over the {time} asked for"));
    }
    text
}

fn speed(result: &RunResult, page: &mut Page) {
    page.entry("rate", &rate_of(result));
    let per_second = |bytes: u64| match result.elapsed_ns {
        0 => bytes_text(0.0),
        elapsed_ns => bytes_text(bytes as f64 * 1e9 / elapsed_ns as f64),
    };
    let sent = per_second(result.bytes.sent);
    let received = bytes_text(result.rate.achieved * result.mean_length_received());
    page.entry("throughput", &format!("{sent}/s sent, {received}/s received"));
}

fn outcome(result: &RunResult, page: &mut Page) {
    let Messages { late, duplicated, reordered, corrupted, .. } = result.messages;
    let [sent, received, lost, in_flight] = [
        result.messages.sent,
        result.messages.received,
        result.messages.lost,
        result.messages.in_flight_at_end,
    ]
    .map(count_text);
    let share = match result.messages {
        Messages { lost: 0, .. } => String::new(),
        Messages { lost, sent, .. } => format!(" ({})", percent_text(lost as f64, sent as f64)),
    };
    page.entry(
        "messages",
        &format!(
            "{sent} sent, {received} received, {lost} lost{share}, {in_flight} in flight at the end"
        ),
    );
    if result.messages.lost > 0 {
        let causes = result.losses.named();
        let causes = causes.map(|(cause, count)| format!("{} {cause}", count_text(count)));
        page.entry("", &format!("lost: {}", causes.collect::<Vec<_>>().join(", ")));
    }
    let echoes = [
        ("late", late),
        ("duplicated", duplicated),
        ("reordered", reordered),
        ("corrupted", corrupted),
    ];
    page.entry("", &listed(&echoes));
    if let Some(difference) = &result.first_difference {
        page.entry("DIFFERENCE", &difference.to_string());
    }
    let Flows { opened, refused, reset, closed, timed_out, .. } = result.flows;
    let Flows { failed_locally, unreachable, reconnected, .. } = result.flows;
    page.entry(&format!("{}s", flow_noun(result)), &format!("{} opened", count_text(opened)));
    let mut ends = vec![
        ("refused", refused),
        ("reset by the peer", reset),
        ("closed by the peer", closed),
        ("timed out", timed_out),
        ("failed on this host", failed_locally),
    ];
    if unreachable > 0 {
        ends.push(("unreachable", unreachable));
    }
    page.entry("", &listed(&ends));
    if reconnected > 0 {
        page.entry("", &format!("{} opened again (--reconnect)", count_text(reconnected)));
    }
}

/// Returns each count with its name; `none ...` if all of them are 0.
fn listed(counts: &[(&str, u64)]) -> String {
    let names: Vec<&str> = counts.iter().map(|(name, _)| *name).collect();
    if let (true, Some((last, others))) =
        (counts.iter().all(|(_, count)| *count == 0), names.split_last())
    {
        return format!("none {} or {last}", others.join(", "));
    }
    let all = counts.iter().map(|(name, count)| format!("{} {name}", count_text(*count)));
    all.collect::<Vec<_>>().join(", ")
}

/// Says how many datagrams went per system call, if trains were asked for.
fn trains(result: &RunResult, page: &mut Page) {
    let Some(trains) = result.trains.filter(|trains| trains.asked) else { return };
    let mean = |count: u64, calls: u64| rate_text(count as f64 / calls.max(1) as f64);
    let [sent, received] =
        [mean(trains.sent, trains.sends), mean(trains.received, trains.receives)];
    let means = format!("{sent} datagrams per send, {received} per receive");
    let text = match trains.refused {
        false => format!("{means} (GSO, GRO; --no-offload sends singly)"),
        true => format!(
            "refused by the system for these messages, so each went alone from then on (no GSO \
             or GRO, or longer than the path takes unfragmented): {means}"
        ),
    };
    page.entry("trains", &text);
}

/// Writes what the kernel made of the settings of the sockets, if any was asked for.
fn sockets(result: &RunResult, page: &mut Page) {
    let Some(sockets) = result.sockets.as_ref().filter(|sockets| sockets.is_shown) else { return };
    let figures = [
        ("rcvbuf", sockets.rcvbuf.map(|count| count.to_string())),
        ("sndbuf", sockets.sndbuf.map(|count| count.to_string())),
        ("dscp", sockets.dscp.map(|count| count.to_string())),
        ("ttl", sockets.ttl.map(|count| count.to_string())),
        ("mss", sockets.mss.map(|count| count.to_string())),
        ("mptcp", sockets.mptcp.map(|is_on| if is_on { "yes" } else { "no" }.to_owned())),
        ("busy-poll", sockets.busy_poll_ns.map(time_text)),
        ("congestion", sockets.congestion.as_deref().map(one_line)),
    ];
    let figures =
        figures.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    page.entry("sockets", &figures.collect::<Vec<_>>().join(", "));
    let opened = |used: &BindUse| format!("{} from {}", count_text(used.opened), used.address);
    if !sockets.bind.is_empty() {
        let used: Vec<_> = sockets.bind.iter().map(opened).collect();
        page.entry("", &format!("opened {}", used.join(", ")));
    }
}

fn flow_noun(result: &RunResult) -> &'static str {
    let is_datagram = ["udp:", "unixgram:"].iter().any(|kind| result.endpoint.starts_with(kind));
    if is_datagram { "socket" } else { "connection" }
}

fn environment_text(result: &RunResult) -> String {
    let environment = &result.environment;
    let or_unknown = |text: &Option<String>| match text {
        Some(text) => one_line(text),
        None => "unknown".to_owned(),
    };
    let online = match environment.cpus_online {
        Some(count) => format!("{} online", counted(count, "CPU")),
        None => "number of CPUs unknown".to_owned(),
    };
    let allowed: Vec<String> = environment.cpus_allowed.iter().map(u64::to_string).collect();
    let place = if environment.loopback { "; loopback: no network is in the figures" } else { "" };
    let shared = if environment.shared_cpus {
        "; both ends may run on the same CPUs and take time from each other"
    } else {
        ""
    };
    format!(
        "{} on {}, {}, {}, allowed {}, governor {}, clock {}{place}{shared}",
        one_line(&result.program),
        one_line(&environment.kernel),
        or_unknown(&environment.cpu_model),
        online,
        allowed.join(","),
        or_unknown(&environment.governor),
        or_unknown(&environment.clock_source),
    )
}

fn assert_text(outcome: &Outcome) -> String {
    let held = if outcome.held { "held" } else { "NOT held" };
    let value = match outcome.value {
        Some(value) => match outcome.expression.parse::<Assertion>() {
            Ok(assertion) => value_text(value, assertion.unit()),
            Err(_) => value.to_string(),
        },
        None => "no value, or too few samples for one".to_owned(),
    };
    format!("{held}: {} ({value})", one_line(&outcome.expression))
}

/// Returns a value with its unit.
fn value_text(value: f64, unit: Unit) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float to integer cast saturates; no value is negative"
    )]
    let whole = value as u64;
    match unit {
        Unit::Time => time_text(whole),
        Unit::Rate => format!("{} per second", rate_text(value)),
        Unit::Percent => format!("{value:.4} %"),
        Unit::Count => count_text(whole),
        Unit::Verdict => {
            let name = usize::try_from(whole).ok().and_then(verdict_name);
            name.unwrap_or("unknown").to_owned()
        }
    }
}

#[cfg(test)]
mod tests;

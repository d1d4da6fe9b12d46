//! The report for people: the load, the results, and how far to trust them. Lines have at most 100
//! columns, or the columns of the terminal; only a single word that is longer exceeds them.

mod kernel;
mod page;
mod terminal;
mod times;

use std::fmt;

use self::kernel::kernel;
use self::page::{COLUMNS_MAX, Page};
use self::times::times;
use super::health_text;
use super::words::{bytes_text, count_text, counted, one_line, percent_text, rate_text, time_text};
use crate::measured::{
    Assertion, BindUse, Flows, Hiccups, LoadLoop, Messages, Mode, Outcome, Pacing, RunResult,
    Status, Unit, Verdict, verdict_name,
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

fn body(report: &RunResult, page: &mut Page) {
    if report.messages.sent > 0 {
        conditions(report, page);
        speed(report, page);
        times(report, page);
    }
    if report.messages.sent > 0 || report.flows != Flows::default() {
        outcome(report, page);
        trains(report, page);
        kernel(report, page);
        sockets(report, page);
        generator(report, page);
        page.entry("environment", &environment_text(report));
    }
    for warning in &report.warnings {
        page.entry("WARNING", &one_line(&warning.0));
    }
    for outcome in &report.asserts {
        page.entry("assert", &assert_text(outcome));
    }
}

fn head(report: &RunResult, page: &mut Page) {
    if !report.endpoint.is_empty() {
        let server = if report.embedded_server { " (a server in this process)" } else { "" };
        page.entry("endpoint", &format!("{}{server}", one_line(&report.endpoint)));
    }
    if let Some(label) = &report.label {
        page.entry("label", &one_line(label));
    }
}

/// Says why there is no run, or only a part of one.
fn fault(report: &RunResult, page: &mut Page) {
    let reason = report.error.as_deref().map(one_line);
    match (report.status, reason) {
        (Status::Ok, _) => {}
        (Status::Partial, reason) => {
            let reason = reason.unwrap_or_else(|| "the run ended early".to_owned());
            let is_whole = report.planned_ns.is_some_and(|planned| report.elapsed_ns >= planned);
            let less = match is_whole && report.load_made < 1.0 {
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

/// Says what load was made, how long it was measured, and what was left out.
fn conditions(report: &RunResult, page: &mut Page) {
    let size = format!("{} per message", counted(report.length, "byte"));
    let flows = counted(report.connections, flow_noun(report));
    let flight = match report.load_loop {
        LoadLoop::Closed => {
            let each = counted(report.depth, "message");
            let all = count_text(report.depth.saturating_mul(report.connections));
            format!("closed loop: {flows}, {each} in flight on each ({all} in all), {size}")
        }
        LoadLoop::Open => {
            let each = count_text(report.depth);
            let most = format!("at most {each} in flight on each");
            format!("open loop: sent by the clock over {flows}, {most}, {size}")
        }
    };
    page.entry("load", &flight);
    if report.mode == Mode::Connect {
        page.entry("", "every message is a connection: connect, one echo, close");
    }
    page.entry("measured", &time_text(report.elapsed_ns));
    let warmup = match report.warmup_ns {
        0 if report.warmup_messages == Messages::default() => "no warm-up".to_owned(),
        warmup_ns => format!(
            "the warm-up of {} before it ({})",
            time_text(warmup_ns),
            warmup_text(&report.warmup_messages)
        ),
    };
    let drain = match report.drain_ns {
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
fn rate_of(report: &RunResult) -> String {
    let unit = match report.mode {
        Mode::Echo => "messages",
        Mode::Connect => "connections",
    };
    let achieved = report.rate.achieved;
    let mut text = match report.rate.asked {
        Some(asked) => format!(
            "{} {unit} per second achieved of {} asked for ({})",
            rate_text(achieved),
            rate_text(asked),
            percent_text(achieved, asked)
        ),
        None => format!("{} {unit} per second achieved, no rate asked for", rate_text(achieved)),
    };
    if let Some(planned_ns) = report.planned_ns.filter(|planned_ns| *planned_ns > report.elapsed_ns)
    {
        let (over_planned, time) = (rate_text(report.rate.over_planned), time_text(planned_ns));
        text.push_str(&format!("; {over_planned} over the {time} asked for"));
    }
    text
}

fn speed(report: &RunResult, page: &mut Page) {
    page.entry("rate", &rate_of(report));
    let per_second = |bytes: u64| match report.elapsed_ns {
        0 => bytes_text(0.0),
        elapsed_ns => bytes_text(bytes as f64 * 1e9 / elapsed_ns as f64),
    };
    let sent = per_second(report.bytes.sent);
    let received = bytes_text(report.rate.achieved * report.length as f64);
    page.entry("throughput", &format!("{sent}/s sent, {received}/s received"));
}

fn outcome(report: &RunResult, page: &mut Page) {
    let Messages { late, duplicated, reordered, corrupted, .. } = report.messages;
    let [sent, received, lost, in_flight] = [
        report.messages.sent,
        report.messages.received,
        report.messages.lost,
        report.messages.in_flight_at_end,
    ]
    .map(count_text);
    let share = match report.messages {
        Messages { lost: 0, .. } => String::new(),
        Messages { lost, sent, .. } => format!(" ({})", percent_text(lost as f64, sent as f64)),
    };
    page.entry(
        "messages",
        &format!(
            "{sent} sent, {received} received, {lost} lost{share}, {in_flight} in flight at the end"
        ),
    );
    if report.messages.lost > 0 {
        let causes = report.losses.named();
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
    if let Some(difference) = &report.first_difference {
        page.entry("DIFFERENCE", &difference.to_string());
    }
    let Flows { opened, refused, reset, closed, timed_out, .. } = report.flows;
    let Flows { failed_locally, unreachable, reconnected, .. } = report.flows;
    page.entry(&format!("{}s", flow_noun(report)), &format!("{} opened", count_text(opened)));
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

fn generator(report: &RunResult, page: &mut Page) {
    let generator = &report.generator;
    let health = if generator.verdict == Verdict::Ok { "health" } else { "HEALTH" };
    page.entry(health, &health_text(report));
    let pacing = match generator.pacing {
        Pacing::None => "slept until an echo came",
        Pacing::Sleep => "slept until the next message was due",
        Pacing::Spin => "never slept, but polled, which is not in these figures",
        Pacing::Hybrid => {
            "slept, and when a message was nearly due polled, which is not in these figures"
        }
    };
    let waited = match generator.wait_share {
        Some(share) => {
            let share = percent_text(share, 1.0);
            format!("waited for a CPU {share} of the time, while other threads ran")
        }
        None => {
            "how long it waited for a CPU is unknown (no /proc/thread-self/schedstat)".to_owned()
        }
    };
    page.entry(
        "generator",
        &format!(
            "{} of a CPU, {} of CPU time per message; {waited}; it {pacing}; this process used {} \
             of CPU time in all",
            percent_text(generator.cpu_share, 1.0),
            time_text(generator.cpu_ns_per_message),
            time_text(generator.cpu_ns_process)
        ),
    );
    page.entry("hiccups", &hiccups_text(&report.hiccups));
    not_sent_in_time(report, page);
    if generator.saturated_values > 0 {
        let values = counted(generator.saturated_values, "time");
        page.entry("", &format!("{values} of more than an hour: counted as an hour"));
    }
    if generator.intervals_lost > 0 {
        let lines = counted(generator.intervals_lost, "interval line");
        page.entry("", &format!("{lines} dropped: stdout or a file took them too slowly"));
    }
}

/// Says how many messages waited for their connection, and how many were never sent.
fn not_sent_in_time(report: &RunResult, page: &mut Page) {
    let generator = &report.generator;
    if generator.held_back > 0 {
        page.entry(
            "held back",
            &format!(
                "{} {}",
                counted(generator.held_back, "message"),
                match report.load_loop {
                    LoadLoop::Open => {
                        "due while their connection was at its depth, or its socket was full: \
                         counted in the response time, not in the schedule lag"
                    }
                    LoadLoop::Closed => {
                        "waited because their socket was full: fewer were in flight than the \
                         depth allows"
                    }
                }
            ),
        );
    }
    if generator.unsent > 0 {
        page.entry(
            "UNSENT",
            &format!(
                "{} due but never sent, in no other figure: the connection was gone, or its \
                 socket stayed full",
                counted(generator.unsent, "message")
            ),
        );
    }
}

/// Says how often and for how long something kept the generator from running.
fn hiccups_text(hiccups: &Hiccups) -> String {
    let Hiccups { count, longest_ns, total_ns, lost, throttled_ns } = *hiccups;
    let mut text = match count {
        0 => "none of 10 ms or more".to_owned(),
        1 => format!("1: the generator could not run for {}", time_text(longest_ns)),
        _ => format!(
            "{}: the generator could not run for {} at a stretch, {} in all",
            count_text(count),
            time_text(longest_ns),
            time_text(total_ns)
        ),
    };
    if lost > 0 {
        let lost = counted(lost, "lost message");
        text.push_str(&format!("; {lost} in flight in a hiccup, which may be the cause"));
    }
    if let Some(throttled_ns @ 1..) = throttled_ns {
        let throttled = time_text(throttled_ns);
        text.push_str(&format!("; throttled for {throttled} by the CPU quota of its cgroup"));
    }
    text
}

/// Says how many datagrams went per system call, if trains were asked for.
fn trains(report: &RunResult, page: &mut Page) {
    let Some(trains) = report.trains.filter(|trains| trains.asked) else { return };
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
fn sockets(report: &RunResult, page: &mut Page) {
    let Some(sockets) = report.sockets.as_ref().filter(|sockets| sockets.is_shown) else { return };
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

fn flow_noun(report: &RunResult) -> &'static str {
    let is_datagram = ["udp:", "unixgram:"].iter().any(|kind| report.endpoint.starts_with(kind));
    if is_datagram { "socket" } else { "connection" }
}

fn environment_text(report: &RunResult) -> String {
    let environment = &report.environment;
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
        one_line(&report.program),
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

//! How far the generator itself can be trusted: its verdict, its CPU time and its hiccups.

use super::page::Page;
use super::{count_text, counted, flow_noun, percent_text, rate_text, time_text};
use crate::measured::{Hiccups, LoadLoop, Pacing, RunResult, Verdict};
use crate::report::health_text;

/// Writes how far the generator kept up, what it used, and what kept it from running.
pub(super) fn generator(result: &RunResult, page: &mut Page) {
    let generator = &result.generator;
    let health = if generator.was_limit() { "HEALTH" } else { "health" };
    page.entry(health, &health_text(result));
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
    loops(result, page);
    page.entry("hiccups", &hiccups_text(&result.hiccups));
    not_sent_in_time(result, page);
    if generator.saturated_values > 0 {
        let values = counted(generator.saturated_values, "time");
        page.entry("", &format!("{values} of more than an hour: counted as an hour"));
    }
    if generator.intervals_lost > 0 {
        let lines = counted(generator.intervals_lost, "interval line");
        page.entry("", &format!("{lines} dropped: stdout or a file took them too slowly"));
    }
}

/// Writes a row for each of several loops. A merged result has a row for each part instead.
fn loops(result: &RunResult, page: &mut Page) {
    if result.loops.len() < 2 || !result.parts.is_empty() {
        return;
    }
    let flows = format!("{}s", flow_noun(result));
    let titles = [flows.as_str(), "per second", "p99", "CPU", "health"];
    page.row("loops", titles.map(str::to_owned).into_iter());
    for (number, own) in (1..).zip(&result.loops) {
        let p99 = own.latency_ns.percentile("99").map_or_else(|| "-".to_owned(), time_text);
        let cells = [
            count_text(own.connections),
            rate_text(own.rate.achieved),
            p99,
            percent_text(own.cpu_share, 1.0),
            own.verdict.map_or("-", Verdict::name).to_owned(),
        ];
        page.row(&format!("  {number}"), cells.into_iter());
    }
}

/// Says how many messages waited for their connection, and how many were never sent.
fn not_sent_in_time(result: &RunResult, page: &mut Page) {
    let generator = &result.generator;
    if generator.held_back > 0 {
        page.entry(
            "held back",
            &format!(
                "{} {}",
                counted(generator.held_back, "message"),
                match result.load_loop {
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

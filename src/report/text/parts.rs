//! The parts of a merged result, a line each.

use super::page::Page;
use super::{count_text, counted, flow_noun, one_line, rate_text, time_text};
use crate::measured::{Part, RunResult, Status, Verdict};

/// Writes a line for each part. A result of one run has none.
pub(super) fn parts(result: &RunResult, page: &mut Page) {
    for (place, part) in result.parts.iter().enumerate() {
        page.entry(if place == 0 { "parts" } else { "" }, &part_text(part, flow_noun(result)));
    }
}

fn part_text(part: &Part, flow_noun: &str) -> String {
    let name = match one_line(&part.host) {
        host if host.is_empty() => one_line(&part.run.part),
        host => format!("{} on {host}", one_line(&part.run.part)),
    };
    if part.status == Status::Error {
        let why = part.error.as_deref().unwrap_or("it failed");
        return format!("{name}: {}", one_line(why));
    }
    let p99 = match part.latency_ns.percentile("99") {
        Some(p99) => format!("p99 {}", time_text(p99)),
        None => "too few for a p99".to_owned(),
    };
    let ending = match (part.status, part.error.as_deref()) {
        (Status::Partial, Some(why)) => format!("; partial: {}", one_line(why)),
        _ => String::new(),
    };
    format!(
        "{name}: {} per second over {}, {} lost, {p99}, max {}, generator {}{ending}",
        rate_text(part.rate.achieved),
        counted(part.connections, flow_noun),
        count_text(part.messages.lost),
        time_text(part.latency_ns.max),
        part.verdict.map_or("without a verdict", Verdict::name)
    )
}

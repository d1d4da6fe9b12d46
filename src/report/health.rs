//! The generator's health in words.

use super::words::{percent_text, rate_text, time_text};
use crate::measured::{
    GeneratorHealth, Hiccups, LoadLoop, OFFERED_SHARE_MIN, RunResult, Signs, Verdict,
};

/// From this share of a CPU on, the text says how near the generator was to its limit: a server
/// that is faster by a few percent would not show.
const CPU_SHARE_HIGH: f64 = 0.8;

/// Returns the verdict in one sentence.
pub fn health_text(result: &RunResult) -> String {
    let generator = &result.generator;
    match generator.verdict {
        None => "nothing was measured".to_owned(),
        Some(Verdict::Ok) if result.messages.sent == 0 => "nothing was measured".to_owned(),
        Some(Verdict::Ok) => ok_text(result),
        Some(Verdict::Starved) => format!(
            "the generator, not the server, was the limit: it was kept from running ({}); the rate \
             and the response times include its own delay",
            starved_text(&Signs::of(result))
        ),
        Some(Verdict::Saturated) => format!(
            "the generator, not the server, was the limit: it used {} of a CPU{}; the server \
             may be faster than shown",
            percent_text(generator.cpu_share, 1.0),
            match generator.wait_share {
                Some(share) => {
                    format!(" and waited for one {} of the time", percent_text(share, 1.0))
                }
                None => String::new(),
            }
        ),
        Some(Verdict::Behind) => format!(
            "the generator, not the server, was the limit: it {}{}; the response times \
             include its own delay",
            late_text(generator),
            asked_text(result)
        ),
    }
}

fn ok_text(result: &RunResult) -> String {
    let cpu_share = result.generator.cpu_share;
    let is_busy = cpu_share >= CPU_SHARE_HIGH;
    let cpu_text = match is_busy {
        true => format!(
            "near its limit: the generator used {} of a CPU, so a faster server would hardly show",
            percent_text(cpu_share, 1.0)
        ),
        false => "the generator had CPU time to spare".to_owned(),
    };
    let mut text = match result.load_loop {
        LoadLoop::Closed => format!("ok: {cpu_text}"),
        LoadLoop::Open if is_held_back(result) => {
            format!("ok: {cpu_text}; the rate was not reached because the connections took no more")
        }
        LoadLoop::Open => "ok: the generator kept its schedule".to_owned(),
    };
    if result.generator.wait_share.is_none() {
        text.push_str(
            ", as far as it can tell: the system does not say how long it waited for a CPU",
        );
    }
    text
}

/// Names what kept the generator from running.
fn starved_text(signs: &Signs<'_>) -> String {
    let mut reasons = Vec::new();
    let Hiccups { longest_ns, total_ns, throttled_ns, .. } = signs.hiccups;
    if signs.is_halted() {
        reasons.push(format!(
            "it stood still for {} at a stretch, {} in all",
            time_text(longest_ns),
            time_text(total_ns)
        ));
    }
    if signs.is_throttled() {
        let throttled = time_text(throttled_ns.unwrap_or_default());
        reasons.push(format!("the CPU quota of its cgroup throttled it for {throttled}"));
    }
    if signs.has_waited() {
        reasons.push(format!(
            "it waited for a CPU {} of the time, {} each time on average",
            percent_text(signs.wait_share.unwrap_or_default(), 1.0),
            time_text(signs.wait_ns_mean.unwrap_or_default())
        ));
    }
    reasons.join("; ")
}

/// Returns true if the run missed the rate asked for while connections held messages back.
fn is_held_back(result: &RunResult) -> bool {
    let asked = result.rate.asked.unwrap_or(0.0);
    result.generator.held_back > 0 && result.rate.achieved < OFFERED_SHARE_MIN * asked
}

fn late_text(generator: &GeneratorHealth) -> String {
    let lag = generator.schedule_lag_ns.as_ref().map(|lag| &lag.summary);
    match lag.and_then(|lag| lag.percentile("99").map(|p99| (p99, lag.max))) {
        Some((p99, max)) => format!(
            "sent messages late (schedule lag p99 {}, max {})",
            time_text(p99),
            time_text(max)
        ),
        None => match lag.filter(|lag| lag.count > 0) {
            Some(lag) => format!("sent messages late (schedule lag max {})", time_text(lag.max)),
            None => "sent messages late".to_owned(),
        },
    }
}

fn asked_text(result: &RunResult) -> String {
    match result.rate.asked {
        Some(asked) => format!(" when asked for {} per second", rate_text(asked)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::samples;

    /// cases B14 and B15
    #[test]
    fn the_text_names_what_kept_the_generator_from_running() {
        let mut result = samples::closed_run();
        result.generator.verdict = Some(Verdict::Starved);
        result.hiccups = Hiccups {
            count: 1,
            longest_ns: 1_200_000_000,
            total_ns: 1_200_000_000,
            ..Hiccups::default()
        };
        let text = health_text(&result);
        assert!(
            text.contains("(it stood still for 1.20 s at a stretch, 1.20 s in all);"),
            "{text}"
        );
        result.hiccups = Hiccups { throttled_ns: Some(2_400_000_000), ..Hiccups::default() };
        result.generator.wait_share = Some(0.79);
        result.generator.wait_ns_mean = Some(40_000_000);
        let text = health_text(&result);
        let quota = "the CPU quota of its cgroup throttled it for 2.40 s";
        let wait = "it waited for a CPU 79.00 % of the time, 40.0 ms each time on average";
        assert!(text.contains(&format!("({quota}; {wait});")), "{text}");
    }

    /// case B14
    #[test]
    fn a_generator_at_94_percent_has_no_time_to_spare() {
        let mut result = samples::closed_run();
        result.generator.cpu_share = 0.94;
        let text = health_text(&result);
        assert!(text.starts_with("ok: near its limit: the generator used 94.00 % of"), "{text}");
        result.generator.wait_share = None;
        assert!(health_text(&result).ends_with("how long it waited for a CPU"));
    }

    /// case B2
    #[test]
    fn the_text_does_not_blame_the_server() {
        for verdict in [Verdict::Saturated, Verdict::Starved, Verdict::Behind] {
            let mut result = samples::open_run();
            result.generator.verdict = Some(verdict);
            let text = health_text(&result);
            assert!(text.starts_with("the generator, not the server, was the limit: "), "{text}");
            result.generator.schedule_lag_ns = None;
            assert!(!health_text(&result).contains("lag"));
        }
        assert_eq!(health_text(&samples::open_run()), "ok: the generator kept its schedule");
    }

    /// case B2: a schedule of which half was never sent does not count as kept.
    #[test]
    fn a_rate_that_connections_held_back_is_not_called_a_kept_schedule() {
        let mut result = samples::open_run();
        result.generator.held_back = 1;
        assert_eq!(health_text(&result), "ok: the generator kept its schedule");
        result.rate.achieved = result.rate.asked.unwrap_or_default() / 2.0;
        assert!(health_text(&result).ends_with("the connections took no more"));
    }
}

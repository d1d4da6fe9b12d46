//! Whether the figures are the server's, or those of the generator's own limit.

use super::words::{percent_text, rate_text, time_text};
use super::{Distribution, Generator, LoadLoop, Report, Verdict};

/// Later than this at p99 is behind the schedule. A sleep of the system is late by some 50 us, a
/// millisecond of epoll_wait(2) by up to one: what is beyond it was not sleep.
const SCHEDULE_LAG_P99_NS_MAX: u64 = 1_000_000;

/// Fewer than this share of the messages due is behind the schedule: below it the rate of the
/// report would be another than the one that was asked for, by more than it is read to.
const OFFERED_SHARE_MIN: f64 = 0.99;

/// From this share of a processor on, nothing was left: the rest is the noise of its measurement
/// and of interrupts.
const CPU_SHARE_MAX: f64 = 0.95;

/// What the generator's health is judged by. Messages of the warm-up are not in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs<'a> {
    /// How late each message was sent by the generator's own fault, in an open loop.
    pub schedule_lag: Option<&'a Distribution>,
    /// Messages whose time to be sent came, in an open loop; 0 in a closed one.
    pub due: u64,
    /// Those of them that were sent, or would have been had the peer taken them.
    pub offered: u64,
    /// The share of one processor that it used, without polling that found nothing.
    pub cpu_share: f64,
    /// The share of the time in which it could have run, and others did.
    pub wait_share: f64,
}

impl Verdict {
    /// Judges. One that sent late is [`Behind`](Verdict::Behind) whatever the reason; one that kept
    /// its schedule, or has none, is [`Saturated`](Verdict::Saturated) when no processor time was
    /// left.
    ///
    /// ```
    /// use resound::report::{Signs, Verdict};
    ///
    /// let kept = Signs { due: 1_000, offered: 1_000, cpu_share: 0.4, ..Signs::default() };
    /// assert_eq!(Verdict::of(&kept), Verdict::Ok);
    /// assert_eq!(Verdict::of(&Signs { offered: 900, ..kept }), Verdict::Behind);
    /// assert_eq!(Verdict::of(&Signs { cpu_share: 0.99, ..kept }), Verdict::Saturated);
    /// ```
    pub fn of(signs: &Signs<'_>) -> Verdict {
        // Of few samples too: p99 is then the latest, and a message that went late is a fact.
        let lag_p99 = |lag: &Distribution| lag.histogram().value_at_percentile(99.0);
        let is_late = signs.schedule_lag.map_or(0, lag_p99) > SCHEDULE_LAG_P99_NS_MAX;
        let is_short = (signs.offered as f64) < OFFERED_SHARE_MIN * signs.due as f64;
        if is_late || is_short {
            Verdict::Behind
        } else if signs.cpu_share + signs.wait_share >= CPU_SHARE_MAX {
            Verdict::Saturated
        } else {
            Verdict::Ok
        }
    }
}

/// The verdict in plain words, one sentence.
pub fn health_text(report: &Report) -> String {
    let generator = &report.generator;
    match generator.verdict {
        Verdict::Ok if report.messages.sent == 0 => "nothing was measured".to_owned(),
        Verdict::Ok => match report.load_loop {
            LoadLoop::Closed => "ok: the generator had processor time to spare".to_owned(),
            LoadLoop::Open if is_held_back(report) => {
                "ok: the generator had processor time to spare; the rate was not reached because \
                 the connections took no more"
                    .to_owned()
            }
            LoadLoop::Open => "ok: the generator kept its schedule".to_owned(),
        },
        Verdict::Saturated => format!(
            "the generator, not the server, was the limit: it used {} of a processor and waited \
             for one {} of the time; the server may be faster than shown",
            percent_text(generator.cpu_share, 1.0),
            percent_text(generator.wait_share, 1.0)
        ),
        Verdict::Behind => format!(
            "the generator, not the server, was the limit: it {}{}; the response times hold its \
             own delay",
            late_text(generator),
            asked_text(report)
        ),
    }
}

/// Whether the rate asked for was missed while connections held messages back.
fn is_held_back(report: &Report) -> bool {
    let asked = report.rate.asked.unwrap_or(0.0);
    report.generator.held_back > 0 && report.rate.achieved < OFFERED_SHARE_MIN * asked
}

fn late_text(generator: &Generator) -> String {
    let lag = generator.schedule_lag_ns.as_ref();
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

fn asked_text(report: &Report) -> String {
    match report.rate.asked {
        Some(asked) => format!(" when asked for {} a second", rate_text(asked)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn lag_of(values_ns: &[u64]) -> Distribution {
        let mut lag = Distribution::new();
        values_ns.iter().for_each(|value| lag.record(*value));
        lag
    }

    /// case B2
    #[test]
    fn a_generator_that_sends_late_is_behind_even_with_time_to_spare() {
        let late = lag_of(&[2_000_000; 50]);
        let signs = Signs { schedule_lag: Some(&late), due: 50, offered: 50, ..Signs::default() };
        assert_eq!(Verdict::of(&signs), Verdict::Behind);
        assert_eq!(Verdict::of(&Signs { cpu_share: 1.0, ..signs }), Verdict::Behind);
    }

    #[test]
    fn one_late_message_of_a_thousand_is_not_behind() {
        let mut lags = vec![60_000; 999];
        lags.push(5_000_000);
        let lag = lag_of(&lags);
        let signs =
            Signs { schedule_lag: Some(&lag), due: 1_000, offered: 1_000, ..Signs::default() };
        assert_eq!(Verdict::of(&signs), Verdict::Ok);
    }

    /// case B2
    #[test]
    fn a_generator_that_leaves_messages_unsent_is_behind() {
        let signs = Signs { due: 1_000, offered: 989, ..Signs::default() };
        assert_eq!(Verdict::of(&signs), Verdict::Behind);
        assert_eq!(Verdict::of(&Signs { offered: 990, ..signs }), Verdict::Ok);
    }

    #[test]
    fn a_closed_loop_without_time_left_is_saturated() {
        let signs = Signs { cpu_share: 0.95, ..Signs::default() };
        assert_eq!(Verdict::of(&signs), Verdict::Saturated);
        let starved = Signs { cpu_share: 0.2, wait_share: 0.8, ..Signs::default() };
        assert_eq!(Verdict::of(&starved), Verdict::Saturated, "others had the processor");
        assert_eq!(Verdict::of(&Signs::default()), Verdict::Ok);
    }

    /// case B2
    #[test]
    fn the_words_do_not_blame_the_server() {
        for verdict in [Verdict::Saturated, Verdict::Behind] {
            let mut report = samples::open_run();
            report.generator.verdict = verdict;
            let text = health_text(&report);
            assert!(text.starts_with("the generator, not the server, was the limit: "), "{text}");
            report.generator.schedule_lag_ns = None;
            assert!(!health_text(&report).contains("lag"));
        }
        assert_eq!(health_text(&samples::open_run()), "ok: the generator kept its schedule");
    }

    /// case B2: nor is a schedule said to be kept of which most was never sent.
    #[test]
    fn a_rate_that_connections_held_back_is_not_called_a_schedule_kept() {
        let mut report = samples::open_run();
        report.generator.held_back = 1;
        assert_eq!(health_text(&report), "ok: the generator kept its schedule");
        report.rate.achieved = report.rate.asked.unwrap_or_default() / 2.0;
        assert!(health_text(&report).ends_with("the connections took no more"));
    }
}

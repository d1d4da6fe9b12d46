//! Whether the figures are the server's, or those of the generator's own limit.

use super::words::{percent_text, rate_text, time_text};
use super::{Distribution, Generator, Hiccups, LoadLoop, Percentile, Report, Verdict};

/// Later than this at p99 is behind the schedule. A sleep of the system is late by some 50 us, a
/// millisecond of epoll_wait(2) by up to one: what is beyond it was not sleep.
const SCHEDULE_LAG_P99_NS_MAX: u64 = 1_000_000;

/// Fewer than this share of the messages due is behind the schedule: below it the rate of the
/// report would be another than the one that was asked for, by more than it is read to.
const OFFERED_SHARE_MIN: f64 = 0.99;

/// From this share of a processor on, nothing was left: the rest is the noise of its measurement
/// and of interrupts.
const CPU_SHARE_MAX: f64 = 0.95;

/// From this share of a processor on, it is said how near the generator was to its limit: a server
/// that is faster by a few percent would not show.
const CPU_SHARE_HIGH: f64 = 0.8;

/// One hiccup of this length means that the generator stood still: no scheduler keeps a thread
/// waiting so long on a machine that is not overloaded, and the greatest times are the generator's.
const HICCUP_NS_MAX: u64 = 50_000_000;

/// Hiccups, or throttling, of this share of the time change the rate by more than it is read to.
const HALTED_SHARE_MAX: f64 = 0.01;

/// Waiting for a processor for this share of the time makes echoes wait as well.
const WAIT_SHARE_MAX: f64 = 0.1;

/// A thread that waits this long in the mean each time before it runs shares its processor with
/// threads that use up their slices. On an idle processor it waits for some 50 us.
const WAIT_NS_MEAN_MAX: u64 = 1_000_000;

/// Below this share of the time, waiting is not judged by its mean: a few unlucky waits of a short
/// or slow run are no figure.
const WAIT_SHARE_MIN: f64 = 0.03;

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
    /// The share of the time in which it could have run, and others did; `None` if unknown.
    pub wait_share: Option<f64>,
    /// How long it waited each time before it ran, in the mean; `None` if unknown.
    pub wait_ns_mean: Option<u64>,
    /// What kept it from running.
    pub hiccups: Hiccups,
    /// How long was measured.
    pub elapsed_ns: u64,
}

impl Verdict {
    /// Judges. One that sent late is [`Behind`](Verdict::Behind) whatever the reason; one that kept
    /// its schedule, or has none, is [`Starved`](Verdict::Starved) when it was kept from running,
    /// and else [`Saturated`](Verdict::Saturated) when no processor time was left.
    ///
    /// ```
    /// use resound::report::{Signs, Verdict};
    ///
    /// let kept = Signs { due: 1_000, offered: 1_000, cpu_share: 0.4, ..Signs::default() };
    /// assert_eq!(Verdict::of(&kept), Verdict::Ok);
    /// assert_eq!(Verdict::of(&Signs { offered: 900, ..kept }), Verdict::Behind);
    /// assert_eq!(Verdict::of(&Signs { cpu_share: 0.99, ..kept }), Verdict::Saturated);
    /// assert_eq!(Verdict::of(&Signs { wait_share: Some(0.5), ..kept }), Verdict::Starved);
    /// ```
    pub fn of(signs: &Signs<'_>) -> Verdict {
        // Of few samples too: p99 is then the latest, and a message that went late is a fact.
        let lag_p99 = |lag: &Distribution| lag.value_at(Percentile::P99);
        let is_late = signs.schedule_lag.map_or(0, lag_p99) > SCHEDULE_LAG_P99_NS_MAX;
        let is_short = (signs.offered as f64) < OFFERED_SHARE_MIN * signs.due as f64;
        if is_late || is_short {
            Verdict::Behind
        } else if signs.is_halted() || signs.is_throttled() || signs.has_waited() {
            Verdict::Starved
        } else if signs.cpu_share + signs.wait_share.unwrap_or(0.0) >= CPU_SHARE_MAX {
            Verdict::Saturated
        } else {
            Verdict::Ok
        }
    }
}

impl Signs<'_> {
    fn is_halted(&self) -> bool {
        let Hiccups { longest_ns, total_ns, .. } = self.hiccups;
        longest_ns >= HICCUP_NS_MAX || self.is_large_part(total_ns)
    }

    fn is_throttled(&self) -> bool {
        self.hiccups.throttled_ns.is_some_and(|throttled_ns| self.is_large_part(throttled_ns))
    }

    fn has_waited(&self) -> bool {
        let share = self.wait_share.unwrap_or(0.0);
        let is_mean_long = self.wait_ns_mean.is_some_and(|mean_ns| mean_ns >= WAIT_NS_MEAN_MAX);
        share >= WAIT_SHARE_MAX || (share >= WAIT_SHARE_MIN && is_mean_long)
    }

    fn is_large_part(&self, part_ns: u64) -> bool {
        part_ns > 0 && part_ns as f64 >= HALTED_SHARE_MAX * self.elapsed_ns as f64
    }
}

/// What the judgement of a report rests on, without the schedule.
fn signs_of(report: &Report) -> Signs<'static> {
    Signs {
        cpu_share: report.generator.cpu_share,
        wait_share: report.generator.wait_share,
        wait_ns_mean: report.generator.wait_ns_mean,
        hiccups: report.hiccups,
        elapsed_ns: report.elapsed_ns,
        ..Signs::default()
    }
}

/// The verdict in plain words, one sentence.
pub fn health_text(report: &Report) -> String {
    let generator = &report.generator;
    match generator.verdict {
        Verdict::Ok if report.messages.sent == 0 => "nothing was measured".to_owned(),
        Verdict::Ok => ok_text(report),
        Verdict::Starved => format!(
            "the generator, not the server, was the limit: it was kept from running ({}); rate and \
             response times hold its own delay",
            starved_text(&signs_of(report))
        ),
        Verdict::Saturated => format!(
            "the generator, not the server, was the limit: it used {} of a processor{}; the server \
             may be faster than shown",
            percent_text(generator.cpu_share, 1.0),
            match generator.wait_share {
                Some(share) => {
                    format!(" and waited for one {} of the time", percent_text(share, 1.0))
                }
                None => String::new(),
            }
        ),
        Verdict::Behind => format!(
            "the generator, not the server, was the limit: it {}{}; the response times hold its \
             own delay",
            late_text(generator),
            asked_text(report)
        ),
    }
}

fn ok_text(report: &Report) -> String {
    let cpu_share = report.generator.cpu_share;
    let is_busy = cpu_share >= CPU_SHARE_HIGH;
    let processor = match is_busy {
        true => format!(
            "near its limit: the generator used {} of a processor, and a faster server would \
             hardly show",
            percent_text(cpu_share, 1.0)
        ),
        false => "the generator had processor time to spare".to_owned(),
    };
    let mut text = match report.load_loop {
        LoadLoop::Closed => format!("ok: {processor}"),
        LoadLoop::Open if is_held_back(report) => format!(
            "ok: {processor}; the rate was not reached because the connections took no more"
        ),
        LoadLoop::Open => "ok: the generator kept its schedule".to_owned(),
    };
    if report.generator.wait_share.is_none() {
        text.push_str(
            ", as far as it can tell: the system does not say how long it waited for a processor",
        );
    }
    text
}

/// What kept the generator from running.
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
            "it waited for a processor {} of the time, {} each time in the mean",
            percent_text(signs.wait_share.unwrap_or_default(), 1.0),
            time_text(signs.wait_ns_mean.unwrap_or_default())
        ));
    }
    reasons.join("; ")
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
        let crowded = Signs { cpu_share: 0.9, wait_share: Some(0.06), ..Signs::default() };
        assert_eq!(Verdict::of(&crowded), Verdict::Saturated);
        assert_eq!(Verdict::of(&Signs::default()), Verdict::Ok);
    }

    /// case B14
    #[test]
    fn waiting_alone_starves_a_generator() {
        let of = |wait_share, wait_ns_mean| {
            let (wait_share, wait_ns_mean) = (Some(wait_share), Some(wait_ns_mean));
            Verdict::of(&Signs { cpu_share: 0.1, wait_share, wait_ns_mean, ..Signs::default() })
        };
        assert_eq!(of(0.10, 0), Verdict::Starved);
        assert_eq!(of(0.09, 999_999), Verdict::Ok);
        assert_eq!(of(0.03, 1_000_000), Verdict::Starved, "a neighbour uses up its slices");
        assert_eq!(of(0.029, 2_000_000), Verdict::Ok, "it hardly ever waited");
        assert_eq!(Verdict::of(&Signs { cpu_share: 0.1, ..Signs::default() }), Verdict::Ok);
    }

    /// cases B14 and B15
    #[test]
    fn a_halt_and_a_quota_starve_a_generator() {
        let of = |hiccups| {
            Verdict::of(&Signs { hiccups, elapsed_ns: 10_000_000_000, ..Signs::default() })
        };
        let halted = |longest_ns, total_ns| {
            of(Hiccups { count: 1, longest_ns, total_ns, ..Hiccups::default() })
        };
        assert_eq!(halted(49_999_999, 49_999_999), Verdict::Ok);
        assert_eq!(halted(50_000_000, 50_000_000), Verdict::Starved);
        assert_eq!(halted(10_000_000, 100_000_000), Verdict::Starved);
        let throttled = |time_ns| of(Hiccups { throttled_ns: Some(time_ns), ..Hiccups::default() });
        assert_eq!(throttled(99_999_999), Verdict::Ok);
        assert_eq!(throttled(100_000_000), Verdict::Starved);
        let nothing = Signs {
            hiccups: Hiccups { throttled_ns: Some(0), ..Hiccups::default() },
            ..Signs::default()
        };
        assert_eq!(Verdict::of(&nothing), Verdict::Ok, "nothing was measured");
    }

    /// cases B14 and B15
    #[test]
    fn the_words_name_what_kept_the_generator_from_running() {
        let mut report = samples::closed_run();
        report.generator.verdict = Verdict::Starved;
        report.hiccups = Hiccups {
            count: 1,
            longest_ns: 1_200_000_000,
            total_ns: 1_200_000_000,
            ..Hiccups::default()
        };
        let text = health_text(&report);
        assert!(
            text.contains("(it stood still for 1.20 s at a stretch, 1.20 s in all);"),
            "{text}"
        );
        report.hiccups = Hiccups { throttled_ns: Some(2_400_000_000), ..Hiccups::default() };
        report.generator.wait_share = Some(0.79);
        report.generator.wait_ns_mean = Some(40_000_000);
        let text = health_text(&report);
        let quota = "the CPU quota of its cgroup throttled it for 2.40 s";
        let wait = "it waited for a processor 79.00 % of the time, 40.0 ms each time in the mean";
        assert!(text.contains(&format!("({quota}; {wait});")), "{text}");
    }

    /// case B14
    #[test]
    fn a_generator_at_94_percent_has_no_time_to_spare() {
        let mut report = samples::closed_run();
        report.generator.cpu_share = 0.94;
        let text = health_text(&report);
        assert!(text.starts_with("ok: near its limit: the generator used 94.00 % of"), "{text}");
        report.generator.wait_share = None;
        assert!(health_text(&report).ends_with("how long it waited for a processor"));
    }

    /// case B2
    #[test]
    fn the_words_do_not_blame_the_server() {
        for verdict in [Verdict::Saturated, Verdict::Starved, Verdict::Behind] {
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

//! Whether the figures are the server's, or those of the generator's own limit.

use serde::Serialize;

use super::{Distribution, LoadLoop, Percentile, RunResult, Times, finite};

/// Later than this at p99 is behind the schedule. A sleep of the system is late by some 50 us, a
/// millisecond of epoll_wait(2) by up to one: what is beyond it was not sleep.
const SCHEDULE_LAG_P99_NS_MAX: u64 = 1_000_000;

/// Fewer than this share of the messages due is behind the schedule: below it the rate of the
/// report would be another than the one that was asked for, by more than it is read to.
pub(crate) const OFFERED_SHARE_MIN: f64 = 0.99;

/// From this share of a processor on, nothing was left: the rest is the noise of its measurement
/// and of interrupts.
const CPU_SHARE_MAX: f64 = 0.95;

/// One hiccup of this length means that the generator stood still: no scheduler keeps a thread
/// waiting so long on a machine that is not overloaded, and the greatest times are the generator's.
const HICCUP_NS_MAX: u64 = 50_000_000;

/// Hiccups, or throttling, of this share of the time change the rate by more than it is read to.
const HALTED_SHARE_MAX: f64 = 0.01;

/// From this share of the time on in which the generator ran or waited to run, a rate that was not
/// reached is put down to it.
const BUSY_SHARE_MIN: f64 = 0.9;

/// Waiting for a processor for this share of the time makes echoes wait as well.
const WAIT_SHARE_MAX: f64 = 0.1;

/// A thread that waits this long in the mean each time before it runs shares its processor with
/// threads that use up their slices. On an idle processor it waits for some 50 us.
const WAIT_NS_MEAN_MAX: u64 = 1_000_000;

/// Below this share of the time, waiting is not judged by its mean: a few unlucky waits of a short
/// or slow run are no figure.
const WAIT_SHARE_MIN: f64 = 0.03;

/// The generator's own health.
#[derive(Clone, Debug, Default, Serialize)]
pub struct GeneratorHealth {
    /// Whether the figures are the server's, or those of the generator's own limit.
    pub verdict: Verdict,
    /// How late messages were sent by the generator's own fault, in an open loop. A message that
    /// the peer would not take, or whose connection had too many in flight, is not in it.
    pub schedule_lag_ns: Option<Times>,
    /// Messages of an open loop that were due while their connection could not take them; of a
    /// closed loop, those that waited because their socket took no more.
    pub held_back: u64,
    /// Messages that were due, or in a closed loop asked for, and were never sent: the connection
    /// was gone, or took no more to the end. They are in no other figure.
    pub unsent: u64,
    /// The share of one processor that the generator's thread used while measuring, without the
    /// polling that found nothing: 1 is all of it.
    #[serde(serialize_with = "finite::finite")]
    pub cpu_share: f64,
    /// The share of the time in which the generator's thread could have run, and others did; null
    /// where the system does not say.
    #[serde(serialize_with = "finite::finite_or_null")]
    pub wait_share: Option<f64>,
    /// How long the thread waited for a processor each time before it ran, in the mean; null where
    /// the system does not say.
    pub wait_ns_mean: Option<u64>,
    /// Processor time of the generator's thread a message, without polling that found nothing.
    pub cpu_ns_per_message: u64,
    /// Processor time of the whole process since it started.
    pub cpu_ns_process: u64,
    /// How it waited for the time to send.
    pub pacing: Pacing,
    /// Values that were beyond the histogram, and count as its highest.
    pub saturated_values: u64,
    /// Lines of interval results that were lost because stdout or a file took them too slowly.
    pub intervals_lost: u64,
}

/// Times of 10 ms and more in which the generator's thread neither ran nor slept by its own will:
/// the process was stopped, its machine paused, its cgroup throttled, or its processor busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hiccups {
    /// How many.
    pub count: u64,
    /// The longest.
    pub longest_ns: u64,
    /// All together.
    pub total_ns: u64,
    /// Measured messages that were under way in one of them and are lost: their echoes may have
    /// come while the generator could not read them.
    pub lost: u64,
    /// How long the CPU quota of the process's own cgroup kept its threads from running, added up
    /// over its processors; null where the system does not say.
    pub throttled_ns: Option<u64>,
}

/// How the generator waits for the time to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pacing {
    #[default]
    /// No schedule: it sleeps until an echo comes.
    None,
    /// It sleeps until the next message is due, to the millisecond.
    Sleep,
    /// It never sleeps.
    Spin,
    /// It sleeps while there is time and polls without sleeping when there is little.
    Hybrid,
}

/// Who set the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    #[default]
    /// The generator had time to spare and kept its schedule.
    Ok,
    /// The generator was kept from running: what it measured holds its own delay.
    Starved,
    /// The generator had no processor time left: the server may be faster than shown.
    Saturated,
    /// The generator sent later than was asked.
    Behind,
}

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
    /// use resound::measured::{Signs, Verdict};
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
    /// Those of a run.
    pub fn of(report: &RunResult) -> Signs<'_> {
        let generator = &report.generator;
        let (cpu_share, wait_share) = (generator.cpu_share, generator.wait_share);
        let sent = report.messages.sent;
        let due = match report.load_loop {
            LoadLoop::Open => sent + generator.unsent,
            LoadLoop::Closed => 0,
        };
        // One with time to spare waited for its connections: that is not its own doing.
        let is_busy = cpu_share + wait_share.unwrap_or(0.0) >= BUSY_SHARE_MIN;
        Signs {
            schedule_lag: generator.schedule_lag_ns.as_ref().map(|lag| &lag.values),
            due,
            offered: if is_busy { sent } else { due },
            cpu_share,
            wait_share,
            wait_ns_mean: generator.wait_ns_mean,
            hiccups: report.hiccups,
            elapsed_ns: report.elapsed_ns,
        }
    }

    pub(crate) fn is_halted(&self) -> bool {
        let Hiccups { longest_ns, total_ns, .. } = self.hiccups;
        longest_ns >= HICCUP_NS_MAX || self.is_large_part(total_ns)
    }

    pub(crate) fn is_throttled(&self) -> bool {
        self.hiccups.throttled_ns.is_some_and(|throttled_ns| self.is_large_part(throttled_ns))
    }

    pub(crate) fn has_waited(&self) -> bool {
        let share = self.wait_share.unwrap_or(0.0);
        let is_mean_long = self.wait_ns_mean.is_some_and(|mean_ns| mean_ns >= WAIT_NS_MEAN_MAX);
        share >= WAIT_SHARE_MAX || (share >= WAIT_SHARE_MIN && is_mean_long)
    }

    fn is_large_part(&self, part_ns: u64) -> bool {
        part_ns > 0 && part_ns as f64 >= HALTED_SHARE_MAX * self.elapsed_ns as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

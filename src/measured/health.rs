//! Judges whether a limit of the generator distorts the figures.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Distribution, LoadLoop, RunResult, Times, finite};

/// A message with a greater lag is late. The system wakes a sleeper some 50 us late, and
/// epoll_wait(2) up to 1 ms late; a greater lag does not come from sleeping.
const SCHEDULE_LAG_NS_MAX: u64 = 1_000_000;

/// A generator is behind its schedule if more than one message in this many is late: then its lag
/// at p99 is beyond the bound.
const MESSAGES_PER_LATE: u64 = 100;

/// So many late messages may be chance, as for a percentile with fewer samples beyond it. Of fewer
/// than twice as many messages, half may be.
const LATE_BY_CHANCE_MAX: u64 = 10;

/// A generator that sends a smaller share of the due messages is behind its schedule: the rate
/// would then visibly differ from the rate asked for.
pub(crate) const OFFERED_SHARE_MIN: f64 = 0.99;

/// From this share of a CPU on, no CPU time was left. The rest is measurement noise and interrupts.
const CPU_SHARE_MAX: f64 = 0.95;

/// A hiccup of this length means that the generator stood still: no scheduler lets a thread wait so
/// long on a machine that is not overloaded. The longest times are then the generator's own.
const HICCUP_NS_MAX: u64 = 50_000_000;

/// Hiccups, or throttling, for this share of the time visibly change the rate.
const HALTED_SHARE_MAX: f64 = 0.01;

/// If the generator ran or waited to run for this share of the time, it is the cause of a rate that
/// was not reached.
const BUSY_SHARE_MIN: f64 = 0.9;

/// A generator that waits for a CPU for this share of the time lets echoes wait as well.
const WAIT_SHARE_MAX: f64 = 0.1;

/// A thread whose mean wait before it runs is this long shares its CPU with threads that use up
/// their time slices. On an idle CPU the mean wait is some 50 us.
const WAIT_NS_MEAN_MAX: u64 = 1_000_000;

/// Below this share of the time, the mean wait does not count: a short or slow run may have a few
/// long waits by chance.
const WAIT_SHARE_MIN: f64 = 0.03;

/// The generator's own health.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GeneratorHealth {
    /// Whether a limit of the generator distorts the figures; null if nothing was measured.
    pub verdict: Option<Verdict>,
    /// How late the generator sent messages by its own fault, in an open loop. A wait for a full
    /// socket, or for a connection at its depth, does not count.
    pub schedule_lag_ns: Option<Times>,
    /// In an open loop, messages that were due while their connection could not take them; in a
    /// closed loop, messages that waited because their socket was full.
    pub held_back: u64,
    /// Messages that were due, or in a closed loop asked for, but were never sent, because the
    /// connection was gone or its socket stayed full. They are in no other figure.
    pub unsent: u64,
    /// The share of one CPU that the generator's thread used while measuring, from 0 to 1, without
    /// polling that found nothing.
    #[serde(serialize_with = "finite::finite")]
    pub cpu_share: f64,
    /// The share of the time in which the generator's thread could have run, and others did; null
    /// where the system does not say.
    #[serde(serialize_with = "finite::finite_or_null")]
    pub wait_share: Option<f64>,
    /// Mean time that the thread waited for a CPU each time before it ran; null where the system
    /// does not say.
    pub wait_ns_mean: Option<u64>,
    /// CPU time of the generator's thread per message, without polling that found nothing.
    pub cpu_ns_per_message: u64,
    /// CPU time of the whole process since it started.
    pub cpu_ns_process: u64,
    /// How it waited for the time to send.
    pub pacing: Pacing,
    /// Values that were beyond the histogram, and count as its highest.
    pub saturated_values: u64,
    /// Lines of interval results that were lost because stdout or a file took them too slowly.
    pub intervals_lost: u64,
}

impl GeneratorHealth {
    /// Returns true if a limit of the generator distorts the figures.
    pub fn was_limit(&self) -> bool {
        self.verdict.is_some_and(|verdict| verdict != Verdict::Ok)
    }
}

/// Times of 10 ms and more in which the generator's thread neither ran nor chose to sleep:
/// the process was stopped, its machine paused, its cgroup throttled, or its CPU busy. Of several
/// loops in one process, `count` and `total_ns` are each those of the worst loop, so that a halt of
/// the process counts once. Those of several processes are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hiccups {
    /// The number of hiccups.
    pub count: u64,
    /// The longest hiccup.
    pub longest_ns: u64,
    /// The sum of all hiccups.
    pub total_ns: u64,
    /// Measured messages that were in flight during a hiccup and are lost. Their echoes may have
    /// come while the generator could not read them.
    pub lost: u64,
    /// How long the CPU quota of the process's cgroup kept its threads from running, summed over
    /// the CPUs; null if the system does not say.
    pub throttled_ns: Option<u64>,
}

/// How the generator waits for the time to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pacing {
    #[default]
    /// It has no schedule and sleeps until an echo comes.
    None,
    /// It sleeps until the next message is due, to some tens of microseconds.
    Sleep,
    /// It never sleeps.
    Spin,
    /// It sleeps until shortly before the next message is due, then polls without sleeping.
    Hybrid,
}

/// Whether a limit of the generator distorts the figures, and which. The order is that of the
/// places that an `--assert` compares: the last is the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The generator had time to spare and kept its schedule.
    Ok,
    /// The generator was kept from running, so the figures include its own delay.
    Starved,
    /// The generator had no CPU time left, so the server may be faster than shown.
    Saturated,
    /// The generator sent later than it was asked to.
    Behind,
}

impl fmt::Display for Verdict {
    /// Writes the word of the document.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Ok => "ok",
            Verdict::Starved => "starved",
            Verdict::Saturated => "saturated",
            Verdict::Behind => "behind",
        })
    }
}

/// The facts from which [`Verdict::of`] judges the generator. They leave out the warm-up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs<'a> {
    /// How late the generator sent each message by its own fault, in an open loop.
    pub schedule_lag: Option<&'a Distribution>,
    /// Messages that became due, in an open loop; 0 in a closed loop.
    pub due: u64,
    /// The due messages that were sent, or would have been sent if the peer had taken them.
    pub offered: u64,
    /// The share of one CPU that the generator used, without polling that found nothing.
    pub cpu_share: f64,
    /// The share of the time in which it waited for a CPU; `None` if unknown.
    pub wait_share: Option<f64>,
    /// Its mean wait before it ran; `None` if unknown.
    pub wait_ns_mean: Option<u64>,
    /// The times in which it could not run.
    pub hiccups: Hiccups,
    /// How long the run measured.
    pub elapsed_ns: u64,
}

impl Verdict {
    /// Judges a generator. If it sent late, it is [`Behind`](Verdict::Behind), whatever the reason.
    /// If it kept its schedule or has none, it is [`Starved`](Verdict::Starved) if it was kept from
    /// running, or else [`Saturated`](Verdict::Saturated) if no CPU time was left.
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
        let is_late = signs.schedule_lag.is_some_and(is_late);
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

/// Returns true if too many messages were late for a generator that keeps its schedule.
fn is_late(lag: &Distribution) -> bool {
    let late = lag.histogram().count_between(SCHEDULE_LAG_NS_MAX + 1, u64::MAX);
    let by_chance = LATE_BY_CHANCE_MAX.min(lag.count() / 2);
    late > by_chance.max(lag.count() / MESSAGES_PER_LATE)
}

impl Signs<'_> {
    /// Takes the facts from the result of a run.
    pub fn of(result: &RunResult) -> Signs<'_> {
        let generator = &result.generator;
        let (cpu_share, wait_share) = (generator.cpu_share, generator.wait_share);
        let sent = result.messages.sent;
        let due = match result.load_loop {
            LoadLoop::Open => sent + generator.unsent,
            LoadLoop::Closed => 0,
        };
        // A generator with CPU time to spare waited for its connections, which is not its fault.
        let is_busy = cpu_share + wait_share.unwrap_or(0.0) >= BUSY_SHARE_MIN;
        Signs {
            schedule_lag: generator.schedule_lag_ns.as_ref().map(|lag| &lag.values),
            due,
            offered: if is_busy { sent } else { due },
            cpu_share,
            wait_share,
            wait_ns_mean: generator.wait_ns_mean,
            hiccups: result.hiccups,
            elapsed_ns: result.elapsed_ns,
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
    fn one_late_message_in_a_thousand_is_not_behind() {
        let mut lags = vec![60_000; 999];
        lags.push(5_000_000);
        let lag = lag_of(&lags);
        let signs =
            Signs { schedule_lag: Some(&lag), due: 1_000, offered: 1_000, ..Signs::default() };
        assert_eq!(Verdict::of(&signs), Verdict::Ok);
    }

    #[test]
    fn few_late_messages_are_not_behind_however_few_were_sent() {
        let of = |late: usize, count: usize| {
            let lags = [vec![5_000_000; late], vec![60_000; count - late]].concat();
            let lag = lag_of(&lags);
            Verdict::of(&Signs { schedule_lag: Some(&lag), ..Signs::default() })
        };
        // From a thousand messages on, ten or more are beyond p99.
        for (chance, count) in [(100, 10_000), (10, 1_000), (10, 300), (10, 20), (5, 10), (0, 1)] {
            assert_eq!(of(chance, count), Verdict::Ok, "{chance} of {count}");
            assert_eq!(of(chance + 1, count), Verdict::Behind, "{} of {count}", chance + 1);
        }
        assert_eq!(of(0, 0), Verdict::Ok);
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

//! When messages are due: the schedule of an open loop, and how to wait for it.
//!
//! Latency counts from the moment a message was *due*, whatever delayed it. So a server that stalls
//! cannot improve its figures by slowing the generator down (coordinated omission). Each flow has
//! its own sequence of due times that depends only on the start. Messages that are due and not yet
//! sent need no memory, however long the stall.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::reactor::Key;
use crate::units::parse_count;

/// mio rounds a poll timeout up to a whole millisecond, and a wake-up takes some tens of
/// microseconds. The loop does not sleep when the next message is due sooner than this.
const SLEEP_MARGIN_NS: u64 = 1_100_000;

const SECOND_NS: u128 = 1_000_000_000;

/// The spacing of an open loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spacing {
    /// Message k is due at `start + k / rate`. The flows take the messages in turn.
    #[default]
    Fixed,
    /// Random due times with the same mean rate: each flow sends its share as a Poisson process.
    Poisson,
    /// So many messages are due at the same moment, every so many `/ rate`: message k is due when
    /// the first message of its burst is due with [`Spacing::Fixed`]. The flows take the messages
    /// in turn. A burst is due when the measurement starts. 0 means 1.
    Burst(u32),
}

impl Spacing {
    /// Returns when the first message is due, in a run that may send from `start_ns` on and
    /// measures from `measure_from_ns` on.
    pub(super) fn first_due_ns(self, rate: u64, start_ns: u64, measure_from_ns: u64) -> u64 {
        let Spacing::Burst(burst) = self else { return start_ns };
        // The warm-up has only whole periods, so that the measured time begins with a burst.
        let warmup_ns = measure_from_ns.saturating_sub(start_ns);
        let of_bursts = in_whole_bursts(burst, rate, warmup_ns);
        let whole_ns = u64::try_from(of_bursts * SECOND_NS / u128::from(rate)).unwrap_or(u64::MAX);
        measure_from_ns.saturating_sub(whole_ns)
    }

    /// Returns how many messages of a schedule are due in a warm-up of this length; 0 if the
    /// schedule is random.
    pub(super) fn due_in_warmup(self, rate: u64, warmup_ns: u64) -> u64 {
        let due = match self {
            Spacing::Fixed => (u128::from(warmup_ns) * u128::from(rate)).div_ceil(SECOND_NS),
            Spacing::Burst(burst) => in_whole_bursts(burst, rate, warmup_ns),
            Spacing::Poisson => 0,
        };
        u64::try_from(due).unwrap_or(u64::MAX)
    }
}

/// Returns how many messages the whole bursts of a warm-up have.
fn in_whole_bursts(burst: u32, rate: u64, warmup_ns: u64) -> u128 {
    let messages = u128::from(warmup_ns) * u128::from(rate) / SECOND_NS;
    messages - messages % u128::from(burst.max(1))
}

impl fmt::Display for Spacing {
    /// Writes what [`Spacing::from_str`] parses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spacing::Fixed => f.write_str("fixed"),
            Spacing::Poisson => f.write_str("poisson"),
            Spacing::Burst(burst) => write!(f, "burst:{burst}"),
        }
    }
}

impl FromStr for Spacing {
    type Err = String;

    /// Parses `fixed`, `poisson` or `burst:N`.
    ///
    /// ```
    /// use resound::load::Spacing;
    ///
    /// assert_eq!("burst:2k".parse(), Ok(Spacing::Burst(2_000)));
    /// assert!("burst:0".parse::<Spacing>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<Spacing, String> {
        let burst = |count: &str| u32::try_from(parse_count(count).ok()?).ok();
        match (text, text.strip_prefix("burst:").and_then(burst)) {
            ("fixed", _) => Ok(Spacing::Fixed),
            ("poisson", _) => Ok(Spacing::Poisson),
            (_, Some(burst @ 1..)) => Ok(Spacing::Burst(burst)),
            _ => Err(format!(
                "expected fixed, poisson, or burst:N with N from 1 to {}, such as burst:100",
                u32::MAX
            )),
        }
    }
}

/// The due times of one flow, in order.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    rate: u64,
    /// The place of the flow among all flows, and their number.
    place: u64,
    flows: u64,
    start_ns: u64,
    /// Messages taken so far.
    taken: u64,
    due_ns: u64,
    kind: Kind,
}

/// How the due times follow each other.
#[derive(Clone, Debug)]
enum Kind {
    Fixed,
    /// The random numbers, and the due time since the start with its fraction.
    Poisson(fastrand::Rng, f64),
    /// The messages of a burst, at least 1.
    Burst(u64),
}

impl Schedule {
    /// Creates the schedule of flow `place` of `flows` at `rate` messages per second in all.
    pub(super) fn new(
        rate: u64,
        spacing: Spacing,
        (place, flows): (u64, u64),
        start_ns: u64,
    ) -> Schedule {
        let kind = match spacing {
            Spacing::Fixed => Kind::Fixed,
            // A fixed seed makes runs repeatable; each flow has its own.
            Spacing::Poisson => Kind::Poisson(fastrand::Rng::with_seed(place.wrapping_add(1)), 0.0),
            Spacing::Burst(burst) => Kind::Burst(u64::from(burst.max(1))),
        };
        let mut schedule = Schedule { rate, place, flows, start_ns, taken: 0, due_ns: 0, kind };
        schedule.due_ns = schedule.next_due();
        schedule
    }

    /// Returns when the next message is due.
    pub(super) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Takes the next message off the schedule.
    pub(super) fn take(&mut self) {
        self.taken += 1;
        self.due_ns = self.next_due();
    }

    /// Drops the messages due before this time. A Poisson process has no memory, so it restarts
    /// there.
    pub(super) fn skip_to(&mut self, time_ns: u64) {
        if self.due_ns >= time_ns {
            return;
        }
        let since_start_ns = time_ns.saturating_sub(self.start_ns);
        match &mut self.kind {
            Kind::Poisson(_, elapsed_ns) => {
                #[expect(clippy::cast_precision_loss, reason = "2^53 ns are a hundred days")]
                let from_ns = since_start_ns as f64;
                *elapsed_ns = from_ns;
            }
            Kind::Fixed | Kind::Burst(_) => self.taken = self.index_at(time_ns),
        }
        self.due_ns = self.next_due();
    }

    /// Returns how many messages are due before this time if they are not random. Due times are
    /// fractions rounded down, so this is the fraction rounded up.
    fn index_at(&self, time_ns: u64) -> u64 {
        let burst = if let Kind::Burst(burst) = self.kind { u128::from(burst) } else { 1 };
        let since_start = u128::from(time_ns.saturating_sub(self.start_ns));
        let all = (since_start * u128::from(self.rate)).div_ceil(SECOND_NS * burst) * burst;
        let own = all.saturating_sub(u128::from(self.place)).div_ceil(u128::from(self.flows));
        u64::try_from(own).unwrap_or(u64::MAX)
    }

    /// Returns how many of the messages not taken yet are due from `from_ns` to before `until_ns`;
    /// for a Poisson process, the expected number.
    pub(super) fn due_between(&self, from_ns: u64, until_ns: u64) -> u64 {
        let first_ns = self.due_ns.max(from_ns);
        let Some(last_ns) = until_ns.checked_sub(1).filter(|last_ns| *last_ns >= first_ns) else {
            return 0;
        };
        match self.kind {
            Kind::Fixed | Kind::Burst(_) => {
                // Messages that are due together may be taken in part.
                let first = self.index_at(first_ns).max(self.taken);
                self.index_at(until_ns).saturating_sub(first)
            }
            Kind::Poisson(..) => {
                let length = u128::from(last_ns - first_ns) * u128::from(self.rate);
                let count = 1 + length / (SECOND_NS * u128::from(self.flows));
                u64::try_from(count).unwrap_or(u64::MAX)
            }
        }
    }

    /// Returns how many of the messages not taken yet are due before this time, `most` at the most.
    /// The number is exact for every kind of spacing.
    pub(super) fn due_before(&self, until_ns: u64, most: u64) -> u64 {
        if !matches!(self.kind, Kind::Poisson(..)) {
            return self.index_at(until_ns).saturating_sub(self.taken).min(most);
        }
        let mut ahead = self.clone();
        let mut count = 0;
        while count < most && ahead.due_ns < until_ns {
            ahead.take();
            count += 1;
        }
        count
    }

    fn next_due(&mut self) -> u64 {
        // Computed from the start and the index alone, so errors do not accumulate.
        let index = || u128::from(self.place) + u128::from(self.taken) * u128::from(self.flows);
        let at =
            |index| u64::try_from(index * SECOND_NS / u128::from(self.rate)).unwrap_or(u64::MAX);
        let since_start = match &mut self.kind {
            Kind::Fixed => at(index()),
            Kind::Burst(burst) => {
                let index = index();
                at(index - index % u128::from(*burst))
            }
            Kind::Poisson(random, elapsed_ns) => {
                // 1 - [0, 1) is never 0, which has no logarithm.
                let gap = -(1.0 - random.f64()).ln();
                #[expect(clippy::cast_precision_loss, reason = "rates and flows are below 2^53")]
                let mean_ns = 1e9 * self.flows as f64 / self.rate as f64;
                *elapsed_ns += gap * mean_ns;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a float to integer cast saturates; time is not negative"
                )]
                let whole_ns = *elapsed_ns as u64;
                whole_ns
            }
        };
        self.start_ns.saturating_add(since_start)
    }
}

/// Orders the flows by their next due times. Each flow is queued at most once.
#[derive(Debug, Default)]
pub(super) struct DueQueue {
    queue: BinaryHeap<Reverse<(u64, u32)>>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    key: Option<Key>,
    is_queued: bool,
}

impl DueQueue {
    pub(super) fn with_flows(flows: usize) -> DueQueue {
        DueQueue { queue: BinaryHeap::with_capacity(flows), entries: vec![Entry::default(); flows] }
    }

    /// Queues a flow unless it is queued.
    pub(super) fn push(&mut self, flow: u32, key: Key, due_ns: u64) {
        let entry = &mut self.entries[flow as usize];
        entry.key = Some(key);
        if !entry.is_queued {
            entry.is_queued = true;
            self.queue.push(Reverse((due_ns, flow)));
        }
    }

    /// Removes the first flow if it is due, and returns its key.
    pub(super) fn next_due(&mut self, now_ns: u64) -> Option<Key> {
        let Reverse((due_ns, flow)) = *self.queue.peek()?;
        if due_ns > now_ns {
            return None;
        }
        self.queue.pop();
        let entry = &mut self.entries[flow as usize];
        entry.is_queued = false;
        entry.key
    }

    /// Returns when the first flow is due.
    pub(super) fn first_due_ns(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse((due_ns, _))| *due_ns)
    }
}

/// Returns how long the loop may sleep until `due_ns`; `None` if that is too near to sleep.
pub(super) fn sleep_for(due_ns: u64, now_ns: u64) -> Option<Duration> {
    let left_ns = due_ns.saturating_sub(now_ns);
    left_ns.checked_sub(SLEEP_MARGIN_NS).filter(|ns| *ns > 0).map(Duration::from_nanos)
}

#[cfg(test)]
mod tests;

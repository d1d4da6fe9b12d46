//! The latest figures of each target, where the metrics server finds them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::page;
use crate::measured::Messages;
use crate::metrics::{Figures, Format};
use crate::ping::{Counts, Loss, Options};
use crate::units::duration_ns;

/// The upper bounds of the buckets of round-trip times in nanoseconds: 1, 2.5 and 5 of each power
/// of ten, from 10 microseconds to 10 seconds. A loopback takes tens of microseconds, and few wait
/// longer for a reply.
pub(super) const RTT_BOUNDS_NS: [u64; 19] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// A histogram of round-trip times. It never grows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rtt {
    /// The times up to each of the bounds and above the one before, and the times beyond all.
    pub(super) counts: [u64; RTT_BOUNDS_NS.len() + 1],
    pub(super) sum_ns: u64,
}

impl Rtt {
    pub(super) fn record(&mut self, time: Duration) {
        let time_ns = duration_ns(time);
        self.counts[RTT_BOUNDS_NS.partition_point(|bound| *bound < time_ns)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(time_ns);
    }
}

/// The figures of one target.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    pub(super) endpoint: String,
    pub(super) messages: Messages,
    pub(super) losses: Vec<(Loss, u64)>,
    pub(super) reconnects: u64,
    pub(super) rtt: Rtt,
    /// It is not probed any more.
    pub(super) has_failed: bool,
}

/// The figures of all targets. A clone is the same board.
#[derive(Clone, Debug)]
pub(super) struct Board {
    /// Each has a lock of its own, so that no target waits for another.
    targets: Arc<[Mutex<Target>]>,
    started_at: SystemTime,
    warn: fn(&str),
}

impl Board {
    pub(super) fn new(targets: &[Options], warn: fn(&str)) -> Board {
        let target = |options: &Options| Target {
            endpoint: options.endpoint.to_string(),
            ..Target::default()
        };
        let targets = targets.iter().map(|options| Mutex::new(target(options))).collect();
        Board { targets, started_at: SystemTime::now(), warn }
    }

    /// Replaces the figures of a target, all at once.
    pub(super) fn publish(&self, index: usize, counts: &Counts<'_>, rtt: &Rtt) {
        let mut target = self.target(index);
        target.messages = counts.messages;
        target.reconnects = counts.reconnects;
        target.rtt = *rtt;
        if target.losses.len() != counts.losses.len() {
            target.losses = counts.losses.to_vec();
        }
        for ((_, published), (_, count)) in target.losses.iter_mut().zip(counts.losses) {
            *published = *count;
        }
    }

    pub(super) fn note_failure(&self, index: usize) {
        self.target(index).has_failed = true;
    }

    fn target(&self, index: usize) -> MutexGuard<'_, Target> {
        self.targets[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures for Board {
    type Snapshot = Vec<Target>;

    const LATE: &'static str = "no figures";

    fn ask(&self, reply: impl Fn(Vec<Target>) + Send + Sync + 'static) {
        reply((0..self.targets.len()).map(|index| self.target(index).clone()).collect());
    }

    fn health(targets: &Vec<Target>) -> Result<(), &'static str> {
        let has_failed = targets.iter().any(|target| target.has_failed);
        if has_failed { Err("a target is not probed any more") } else { Ok(()) }
    }

    fn page(&self, targets: &Vec<Target>, format: Format) -> String {
        page::page(self.started_at, targets.clone(), format)
    }

    fn warn(&self, line: &str) {
        (self.warn)(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_the_first_bucket_whose_bound_reaches_it() {
        let mut rtt = Rtt::default();
        for ns in [0, 10_000, 10_001, 25_000, 10_000_000_000, 10_000_000_001] {
            rtt.record(Duration::from_nanos(ns));
        }
        assert_eq!((rtt.counts[0], rtt.counts[1]), (2, 2));
        assert_eq!(rtt.counts[18..], [1, 1]);
        assert_eq!(rtt.sum_ns, 20_000_045_002);
    }
}

//! The time of a run in nanoseconds since its origin. It is half the size of an `Instant`, and the
//! histograms take it as it is.

use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::units::duration_ns;

/// Pairs of readings that find the origin by the system's clock.
const READINGS: usize = 4;

/// A monotonic clock with its own origin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
    /// The same moment by the system's clock, or one a fraction of a microsecond earlier.
    origin_ns: u64,
    /// The same moment by the wall clock.
    origin_time: SystemTime,
    /// The time at which a test has stopped the clock.
    #[cfg(test)]
    stopped_at_ns: Option<u64>,
}

impl Clock {
    /// Creates a clock whose time 0 is `origin`.
    pub(super) fn starting_at(origin: Instant) -> Clock {
        // A pair of readings places the origin too early by the time between the two, so the latest
        // result is the best. A preemption, or the long first reading, spoils one pair only.
        let origins_ns =
            (0..READINGS).map(|_| system_ns().saturating_sub(duration_ns(origin.elapsed())));
        Clock {
            origin,
            origin_ns: origins_ns.max().unwrap_or_default(),
            origin_time: wall_origin(origin),
            #[cfg(test)]
            stopped_at_ns: None,
        }
    }

    /// Creates a clock that stands still.
    #[cfg(test)]
    pub(super) fn stopped_at(ns: u64) -> Clock {
        Clock { stopped_at_ns: Some(ns), ..Clock::starting_at(Instant::now()) }
    }

    /// Reads the clock.
    pub(super) fn now_ns(self) -> u64 {
        #[cfg(test)]
        if let Some(ns) = self.stopped_at_ns {
            return ns;
        }
        system_ns().saturating_sub(self.origin_ns)
    }

    /// Returns the wall-clock time at a time of the run. Steps that the wall clock has made since
    /// the origin do not count.
    pub(super) fn wall_time(self, ns: u64) -> SystemTime {
        self.origin_time + Duration::from_nanos(ns)
    }

    /// Returns the time of the run at a wall-clock time; 0 for one before the origin.
    pub(super) fn ns_at(self, time: SystemTime) -> u64 {
        time.duration_since(self.origin_time).map_or(0, duration_ns)
    }

    /// Converts a moment that was read earlier; 0 for one before the origin.
    pub(super) fn ns(self, moment: Instant) -> u64 {
        duration_ns(moment.saturating_duration_since(self.origin))
    }
}

/// Returns the wall-clock time at `origin`. The pair of readings with the least time between them
/// places it best: parts of a load on several hosts start by it.
fn wall_origin(origin: Instant) -> SystemTime {
    let readings = (0..READINGS).map(|_| {
        let (before, wall, after) = (origin.elapsed(), SystemTime::now(), origin.elapsed());
        (after - before, wall - (after + before) / 2)
    });
    readings.min_by_key(|(between, _)| *between).expect("there are readings").1
}

/// Reads the clock behind [`Instant`] without its arithmetic, whose cost would show at two readings
/// per message.
fn system_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds_ns = u64::try_from(time.tv_sec).unwrap_or(0).wrapping_mul(1_000_000_000);
    seconds_ns.wrapping_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_time_is_converted_both_ways() {
        let clock = Clock::starting_at(Instant::now());
        assert_eq!(clock.ns_at(clock.wall_time(5_000_000_007)), 5_000_000_007);
        assert_eq!(clock.ns_at(SystemTime::UNIX_EPOCH), 0, "before the origin");
    }

    /// A reading of one clock lies between two of the other, however long the thread is preempted
    /// between them.
    #[test]
    fn both_ways_to_read_the_time_agree() {
        // The monotonic clock of some systems counts microseconds.
        const RESOLUTION_NS: u64 = 1_000;
        let origin = Instant::now();
        let clock = Clock::starting_at(origin);
        // The origin is off by no more than the time that its readings took.
        let error_ns = duration_ns(origin.elapsed());
        for _ in 0..1_000 {
            let before_ns = clock.ns(Instant::now());
            let now_ns = clock.now_ns();
            let after_ns = clock.ns(Instant::now());
            assert!(before_ns <= now_ns + RESOLUTION_NS, "{now_ns} < {before_ns}");
            assert!(now_ns <= after_ns + error_ns + RESOLUTION_NS, "{now_ns} > {after_ns}");
        }
    }
}

//! The time of a run, in nanoseconds since its origin: half the size of an `Instant`, and what the
//! histograms take.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use crate::units::duration_ns;

/// A monotonic clock with an origin of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
    /// The same moment, or one within a fraction of a microsecond behind it, by the system's clock.
    origin_ns: u64,
    /// It stands still, for a test that sets it.
    #[cfg(test)]
    stopped_at_ns: Option<u64>,
}

impl Clock {
    pub(super) fn starting_at(origin: Instant) -> Clock {
        // The first reading of all takes long: it finds out how the system is best asked.
        system_ns();
        Clock {
            origin,
            origin_ns: system_ns().saturating_sub(duration_ns(origin.elapsed())),
            #[cfg(test)]
            stopped_at_ns: None,
        }
    }

    /// A clock that stands still.
    #[cfg(test)]
    pub(super) fn stopped_at(ns: u64) -> Clock {
        Clock { stopped_at_ns: Some(ns), ..Clock::starting_at(Instant::now()) }
    }

    /// Now, read anew.
    pub(super) fn now_ns(self) -> u64 {
        #[cfg(test)]
        if let Some(ns) = self.stopped_at_ns {
            return ns;
        }
        system_ns().saturating_sub(self.origin_ns)
    }

    /// A moment that was read before; 0 for one before the origin.
    pub(super) fn ns(self, moment: Instant) -> u64 {
        duration_ns(moment.saturating_duration_since(self.origin))
    }
}

/// What [`Instant`] reads, without its arithmetic: twice a message it would show.
fn system_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds_ns = u64::try_from(time.tv_sec).unwrap_or(0).wrapping_mul(1_000_000_000);
    seconds_ns.wrapping_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_tell_the_time_agree() {
        let clock = Clock::starting_at(Instant::now());
        // Whoever is preempted between two readings tries again.
        let apart = || {
            let before_ns = clock.ns(Instant::now());
            let now_ns = clock.now_ns();
            let after_ns = clock.ns(Instant::now());
            before_ns.saturating_sub(now_ns).max(now_ns.saturating_sub(after_ns))
        };
        assert!((0..1_000).any(|_| apart() < 1_000));
    }
}

//! The time of a run, in nanoseconds since its origin: half the size of an `Instant`, and what the
//! histograms take.

use std::time::{Duration, Instant};

/// A monotonic clock with an origin of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
    /// It stands still, for a test that sets it.
    #[cfg(test)]
    stopped_at_ns: Option<u64>,
}

impl Clock {
    pub(super) fn starting_at(origin: Instant) -> Clock {
        Clock {
            origin,
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
        self.ns(Instant::now())
    }

    /// A moment that was read before; 0 for one before the origin.
    pub(super) fn ns(self, moment: Instant) -> u64 {
        duration_ns(moment.saturating_duration_since(self.origin))
    }
}

/// A duration in whole nanoseconds; one of more than 584 years is as good as that.
pub(super) fn duration_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

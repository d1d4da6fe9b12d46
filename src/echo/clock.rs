//! The clock that measures the timeouts of peers.
//!
//! It stands still while the process is halted (SIGSTOP, a paused virtual machine, a frozen
//! cgroup), because a peer is not at fault for time in which the server did not run.
//!
//! No system call reports a halt. The clock detects a halt when the loop comes back much later than
//! it asked to.

use std::time::{Duration, Instant};

/// A point in time of a [`Clock`], in nanoseconds since the clock was made.
///
/// It has half the size of an [`Instant`]: each connection holds two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    /// Returns the time from `earlier` to this moment, or zero if `earlier` is later.
    pub(super) fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns the moment `duration` later, or the last representable one.
    pub(super) fn after(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(nanos(duration)))
    }

    /// Returns the moment `duration` earlier, or the first one.
    pub(super) fn before(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(nanos(duration)))
    }
}

/// Returns the duration in nanoseconds, at most `u64::MAX`, which is 584 years.
fn nanos(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(duration.subsec_nanos().into())
}

/// A clock that stands still while the process is halted.
#[derive(Debug)]
pub(super) struct Clock {
    /// The time of the last turn.
    turn_at: Instant,
    /// The time of the last turn by this clock.
    served: Moment,
    /// The latest time at which the loop asked to come back.
    due_at: Option<Instant>,
    /// A loop that comes back more than this after `due_at` was halted.
    slack: Duration,
    /// Before this moment, the last halt is too recent to judge a peer.
    settled_at: Moment,
}

impl Clock {
    /// Creates a clock that starts at `now`.
    pub(super) fn new(now: Instant, slack: Duration) -> Clock {
        let start = Moment::default();
        Clock { turn_at: now, served: start, due_at: None, slack, settled_at: start }
    }

    /// Lowers the slack to `slack` if it was larger: shorter delays then count as halts.
    pub(super) fn tighten(&mut self, slack: Duration) {
        self.slack = self.slack.min(slack);
    }

    /// Returns the time of a turn by this clock. Every turn must call it at least once.
    #[inline]
    pub(super) fn at(&mut self, now: Instant) -> Moment {
        if now != self.turn_at {
            self.advance(now);
        }
        self.served
    }

    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.turn_at);
        // The usual case: a turn this short is no halt, whenever the loop was due.
        if elapsed <= self.slack {
            self.turn_at = now;
            self.served = self.served.after(elapsed);
            return;
        }
        let due_in = self.due_at.map(|at| at.saturating_duration_since(self.turn_at));
        let elapsed_max = due_in.map_or(Duration::MAX, |due_in| due_in.saturating_add(self.slack));
        let was_settled = self.is_settled();
        self.turn_at = now;
        self.served = self.served.after(elapsed.min(elapsed_max));
        // A halt soon after another does not extend the time. Otherwise a process that is halted
        // ten times per second (a CPU quota) would never judge a peer.
        if elapsed > elapsed_max && was_settled {
            self.settled_at = self.served.after(self.slack);
        }
    }

    /// Notes when the loop asked to come back, or `None` if it waits for an event. Must be called
    /// at the end of every turn.
    pub(super) fn expect(&mut self, due_at: Option<Instant>) {
        self.due_at = due_at;
    }

    /// Returns true if the last halt ended long enough ago that what peers did meanwhile has
    /// arrived.
    pub(super) fn is_settled(&self) -> bool {
        self.served >= self.settled_at
    }

    /// Returns the time of the system's clock at which this clock will show `moment`, if no halt
    /// comes before.
    pub(super) fn instant_of(&self, moment: Moment) -> Instant {
        self.turn_at + moment.since(self.served)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLACK: Duration = Duration::from_millis(100);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_halts_the_clock_shows_the_time_since_its_start() {
        let start = Instant::now();
        let mut clock = Clock::new(start, SLACK);
        for second in 1..=10 {
            // The loop is a millisecond late each time. The clock must not lose that time.
            clock.expect(Some(start + second * SECOND - Duration::from_millis(1)));
            let now = clock.at(start + second * SECOND);
            assert_eq!(now.since(Moment::default()), second * SECOND);
            assert!(clock.is_settled());
        }
        // With no deadline, a sleep may take any time.
        clock.expect(None);
        assert_eq!(clock.at(start + 3600 * SECOND).since(Moment::default()), 3600 * SECOND);
    }

    /// case S17
    #[test]
    fn a_halt_of_any_length_counts_as_no_more_than_the_slack() {
        let start = Instant::now();
        let mut clock = Clock::new(start, SLACK);
        clock.expect(Some(start + SECOND));
        let now = clock.at(start + 3600 * SECOND);
        assert_eq!(now.since(Moment::default()), SECOND + SLACK);
        assert_eq!(clock.at(start + 3600 * SECOND), now, "asked again in the same turn");
        let later = now.after(SECOND);
        assert_eq!(clock.instant_of(later), start + 3601 * SECOND);
    }

    /// case S17
    #[test]
    fn after_a_halt_verdicts_wait_and_further_halts_do_not_postpone_them_without_end() {
        let start = Instant::now();
        let mut clock = Clock::new(start, SLACK);
        clock.expect(Some(start));
        let halted_until = start + 10 * SECOND;
        clock.at(halted_until);
        assert!(!clock.is_settled());
        clock.expect(None);
        clock.at(halted_until + SLACK / 2);
        assert!(!clock.is_settled());
        clock.expect(Some(halted_until + SLACK / 2));
        clock.at(halted_until + 10 * SECOND);
        assert!(clock.is_settled(), "the second halt has used up the rest");
    }
}

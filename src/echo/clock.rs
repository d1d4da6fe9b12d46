//! The time that the server was there for its peers.
//!
//! Timeouts of peers are measured by this clock. It stands still while the process is halted
//! (SIGSTOP, a paused virtual machine, a frozen cgroup): a peer that hears nothing from the server
//! in that time is not to blame.
//!
//! No system call tells of a halt. The clock notices it because the loop comes back much later
//! than it asked to.

use std::time::{Duration, Instant};

/// A point in time by a [`Clock`], in nanoseconds since the clock was made.
///
/// Half as long as an [`Instant`]: each connection has two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub(super) fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `duration` later, or the last one there is.
    pub(super) fn after(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(nanos(duration)))
    }

    /// The moment `duration` earlier, or the first one.
    pub(super) fn before(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(nanos(duration)))
    }
}

/// A u64 of nanoseconds is 584 years.
fn nanos(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(duration.subsec_nanos().into())
}

/// A clock that stands still while the process is halted.
#[derive(Debug)]
pub(super) struct Clock {
    /// The time of the turn that asked last.
    turn_at: Instant,
    /// The same, by this clock.
    served: Moment,
    /// When the loop is to come back at the latest.
    due_at: Option<Instant>,
    /// A loop that comes back later than due by more than this was halted.
    slack: Duration,
    /// Until then the last halt is too fresh for a verdict about a peer.
    settled_at: Moment,
}

impl Clock {
    /// A clock that starts at the time given.
    pub(super) fn new(now: Instant, slack: Duration) -> Clock {
        let start = Moment::default();
        Clock { turn_at: now, served: start, due_at: None, slack, settled_at: start }
    }

    /// Takes shorter delays for halts from now on, if `slack` is less than before.
    pub(super) fn tighten(&mut self, slack: Duration) {
        self.slack = self.slack.min(slack);
    }

    /// The time of a turn by this clock. Every turn must ask once at the least.
    #[inline]
    pub(super) fn at(&mut self, now: Instant) -> Moment {
        if now != self.turn_at {
            self.advance(now);
        }
        self.served
    }

    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.turn_at);
        // Nearly always: so short a turn is no halt, whenever the loop was due.
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
        // A halt soon after another gives no more time, or a process that is halted ten times per
        // second (a CPU quota) would never judge a peer.
        if elapsed > elapsed_max && was_settled {
            self.settled_at = self.served.after(self.slack);
        }
    }

    /// Notes when the loop is to come back; `None` if it waits for an event. Must be called at the
    /// end of every turn.
    pub(super) fn expect(&mut self, due_at: Option<Instant>) {
        self.due_at = due_at;
    }

    /// Whether the last halt is over for so long that what peers did meanwhile has arrived.
    pub(super) fn is_settled(&self) -> bool {
        self.served >= self.settled_at
    }

    /// When the system's clock will show what this one shows at `moment`, if no halt comes before.
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
            // A millisecond late each time, which is not lost.
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
    fn after_a_halt_verdicts_wait_and_more_halts_do_not_put_them_off_for_good() {
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

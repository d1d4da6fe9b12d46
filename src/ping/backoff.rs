//! The pauses between attempts to connect.

use std::time::{Duration, Instant};

/// The pause after the second failure in a row. After the first there is none: a server that closes
/// a connection usually takes the next one.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause. A server that comes back is found within this time.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// When the next attempt to connect may begin. The pause doubles with each failure.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    pause_max: Duration,
    not_before: Option<Instant>,
}

impl Backoff {
    /// The pause is at most half the timeout of a probe, so that a probe that waits for an attempt
    /// learns its result.
    pub(super) fn new(timeout: Duration) -> Backoff {
        let pause_max = PAUSE_MAX.min(timeout / 2);
        Backoff { pause: Duration::ZERO, pause_max, not_before: None }
    }

    /// Records that an attempt failed, or that a connection ended.
    pub(super) fn failed(&mut self, now: Instant) {
        self.not_before = Some(now + self.pause);
        self.pause = (self.pause * 2).max(PAUSE_MIN).min(self.pause_max);
    }

    /// Records that a reply came.
    pub(super) fn worked(&mut self) {
        self.pause = Duration::ZERO;
        self.not_before = None;
    }

    /// Returns when the next attempt may begin, if that is later than now.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_half_the_timeout_and_an_answer_ends_it() {
        let now = Instant::now();
        let mut backoff = Backoff::new(Duration::from_millis(100));
        assert_eq!(backoff.until(now), None);
        let pauses = [0, 10, 20, 40, 50, 50].map(|ms| {
            backoff.failed(now);
            (backoff.until(now).map_or(Duration::ZERO, |at| at - now), Duration::from_millis(ms))
        });
        pauses.into_iter().for_each(|(pause, expected)| assert_eq!(pause, expected));
        backoff.worked();
        backoff.failed(now);
        assert_eq!(backoff.until(now), None);
    }

    #[test]
    fn the_pause_never_exceeds_a_second() {
        let now = Instant::now();
        let mut backoff = Backoff::new(Duration::from_secs(3_600));
        (0..20).for_each(|_| backoff.failed(now));
        assert_eq!(backoff.until(now), Some(now + PAUSE_MAX));
    }
}

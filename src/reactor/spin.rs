//! Polling without sleeping, and sparing polls meanwhile.

use std::time::{Duration, Instant};

use mio::Events;

use super::key::Key;

/// Sources that are tried in place of a poll. A poll costs somewhat more than one receive that
/// finds nothing, and tells of all sources at once.
pub(super) const HOT_MAX: usize = 2;

/// Turns without a poll between two with one: the others wait for some microseconds more where
/// there is little to do, as do signals and the stop handle.
pub(super) const POLLS_SPARED_MAX: u32 = 16;

/// How long after a poll others are spared: where the hot sources have much to do, 16 turns are
/// long. Nobody is to wait longer for the sake of spinning than a wake-up, which it saves, takes.
const POLLS_SPARED_TIME_MAX: Duration = Duration::from_micros(50);

/// How long the loop polls without sleeping once nothing happens. A sleep costs a wake-up of some
/// tens of microseconds when the next event comes; polling costs a processor.
///
/// While it spins and events have come from one or two sources alone, it gives these their slices
/// as if they were readable, and polls only once in a while: a poll that is spared is time that a
/// ping-pong has not to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spin {
    /// It sleeps at once.
    #[default]
    Never,
    /// For this long after the last event.
    For(Duration),
    /// It never sleeps.
    Always,
}

/// What the loop knows for its spinning.
#[derive(Debug)]
pub(super) struct Spinning {
    pub(super) spin: Spin,
    /// When events last came.
    pub(super) event_at: Instant,
    /// The sources of the last events, if they were few.
    hot: Vec<Key>,
    /// When the last poll returned, and turns since then.
    pub(super) polled_at: Instant,
    spared: u32,
}

impl Spinning {
    pub(super) fn new(now: Instant) -> Spinning {
        let hot = Vec::with_capacity(HOT_MAX);
        Spinning { spin: Spin::Never, event_at: now, hot, polled_at: now, spared: 0 }
    }

    /// Whether not to sleep now.
    pub(super) fn is_on(&self, now: Instant) -> bool {
        match self.spin {
            Spin::Never => false,
            Spin::For(time) => now.saturating_duration_since(self.event_at) < time,
            Spin::Always => true,
        }
    }

    /// The sources to try in place of a poll; none when it is time for one.
    pub(super) fn guess(&mut self, now: Instant) -> &[Key] {
        if self.hot.is_empty() || self.spared == POLLS_SPARED_MAX || !self.may_spare(now) {
            self.spared = 0;
            return &[];
        }
        self.spared += 1;
        &self.hot
    }

    fn may_spare(&self, now: Instant) -> bool {
        let is_fresh = match self.spin {
            Spin::Never => false,
            // What is found without a poll is no event to poll any more: in the second half only
            // polls look, so that a loop which is kept busy by guesses does not fall asleep.
            Spin::For(time) => now.saturating_duration_since(self.event_at) < time / 2,
            Spin::Always => true,
        };
        is_fresh && now.saturating_duration_since(self.polled_at) < POLLS_SPARED_TIME_MAX
    }

    /// Learns from the events of a poll. Without any it is left to what it knows.
    pub(super) fn learn(&mut self, events: &Events, now: Instant) {
        if self.spin == Spin::Never || events.is_empty() {
            return;
        }
        self.event_at = now;
        self.hot.clear();
        if events.iter().nth(HOT_MAX).is_none() {
            let readable = events.iter().filter(|event| event.is_readable());
            self.hot.extend(readable.map(|event| Key::from_token(event.token())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(1);

    /// As after a poll that told of one source.
    fn hot(spin: Spin, now: Instant) -> Spinning {
        Spinning { spin, hot: vec![Key::new(0, 1)], ..Spinning::new(now) }
    }

    #[test]
    fn in_the_second_half_of_its_time_a_loop_polls_so_that_it_sees_what_keeps_it_awake() {
        let start = Instant::now();
        let mut spinning = hot(Spin::For(TIME), start);
        for (after, spares) in [(TIME / 2 - Duration::from_nanos(1), true), (TIME / 2, false)] {
            let now = start + after;
            spinning.polled_at = now;
            assert_eq!(spinning.guess(now).len(), usize::from(spares), "{after:?}");
            assert!(spinning.is_on(now), "it does not sleep");
        }
    }

    #[test]
    fn long_slices_of_hot_sources_do_not_keep_a_loop_from_polling() {
        let start = Instant::now();
        let mut spinning = hot(Spin::Always, start);
        assert_eq!(spinning.guess(start).len(), 1);
        assert_eq!(spinning.guess(start + Duration::from_micros(50)).len(), 0);
        assert_eq!(spinning.spared, 0, "counted anew after that poll");
    }
}

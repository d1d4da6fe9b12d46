//! Spinning: the loop polls without sleeping, and skips some of these polls.

use std::str::FromStr;
use std::time::{Duration, Instant};

use mio::Events;

use super::key::Key;
use super::{INBOX, SIGNALS};
use crate::units::parse_time;

/// Hot sources that the loop tries instead of polling. A poll costs slightly more than one receive
/// that finds nothing, and covers all sources, so more hot sources would cost more than they save.
const HOT_MAX: usize = 2;

/// Turns without a poll between two polls. When the hot sources have little to do, the other
/// sources, signals and messages wait some microseconds longer.
const POLLS_SKIPPED_MAX: u32 = 16;

/// How long after a poll the loop may skip the next. When the hot sources have much to do, 16 turns
/// take long. Spinning saves a wake-up, so no source may wait longer for a poll than a wake-up
/// takes.
const POLLS_SKIPPED_TIME_MAX: Duration = Duration::from_micros(50);

/// How long the loop polls without sleeping when no event comes. A sleep costs a wake-up of some
/// tens of microseconds at the next event; polling uses a whole CPU.
///
/// If the events of the last poll came from one or two sources only, a spinning loop gives these
/// sources slices as if they were readable, and polls only now and then. Each skipped poll shortens
/// the round trip of a ping-pong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spin {
    /// The loop sleeps at once.
    #[default]
    Never,
    /// The loop polls for this long after the last event, then sleeps.
    For(Duration),
    /// The loop never sleeps.
    Always,
}

/// As text: `always`, or a time such as `50us`; a time of 0 is [`Spin::Never`].
impl FromStr for Spin {
    type Err = String;

    fn from_str(text: &str) -> Result<Spin, String> {
        match (text, parse_time(text)) {
            ("always", _) => Ok(Spin::Always),
            (_, Ok(Duration::ZERO)) => Ok(Spin::Never),
            (_, Ok(time)) => Ok(Spin::For(time)),
            (_, Err(_)) => Err("expected a time such as 50us, 0, or always".to_owned()),
        }
    }
}

/// The state that the loop needs to spin.
#[derive(Debug)]
pub(super) struct Spinning {
    pub(super) spin: Spin,
    /// When a poll last returned events.
    pub(super) event_at: Instant,
    /// The sources of the last poll that returned events, if there were at most [`HOT_MAX`].
    hot: Vec<Key>,
    /// When the last poll returned.
    pub(super) polled_at: Instant,
    /// Turns that took hot sources since the loop last had to poll.
    skipped: u32,
}

impl Spinning {
    pub(super) fn new(now: Instant) -> Spinning {
        let hot = Vec::with_capacity(HOT_MAX);
        Spinning { spin: Spin::Never, event_at: now, hot, polled_at: now, skipped: 0 }
    }

    /// Returns true if the loop must not sleep now.
    pub(super) fn is_on(&self, now: Instant) -> bool {
        match self.spin {
            Spin::Never => false,
            Spin::For(time) => now.saturating_duration_since(self.event_at) < time,
            Spin::Always => true,
        }
    }

    /// Returns the hot sources to try instead of polling, or none if the loop must poll.
    pub(super) fn hot_instead_of_poll(&mut self, now: Instant) -> &[Key] {
        if self.hot.is_empty() || self.skipped == POLLS_SKIPPED_MAX || !self.may_skip(now) {
            self.skipped = 0;
            return &[];
        }
        self.skipped += 1;
        &self.hot
    }

    fn may_skip(&self, now: Instant) -> bool {
        let is_fresh = match self.spin {
            Spin::Never => false,
            // A source that is served without a poll leaves no event for the next poll, so
            // `event_at` does not advance. In the second half of the time the loop therefore
            // always polls, so that it does not fall asleep while its hot sources are busy.
            Spin::For(time) => now.saturating_duration_since(self.event_at) < time / 2,
            Spin::Always => true,
        };
        is_fresh && now.saturating_duration_since(self.polled_at) < POLLS_SKIPPED_TIME_MAX
    }

    /// Records the time and the sources of a poll's events. A poll without events changes nothing.
    pub(super) fn note_events(&mut self, events: &Events, now: Instant) {
        if self.spin == Spin::Never || events.is_empty() {
            return;
        }
        self.event_at = now;
        self.hot.clear();
        // Messages and signals are no sources.
        let of_sources = || events.iter().filter(|event| !matches!(event.token(), INBOX | SIGNALS));
        if of_sources().nth(HOT_MAX).is_none() {
            let readable = of_sources().filter(|event| event.is_readable());
            self.hot.extend(readable.map(|event| Key::from_token(event.token())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(1);

    /// Returns the state after a poll with an event of one source.
    fn hot(spin: Spin, now: Instant) -> Spinning {
        Spinning { spin, hot: vec![Key::new(0, 1)], ..Spinning::new(now) }
    }

    #[test]
    fn in_the_second_half_of_its_spin_time_a_loop_always_polls() {
        let start = Instant::now();
        let mut spinning = hot(Spin::For(TIME), start);
        for (after, skips) in [(TIME / 2 - Duration::from_nanos(1), true), (TIME / 2, false)] {
            let now = start + after;
            spinning.polled_at = now;
            let hot = spinning.hot_instead_of_poll(now);
            assert_eq!(hot.len(), usize::from(skips), "{after:?}");
            assert!(spinning.is_on(now), "it does not sleep");
        }
    }

    #[test]
    fn a_loop_polls_in_time_although_its_hot_sources_have_long_slices() {
        let start = Instant::now();
        let mut spinning = hot(Spin::Always, start);
        assert_eq!(spinning.hot_instead_of_poll(start).len(), 1);
        assert_eq!(spinning.hot_instead_of_poll(start + Duration::from_micros(50)).len(), 0);
        assert_eq!(spinning.skipped, 0, "that poll resets the count");
    }
}

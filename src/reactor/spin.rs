//! Polling without sleeping, and sparing polls meanwhile.

use std::time::{Duration, Instant};

use mio::Events;

use super::key::Key;

/// Sources that are tried in place of a poll. A poll costs somewhat more than one receive that
/// finds nothing, and tells of all sources at once.
pub(super) const HOT_MAX: usize = 2;

/// Turns without a poll between two with one: the others wait for some microseconds more at the
/// most, as do signals and the stop handle.
pub(super) const POLLS_SPARED_MAX: u32 = 16;

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
    /// Turns since the last poll.
    spared: u32,
}

impl Spinning {
    pub(super) fn new(now: Instant) -> Spinning {
        let hot = Vec::with_capacity(HOT_MAX);
        Spinning { spin: Spin::Never, event_at: now, hot, spared: 0 }
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
        if self.hot.is_empty() || self.spared == POLLS_SPARED_MAX || !self.is_on(now) {
            self.spared = 0;
            return &[];
        }
        self.spared += 1;
        &self.hot
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

//! The intervals that an observer is told of: where they begin and end.

use super::Phase;
use crate::load::{Generator, Observer};
use crate::measured::{Interval, Messages};

/// What is left of a phase is told with the interval before it if it is shorter than this part of
/// one; so short a drain is not told if nothing happened in it.
pub(super) const SHORTEST_DIVISOR: u64 = 8;

impl<O: Observer> Generator<O> {
    /// Whether the interval of the drain has no time to speak of, and nothing happened in it.
    pub(super) fn is_drain_void(&self, now_ns: u64) -> bool {
        let (start_ns, before) = self.phases.interval_before;
        let messages = self.run.recorder.of_phase(self.phases.is_measuring);
        let has_happened = Messages { in_flight_at_end: 0, ..since(messages, before) };
        let shortest_ns = self.phases.interval_ns.unwrap_or(0) / SHORTEST_DIVISOR;
        has_happened == Messages::default() && now_ns.saturating_sub(start_ns) < shortest_ns
    }

    /// Tells the observer what came since the last time, if it is to be told.
    pub(in crate::load) fn tell_interval(&mut self, now_ns: u64, is_warmup: bool) {
        let has_begun = !matches!(self.phases.phase, Phase::NotBegun | Phase::Opening { .. });
        let (start_ns, before) = self.phases.interval_before;
        if self.phases.interval_ns.is_none() || !has_begun || now_ns == start_ns {
            return;
        }
        let messages = *self.run.recorder.of(!is_warmup);
        self.phases.interval_before = (now_ns, messages);
        let latency = self.run.recorder.take_interval(is_warmup);
        self.observer.interval(Interval {
            start_ns: start_ns - self.phases.start_ns,
            end_ns: now_ns - self.phases.start_ns,
            is_warmup,
            is_drain: matches!(self.phases.phase, Phase::Draining { .. }),
            messages: since(messages, before),
            latency,
            flows_open: self.run.recorder.flows_open,
        });
    }
}

/// When the interval that begins now ends: at the next of the planned times, unless the generator
/// was halted and that is near. An interval is never shorter than half of what was asked for.
pub(super) fn next_interval_ns(planned_ns: u64, interval_ns: u64, now_ns: u64) -> u64 {
    let least_ns = now_ns.saturating_add(interval_ns / 2);
    let missing_ns = least_ns.saturating_sub(planned_ns);
    let skipped = missing_ns.div_ceil(interval_ns.max(1)).max(1);
    planned_ns.saturating_add(interval_ns.saturating_mul(skipped))
}

/// What came since. Those in flight are what has neither come back nor been given up.
fn since(now: Messages, before: Messages) -> Messages {
    Messages {
        sent: now.sent - before.sent,
        received: now.received - before.received,
        lost: now.lost - before.lost,
        late: now.late - before.late,
        duplicated: now.duplicated - before.duplicated,
        reordered: now.reordered - before.reordered,
        corrupted: now.corrupted - before.corrupted,
        in_flight_at_end: now.sent - now.received - now.lost,
    }
}

//! The intervals that an observer receives: where they start and end.

use super::Phase;
use crate::load::{Generator, Observer};
use crate::measured::{Interval, Messages};

/// The rest of a phase joins the interval before it if it is shorter than this part of an interval.
/// A drain that short is not reported if nothing happened in it.
pub(super) const SHORTEST_DIVISOR: u64 = 8;

impl<O: Observer> Generator<O> {
    /// Returns true if the interval of the drain is too short to report and nothing happened in it.
    pub(super) fn is_drain_empty(&self, now_ns: u64) -> bool {
        let (start_ns, before) = self.phases.interval_before;
        let messages = self.run.recorder.of_phase(self.phases.is_measuring);
        let has_happened = Messages { in_flight_at_end: 0, ..since(messages, before) };
        let shortest_ns = self.phases.interval_ns.unwrap_or(0) / SHORTEST_DIVISOR;
        has_happened == Messages::default() && now_ns.saturating_sub(start_ns) < shortest_ns
    }

    /// Passes the figures since the last interval to the observer, if intervals are requested.
    pub(in crate::load) fn report_interval(&mut self, now_ns: u64, is_warmup: bool) {
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

/// Returns when the interval that starts now ends. That is the next planned time, unless the
/// generator was halted and that time is near: no interval is shorter than half of what was asked.
pub(super) fn next_interval_ns(planned_ns: u64, interval_ns: u64, now_ns: u64) -> u64 {
    let least_ns = now_ns.saturating_add(interval_ns / 2);
    let missing_ns = least_ns.saturating_sub(planned_ns);
    let skipped = missing_ns.div_ceil(interval_ns.max(1)).max(1);
    planned_ns.saturating_add(interval_ns.saturating_mul(skipped))
}

/// Returns the difference of two counts. Messages neither answered nor given up are in flight.
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

//! How long the loop may sleep, and which flows need a slice that no event triggers.

use super::{LINGER_NS, Phase};
use crate::load::hiccups::SLEEP_NS_MAX;
use crate::load::pacing::sleep_for;
use crate::load::source::Source;
use crate::load::{Generator, Observer};
use crate::measured::Mode;
use crate::reactor::{Context, Sources, Spin};
use crate::units::duration_ns;

impl<O: Observer> Generator<O> {
    /// Gives a slice to flows that need one and that no event triggers.
    pub(super) fn sweep(
        &mut self,
        now_ns: u64,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        if now_ns < self.phases.sweep_at_ns {
            return;
        }
        self.phases.sweep_at_ns = now_ns + self.phases.sweep_ns;
        if self.opener.reopens() && self.phases.is_sending() {
            self.run.lose_due(now_ns);
        }
        for (key, source) in sources.iter() {
            if source.0.needs_slice(&self.run, now_ns) {
                context.wake(key);
            }
        }
    }

    /// Returns how long the loop sleeps unless an event comes.
    pub(super) fn next_sleep_ns(&self, now_ns: u64) -> u64 {
        let phases = &self.phases;
        let mut at_ns = phases.sweep_at_ns;
        match phases.phase {
            Phase::NotBegun | Phase::Done { .. } | Phase::Opening { unsettled: 0 } => return 0,
            Phase::Opening { .. } => at_ns = at_ns.min(self.opener.first_ns().unwrap_or(u64::MAX)),
            Phase::Waiting => {}
            Phase::Sending => {
                if self.run.is_count_reached() {
                    at_ns = at_ns.min(self.run.counted_end_ns().unwrap_or(u64::MAX));
                }
                if !phases.is_measuring {
                    at_ns = at_ns.min(phases.measure_from_ns);
                }
                at_ns = at_ns.min(phases.interval_at_ns).min(self.run.end_ns());
            }
            Phase::Draining { until_ns, .. } => {
                at_ns = at_ns.min(until_ns);
                let listened_ns = phases.end_ns.saturating_add(LINGER_NS);
                if !self.options.transport().is_stream() && now_ns < listened_ns {
                    at_ns = at_ns.min(listened_ns);
                }
            }
        }
        let is_opening =
            self.options.mode == Mode::Connect || (self.opener.reopens() && phases.is_sending());
        let opens_ns = self.opener.first_ns().filter(|_| is_opening).unwrap_or(u64::MAX);
        let starts_ns = phases.start_at_ns.filter(|_| phases.phase == Phase::Waiting);
        let due_ns = self.due_queue.first_due_ns().unwrap_or(u64::MAX).min(opens_ns);
        let due_ns = due_ns.min(starts_ns.unwrap_or(u64::MAX));
        if self.run.is_open_loop() && self.options.spin != Some(Spin::Never) {
            // A sleep until another time must not extend beyond this one.
            let Some(sleep) = sleep_for(due_ns, now_ns) else { return 0 };
            at_ns = at_ns.min(now_ns.saturating_add(duration_ns(sleep)));
        } else {
            at_ns = at_ns.min(due_ns);
        }
        at_ns.saturating_sub(now_ns).min(SLEEP_NS_MAX)
    }
}

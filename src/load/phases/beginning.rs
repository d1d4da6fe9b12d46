//! From the first connection to the first message.

use super::{EndedBy, Phase};
use crate::load::source::Source;
use crate::load::{Generator, Observer};
use crate::measured::Mode;
use crate::reactor::{Context, Sources};
use crate::units::duration_ns;

impl<O: Observer> Generator<O> {
    /// Starts to open all flows. In `Mode::Connect` each flow is opened later, as a message.
    pub(super) fn begin_opening(&mut self, now_ns: u64) {
        self.opener.schedule_all(self.options.connections, now_ns);
        let is_connect = self.options.mode == Mode::Connect;
        let unsettled = if is_connect { 0 } else { self.options.connections };
        self.phases.phase = Phase::Opening { unsettled };
    }

    /// Every flow is open or has failed: starts to send, now or at the requested time.
    pub(super) fn end_opening(
        &mut self,
        now_ns: u64,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        if let Some(arrival) = self.arrival.take() {
            // The loop that opens its flows last tells all when to start.
            self.phases.phase = Phase::Waiting;
            return drop(arrival);
        }
        match self.phases.start_at_ns.map(|start_ns| now_ns.checked_sub(start_ns)) {
            None => self.begin_sending(now_ns, sources, context),
            Some(None | Some(0)) => self.phases.phase = Phase::Waiting,
            Some(Some(late_ns)) => {
                self.end_before_sending(EndedBy::TooLate { late_ns }, now_ns, sources, context);
            }
        }
    }

    pub(super) fn begin_at_time(
        &mut self,
        now_ns: u64,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        if let Some(start_ns) = self.phases.start_at_ns.filter(|start_ns| *start_ns <= now_ns) {
            self.begin_sending(start_ns, sources, context);
        }
    }

    /// Starts to send. `now_ns` is the start of the schedule, and a moment ago at the earliest.
    fn begin_sending(
        &mut self,
        now_ns: u64,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        let is_connect = self.options.mode == Mode::Connect;
        let flows = self.options.connections;
        let open: Vec<u32> = match is_connect {
            true => (0..flows).collect(),
            false => sources.iter().map(|(_, source)| source.0.id).collect(),
        };
        let phases = &mut self.phases;
        phases.phase = Phase::Sending;
        phases.start_ns = now_ns;
        phases.measure_from_ns = now_ns.saturating_add(duration_ns(self.options.warmup));
        phases.interval_at_ns = now_ns.saturating_add(phases.interval_ns.unwrap_or(u64::MAX));
        phases.interval_before.0 = now_ns;
        let measured_ns = self.options.duration.map(duration_ns);
        let until_ns = measured_ns.map(|ns| phases.measure_from_ns.saturating_add(ns));
        self.start_flows(now_ns, &open);
        if let Some(until_ns) = until_ns {
            self.run.end_at(until_ns);
        }
        sources.iter().for_each(|(key, _)| context.wake(key));
    }
}

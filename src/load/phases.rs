//! The phases of a run: connect, warm up, measure, wait for the last echoes.

mod beginning;
mod intervals;
mod sleep;

use std::time::{Duration, Instant};

use self::intervals::{SHORTEST_DIVISOR, next_interval_ns};
use super::clock::Clock;
use super::options::Options;
use super::source::Source;
use super::thread_usage::ThreadUsage;
use super::{Generator, Observer};
use crate::measured::{Flows, Messages, Mode};
use crate::reactor::{Context, Sources};
use crate::units::duration_ns;

/// How often per timeout the loop looks for overdue messages and slow connections, within bounds: a
/// poll can wait no less than a millisecond, and a person notices an eighth of a second.
const SWEEPS_PER_TIMEOUT: u64 = 8;
const SWEEP_NS_MIN: u64 = 1_000_000;
const SWEEP_NS_MAX: u64 = 125_000_000;

/// The shortest time to receive datagrams after the last was sent: a duplicate follows its
/// original, when no echo is missing any more.
const LINGER_NS: u64 = 100_000_000;

/// Messages overdue by more than this at the end of the warm-up are dropped. If they were sent
/// first, they would delay the measured ones. A turn or two can leave a smaller backlog.
const WARMUP_BACKLOG_NS: u64 = 10_000_000;

/// The longest drain after an interrupt, because the user does not want to wait.
const INTERRUPTED_DRAIN_NS: u64 = 200_000_000;

/// A run without a duration ends when nothing was received for this many timeouts and for 10 s.
const SILENCE_TIMEOUTS: u64 = 10;
const SILENCE_NS_MIN: u64 = 10_000_000_000;

/// The phase of a run, and the times at which it goes on.
#[derive(Debug)]
pub(super) struct Phases {
    phase: Phase,
    pub(super) start_ns: u64,
    pub(super) measure_from_ns: u64,
    /// When the warm-up must start, so that the measurement starts at the requested time.
    start_at_ns: Option<u64>,
    is_measuring: bool,
    /// When sending ended.
    pub(super) end_ns: u64,
    sweep_ns: u64,
    sweep_at_ns: u64,
    interval_ns: Option<u64>,
    interval_at_ns: u64,
    interval_before: (u64, Messages),
    pub(super) ended_by: EndedBy,
    /// Messages due in the warm-up that were dropped at its end.
    pub(super) warmup_unsent: u64,
    pub(super) usage: ThreadUsage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    NotBegun,
    /// Connections are opened.
    Opening {
        /// Flows that have neither opened nor failed yet.
        unsettled: u32,
    },
    /// Connections are open and wait for the requested start.
    Waiting,
    Sending,
    /// The generator waits for the last echoes.
    Draining {
        until_ns: u64,
        /// The time of the drain is over. Each flow gets a last slice to give up overdue messages.
        is_last_turn: bool,
    },
    Done {
        at_ns: u64,
    },
}

/// Why sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// The time was over, or all messages were sent.
    Plan,
    /// A signal arrived.
    Interrupt,
    /// No connection was left, or none could be opened.
    NoFlow,
    /// Nothing was received for a long time.
    Silence,
    /// The requested start was this long ago when the connections were open.
    TooLate { late_ns: u64 },
}

impl Phases {
    pub(super) fn new(options: &Options, clock: Clock) -> Phases {
        let timeout_ns = duration_ns(options.timeout);
        let warmup_ns = duration_ns(options.warmup);
        Phases {
            phase: Phase::NotBegun,
            start_ns: 0,
            measure_from_ns: 0,
            start_at_ns: options.start_at.map(|time| clock.ns_at(time).saturating_sub(warmup_ns)),
            is_measuring: false,
            end_ns: 0,
            sweep_ns: (timeout_ns / SWEEPS_PER_TIMEOUT).clamp(SWEEP_NS_MIN, SWEEP_NS_MAX),
            sweep_at_ns: 0,
            interval_ns: options.interval.map(duration_ns),
            interval_at_ns: u64::MAX,
            interval_before: (0, Messages::default()),
            ended_by: EndedBy::Plan,
            warmup_unsent: 0,
            usage: ThreadUsage::default(),
        }
    }

    /// Sets when to start to send, once all flows are open.
    pub(super) fn start_at(&mut self, start_ns: u64) {
        self.start_at_ns = Some(start_ns);
    }

    /// Returns true once the run is over. Its sockets are counted then.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done { .. })
    }

    /// Returns true while messages are sent, in the warm-up or measured.
    pub(super) fn is_sending(&self) -> bool {
        self.phase == Phase::Sending
    }

    /// Notes that one more flow has opened or failed.
    pub(super) fn flow_settled(&mut self) {
        if let Phase::Opening { unsettled } = &mut self.phase {
            *unsettled = unsettled.saturating_sub(1);
        }
    }

    /// Returns how long the run waited for the last echoes from `from_ns` on; 0 if it is not over.
    pub(super) fn drain_ns(&self, from_ns: u64) -> u64 {
        match self.phase {
            Phase::Done { at_ns } => at_ns.saturating_sub(from_ns),
            _ => 0,
        }
    }
}

impl<O: Observer> Generator<O> {
    /// Does the generator's work at the end of every turn.
    pub(super) fn advance_run(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) -> Option<Instant> {
        let now_ns = self.run.clock.ns(context.now());
        self.note_pause(now_ns);
        self.phases.usage.note_turn(now_ns, std::mem::take(&mut self.has_worked));
        match self.phases.phase {
            Phase::NotBegun => self.begin_opening(now_ns),
            // The reactor has registered the flows that the previous turn opened.
            Phase::Opening { unsettled: 0 } => self.end_opening(now_ns, sources, context),
            Phase::Opening { .. } => self.open_some(now_ns, context),
            Phase::Waiting => self.begin_at_time(now_ns, sources, context),
            Phase::Sending => self.continue_sending(now_ns, sources, context),
            Phase::Draining { .. } => self.continue_drain(now_ns, sources, context),
            Phase::Done { .. } => {}
        }
        self.sweep(now_ns, sources, context);
        let sleep_ns = self.next_sleep_ns(now_ns);
        self.run.recorder.hiccups.end_turn(now_ns, sleep_ns);
        Some(context.now() + Duration::from_nanos(sleep_ns))
    }

    /// Accounts for the time before this turn. Call it before any decision by the clock.
    pub(super) fn note_pause(&mut self, now_ns: u64) {
        let measure_from_ns = self.run.recorder.measure_from_ns;
        let paused_ns = self.run.recorder.hiccups.check(now_ns, measure_from_ns);
        if paused_ns > 0 {
            // Echoes and connections that arrived meanwhile are read before their time runs out.
            if let Phase::Draining { until_ns, .. } = &mut self.phases.phase {
                *until_ns = until_ns.saturating_add(paused_ns);
            }
            self.opener.extend(paused_ns);
        }
    }

    /// Does the work of a turn in the warm-up or in the measurement.
    fn continue_sending(
        &mut self,
        now_ns: u64,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        if !self.phases.is_measuring && now_ns >= self.phases.measure_from_ns {
            // The last interval of the warm-up comes first, if there was a warm-up.
            if self.phases.measure_from_ns > self.phases.start_ns {
                self.report_interval(now_ns, true);
            }
            self.phases.is_measuring = true;
            let until_ns = self.phases.measure_from_ns.saturating_sub(WARMUP_BACKLOG_NS);
            self.phases.warmup_unsent = self.run.drop_backlog(until_ns);
            self.phases.interval_before.1 = Messages::default();
            self.phases.usage.start(now_ns);
            self.timeline.start(self.phases.measure_from_ns);
        }
        if self.phases.is_measuring {
            let planned_end_ns = self.phase_end_ns();
            self.thirds.note(&self.run.recorder, now_ns, planned_end_ns, self.options.count);
            self.timeline.note(&self.run.recorder, now_ns);
        }
        self.wake_due(now_ns, context);
        if now_ns >= self.phases.interval_at_ns {
            let interval_ns = self.phases.interval_ns.unwrap_or(u64::MAX);
            let left_ns = self.phase_end_ns().saturating_sub(now_ns);
            if left_ns == 0 || left_ns >= interval_ns / SHORTEST_DIVISOR {
                self.report_interval(now_ns, !self.phases.is_measuring);
            }
            self.phases.interval_at_ns =
                next_interval_ns(self.phases.interval_at_ns, interval_ns, now_ns);
        }
        // All requested messages are sent, and the last one had its share of the time.
        let is_counted_out = self.run.is_count_reached()
            && self.run.counted_end_ns().is_none_or(|end_ns| now_ns >= end_ns);
        if now_ns >= self.run.end_ns() || is_counted_out {
            self.begin_drain(EndedBy::Plan, now_ns, sources, context);
        } else if self.has_no_flow() {
            self.begin_drain(EndedBy::NoFlow, now_ns, sources, context);
        } else if self.is_silent(now_ns) {
            self.begin_drain(EndedBy::Silence, now_ns, sources, context);
        }
    }

    /// Returns when the warm-up or the measured time is planned to end.
    fn phase_end_ns(&self) -> u64 {
        match self.phases.is_measuring {
            true => self.run.end_ns().min(self.run.counted_end_ns().unwrap_or(u64::MAX)),
            false => self.phases.measure_from_ns,
        }
    }

    fn wake_due(&mut self, now_ns: u64, context: &mut Context<'_, Source>) {
        if self.options.mode == Mode::Connect {
            self.connect_some(now_ns, context);
        } else if self.opener.reopens() && self.phases.is_sending() {
            self.reopen_some(now_ns, context);
        }
        while let Some(key) = self.due_queue.next_due(now_ns) {
            self.has_worked = true;
            context.wake(key);
        }
    }

    fn has_no_flow(&self) -> bool {
        let recorder = &self.run.recorder;
        match self.options.mode {
            Mode::Echo if self.opener.reopens() && recorder.flows.opened > 0 => false,
            Mode::Echo => recorder.flows_open == 0,
            // No connection was ever made in at least as many attempts as there are flows.
            Mode::Connect => {
                let Flows { refused, reset, timed_out, unreachable, .. } = recorder.flows;
                let failed =
                    refused + reset + timed_out + unreachable + recorder.flows.failed_locally;
                recorder.flows.opened == 0 && failed >= u64::from(self.options.connections)
            }
        }
    }

    fn is_silent(&self, now_ns: u64) -> bool {
        let heard_ns = self.run.recorder.heard_ns_last.unwrap_or(self.phases.start_ns);
        let silence_ns = (self.run.timeout_ns.saturating_mul(SILENCE_TIMEOUTS)).max(SILENCE_NS_MIN);
        self.options.duration.is_none() && self.run.age_ns(heard_ns, now_ns) > silence_ns
    }

    /// Ends sending and starts the drain. Only messages that were due before are still sent.
    fn begin_drain(
        &mut self,
        ended_by: EndedBy,
        now_ns: u64,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        // The drain is an interval of its own.
        self.report_interval(now_ns, !self.phases.is_measuring);
        let phases = &mut self.phases;
        if phases.is_measuring {
            phases.usage.stop(now_ns);
        }
        phases.ended_by = ended_by;
        phases.end_ns = now_ns.min(self.run.end_ns());
        if let Some(end_ns) = self.run.counted_end_ns().filter(|_| self.run.is_count_reached()) {
            phases.end_ns = phases.end_ns.min(end_ns.max(self.run.recorder.begun_ns_last));
        }
        let drain_ns = match ended_by {
            EndedBy::Interrupt => INTERRUPTED_DRAIN_NS.min(self.run.timeout_ns),
            _ => self.run.timeout_ns,
        };
        // From now, not from the start of the turn: messages sent in this turn get their whole
        // timeout.
        let until_ns = self.run.clock.now_ns().saturating_add(drain_ns);
        phases.phase = Phase::Draining { until_ns, is_last_turn: false };
        if ended_by != EndedBy::NoFlow || self.options.duration.is_none() {
            // If no flow is left, messages due until the planned end count as unsent.
            self.run.end_at(now_ns);
        }
        self.run.lose_due(now_ns);
        self.run.is_draining = true;
        // Flows that stopped reading because no echo was missing read on.
        sources.iter().for_each(|(key, _)| context.wake(key));
    }

    fn continue_drain(
        &mut self,
        now_ns: u64,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        self.wake_due(now_ns, context);
        let Phase::Draining { until_ns, is_last_turn } = &mut self.phases.phase else { return };
        let (is_over, has_had_its_time) = (*is_last_turn, now_ns >= *until_ns);
        // Messages sent before the end are overdue by now.
        *is_last_turn |= has_had_its_time;
        let is_complete = self.run.recorder.in_flight() == 0
            && !self.run.has_backlog()
            && !sources.iter().any(|(_, source)| source.0.has_held())
            && (self.options.transport().is_stream() || now_ns >= self.phases.end_ns + LINGER_NS);
        if is_complete || is_over {
            self.finish_run(now_ns, sources, context);
        } else if has_had_its_time {
            sources.iter().for_each(|(key, _)| context.wake(key));
        }
    }

    fn finish_run(
        &mut self,
        now_ns: u64,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        for message in sources.iter().filter_map(|(_, source)| source.0.held()) {
            self.run.recorder.not_taken(message);
        }
        if !self.is_drain_empty(now_ns) {
            self.report_interval(now_ns, !self.phases.is_measuring);
        }
        let phases = &mut self.phases;
        if self.run.recorder.begun_ns_last > phases.end_ns {
            // Delayed messages were sent after the end, so their processor time counts too.
            phases.usage.stop(now_ns);
        }
        phases.phase = Phase::Done { at_ns: now_ns };
        sources.iter().for_each(|(_, source)| self.ends.add(&source.0));
        context.stop();
    }

    /// Ends a run that has sent nothing.
    fn end_before_sending(
        &mut self,
        ended_by: EndedBy,
        now_ns: u64,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        self.phases.ended_by = ended_by;
        self.phases.end_ns = now_ns;
        self.phases.start_ns = now_ns;
        self.phases.measure_from_ns = now_ns;
        self.finish_run(now_ns, sources, context);
    }

    /// Handles a signal: ends sending, or ends the run if it does not send.
    pub(super) fn interrupt(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        let now_ns = self.run.clock.ns(context.now());
        match self.phases.phase {
            Phase::Sending => self.begin_drain(EndedBy::Interrupt, now_ns, sources, context),
            Phase::Done { .. } => {}
            Phase::NotBegun | Phase::Opening { .. } | Phase::Waiting => {
                self.end_before_sending(EndedBy::Interrupt, now_ns, sources, context);
            }
            Phase::Draining { .. } => {
                self.phases.ended_by = EndedBy::Interrupt;
                self.finish_run(now_ns, sources, context);
            }
        }
    }
}

#[cfg(test)]
mod tests;

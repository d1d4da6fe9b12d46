//! What all flows of a run share: the clock, the pattern, the counts, and the decision which
//! message may be begun.

mod lengths;

use super::clock::Clock;
use super::lengths::Mix;
use super::options::Options;
use super::outages::Outages;
use super::pacing::{Schedule, Spacing};
use super::pattern::{MessageId, Pattern};
use super::recorder::{Class, InFlight, Recorder};
use super::sampler::Samples;
use super::share::Share;
use crate::endpoint::ResolvedEndpoint;
use crate::measured::Difference;

/// Bytes written or read at once. A larger message takes several calls. A connection that may have
/// several small messages in flight moves them together. No train of datagrams is longer.
pub(super) const SCRATCH_BYTES: usize = 64 << 10;

/// Bytes that are compared and recorded in a fraction of a microsecond. That holds for about twenty
/// of the shortest messages.
pub(super) const QUICK_BYTES_MAX: usize = 1_500;

/// The state that all flows share. Each slice of a flow borrows it exclusively.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) clock: Clock,
    pub(super) pattern: Pattern,
    /// The buffer of one read or one write.
    pub(super) scratch: Box<[u8]>,
    pub(super) recorder: Recorder,
    pub(super) outages: Outages,
    pub(super) target: ResolvedEndpoint,
    /// The length of every message; of mixed lengths the greatest.
    length_bytes: usize,
    /// How lengths are mixed; `None` if all messages have the same length.
    mix: Option<Mix>,
    pub(super) in_flight_max: usize,
    pub(super) timeout_ns: u64,
    pub(super) verify: bool,
    /// Sending has ended: only messages that were due before are begun, and echoes are awaited.
    pub(super) is_draining: bool,
    /// The time that the running flow has just read, until something takes long.
    pub(super) fresh_ns: Option<u64>,
    /// When the flow that has just run may begin its next message, if it waits for nothing else.
    pub(super) not_before_ns: Option<u64>,
    /// The messages with timestamps, if that is asked for.
    pub(super) samples: Option<Samples>,
    has_started: bool,
    /// No message that is due (in a closed loop: sent) from this time on is begun.
    end_ns: u64,
    /// Measured messages that may still be begun.
    remaining: Option<u64>,
    /// How long the whole load takes if it is a count of messages at a rate.
    pub(super) counted_ns: Option<u64>,
    /// The rate of the whole load.
    rate: Option<(u64, Spacing)>,
    share: Share,
    /// One per flow in an open loop; `None` for a flow that could not be opened.
    paces: Vec<Option<Pace>>,
}

/// The schedule of one flow in an open loop, and whether the flow can follow it.
#[derive(Debug)]
struct Pace {
    schedule: Schedule,
    /// Since when the flow could send if the generator were never late. With the actual time, one
    /// late message would excuse all messages behind it.
    ideal_free_ns: u64,
    state: FlowState,
}

/// Whether a flow can send the messages that are due on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlowState {
    /// It is connected.
    Connected,
    /// Its connection is opened again; messages due meanwhile are lost.
    Disconnected,
    /// It has ended and is not opened again; messages due on it are not sent.
    Retired,
}

/// What a flow may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Begin the message that is due at this time.
    Begin(u64),
    /// Begin nothing before this time.
    NotBefore(u64),
    /// Begin nothing before an echo arrives, or nothing at all.
    Closed,
}

impl Run {
    pub(super) fn new(options: &Options, clock: Clock, timeout_ns: u64) -> Run {
        // A datagram is received whole. One more byte reveals a longer one.
        let length_bytes = usize::try_from(options.lengths.greatest()).unwrap_or(usize::MAX);
        let scratch_bytes = match options.transport().is_stream() {
            true => SCRATCH_BYTES,
            false => SCRATCH_BYTES.max(length_bytes) + 1,
        };
        let mix = options.lengths.mix();
        let mut recorder = Recorder::new();
        if mix.is_some() {
            recorder.classes = options.lengths.classes().iter().map(|_| Class::default()).collect();
        }
        recorder.trains.asked = options.asks_for_trains();
        recorder.has_warmup = !options.warmup.is_zero();
        Run {
            clock,
            pattern: Pattern::new(options.share.index()),
            scratch: vec![0; scratch_bytes].into(),
            recorder,
            outages: Outages::default(),
            target: options.target.clone(),
            length_bytes,
            mix,
            in_flight_max: options.in_flight_max,
            timeout_ns,
            verify: options.verify,
            is_draining: false,
            fresh_ns: None,
            not_before_ns: None,
            samples: options.takes_samples().then(|| Samples::start(timeout_ns)),
            has_started: false,
            end_ns: u64::MAX,
            remaining: options.own_count(),
            counted_ns: options.count.zip(options.rate).map(|(count, rate)| {
                let length_ns = (u128::from(count) * 1_000_000_000).div_ceil(u128::from(rate));
                u64::try_from(length_ns).unwrap_or(u64::MAX)
            }),
            share: options.share,
            rate: options.rate.map(|rate| (rate, options.spacing)),
            paces: Vec::new(),
        }
    }

    /// Returns the time of a send. A reading made a moment ago is good enough: it is earlier by the
    /// fraction of a microsecond in which the echo was compared, to the generator's disadvantage.
    pub(super) fn send_ns(&mut self) -> u64 {
        self.fresh_ns.take().unwrap_or_else(|| self.clock.now_ns())
    }

    /// Starts to send at `start_ns` on the flows in `open`; there are `flows` in all.
    pub(super) fn start(&mut self, start_ns: u64, measure_from_ns: u64, open: &[u32], flows: u32) {
        self.has_started = true;
        self.recorder.measure_from_ns = measure_from_ns;
        self.outages = Outages::of(flows, measure_from_ns);
        (0..flows).for_each(|flow| self.outages.begin(flow, start_ns));
        open.iter().for_each(|flow| self.outages.end(*flow, start_ns, u64::MAX));
        let Some((rate, spacing)) = self.rate else { return };
        let first_ns = spacing.first_due_ns(rate, start_ns, measure_from_ns);
        self.paces = (0..flows).map(|_| None).collect();
        for (place, flow) in (0..).zip(open) {
            let place = self.share.flow((place, open.len() as u64));
            let schedule = Schedule::new(rate, spacing, place, first_ns);
            self.paces[*flow as usize] =
                Some(Pace { schedule, ideal_free_ns: start_ns, state: FlowState::Connected });
        }
    }

    /// Ends sending: no message due from `end_ns` on is sent.
    pub(super) fn end_at(&mut self, end_ns: u64) {
        self.end_ns = self.end_ns.min(end_ns);
        self.recorder.end_ns = self.end_ns;
    }

    pub(super) fn end_ns(&self) -> u64 {
        self.end_ns
    }

    /// Returns true if all requested messages are begun.
    pub(super) fn is_count_reached(&self) -> bool {
        self.remaining == Some(0)
    }

    /// Returns when an open loop with a count is over: `count / rate` after its start, because the
    /// last message has the same share of the time as every other.
    pub(super) fn counted_end_ns(&self) -> Option<u64> {
        Some(self.recorder.measure_from_ns.saturating_add(self.counted_ns?))
    }

    pub(super) fn is_open_loop(&self) -> bool {
        self.rate.is_some()
    }

    /// Returns whether a flow with `in_flight` messages in flight may begin another.
    pub(super) fn admission(&mut self, flow: u32, in_flight: usize, now_ns: u64) -> Admission {
        if !self.has_started || in_flight >= self.in_flight_max {
            return Admission::Closed;
        }
        let due_ns = match self.paces.get(flow as usize) {
            Some(Some(pace)) if pace.state == FlowState::Connected => pace.schedule.due_ns(),
            Some(_) => return Admission::Closed,
            None => now_ns,
        };
        if due_ns >= self.end_ns || (self.is_count_reached() && self.recorder.is_measured(due_ns)) {
            return Admission::Closed;
        }
        if due_ns > now_ns {
            self.not_before_ns = Some(due_ns);
            return Admission::NotBefore(due_ns);
        }
        Admission::Begin(due_ns)
    }

    /// Begins the message that [`Run::admission`] has allowed.
    #[inline(always)]
    pub(super) fn begin(&mut self, flow: u32, intended_ns: u64, now_ns: u64) -> InFlight {
        let pace = self.paces.get_mut(flow as usize).and_then(Option::as_mut);
        let is_scheduled = pace.is_some();
        let mut ideal_ns = now_ns;
        if let Some(pace) = pace {
            pace.schedule.take();
            ideal_ns = intended_ns.max(pace.ideal_free_ns);
            self.recorder.begun(intended_ns, pace.ideal_free_ns, now_ns);
        }
        if self.recorder.is_measured(intended_ns) {
            self.recorder.begun_ns_last = now_ns;
            self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(1));
        }
        InFlight { intended_ns, sent_ns: now_ns, ideal_ns, is_scheduled }
    }

    /// Returns how many more messages may be begun at this moment, `most` at the most. Calling
    /// [`Run::begin_next`] that many times begins what [`Run::admission`] would allow one by one.
    pub(super) fn admissible(
        &self,
        flow: u32,
        in_flight: usize,
        now_ns: u64,
        most: usize,
    ) -> usize {
        let most = most.min(self.in_flight_max.saturating_sub(in_flight)) as u64;
        let until_ns = self.end_ns.min(now_ns.saturating_add(1));
        // The number of messages due before a time.
        let due = |until_ns| match self.paces.get(flow as usize) {
            Some(Some(pace)) if pace.state == FlowState::Connected => {
                pace.schedule.due_before(until_ns, most)
            }
            Some(_) => 0,
            None if now_ns < until_ns => most,
            None => 0,
        };
        let all = if self.has_started { due(until_ns) } else { 0 };
        let Some(remaining) = self.remaining.filter(|remaining| *remaining < all) else {
            return usize::try_from(all).unwrap_or(usize::MAX);
        };
        let of_warmup = due(until_ns.min(self.recorder.measure_from_ns));
        usize::try_from(all.min(of_warmup + remaining)).unwrap_or(usize::MAX)
    }

    /// Begins the next of the messages that [`Run::admissible`] has counted.
    #[inline]
    pub(super) fn begin_next(&mut self, flow: u32, now_ns: u64) -> InFlight {
        let pace = self.paces.get(flow as usize).and_then(Option::as_ref);
        let intended_ns = pace.map_or(now_ns, |pace| pace.schedule.due_ns());
        self.begin(flow, intended_ns, now_ns)
    }

    /// Notes that a flow has ended; its part of the schedule is not sent.
    pub(super) fn retire(&mut self, flow: u32, now_ns: u64) {
        self.stop_flow(flow, FlowState::Retired, now_ns);
    }

    /// Notes that a flow's connection is gone and is opened again later: what is due meanwhile is
    /// lost.
    pub(super) fn disconnected(&mut self, flow: u32, now_ns: u64) {
        self.stop_flow(flow, FlowState::Disconnected, now_ns);
    }

    fn stop_flow(&mut self, flow: u32, state: FlowState, now_ns: u64) {
        self.outages.begin(flow, now_ns);
        if let Some(Some(pace)) = self.paces.get_mut(flow as usize) {
            pace.state = state;
        }
    }

    /// Notes that a flow is connected, for the first time or again (`is_reopened`).
    pub(super) fn connected(&mut self, flow: u32, is_reopened: bool, now_ns: u64) {
        let flows = &mut self.recorder.flows;
        flows.opened += 1;
        flows.reconnected += u64::from(is_reopened);
        self.recorder.flows_open += 1;
        self.outages.end(flow, now_ns, self.end_ns);
        self.lose_due_of(flow as usize, now_ns);
        if let Some(Some(pace)) = self.paces.get_mut(flow as usize)
            && pace.state == FlowState::Disconnected
        {
            pace.state = FlowState::Connected;
            pace.ideal_free_ns = now_ns;
        }
    }

    /// Counts messages as lost that were due until now on flows without a connection.
    pub(super) fn lose_due(&mut self, now_ns: u64) {
        (0..self.paces.len()).for_each(|flow| self.lose_due_of(flow, now_ns));
    }

    fn lose_due_of(&mut self, flow: usize, now_ns: u64) {
        let until_ns = now_ns.min(self.end_ns);
        let from_ns = self.recorder.measure_from_ns;
        let Some(Some(pace)) = self.paces.get_mut(flow) else { return };
        if pace.state != FlowState::Disconnected {
            return;
        }
        let of_warmup = pace.schedule.due_between(0, until_ns.min(from_ns));
        let measured = pace.schedule.due_between(from_ns, until_ns);
        let measured = measured.min(self.remaining.unwrap_or(u64::MAX));
        pace.schedule.skip_to(until_ns);
        self.remaining = self.remaining.map(|remaining| remaining - measured);
        self.recorder.lost_without_connection(of_warmup, measured);
    }

    /// Returns true while messages that were due before the end are still to be sent.
    pub(super) fn has_backlog(&self) -> bool {
        let is_owed = |pace: &Pace| {
            pace.state == FlowState::Connected && pace.schedule.due_ns() < self.end_ns
        };
        !self.is_count_reached() && self.paces.iter().flatten().any(is_owed)
    }

    /// Returns how many measured messages were due before the end and never begun.
    pub(super) fn unsent(&self) -> u64 {
        let from_ns = self.recorder.measure_from_ns;
        let unsent = |pace: &Pace| pace.schedule.due_between(from_ns, self.end_ns);
        let due = self.paces.iter().flatten().map(unsent).fold(0, u64::saturating_add);
        due.min(self.remaining.unwrap_or(u64::MAX))
    }

    /// Drops unsent messages that were due before this time, and returns how many.
    pub(super) fn drop_backlog(&mut self, until_ns: u64) -> u64 {
        let mut dropped: u64 = 0;
        for pace in self.paces.iter_mut().flatten() {
            dropped = dropped.saturating_add(pace.schedule.due_between(0, until_ns));
            pace.schedule.skip_to(until_ns);
        }
        dropped
    }

    /// Notes that a flow can send from `now_ns` on, after its peer kept it from sending.
    pub(super) fn note_free(&mut self, flow: u32, now_ns: u64) {
        if let Some(Some(pace)) = self.paces.get_mut(flow as usize) {
            pace.ideal_free_ns = now_ns;
        }
    }

    /// Notes that an echo frees a flow that had as many messages in flight as allowed.
    pub(super) fn note_free_after(&mut self, flow: u32, message: InFlight, now_ns: u64) {
        let service_ns = now_ns.saturating_sub(message.sent_ns);
        self.note_free(flow, message.ideal_ns.saturating_add(service_ns));
    }

    /// Returns true if a message is lost by now. It does not age while the generator cannot run,
    /// because its echo may have arrived in that time.
    pub(super) fn is_overdue(&self, message: InFlight, now_ns: u64) -> bool {
        let is_old = now_ns.saturating_sub(message.sent_ns) >= self.timeout_ns;
        is_old && self.age_ns(message.sent_ns, now_ns) >= self.timeout_ns
    }

    /// Returns true if the echo of a message that was not given up is too late. The clock was read
    /// for this echo alone: the generator may have been halted since the turn started.
    #[inline]
    pub(super) fn is_too_late(&mut self, message: InFlight, now_ns: u64) -> bool {
        let is_old = now_ns.saturating_sub(message.sent_ns) >= self.timeout_ns;
        is_old && self.is_overdue_after_check(message, now_ns)
    }

    #[cold]
    fn is_overdue_after_check(&mut self, message: InFlight, now_ns: u64) -> bool {
        self.recorder.hiccups.check(now_ns, self.recorder.measure_from_ns);
        self.is_overdue(message, now_ns)
    }

    /// Returns how much of the time from `from_ns` to `now_ns` the loop could run.
    pub(super) fn age_ns(&self, from_ns: u64, now_ns: u64) -> u64 {
        let paused_ns = self.recorder.hiccups.paused_ns(from_ns, now_ns);
        now_ns.saturating_sub(from_ns).saturating_sub(paused_ns)
    }

    /// Counts bytes that answer no message.
    pub(super) fn unsolicited(&mut self, flow: u32, bytes: &[u8], now_ns: u64) {
        let (flow, received) = (u64::from(flow), bytes.first().copied());
        let difference = Difference { flow, message: None, offset: 0, sent: None, received };
        self.recorder.unsolicited(difference, now_ns);
    }

    /// Describes how an echo differs at `offset`, where `received` was received.
    pub(super) fn difference(
        &self,
        id: MessageId,
        offset: usize,
        received: Option<u8>,
    ) -> Difference {
        Difference {
            flow: u64::from(id.flow),
            message: Some(id.number),
            offset: offset as u64,
            sent: (offset < self.length::<true>(id)).then(|| self.pattern.byte(id, offset)),
            received,
        }
    }
}

#[cfg(test)]
mod tests;

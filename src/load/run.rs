//! What all flows of a run share: the clock, the pattern, the counts, and the gate that says which
//! message may be begun.

use super::clock::Clock;
use super::options::Options;
use super::outages::Outages;
use super::pacing::{Schedule, Spacing};
use super::pattern::{MessageName, Pattern};
use super::recorder::{InFlight, Recorder};
use crate::endpoint::ResolvedEndpoint;
use crate::measured::Difference;

/// Bytes written or read at once. Larger messages go in pieces; smaller ones, where a connection
/// may have several in flight, together. No train of datagrams is longer.
const SCRATCH_BYTES: usize = 64 << 10;

/// Bytes that are compared and recorded in a fraction of a microsecond, some twenty of the shortest
/// messages among them.
pub(super) const QUICK_BYTES_MAX: usize = 1_500;

/// Shared by all flows; each slice of a flow has it for itself.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) clock: Clock,
    pub(super) pattern: Pattern,
    /// Holds one read, or one write.
    pub(super) scratch: Box<[u8]>,
    pub(super) recorder: Recorder,
    pub(super) outages: Outages,
    pub(super) target: ResolvedEndpoint,
    pub(super) length_bytes: usize,
    pub(super) in_flight_max: usize,
    pub(super) timeout_ns: u64,
    pub(super) verify: bool,
    /// Messages of before the end are waited for, and none is begun that was not due before it.
    pub(super) is_draining: bool,
    /// The clock as the flow that runs has just read it, until something takes long.
    pub(super) fresh_ns: Option<u64>,
    /// When the flow that has just run may begin its next message, if that is all it waits for.
    pub(super) not_before_ns: Option<u64>,
    is_sending: bool,
    /// No message that is due, or in a closed loop sent, from then on is begun.
    end_ns: u64,
    /// Measured messages that may still be begun.
    remaining: Option<u64>,
    /// Measured messages that were asked for.
    count: Option<u64>,
    rate: Option<(u64, Spacing)>,
    /// One a flow in an open loop; a flow that could not be opened has none.
    paces: Vec<Option<Pace>>,
}

/// The pace of one flow in an open loop.
#[derive(Debug)]
struct Pace {
    schedule: Schedule,
    /// Since when it could send if the generator were never late: the real time would let a late
    /// message excuse all those behind it.
    ideal_free_ns: u64,
    stage: Stage,
}

/// Whether a flow can send what is due on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has its connection.
    Here,
    /// Its connection is being opened again; what is due meanwhile is lost.
    Away,
    /// It is gone for good; what is due is not sent.
    Retired,
}

/// What a flow may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Begin the message that is due at this time.
    Begin(u64),
    /// Nothing before this time.
    NotBefore(u64),
    /// Nothing before an echo, or at all.
    Closed,
}

impl Run {
    pub(super) fn new(options: &Options, clock: Clock, timeout_ns: u64) -> Run {
        // A datagram is received whole, with a byte more to tell a longer one.
        let scratch_bytes = match options.transport().is_stream() {
            true => SCRATCH_BYTES,
            false => SCRATCH_BYTES.max(options.length_bytes) + 1,
        };
        let mut recorder = Recorder::new();
        recorder.trains.asked = options.asks_for_trains();
        recorder.has_warmup = !options.warmup.is_zero();
        Run {
            clock,
            pattern: Pattern::new(),
            scratch: vec![0; scratch_bytes].into(),
            recorder,
            outages: Outages::default(),
            target: options.target.clone(),
            length_bytes: options.length_bytes,
            in_flight_max: options.in_flight_max,
            timeout_ns,
            verify: options.verify,
            is_draining: false,
            fresh_ns: None,
            not_before_ns: None,
            is_sending: false,
            end_ns: u64::MAX,
            remaining: options.count,
            count: options.count,
            rate: options.rate.map(|rate| (rate, options.spacing)),
            paces: Vec::new(),
        }
    }

    /// The time for what is sent now. What was read a moment ago will do: it is earlier by the
    /// fraction of a microsecond in which the echo was compared, to the generator's disadvantage.
    pub(super) fn send_ns(&mut self) -> u64 {
        self.fresh_ns.take().unwrap_or_else(|| self.clock.now_ns())
    }

    /// Begins to send at `start_ns` on these flows (of which there are `flows` in all).
    pub(super) fn start(&mut self, start_ns: u64, measure_from_ns: u64, open: &[u32], flows: u32) {
        self.is_sending = true;
        self.recorder.measure_from_ns = measure_from_ns;
        self.outages = Outages::of(flows, measure_from_ns);
        (0..flows).for_each(|flow| self.outages.begin(flow, start_ns));
        open.iter().for_each(|flow| self.outages.end(*flow, start_ns, u64::MAX));
        let Some((rate, spacing)) = self.rate else { return };
        self.paces = (0..flows).map(|_| None).collect();
        for (place, flow) in (0..).zip(open) {
            let place = (place, open.len() as u64);
            let schedule = Schedule::new(rate, spacing, place, start_ns);
            self.paces[*flow as usize] =
                Some(Pace { schedule, ideal_free_ns: start_ns, stage: Stage::Here });
        }
    }

    /// Sends nothing that is due from now on.
    pub(super) fn end_at(&mut self, end_ns: u64) {
        self.end_ns = self.end_ns.min(end_ns);
        self.recorder.end_ns = self.end_ns;
    }

    pub(super) fn end_ns(&self) -> u64 {
        self.end_ns
    }

    /// All measured messages that were asked for are begun.
    pub(super) fn is_spent(&self) -> bool {
        self.remaining == Some(0)
    }

    /// When an open loop with a count is over: `count / rate` after its beginning, because the last
    /// message has its share of the time as every other has.
    pub(super) fn counted_end_ns(&self) -> Option<u64> {
        let (count, (rate, _)) = (self.count?, self.rate?);
        let length_ns = (u128::from(count) * 1_000_000_000).div_ceil(u128::from(rate));
        let length_ns = u64::try_from(length_ns).unwrap_or(u64::MAX);
        Some(self.recorder.measure_from_ns.saturating_add(length_ns))
    }

    pub(super) fn is_open_loop(&self) -> bool {
        self.rate.is_some()
    }

    /// Whether a flow with so many messages in flight may begin another.
    pub(super) fn admission(&mut self, flow: u32, in_flight: usize, now_ns: u64) -> Admission {
        if !self.is_sending || in_flight >= self.in_flight_max {
            return Admission::Closed;
        }
        let due_ns = match self.paces.get(flow as usize) {
            Some(Some(pace)) if pace.stage == Stage::Here => pace.schedule.due_ns(),
            Some(_) => return Admission::Closed,
            None => now_ns,
        };
        if due_ns >= self.end_ns || (self.is_spent() && self.recorder.is_measured(due_ns)) {
            return Admission::Closed;
        }
        if due_ns > now_ns {
            self.not_before_ns = Some(due_ns);
            return Admission::NotBefore(due_ns);
        }
        Admission::Begin(due_ns)
    }

    /// Takes the message that [`Run::admission`] has allowed.
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

    /// How many more messages may be begun at this moment, `most` at the most: as many times
    /// [`Run::begin_next`] does what [`Run::admission`] would allow.
    pub(super) fn admissible(
        &self,
        flow: u32,
        in_flight: usize,
        now_ns: u64,
        most: usize,
    ) -> usize {
        let most = most.min(self.in_flight_max.saturating_sub(in_flight)) as u64;
        let until_ns = self.end_ns.min(now_ns.saturating_add(1));
        // How many are due before a time.
        let due = |until_ns| match self.paces.get(flow as usize) {
            Some(Some(pace)) if pace.stage == Stage::Here => {
                pace.schedule.due_before(until_ns, most)
            }
            Some(_) => 0,
            None if now_ns < until_ns => most,
            None => 0,
        };
        let all = if self.is_sending { due(until_ns) } else { 0 };
        let Some(remaining) = self.remaining.filter(|remaining| *remaining < all) else {
            return usize::try_from(all).unwrap_or(usize::MAX);
        };
        let of_warmup = due(until_ns.min(self.recorder.measure_from_ns));
        usize::try_from(all.min(of_warmup + remaining)).unwrap_or(usize::MAX)
    }

    /// Takes the next of the messages that [`Run::admissible`] has counted.
    #[inline]
    pub(super) fn begin_next(&mut self, flow: u32, now_ns: u64) -> InFlight {
        let pace = self.paces.get(flow as usize).and_then(Option::as_ref);
        let intended_ns = pace.map_or(now_ns, |pace| pace.schedule.due_ns());
        self.begin(flow, intended_ns, now_ns)
    }

    /// A flow is gone for good, and its part of the schedule with it.
    pub(super) fn retire(&mut self, flow: u32, now_ns: u64) {
        self.leave(flow, Stage::Retired, now_ns);
    }

    /// A flow's connection is gone and is opened again later: what is due meanwhile is lost.
    pub(super) fn disconnected(&mut self, flow: u32, now_ns: u64) {
        self.leave(flow, Stage::Away, now_ns);
    }

    fn leave(&mut self, flow: u32, stage: Stage, now_ns: u64) {
        self.outages.begin(flow, now_ns);
        if let Some(Some(pace)) = self.paces.get_mut(flow as usize) {
            pace.stage = stage;
        }
    }

    /// A flow has its connection, for the first time or `again`.
    pub(super) fn connected(&mut self, flow: u32, again: bool, now_ns: u64) {
        let flows = &mut self.recorder.flows;
        flows.opened += 1;
        flows.reconnected += u64::from(again);
        self.recorder.flows_open += 1;
        self.outages.end(flow, now_ns, self.end_ns);
        self.lose_due_of(flow as usize, now_ns);
        if let Some(Some(pace)) = self.paces.get_mut(flow as usize)
            && pace.stage == Stage::Away
        {
            pace.stage = Stage::Here;
            pace.ideal_free_ns = now_ns;
        }
    }

    /// Counts as lost what has been due until now on flows without a connection.
    pub(super) fn lose_due(&mut self, now_ns: u64) {
        (0..self.paces.len()).for_each(|flow| self.lose_due_of(flow, now_ns));
    }

    fn lose_due_of(&mut self, flow: usize, now_ns: u64) {
        let until_ns = now_ns.min(self.end_ns);
        let from_ns = self.recorder.measure_from_ns;
        let Some(Some(pace)) = self.paces.get_mut(flow) else { return };
        if pace.stage != Stage::Away {
            return;
        }
        let of_warmup = pace.schedule.due_between(0, until_ns.min(from_ns));
        let measured = pace.schedule.due_between(from_ns, until_ns);
        let measured = measured.min(self.remaining.unwrap_or(u64::MAX));
        pace.schedule.skip_to(until_ns);
        self.remaining = self.remaining.map(|remaining| remaining - measured);
        self.recorder.lost_without_connection(of_warmup, measured);
    }

    /// Whether messages that were due before the end are still to be sent.
    pub(super) fn has_backlog(&self) -> bool {
        let is_owed =
            |pace: &Pace| pace.stage == Stage::Here && pace.schedule.due_ns() < self.end_ns;
        !self.is_spent() && self.paces.iter().flatten().any(is_owed)
    }

    /// Measured messages that were due before the end and were never begun.
    pub(super) fn unsent(&self) -> u64 {
        let from_ns = self.recorder.measure_from_ns;
        let unsent = |pace: &Pace| pace.schedule.due_between(from_ns, self.end_ns);
        let due = self.paces.iter().flatten().map(unsent).fold(0, u64::saturating_add);
        due.min(self.remaining.unwrap_or(u64::MAX))
    }

    /// Drops what was due before this time and is not sent; returns how many messages that were.
    pub(super) fn drop_backlog(&mut self, until_ns: u64) -> u64 {
        let mut dropped: u64 = 0;
        for pace in self.paces.iter_mut().flatten() {
            dropped = dropped.saturating_add(pace.schedule.due_between(0, until_ns));
            pace.schedule.skip_to(until_ns);
        }
        dropped
    }

    /// A flow that could not take its messages, by the peer's doing, can from now on.
    pub(super) fn freed(&mut self, flow: u32, now_ns: u64) {
        if let Some(Some(pace)) = self.paces.get_mut(flow as usize) {
            pace.ideal_free_ns = now_ns;
        }
    }

    /// A flow with as many messages in flight as it may have has one less: this one is answered.
    pub(super) fn freed_by(&mut self, flow: u32, message: InFlight, now_ns: u64) {
        let service_ns = now_ns.saturating_sub(message.sent_ns);
        self.freed(flow, message.ideal_ns.saturating_add(service_ns));
    }

    /// Whether a message that was sent then is lost by now. It does not age while the generator is
    /// kept from running: its echo may have come in that time.
    pub(super) fn is_overdue(&self, message: InFlight, now_ns: u64) -> bool {
        let is_old = now_ns.saturating_sub(message.sent_ns) >= self.timeout_ns;
        is_old && self.age_ns(message.sent_ns, now_ns) >= self.timeout_ns
    }

    /// Whether the echo of this message comes too late, though the message was not given up. The
    /// clock was read for this echo alone: the generator may have been halted since the turn began.
    #[inline]
    pub(super) fn is_too_late(&mut self, message: InFlight, now_ns: u64) -> bool {
        let is_old = now_ns.saturating_sub(message.sent_ns) >= self.timeout_ns;
        is_old && self.is_overdue_after_look(message, now_ns)
    }

    #[cold]
    fn is_overdue_after_look(&mut self, message: InFlight, now_ns: u64) -> bool {
        self.recorder.watch.look(now_ns, self.recorder.measure_from_ns);
        self.is_overdue(message, now_ns)
    }

    /// How much of the time from `from_ns` to `now_ns` the loop could turn.
    pub(super) fn age_ns(&self, from_ns: u64, now_ns: u64) -> u64 {
        let paused_ns = self.recorder.watch.paused_ns(from_ns, now_ns);
        now_ns.saturating_sub(from_ns).saturating_sub(paused_ns)
    }

    /// Bytes have come that answer no message.
    pub(super) fn unasked(&mut self, flow: u32, bytes: &[u8], now_ns: u64) {
        let (flow, received) = (u64::from(flow), bytes.first().copied());
        let difference = Difference { flow, message: None, offset: 0, sent: None, received };
        self.recorder.unasked(difference, now_ns);
    }

    /// What to report of an echo that differs at `offset`, where `came` is what came there.
    pub(super) fn difference(
        &self,
        name: MessageName,
        offset: usize,
        came: Option<u8>,
    ) -> Difference {
        Difference {
            flow: u64::from(name.flow),
            message: Some(name.number),
            offset: offset as u64,
            sent: (offset < self.length_bytes).then(|| self.pattern.byte(name, offset)),
            received: came,
        }
    }
}

#[cfg(test)]
mod tests;

//! The state of each probe. It uses no clock and no socket, so tests can produce every order of
//! events.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Figures;
use crate::measured::{Distribution, Messages};
use crate::units::duration_ns;

/// The number of probes that are remembered, to tell a late echo from a duplicate. If the oldest of
/// them is neither answered nor lost, no more probes are made. They take 2 MiB.
const REMEMBERED_MAX: u64 = 1 << 16;

/// With an interval, fewer are remembered, so that many targets take little memory: those of this
/// many timeouts, and at least [`REMEMBERED_MIN`].
const REMEMBERED_TIMEOUTS: u128 = 8;
const REMEMBERED_MIN: u64 = 1 << 10;

/// The state of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It waits for a connection, or for room in the socket.
    Waiting,
    InFlight,
    Answered,
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    /// The time when it was due. Once it is sent, the time when it was sent.
    since: Instant,
    fate: Fate,
}

/// How an echo counts for its probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EchoKind {
    /// The first echo, and it came in time.
    InTime { time: Duration, is_reordered: bool },
    /// The probe was lost before its echo came.
    Late { time: Duration },
    /// The probe was answered before.
    Duplicate { time: Duration },
    /// The probe is no longer remembered, so the echo is late or a duplicate.
    Forgotten,
}

/// The probes of a run, numbered from 1.
#[derive(Debug)]
pub(super) struct Probes {
    timeout: Duration,
    remembered_max: u64,
    /// The largest allowed distance between the numbers of probes that are neither answered nor
    /// lost.
    span_max: u64,
    /// The number of the first remembered probe.
    first: u64,
    remembered: VecDeque<Probe>,
    /// In the order of their numbers.
    waiting: VecDeque<u64>,
    /// In the order of sending. The first is in flight; later ones may already be answered.
    in_flight: VecDeque<u64>,
    unsettled: u64,
    last_sent: u64,
    last_answered: u64,
    messages: Messages,
    latency: Distribution,
}

impl Probes {
    /// Creates the probes of a run. `numbers`: how many probes can be told apart by their payload.
    pub(super) fn new(timeout: Duration, interval: Duration, numbers: u64) -> Probes {
        let timeouts = timeout.as_nanos() * REMEMBERED_TIMEOUTS;
        let probes = timeouts.checked_div(interval.as_nanos()).unwrap_or(u128::MAX);
        let probes = u64::try_from(probes).unwrap_or(u64::MAX);
        let remembered_max = probes.clamp(REMEMBERED_MIN, REMEMBERED_MAX);
        Probes {
            timeout,
            remembered_max,
            // Half of them, so that a received number always means exactly one probe in the span.
            span_max: remembered_max.min(numbers / 2),
            first: 1,
            remembered: VecDeque::new(),
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            unsettled: 0,
            last_sent: 0,
            last_answered: 0,
            messages: Messages::default(),
            latency: Distribution::new(),
        }
    }

    /// Returns the number of probes made.
    pub(super) fn made(&self) -> u64 {
        self.messages.sent
    }

    /// Returns the counts and times so far.
    pub(super) fn figures(&self) -> Figures {
        let messages = Messages { in_flight_at_end: self.unsettled, ..self.messages };
        Figures { messages, latency: self.latency.clone() }
    }

    /// Returns the number of probes that are neither answered nor lost.
    pub(super) fn unsettled(&self) -> u64 {
        self.unsettled
    }

    pub(super) fn messages(&self) -> &Messages {
        &self.messages
    }

    /// Counts an echo that differs from its probe, or that belongs to no probe.
    pub(super) fn count_corrupted(&mut self) {
        self.messages.corrupted += 1;
    }

    pub(super) fn has_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Returns true if one more probe can be remembered and told from the others.
    pub(super) fn has_room(&self) -> bool {
        let oldest = [self.waiting.front(), self.in_flight.front()].into_iter().flatten().min();
        oldest.is_none_or(|oldest| self.made() + 1 - oldest < self.span_max)
    }

    /// Makes the next probe, which then waits to be sent.
    pub(super) fn make(&mut self, due_at: Instant) {
        self.messages.sent += 1;
        self.unsettled += 1;
        self.remembered.push_back(Probe { since: due_at, fate: Fate::Waiting });
        self.waiting.push_back(self.messages.sent);
        if self.remembered.len() as u64 > self.remembered_max {
            self.remembered.pop_front();
            self.first += 1;
        }
    }

    /// Returns the number of the next probe to send.
    pub(super) fn next_waiting(&self) -> Option<u64> {
        self.waiting.front().copied()
    }

    /// Records that the next waiting probe was sent.
    pub(super) fn sent(&mut self, at: Instant) {
        let Some(number) = self.waiting.pop_front() else { return };
        let index = self.index(number);
        if let Some(probe) = self.remembered.get_mut(index) {
            *probe = Probe { since: at, fate: Fate::InFlight };
        }
        self.in_flight.push_back(number);
        self.last_sent = self.last_sent.max(number);
    }

    /// Makes all probes in flight wait to be sent again.
    pub(super) fn send_again(&mut self) {
        while let Some(number) = self.in_flight.pop_back() {
            let index = self.index(number);
            if let Some(probe) = self.remembered.get_mut(index)
                && probe.fate == Fate::InFlight
            {
                probe.fate = Fate::Waiting;
                self.waiting.push_front(number);
            }
        }
    }

    /// Gives up the next probe whose time is over: one in flight, or else a waiting one. Returns
    /// its number and its state before.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(u64, Fate)> {
        let fronts = [self.in_flight.front(), self.waiting.front()];
        let numbers = fronts.map(|number| number.copied());
        let is_over = |since: Instant| now.saturating_duration_since(since) >= self.timeout;
        let number = numbers.into_iter().flatten().find(|number| {
            self.remembered.get(self.index(*number)).is_some_and(|probe| is_over(probe.since))
        })?;
        let fate = self.remembered.get(self.index(number))?.fate;
        self.settle(number, Fate::Lost);
        Some((number, fate))
    }

    /// Returns when the time of the next probe is over.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let fronts = [self.in_flight.front(), self.waiting.front()];
        let probes =
            fronts.into_iter().flatten().filter_map(|n| self.remembered.get(self.index(*n)));
        probes.map(|probe| probe.since + self.timeout).min()
    }

    /// Gives up the probe that has been in flight longest. Returns its number.
    pub(super) fn lose_in_flight(&mut self) -> Option<u64> {
        let number = self.in_flight.front().copied()?;
        self.settle(number, Fate::Lost);
        Some(number)
    }

    /// Gives up the next waiting probe. Returns its number.
    pub(super) fn lose_waiting(&mut self) -> Option<u64> {
        let number = self.waiting.front().copied()?;
        self.settle(number, Fate::Lost);
        Some(number)
    }

    /// Returns the number of the last sent probe whose number is `digits` modulo `numbers`. A
    /// payload contains only those digits.
    pub(super) fn last_with(&self, digits: u64, numbers: u64) -> Option<u64> {
        let number = match self.last_sent.checked_sub(digits) {
            Some(distance) => digits + distance / numbers * numbers,
            None => return None,
        };
        (number > 0 && !self.is_waiting(number)).then_some(number)
    }

    /// Returns the numbers of the last sent probes, newest first.
    pub(super) fn last_sent(&self, count: usize) -> impl Iterator<Item = u64> {
        let numbers = (self.first..=self.last_sent).rev().take(count);
        numbers.filter(|number| !self.is_waiting(*number))
    }

    /// Counts an echo of a probe that was sent. The caller must call [`Probes::expire`] before it,
    /// so that probes whose time was over when the echo came are lost already.
    pub(super) fn answer(&mut self, number: u64, at: Instant) -> EchoKind {
        let Some(probe) = self.remembered.get(self.index(number)).copied() else {
            self.messages.late += 1;
            return EchoKind::Forgotten;
        };
        let time = at.saturating_duration_since(probe.since);
        match probe.fate {
            Fate::InFlight => {
                let is_reordered = number < self.last_answered;
                self.last_answered = self.last_answered.max(number);
                self.messages.reordered += u64::from(is_reordered);
                self.messages.received += 1;
                self.latency.record(duration_ns(time));
                self.settle(number, Fate::Answered);
                EchoKind::InTime { time, is_reordered }
            }
            Fate::Answered => {
                self.messages.duplicated += 1;
                EchoKind::Duplicate { time }
            }
            Fate::Lost | Fate::Waiting => {
                self.messages.late += 1;
                // Another echo of it is a duplicate.
                self.set_fate(number, Fate::Answered);
                EchoKind::Late { time }
            }
        }
    }

    /// Returns the counts and times at the end of the run.
    pub(super) fn end(self) -> Figures {
        let messages = Messages { in_flight_at_end: self.unsettled, ..self.messages };
        Figures { messages, latency: self.latency }
    }

    /// Returns the index of a number, or an index out of range if the probe is forgotten or was
    /// never made.
    fn index(&self, number: u64) -> usize {
        number.checked_sub(self.first).and_then(|i| usize::try_from(i).ok()).unwrap_or(usize::MAX)
    }

    fn is_waiting(&self, number: u64) -> bool {
        self.remembered.get(self.index(number)).is_some_and(|probe| probe.fate == Fate::Waiting)
    }

    fn set_fate(&mut self, number: u64, fate: Fate) {
        let index = self.index(number);
        if let Some(probe) = self.remembered.get_mut(index) {
            probe.fate = fate;
        }
    }

    fn settle(&mut self, number: u64, fate: Fate) {
        self.set_fate(number, fate);
        self.unsettled -= 1;
        self.messages.lost += u64::from(fate == Fate::Lost);
        if self.waiting.front() == Some(&number) {
            self.waiting.pop_front();
        }
        while let Some(front) = self.in_flight.front() {
            let probe = self.remembered.get(self.index(*front));
            if probe.is_some_and(|probe| probe.fate == Fate::InFlight) {
                break;
            }
            self.in_flight.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;

//! Receives echoes, finds the probe of each, and verifies it.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::{Run, loss_by};
use crate::ping::link::Received;
use crate::ping::probes::EchoKind;
use crate::ping::{Event, Loss, Reply, ReplyKind};

/// The number of receives in a turn, so that a peer that sends without pause does not delay what is
/// due.
const RECEIVES_MAX: usize = 64;

/// The number of most recent probes with which a damaged datagram is compared.
const CANDIDATES_MAX: usize = 256;

impl<F: FnMut(Event<'_>) -> ControlFlow<()>> Run<'_, F> {
    /// Writes the rest of a probe.
    pub(super) fn flush(&mut self, ready: PollFlags) {
        let Some(link) = &mut self.link else { return };
        if !link.wants_to_write() || !ready.intersects(PollFlags::OUT) {
            return;
        }
        if let Err(error) = link.flush() {
            self.receive(PollFlags::ERR);
            if self.link.is_some() {
                self.failed(&error);
            }
        }
    }

    pub(super) fn receive(&mut self, ready: PollFlags) {
        for _ in 0..RECEIVES_MAX {
            let Some(link) = &mut self.link else { return };
            match link.receive() {
                Ok(Received::Echo) => self.judge(Instant::now()),
                Ok(Received::Part) => {}
                Ok(Received::Nothing) => {
                    // If the error is not taken, poll(2) reports it again and again.
                    if ready.intersects(PollFlags::ERR | PollFlags::HUP)
                        && let Some(error) = link.pending_error()
                    {
                        self.failed(&error);
                    }
                    return;
                }
                Ok(Received::End) => return self.disconnected(&Loss::Closed),
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Handles an error of the socket.
    fn failed(&mut self, error: &io::Error) {
        let loss = loss_by(error);
        if !self.is_udp() {
            return self.disconnected(&loss);
        }
        if self.is_udp_refusal(error) && self.refused(error) {
            return;
        }
        if let Some(number) = self.probes.lose_in_flight() {
            self.lost(number, &loss);
        }
    }

    /// Counts a refusal as the reply to the oldest probe in flight, which is right while replies
    /// come in order. Returns false if no probe is in flight. If no bytes ever came from this
    /// address, another address of the host may be the one that the server uses, so it tries that
    /// first.
    pub(super) fn refused(&mut self, error: &io::Error) -> bool {
        if let Some(link) = &mut self.link
            && !link.has_received()
            && link.move_to_next_address()
        {
            self.probes.send_again();
            return true;
        }
        let number = self.probes.lose_in_flight();
        if let Some(number) = number {
            self.lost(number, &loss_by(error));
        }
        if self.addrs.len() > 1 && !self.probes.has_in_flight() {
            // The next probe starts with the first address again, unless an address has answered.
            self.link.take_if(|link| !link.has_received());
        }
        number.is_some()
    }

    /// Gives up the connection and all probes in flight.
    pub(super) fn disconnected(&mut self, loss: &Loss) {
        self.link = None;
        self.back_off();
        let mut was_awaiting = false;
        while let Some(number) = self.probes.lose_in_flight() {
            was_awaiting = true;
            self.lost(number, loss);
        }
        if !was_awaiting {
            self.emit(Event::Disconnected(loss));
        }
    }

    pub(super) fn unasked(&mut self, length: usize) {
        self.probes.count_corrupted();
        if !self.has_reported_unasked {
            self.has_reported_unasked = true;
            self.emit(Event::Unasked(length));
        }
    }

    /// Finds the probe of an echo, and counts the echo.
    fn judge(&mut self, at: Instant) {
        self.silent_since = None; // before a loss replaces the connection
        self.expire(at);
        self.silent_since = None;
        self.backoff.worked();
        let Some(link) = &self.link else { return };
        let length = link.echo().len();
        let Some(number) = self.probe_of(link.echo(), link.next_awaited()) else {
            return self.unasked(length);
        };
        let difference = self.payload.first_difference(number, link.echo());
        let is_like = self.payload.likeness(number, link.echo()) >= self.payload.likeness_min();
        let mut stretches = None;
        if let Some(link) = &mut self.link {
            link.record_echo(number, is_like);
            stretches = link.take_stretches(number, at);
        }
        match difference {
            Some(_) => self.probes.count_corrupted(),
            None => self.intact += 1,
        }
        let reply = |kind, time: Duration, is_reordered| {
            Event::Reply(Reply { number, length, time, kind, is_reordered, difference, stretches })
        };
        match self.probes.answer(number, at) {
            EchoKind::InTime { time, is_reordered } => {
                if let (Some(split), Some(stretches)) = (&mut self.split, stretches) {
                    split.record(stretches);
                }
                self.emit(reply(ReplyKind::InTime, time, is_reordered));
            }
            EchoKind::Late { time } => self.emit(reply(ReplyKind::Late, time, false)),
            EchoKind::Duplicate { time } => self.emit(reply(ReplyKind::Duplicate, time, false)),
            EchoKind::Forgotten => {}
        }
    }

    /// Returns the probe that has these bytes as its echo. If none has, returns the probe that they
    /// resemble most; on a stream, the probe that has to be echoed next.
    fn probe_of(&self, echo: &[u8], next: Option<u64>) -> Option<u64> {
        let is_exact = |number: &u64| self.payload.first_difference(*number, echo).is_none();
        if next.is_some_and(|next| is_exact(&next)) {
            return next;
        }
        let digits = self.payload.number(echo);
        let candidate =
            digits.and_then(|digits| self.probes.last_with(digits, self.payload.numbers()));
        if candidate.is_some_and(|candidate| is_exact(&candidate)) || next.is_none() {
            let is_datagram = self.link.as_ref().is_some_and(|link| !link.is_stream());
            return candidate
                .filter(is_exact)
                .or_else(|| self.most_like(echo).filter(|_| is_datagram));
        }
        next
    }

    /// Returns the oldest of the probes that a damaged datagram resembles most.
    fn most_like(&self, echo: &[u8]) -> Option<u64> {
        let candidates = self.probes.last_sent(CANDIDATES_MAX);
        let likeness = candidates.map(|number| (self.payload.likeness(number, echo), number));
        let best = likeness.max_by_key(|(likeness, _)| *likeness);
        best.filter(|(likeness, _)| *likeness >= self.payload.likeness_min()).map(|(_, n)| n)
    }
}

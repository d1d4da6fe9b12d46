//! Sending: one message by one call, or where several may go and the socket takes trains, all of
//! them (`UDP_SEGMENT`, udp(7)).

use std::io::{self, ErrorKind};

use super::{DatagramMover, Wire};
use crate::load::pattern::MessageName;
use crate::load::run::{Admission, Run};
use crate::load::tally::InFlight;

/// Datagrams sent in one slice: see [`RECEIVES_PER_SLICE`](super::RECEIVES_PER_SLICE).
pub(super) const SENDS_PER_SLICE: usize = 64;

/// Datagrams of one train: `UDP_MAX_SEGMENTS` of Linux before 6.9; later ones take 128.
pub(super) const TRAIN_MAX: usize = 64;

/// Bytes of one train, whose headers are once in it: what a UDP datagram over IPv4 can carry.
pub(super) const TRAIN_BYTES_MAX: usize = 65_507;

/// Refusals of earlier datagrams that one send may meet before it is put off: each is told once.
pub(super) const REFUSALS_PER_SEND: usize = 3;

impl DatagramMover {
    /// Sends what may be sent. False when the slice was used up before that.
    pub(super) fn send(&mut self, wire: &impl Wire, run: &mut Run) -> io::Result<bool> {
        self.is_blocked = false;
        let mut sent = 0;
        while sent < SENDS_PER_SLICE {
            if self.unsent.is_none() && self.window.len() >= run.in_flight_max {
                return Ok(true);
            }
            let now_ns = run.send_ns();
            let (message, company) = match self.unsent {
                // Alone: should there be no room for as many as before, there is for one.
                Some(message) => (InFlight { sent_ns: now_ns, ..message }, 0),
                None => match run.admission(self.flow, self.window.len(), now_ns) {
                    Admission::Begin(intended_ns) => {
                        let message = run.begin(self.flow, intended_ns, now_ns);
                        (message, self.company(SENDS_PER_SLICE - sent, now_ns, run))
                    }
                    _ => return Ok(true),
                },
            };
            let count = self.send_some(wire, 1 + company, run)?;
            if count == 0 {
                self.unsent = Some(message);
                return Ok(true);
            }
            if self.unsent.take().is_some() {
                run.freed(self.flow, now_ns);
            }
            self.sent(message, run);
            // Begun only now: what the socket had refused would not have been.
            for _ in 1..count {
                let message = run.begin_next(self.flow, now_ns);
                self.sent(message, run);
            }
            run.tally.trains.sends += 1;
            run.tally.trains.sent += count as u64;
            sent += count;
        }
        Ok(false)
    }

    /// How many messages may go with one that has been begun, so that it is no more than `most` in
    /// all: those that may be begun at this very moment.
    fn company(&self, most: usize, now_ns: u64, run: &Run) -> usize {
        if !self.takes_trains || run.tally.trains.refused {
            return 0;
        }
        let fitting = (TRAIN_BYTES_MAX / run.length_bytes).min(TRAIN_MAX).min(most);
        run.admissible(self.flow, self.window.len() + 1, now_ns, fitting.saturating_sub(1))
    }

    fn sent(&mut self, message: InFlight, run: &mut Run) {
        run.tally.sent(message.intended_ns);
        run.tally.bytes_sent(run.length_bytes, message.intended_ns);
        self.window.sent(message, run.tally.is_measured(message.intended_ns));
    }

    /// Sends the next messages by one call, and returns how many the socket took: all of them, none
    /// for now, or the first where trains turn out to be refused.
    fn send_some(&mut self, wire: &impl Wire, count: usize, run: &mut Run) -> io::Result<usize> {
        let length = run.length_bytes;
        let bytes = &mut run.scratch[..count * length];
        for (number, target) in (self.window.next_number()..).zip(bytes.chunks_exact_mut(length)) {
            run.pattern.fill(MessageName { flow: self.flow, number }, 0, target);
        }
        for _ in 0..REFUSALS_PER_SEND {
            match send_together(wire, &run.scratch[..count * length], length) {
                Ok(()) => return Ok(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    return Ok(0);
                }
                // No event tells when there is memory again: the sweep tries once more.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(0),
                Err(error)
                    if error.kind() == ErrorKind::ConnectionRefused
                        && wire.refusal_is_of_the_past() =>
                {
                    self.refused(run);
                }
                Err(error) if count > 1 && is_of_trains(&error) => {
                    run.tally.trains.refused = true;
                    return self.send_some(wire, 1, run);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }
}

fn send_together(wire: &impl Wire, bytes: &[u8], length: usize) -> io::Result<()> {
    match u16::try_from(length) {
        Ok(segment_bytes) if bytes.len() > length => wire.send_train(bytes, segment_bytes),
        _ => wire.send(bytes),
    }
}

/// Whether a train was refused for being one: messages longer than the path takes unfragmented, a
/// device that makes no checksums. Should the reason be another, a single datagram meets it again.
fn is_of_trains(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE))
}

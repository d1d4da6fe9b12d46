//! One datagram socket of the load: it numbers messages and matches echoes by their number. Over
//! UDP, messages that may be sent together leave as a train, and a received train is taken whole.

mod errors;
mod logged;
mod sending;

use std::io::{self, ErrorKind};

pub(super) use self::logged::LoggedWire;
use super::mover::{Mover, Step};
use super::pattern::{MessageId, carried_number, full_number};
use super::recorder::{InFlight, Streak};
use super::run::{QUICK_BYTES_MAX, Run};
use super::window::{EchoKind, Window};
use crate::endpoint::{ResolvedEndpoint, Transport};
use crate::measured::LossCause;
use crate::readiness::Readiness;
use crate::socket::Datagram;

/// Datagrams received in one slice. A train that exceeds the number is still taken whole. A slice
/// sends as many. Comparing and recording each datagram takes most of the time of a slice, more
/// than the system calls.
const RECEIVES_PER_SLICE: usize = 64;

/// A corrupted echo is compared with this many of the latest messages in flight to find its own.
const SEARCH_MAX: usize = 64;

/// The socket of a mover: a connected datagram socket, or a test's script.
pub(super) trait Wire {
    fn send(&self, bytes: &[u8]) -> io::Result<()>;
    /// Sends datagrams of `segment_bytes` each: all of them, or none.
    fn send_train(&self, bytes: &[u8], segment_bytes: u16) -> io::Result<()>;
    fn receive(&self, buf: &mut [u8]) -> io::Result<usize>;
    /// Receives a datagram or a train. Returns its length, and the length of each datagram in it;
    /// the last one may be shorter.
    fn receive_train(&self, buf: &mut [u8]) -> io::Result<(usize, usize)>;
    /// Connects to the target again if a failed send can mean that the peer is gone (Unix). Does
    /// nothing over UDP, where the error may concern an earlier datagram (ICMP).
    fn reconnect(&self, target: &ResolvedEndpoint) -> io::Result<()>;
}

impl Wire for Datagram {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        Datagram::send(self, bytes)
    }

    fn send_train(&self, bytes: &[u8], segment_bytes: u16) -> io::Result<()> {
        Datagram::send_train(self, bytes, segment_bytes)
    }

    fn receive(&self, buf: &mut [u8]) -> io::Result<usize> {
        Datagram::receive(self, buf)
    }

    fn receive_train(&self, buf: &mut [u8]) -> io::Result<(usize, usize)> {
        Datagram::receive_train(self, buf)
    }

    fn reconnect(&self, target: &ResolvedEndpoint) -> io::Result<()> {
        match self.transport() {
            Transport::Unixgram => Datagram::reconnect(self, target),
            _ => Ok(()),
        }
    }
}

/// The state of one datagram socket.
#[derive(Debug)]
pub(super) struct DatagramMover {
    flow: u32,
    window: Window,
    /// The socket delivers trains (UDP_GRO) and may send some.
    takes_trains: bool,
    /// A message that was begun and that the socket has not taken yet.
    held: Option<InFlight>,
    /// The last send would block. A writable event follows.
    is_blocked: bool,
    /// The peer refused a message, which is counted once per socket.
    was_refused: bool,
    /// The socket has taken a message.
    has_sent: bool,
    /// The last send failed, or the socket backs off: it makes no load.
    is_in_outage: bool,
    /// An error lost messages, and no message was answered since.
    has_failed: bool,
    /// In a closed loop: no message is begun before this time.
    backs_off_until_ns: u64,
    /// The kernel reported that messages with numbers below this one did not arrive, and why.
    noted_error: Option<(LossCause, u64)>,
}

impl DatagramMover {
    /// Creates the mover of one socket. `takes_trains`: the socket can deliver trains (UDP_GRO).
    pub(super) fn new(flow: u32, takes_trains: bool) -> DatagramMover {
        DatagramMover {
            flow,
            window: Window::new(),
            takes_trains,
            held: None,
            is_blocked: false,
            was_refused: false,
            has_sent: false,
            is_in_outage: false,
            has_failed: false,
            backs_off_until_ns: 0,
            noted_error: None,
        }
    }

    /// Returns true while the mover waits for the socket to become writable.
    pub(super) fn wants_writable(&self) -> bool {
        self.is_blocked
    }

    /// Returns the message that waits for the socket to take it.
    pub(super) fn held(&self) -> Option<InFlight> {
        self.held
    }

    /// Receives and sends for one slice.
    ///
    /// # Errors
    ///
    /// Returns the error that makes the socket unusable: a message is too long for a datagram.
    pub(super) fn advance(
        &mut self,
        wire: &impl Wire,
        readiness: &mut Readiness,
        run: &mut Run,
    ) -> io::Result<Step> {
        match run.is_mixed() {
            false => self.exchange::<false>(wire, readiness, run),
            true => self.exchange::<true>(wire, readiness, run),
        }
    }

    /// `MIXED`: messages have different lengths. Without that, none of the code for it runs. There
    /// are several copies of this function, so what runs per message asks to be inlined.
    fn exchange<const MIXED: bool>(
        &mut self,
        wire: &impl Wire,
        readiness: &mut Readiness,
        run: &mut Run,
    ) -> io::Result<Step> {
        run.fresh_ns = None;
        let has_received_all = self.receive::<MIXED>(wire, readiness, run);
        let has_sent_all = self.send::<MIXED>(wire, run)?;
        if self.noted_error.is_some() {
            // Receive what is queued first: the peer answered it before the error was reported.
            readiness.merge(Readiness::READABLE);
            return Ok(Step::Again);
        }
        Ok(if has_received_all && has_sent_all { Step::Wait } else { Step::Again })
    }

    /// Receives until nothing is queued, or until no echo is expected. In the latter case a later
    /// slice receives what is still queued, together with the next echo. Returns false if the slice
    /// was used up.
    fn receive<const MIXED: bool>(
        &mut self,
        wire: &impl Wire,
        readiness: &mut Readiness,
        run: &mut Run,
    ) -> bool {
        let mut taken = 0;
        while taken < RECEIVES_PER_SLICE {
            if !readiness.is_readable() {
                return true;
            }
            let mut scratch = std::mem::take(&mut run.scratch);
            let received = match self.takes_trains {
                true => wire.receive_train(&mut scratch),
                false => wire.receive(&mut scratch).map(|count| (count, count)),
            };
            if let Ok((count, segment_bytes)) = received {
                taken += self.take_all::<MIXED>(&scratch[..count], segment_bytes, run);
            }
            run.scratch = scratch;
            match received {
                Ok(_) if self.window.len() == 0 && !run.is_draining => {
                    self.noted_error = None;
                    return true;
                }
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    readiness.clear_readable();
                    self.apply_noted_error(run);
                }
                Err(error) => self.note_error(LossCause::of(&error), run),
            }
            taken += 1;
        }
        !readiness.is_readable()
    }

    /// Takes what one call received, all of it with the same time. Returns how many datagrams that
    /// were; an empty datagram counts as one.
    #[inline(always)]
    fn take_all<const MIXED: bool>(
        &mut self,
        bytes: &[u8],
        segment_bytes: usize,
        run: &mut Run,
    ) -> usize {
        let now_ns = run.clock.now_ns();
        // For a train the next send reads the clock again: compared with its many messages that is
        // cheap.
        let is_quick = bytes.len() <= QUICK_BYTES_MAX.min(segment_bytes);
        run.fresh_ns = is_quick.then_some(now_ns);
        let mut streak = Streak::starting_at(now_ns);
        let mut rest = bytes;
        let mut count = 0;
        loop {
            let (segment, behind) = rest.split_at(segment_bytes.min(rest.len()));
            self.take::<MIXED>(segment, now_ns, &mut streak, run);
            rest = behind;
            count += 1;
            if rest.is_empty() {
                break;
            }
        }
        streak.flush(&mut run.recorder);
        let trains = &mut run.recorder.trains;
        trains.receives += 1;
        trains.received += count as u64;
        count
    }

    #[inline(always)]
    fn take<const MIXED: bool>(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        streak: &mut Streak,
        run: &mut Run,
    ) {
        let Some((number, offset)) = self.identify::<MIXED>(bytes, run) else {
            return run.unsolicited(self.flow, bytes, now_ns);
        };
        let id = MessageId { flow: self.flow, number };
        let is_measured = match self.window.arrived(number) {
            EchoKind::InTime { message, is_overtaken } => {
                run.recorder.bytes_received(bytes.len(), message.intended_ns);
                let is_measured = run.recorder.is_measured(message.intended_ns);
                self.has_failed = false;
                if self.answered(message, run, now_ns) {
                    run.recorder.of(is_measured).reordered += u64::from(is_overtaken);
                    streak.push(message, &mut run.recorder);
                    if MIXED {
                        run.note_class_received(id, message, now_ns);
                    }
                }
                is_measured
            }
            EchoKind::Late { is_measured } => {
                run.recorder.late(is_measured, now_ns);
                is_measured
            }
            EchoKind::Duplicate { is_measured } => {
                run.recorder.of(is_measured).duplicated += 1;
                is_measured
            }
            EchoKind::Unknown => unreachable!("`identify` returns only sent numbers: {number}"),
        };
        if let Some(offset) = offset {
            let difference = run.difference(id, offset, bytes.get(offset).copied());
            run.recorder.differs(difference, is_measured);
        }
    }

    /// Returns the message that a datagram echoes, and where the datagram differs from it.
    fn identify<const MIXED: bool>(&self, bytes: &[u8], run: &Run) -> Option<(u64, Option<usize>)> {
        if bytes.is_empty() {
            return None;
        }
        // An echo of a short message may have bytes behind it that are no part of a number.
        let (low, bits) = carried_number(&bytes[..bytes.len().min(run.length_max())]);
        let number = full_number(low, bits, self.window.next_number());
        if !run.verify {
            return number.map(|number| (number, None));
        }
        let difference = |number| self.difference::<MIXED>(number, bytes, run);
        match number {
            Some(number) if difference(number).is_none() => Some((number, None)),
            // The wrong byte may belong to the number, so the most similar message is taken.
            _ => {
                let number = self.closest(bytes, number, run)?;
                Some((number, difference(number)))
            }
        }
    }

    fn difference<const MIXED: bool>(&self, number: u64, bytes: &[u8], run: &Run) -> Option<usize> {
        let id = MessageId { flow: self.flow, number };
        let whole = run.length::<MIXED>(id);
        let length = bytes.len().min(whole);
        let differs = run.pattern.difference(id, 0, &bytes[..length]);
        differs.or((bytes.len() != whole).then_some(length))
    }

    /// Returns the message that shares most bytes with a datagram, if it shares at least half of
    /// them. Candidates are the messages in flight and the one that the datagram names, which may
    /// have been answered or given up long ago.
    fn closest(&self, bytes: &[u8], named: Option<u64>, run: &Run) -> Option<u64> {
        let length = bytes.len().min(run.length_max());
        let mut expected = vec![0; length];
        let mut similarity = |number| {
            let id = MessageId { flow: self.flow, number };
            let expected = &mut expected[..length.min(run.length::<true>(id))];
            run.pattern.fill(id, 0, expected);
            let same =
                expected.iter().zip(bytes).filter(|(sent, received)| sent == received).count();
            (same * 2 >= expected.len(), same, Some(number) == named, number)
        };
        let candidates = self.window.latest().take(SEARCH_MAX).chain(named);
        let (is_similar, same, _, number) = candidates.map(&mut similarity).max()?;
        (same > 0 && is_similar).then_some(number)
    }
}

impl Mover for DatagramMover {
    fn flow(&self) -> u32 {
        self.flow
    }

    fn in_flight(&self) -> usize {
        self.window.len()
    }

    fn oldest(&self) -> Option<InFlight> {
        self.window.oldest()
    }

    fn drop_oldest(&mut self) {
        self.window.give_up_oldest();
    }

    fn take_held(&mut self) -> Option<InFlight> {
        self.held.take()
    }
}

#[cfg(test)]
mod tests;

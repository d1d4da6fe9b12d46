//! One datagram socket's part in the load: numbered messages, and echoes that are matched by their
//! number. Over UDP, messages that may go together go as a train, and echoes that came as one are
//! received so.

mod errors;
mod sending;

use std::io::{self, ErrorKind};

use super::mover::{Mover, Step};
use super::pattern::{MessageName, carried_number, whole_number};
use super::recorder::{InFlight, Streak};
use super::run::{QUICK_BYTES_MAX, Run};
use super::window::{EchoKind, Window};
use crate::endpoint::{ResolvedEndpoint, Transport};
use crate::measured::LossCause;
use crate::readiness::Readiness;
use crate::socket::Datagram;

/// Datagrams received in one slice; the train that goes beyond is taken whole. As many are sent in
/// one: the time of a slice lies in the datagrams, each compared and recorded, more than in the
/// calls.
const RECEIVES_PER_SLICE: usize = 64;

/// A corrupted echo is compared with so many of the latest messages under way to find its own.
const SEARCH_MAX: usize = 64;

/// What a mover sends and receives by: a connected datagram socket, or a test's script.
pub(super) trait Wire {
    fn send(&self, bytes: &[u8]) -> io::Result<()>;
    /// Sends datagrams of `segment_bytes`: all of them, or none.
    fn send_train(&self, bytes: &[u8], segment_bytes: u16) -> io::Result<()>;
    fn receive(&self, buf: &mut [u8]) -> io::Result<usize>;
    /// Receives a datagram or a train: its length, and that of its datagrams but the last.
    fn receive_train(&self, buf: &mut [u8]) -> io::Result<(usize, usize)>;
    /// Connects to the target anew, if a send that fails can mean that the peer is gone (Unix).
    /// Over UDP it does nothing: there the error may be that of an earlier datagram, by ICMP.
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
    /// Its socket gives trains whole, and may be given some.
    takes_trains: bool,
    /// A message that was begun and that the socket would not take yet.
    unsent: Option<InFlight>,
    /// The socket said that there is no room, and an event will say when there is.
    is_blocked: bool,
    was_refused: bool,
    /// The socket ever took a message.
    has_sent: bool,
    /// The last send failed, or the socket rests: it makes no load.
    is_out: bool,
    /// An error has lost messages, and none was answered since.
    has_failed: bool,
    /// In a closed loop: no message is begun before this time.
    rests_until_ns: u64,
    /// The kernel has reported that messages with numbers below this one did not arrive, and why.
    reported: Option<(LossCause, u64)>,
}

impl DatagramMover {
    /// That of a socket that may be told to give trains whole: `takes_trains`.
    pub(super) fn new(flow: u32, takes_trains: bool) -> DatagramMover {
        DatagramMover {
            flow,
            window: Window::new(),
            takes_trains,
            unsent: None,
            is_blocked: false,
            was_refused: false,
            has_sent: false,
            is_out: false,
            has_failed: false,
            rests_until_ns: 0,
            reported: None,
        }
    }

    /// Whether an event is to tell when the socket takes more.
    pub(super) fn wants_writable(&self) -> bool {
        self.is_blocked
    }

    /// The message that waits for the socket to take it.
    pub(super) fn held_up(&self) -> Option<InFlight> {
        self.unsent
    }

    /// Receives and sends for one slice.
    ///
    /// # Errors
    ///
    /// What makes the socket useless: a message that is too long for it.
    pub(super) fn advance(
        &mut self,
        wire: &impl Wire,
        readiness: &mut Readiness,
        run: &mut Run,
    ) -> io::Result<Step> {
        run.fresh_ns = None;
        let has_received_all = self.receive(wire, readiness, run);
        let has_sent_all = self.send(wire, run)?;
        if self.reported.is_some() {
            // What is queued is received first: it was answered before the error came.
            readiness.merge(Readiness::READABLE);
            return Ok(Step::Again);
        }
        Ok(if has_received_all && has_sent_all { Step::Wait } else { Step::Again })
    }

    /// Receives until nothing is there, or nothing is expected: then whatever comes next, and what
    /// is queued behind it, is met with the next answer. False when the slice was used up.
    fn receive(&mut self, wire: &impl Wire, readiness: &mut Readiness, run: &mut Run) -> bool {
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
                taken += self.take_all(&scratch[..count], segment_bytes, run);
            }
            run.scratch = scratch;
            match received {
                Ok(_) if self.window.len() == 0 && !run.is_draining => {
                    self.reported = None;
                    return true;
                }
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    readiness.clear_readable();
                    self.lose_reported(run);
                }
                Err(error) => self.report(LossCause::of(&error), run),
            }
            taken += 1;
        }
        !readiness.is_readable()
    }

    /// Takes what one call has received, all of it at the same time, and returns how many datagrams
    /// that were. An empty one is one, too.
    fn take_all(&mut self, bytes: &[u8], segment_bytes: usize, run: &mut Run) -> usize {
        let now_ns = run.clock.now_ns();
        // A train is many messages' work, and a reading of the clock a small part of it.
        let is_quick = bytes.len() <= QUICK_BYTES_MAX.min(segment_bytes);
        run.fresh_ns = is_quick.then_some(now_ns);
        let mut streak = Streak::starting_at(now_ns);
        let mut rest = bytes;
        let mut count = 0;
        loop {
            let (segment, behind) = rest.split_at(segment_bytes.min(rest.len()));
            self.take(segment, now_ns, &mut streak, run);
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

    fn take(&mut self, bytes: &[u8], now_ns: u64, streak: &mut Streak, run: &mut Run) {
        let Some((number, offset)) = self.identify(bytes, run) else {
            return run.unasked(self.flow, bytes, now_ns);
        };
        let is_measured = match self.window.arrived(number) {
            EchoKind::Answer { message, is_overtaken } => {
                run.recorder.bytes_received(bytes.len(), message.intended_ns);
                let is_measured = run.recorder.is_measured(message.intended_ns);
                self.has_failed = false;
                if self.answered(message, run, now_ns) {
                    run.recorder.of(is_measured).reordered += u64::from(is_overtaken);
                    streak.push(message, &mut run.recorder);
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
            EchoKind::Unknown => unreachable!("a number that was identified was sent: {number}"),
        };
        if let Some(offset) = offset {
            let name = MessageName { flow: self.flow, number };
            let difference = run.difference(name, offset, bytes.get(offset).copied());
            run.recorder.differs(difference, is_measured);
        }
    }

    /// The message that a datagram echoes, and where it differs from it.
    fn identify(&self, bytes: &[u8], run: &Run) -> Option<(u64, Option<usize>)> {
        if bytes.is_empty() {
            return None;
        }
        let length = bytes.len().min(run.length_bytes);
        let (low, bits) = carried_number(&bytes[..length]);
        let number = whole_number(low, bits, self.window.next_number());
        if !run.verify {
            return number.map(|number| (number, None));
        }
        let difference = |number| self.difference(number, bytes, run);
        match number {
            Some(number) if difference(number).is_none() => Some((number, None)),
            // One wrong byte may be one of the number: what comes closest is meant.
            _ => {
                let number = self.closest(bytes, number, run)?;
                Some((number, difference(number)))
            }
        }
    }

    fn difference(&self, number: u64, bytes: &[u8], run: &Run) -> Option<usize> {
        let length = bytes.len().min(run.length_bytes);
        let name = MessageName { flow: self.flow, number };
        let differs = run.pattern.difference(name, 0, &bytes[..length]);
        differs.or((bytes.len() != run.length_bytes).then_some(length))
    }

    /// The message that most bytes are of, if it is at least half of them: one under way, or that
    /// which it names, which may have been answered or given up long ago.
    fn closest(&self, bytes: &[u8], named: Option<u64>, run: &Run) -> Option<u64> {
        let length = bytes.len().min(run.length_bytes);
        let mut expected = vec![0; length];
        let mut likeness = |number| {
            run.pattern.fill(MessageName { flow: self.flow, number }, 0, &mut expected);
            let same = expected.iter().zip(bytes).filter(|(sent, came)| sent == came).count();
            (same, Some(number) == named, number)
        };
        let candidates = self.window.latest().take(SEARCH_MAX).chain(named);
        let (same, _, number) = candidates.map(&mut likeness).max()?;
        (same > 0 && same * 2 >= length).then_some(number)
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

    fn take_unsent(&mut self) -> Option<InFlight> {
        self.unsent.take()
    }
}

#[cfg(test)]
mod tests;

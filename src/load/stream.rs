//! One stream of the load: messages leave one behind the other, and their echoes come back in that
//! order, in pieces of any size.
//!
//! No message is stored. The mover generates its bytes again from its number to compare an echo,
//! and to write what a full socket has not taken.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use super::mover::{Mover, Step};
use super::pattern::MessageId;
use super::recorder::InFlight;
use super::run::{Admission, QUICK_BYTES_MAX, Run};
use crate::readiness::Readiness;

/// Reads and writes of one slice. With the scratch buffer of 64 KiB a flow moves 256 KiB each way
/// before the next flow runs.
const READS_PER_SLICE: usize = 4;
const WRITES_PER_SLICE: usize = 4;

/// The maximum number of messages of one connection whose echo is not complete, including those
/// that were given up. If more may be in flight, that number is the maximum. A server that never
/// answers would otherwise owe ever more echoes: each timeout makes room for new messages.
const UNANSWERED_MAX: usize = 16_384;

/// The state of one stream.
#[derive(Debug)]
pub(super) struct StreamMover {
    flow: u32,
    /// Messages whose echo is not complete, in order. The first `overdue` of them are given up; if
    /// their echoes arrive, they are late.
    unanswered: VecDeque<InFlight>,
    overdue: usize,
    /// The number of the next message. The first had the number `first`.
    begun: u64,
    first: u64,
    /// How far writing is: the message, and how many of its bytes are written.
    written: (u64, usize),
    /// Echoed bytes of the first unanswered message.
    read_bytes: usize,
    /// One of these bytes was wrong, which is counted.
    is_corrupted: bool,
    /// The stream carries a single message.
    is_single: bool,
    /// Bytes that answer no message are arriving, which is counted.
    has_excess: bool,
    /// The peer had no room, or owed too many echoes: it delays the messages due since then.
    is_delayed_by_peer: bool,
}

impl StreamMover {
    pub(super) fn new(flow: u32, first_number: u64) -> StreamMover {
        StreamMover {
            flow,
            unanswered: VecDeque::new(),
            overdue: 0,
            begun: first_number,
            first: first_number,
            written: (first_number, 0),
            read_bytes: 0,
            is_corrupted: false,
            is_single: false,
            has_excess: false,
            is_delayed_by_peer: false,
        }
    }

    /// Begins the single message before the connection is made, because the connection is part of
    /// it.
    pub(super) fn begin_only(&mut self, message: InFlight, run: &mut Run) {
        self.begin::<true>(message, run);
        self.is_single = true;
    }

    /// Returns true if the single message is answered or given up.
    pub(super) fn is_finished(&self) -> bool {
        self.is_single && self.in_flight() == 0
    }

    /// Returns true if a message was answered.
    pub(super) fn has_answered(&self) -> bool {
        self.begun - self.first > self.unanswered.len() as u64
    }

    fn begin<const MIXED: bool>(&mut self, message: InFlight, run: &mut Run) {
        let id = MessageId { flow: self.flow, number: self.begun };
        run.note_sent::<MIXED>(id, message.intended_ns);
        self.unanswered.push_back(message);
        self.begun += 1;
    }

    /// Moves bytes for one slice: receives echoes, then sends what may be sent.
    ///
    /// # Errors
    ///
    /// Returns what ended the stream: a reset, EPIPE, or `WriteZero` for a write that took nothing.
    pub(super) fn advance<T: Read + Write>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        run: &mut Run,
    ) -> io::Result<Step> {
        match run.is_mixed() {
            false => self.exchange::<false, T>(stream, readiness, run),
            true => self.exchange::<true, T>(stream, readiness, run),
        }
    }

    /// `MIXED`: messages have different lengths. Without that, none of the code for it runs.
    fn exchange<const MIXED: bool, T: Read + Write>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        run: &mut Run,
    ) -> io::Result<Step> {
        run.fresh_ns = None;
        if !self.receive::<MIXED, T>(stream, readiness, run)? {
            return Ok(Step::Closed);
        }
        let has_sent_all = self.send::<MIXED, T>(stream, readiness, run)?;
        let is_idle = !readiness.is_readable() && has_sent_all;
        Ok(if is_idle { Step::Wait } else { Step::Again })
    }

    /// Reads and compares echoes. Returns false at the end of the stream.
    fn receive<const MIXED: bool, T: Read>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        run: &mut Run,
    ) -> io::Result<bool> {
        for _ in 0..READS_PER_SLICE {
            if !readiness.is_readable() {
                break;
            }
            let mut scratch = std::mem::take(&mut run.scratch);
            let read = stream.read(&mut scratch);
            if let Ok(count @ 1..) = read {
                let now_ns = run.clock.now_ns();
                run.fresh_ns = (count <= QUICK_BYTES_MAX).then_some(now_ns);
                if count < scratch.len() && readiness.short_read_drains() {
                    readiness.clear_readable();
                }
                self.take::<MIXED>(&scratch[..count], now_ns, run);
            }
            run.scratch = scratch;
            match read {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => readiness.clear_readable(),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Assigns echoed bytes to messages: each belongs to the first message whose echo is not
    /// complete.
    fn take<const MIXED: bool>(&mut self, mut bytes: &[u8], now_ns: u64, run: &mut Run) {
        while !bytes.is_empty() {
            let Some(message) = self.unanswered.front().copied() else {
                return self.take_excess(bytes, now_ns, run);
            };
            let id = MessageId { flow: self.flow, number: self.first_unanswered() };
            let length = run.length::<MIXED>(id);
            let count = bytes.len().min(length - self.read_bytes);
            let (now, later) = bytes.split_at(count);
            if run.verify && !self.is_corrupted {
                self.compare(now, id, message, run);
            }
            if self.overdue == 0 {
                run.recorder.bytes_received(count, message.intended_ns);
            }
            self.read_bytes += count;
            bytes = later;
            if self.read_bytes == length {
                self.take_echo::<MIXED>(id, message, now_ns, run);
            }
        }
    }

    /// Returns the number of the first message whose echo is not complete.
    fn first_unanswered(&self) -> u64 {
        self.begun - self.unanswered.len() as u64
    }

    fn compare(&mut self, received: &[u8], id: MessageId, message: InFlight, run: &mut Run) {
        if let Some(offset) = run.pattern.difference(id, self.read_bytes, received) {
            self.is_corrupted = true;
            let byte = received[offset - self.read_bytes];
            let difference = run.difference(id, offset, Some(byte));
            run.recorder.differs(difference, run.recorder.is_measured(message.intended_ns));
        }
    }

    /// Records the echo of the first message, which is complete.
    fn take_echo<const MIXED: bool>(
        &mut self,
        id: MessageId,
        message: InFlight,
        now_ns: u64,
        run: &mut Run,
    ) {
        self.unanswered.pop_front();
        self.read_bytes = 0;
        self.is_corrupted = false;
        if self.overdue > 0 {
            self.overdue -= 1;
            run.recorder.late(run.recorder.is_measured(message.intended_ns), now_ns);
        } else if self.answered(message, run, now_ns) {
            run.recorder.received(message, now_ns);
            if MIXED {
                run.note_class_received(id, message, now_ns);
            }
        }
    }

    /// Counts bytes that answer no message, a greeting or a repeated echo: once between two
    /// messages.
    fn take_excess(&mut self, bytes: &[u8], now_ns: u64, run: &mut Run) {
        run.recorder.heard_ns_last = Some(now_ns);
        if !run.verify || self.has_excess {
            return;
        }
        self.has_excess = true;
        run.unsolicited(self.flow, bytes, now_ns);
    }

    /// Returns the intended time of the message that may be begun now.
    fn may_begin(&mut self, run: &mut Run, now_ns: u64) -> Option<u64> {
        if self.is_single {
            return None;
        }
        if self.unanswered.len() >= UNANSWERED_MAX.max(run.in_flight_max) {
            self.is_delayed_by_peer = true;
            return None;
        }
        if std::mem::take(&mut self.is_delayed_by_peer) {
            run.note_free(self.flow, now_ns);
        }
        match run.admission(self.flow, self.in_flight(), now_ns) {
            Admission::Begin(intended_ns) => Some(intended_ns),
            _ => None,
        }
    }

    /// Writes unwritten bytes and the messages that may be begun, as many per call as the scratch
    /// buffer holds. Returns false if the slice was used up before that.
    fn send<const MIXED: bool, T: Write>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        run: &mut Run,
    ) -> io::Result<bool> {
        for _ in 0..WRITES_PER_SLICE {
            if !readiness.is_writable() {
                return Ok(true);
            }
            let filled = self.fill::<MIXED>(run);
            if filled == 0 {
                return Ok(true);
            }
            match stream.write(&run.scratch[..filled]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.advance_written::<MIXED>(count, run),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    readiness.clear_writable();
                    self.is_delayed_by_peer = true;
                    if !run.is_open_loop() && self.in_flight() < run.in_flight_max {
                        run.recorder.waits_for_room(run.clock.now_ns());
                    }
                }
                Err(error) => return Err(error),
            }
            // At depth one, the common case, nothing more can be begun.
            if self.in_flight() >= run.in_flight_max && self.written.0 == self.begun {
                return Ok(true);
            }
        }
        Ok(!readiness.is_writable())
    }

    /// Fills the scratch buffer with the next bytes to write, and returns how many.
    fn fill<const MIXED: bool>(&mut self, run: &mut Run) -> usize {
        let mut filled = 0;
        let (mut number, mut offset) = self.written;
        let mut now_ns = None;
        while filled < run.scratch.len() {
            if number == self.begun {
                // One reading of the clock per write: its messages leave together.
                let now_ns = *now_ns.get_or_insert_with(|| run.send_ns());
                let Some(intended_ns) = self.may_begin(run, now_ns) else { break };
                let message = run.begin(self.flow, intended_ns, now_ns);
                self.begin::<MIXED>(message, run);
                self.has_excess = false;
            }
            let id = MessageId { flow: self.flow, number };
            let count = (run.length::<MIXED>(id) - offset).min(run.scratch.len() - filled);
            run.pattern.fill(id, offset, &mut run.scratch[filled..filled + count]);
            filled += count;
            (number, offset) = (number + 1, 0);
        }
        filled
    }

    /// Notes that `count` more bytes are written.
    fn advance_written<const MIXED: bool>(&mut self, mut count: usize, run: &mut Run) {
        while count > 0 {
            let (number, offset) = self.written;
            let length = run.length::<MIXED>(MessageId { flow: self.flow, number });
            let now = count.min(length - offset);
            // A server may send bytes that it has not received. They can complete the echo of this
            // message before it is written. Its bytes then count as measured.
            let at =
                number.checked_sub(self.first_unanswered()).and_then(|at| usize::try_from(at).ok());
            let message = at.and_then(|at| self.unanswered.get(at));
            run.recorder.bytes_sent(now, message.map_or(u64::MAX, |message| message.intended_ns));
            let is_whole = offset + now == length;
            self.written = if is_whole { (number + 1, 0) } else { (number, offset + now) };
            count -= now;
        }
    }
}

impl Mover for StreamMover {
    fn flow(&self) -> u32 {
        self.flow
    }

    fn in_flight(&self) -> usize {
        self.unanswered.len() - self.overdue
    }

    fn oldest(&self) -> Option<InFlight> {
        self.unanswered.get(self.overdue).copied()
    }

    fn drop_oldest(&mut self) {
        self.overdue += 1;
    }
}

#[cfg(test)]
mod tests;

//! The byte mover: what one stream is owed, and how it is paid.
//!
//! Flush what is owed → read into the shared scratch buffer → write back at once → keep only
//! what did not fit. A stream that owes does not read, so that a peer which never reads costs one
//! buffer's worth of memory (or one reply's) and no more. An idle stream owns no buffer at all.

mod bulk;

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use self::bulk::{Gauge, Load};
use super::bounds::READS_PER_SLICE;
use super::counters::Tally;
use super::options::Answer;
use crate::readiness::Readiness;
use crate::socket::{PipePool, Splice};

/// One stream's part in the echo.
#[derive(Debug)]
pub(super) struct ByteMover {
    phase: Phase,
    /// Whether the stream is in bulk.
    gauge: Gauge,
    /// Answered bytes that the socket did not take, from the first unsent one on.
    owed: Option<Box<Owed>>,
    /// What the socket held of sent bytes when that was last asked: the peer's system had not
    /// taken them yet.
    untaken_bytes: u32,
    /// When a byte last moved, in either direction.
    active_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Echoing,
    /// This side ends it: pay, then send FIN.
    Finishing,
    /// FIN is sent. Input is thrown away until the peer's FIN: to close with input unread would
    /// reset the connection, and the reset would overtake the last bytes of the answer.
    Lingering,
}

/// Answered bytes that are still to be sent.
#[derive(Debug)]
enum Owed {
    Bytes { bytes: Box<[u8]>, sent: usize },
    Piped(Load),
}

/// What a slice of a stream ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `WouldBlock`, or a short read, in every direction that is wanted.
    Wait,
    /// The slice is used up.
    Again,
    /// All is paid after [`ByteMover::finish`]: send FIN, and go on with [`ByteMover::linger`].
    Paid,
    /// The peer has sent FIN and has all it was owed: close.
    Finished,
}

/// What the mover needs besides its stream.
pub(super) struct StreamWork<'a> {
    pub(super) scratch: &'a mut [u8],
    pub(super) pipes: &'a mut PipePool,
    /// Whether bulk may go by a pipe, unseen.
    pub(super) splices: bool,
    pub(super) answer: &'a Answer,
    pub(super) tally: &'a mut Tally,
    pub(super) now: Instant,
}

impl ByteMover {
    pub(super) fn new(now: Instant) -> ByteMover {
        let (phase, gauge) = (Phase::Echoing, Gauge::default());
        ByteMover { phase, gauge, owed: None, untaken_bytes: 0, active_at: now }
    }

    /// Whether the peer has yet to take some of its answer.
    pub(super) fn owes(&self) -> bool {
        self.owed.is_some()
    }

    /// How long no byte has moved.
    pub(super) fn quiet_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.active_at)
    }

    /// To be called with what the socket holds of sent bytes when nothing was sent for a while. A
    /// socket is writable again only when a good part of its buffer is free, which may be
    /// megabytes: that it holds less than before is all that tells a peer which takes its answer
    /// slowly from one that takes nothing.
    pub(super) fn note_untaken(&mut self, bytes: usize, now: Instant) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if bytes < self.untaken_bytes {
            self.active_at = now;
        }
        self.untaken_bytes = bytes;
    }

    /// Reads no more of the peer's messages; pays what is owed.
    pub(super) fn finish(&mut self) {
        if self.phase == Phase::Echoing {
            self.phase = Phase::Finishing;
        }
    }

    /// To be called once FIN is sent.
    pub(super) fn linger(&mut self) {
        self.phase = Phase::Lingering;
    }

    /// Moves bytes for one slice. `on_message` sees each chunk that was read.
    ///
    /// # Errors
    ///
    /// What ended the stream: a reset, EPIPE, or `WriteZero` for a write that took nothing.
    pub(super) fn advance<T: Read + Write + Splice>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        work: &mut StreamWork<'_>,
        mut on_message: impl FnMut(&T, &[u8]),
    ) -> io::Result<Step> {
        for _ in 0..READS_PER_SLICE {
            if !self.pay(stream, readiness, work)? {
                return Ok(Step::Wait);
            }
            if self.phase == Phase::Finishing {
                return Ok(Step::Paid);
            }
            if !readiness.is_readable() {
                return Ok(Step::Wait);
            }
            if self.carry(stream, readiness, work)? {
                continue;
            }
            let count = match stream.read(work.scratch) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    readiness.clear_readable();
                    self.gauge.note_read(false);
                    return Ok(Step::Wait);
                }
                Err(error) => return Err(error),
            };
            if count == 0 {
                // The peer's FIN, and nothing is owed: what is owed is paid before each read.
                return Ok(Step::Finished);
            }
            if count < work.scratch.len() && readiness.short_read_drains() {
                readiness.clear_readable();
            }
            if self.phase == Phase::Lingering {
                continue;
            }
            self.gauge.note_read(count == work.scratch.len());
            self.active_at = work.now;
            work.tally.received(count);
            on_message(stream, &work.scratch[..count]);
            self.answer(stream, readiness, count, work)?;
        }
        // The last answer may have blocked, or the last read emptied the socket: then the slice has
        // come to its natural end as well.
        let rests = if self.owes() { !readiness.is_writable() } else { !readiness.is_readable() };
        Ok(if rests { Step::Wait } else { Step::Again })
    }

    /// Writes the answer to `count` bytes of scratch, and keeps what the socket does not take.
    fn answer<T: Write>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        count: usize,
        work: &mut StreamWork<'_>,
    ) -> io::Result<()> {
        let bytes = match work.answer {
            Answer::Echo => &work.scratch[..count],
            Answer::Text(text) => text,
            Answer::Nothing => return Ok(()),
        };
        let sent = write_until_blocked(stream, bytes, readiness, work.tally)?;
        if sent < bytes.len() {
            self.owed = Some(Box::new(Owed::Bytes { bytes: bytes[sent..].into(), sent: 0 }));
        }
        Ok(())
    }

    /// Pays what is owed; true when nothing is owed any more.
    fn pay<T: Write + Splice>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        work: &mut StreamWork<'_>,
    ) -> io::Result<bool> {
        let Some(owed) = &mut self.owed else { return Ok(true) };
        if owed.send(stream, readiness, work)? > 0 {
            self.active_at = work.now;
        }
        if !owed.is_paid() {
            return Ok(false);
        }
        if let Some(owed) = self.owed.take() {
            owed.settle(work);
        }
        Ok(true)
    }
}

impl Owed {
    /// Sends until all is taken or the stream would block, and returns how much was taken.
    fn send<T: Write + Splice>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        work: &mut StreamWork<'_>,
    ) -> io::Result<usize> {
        match self {
            Owed::Bytes { bytes, sent } => {
                let count = write_until_blocked(stream, &bytes[*sent..], readiness, work.tally)?;
                *sent += count;
                Ok(count)
            }
            Owed::Piped(load) => match load.pour(stream, readiness, work.tally) {
                Err(error) if bulk::is_refusal(&error) => {
                    work.pipes.switch_off();
                    *self = Owed::Bytes { bytes: load.unload()?, sent: 0 };
                    self.send(stream, readiness, work)
                }
                outcome => outcome,
            },
        }
    }

    fn is_paid(&self) -> bool {
        match self {
            Owed::Bytes { bytes, sent } => *sent == bytes.len(),
            Owed::Piped(load) => load.is_empty(),
        }
    }

    /// To be called when all is paid.
    fn settle(self, work: &mut StreamWork<'_>) {
        if let Owed::Piped(load) = self {
            work.pipes.give_back(load.into_pipe());
        }
    }
}

/// Writes until all is taken or the socket would block, and returns how much was taken.
fn write_until_blocked<T: Write>(
    stream: &mut T,
    bytes: &[u8],
    readiness: &mut Readiness,
    tally: &mut Tally,
) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() && readiness.is_writable() {
        match stream.write(&bytes[sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                tally.sent(count);
                sent += count;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => readiness.clear_writable(),
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests;

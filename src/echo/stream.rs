//! The byte mover: what one stream is owed, and how it is paid.
//!
//! Flush what is owed → read into the shared scratch buffer → write back at once → keep only
//! what did not fit. A stream that owes does not read, so that a peer which never reads costs one
//! buffer's worth of memory and no more. An idle stream owns no buffer at all.
//!
//! When all streams together owe as much as they may, a stream is read only as far as its socket
//! takes the echo: it looks at its input without taking it, writes, and takes what it has written.

mod bulk;
mod unsent;
mod untaken;

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use self::bulk::BulkDetector;
use self::unsent::Unsent;
pub(super) use self::unsent::UnsentBytes;
use self::untaken::Untaken;
use super::bounds::{LINGER_READ_KIB_MAX, READS_PER_SLICE};
use super::clock::Moment;
use super::counters::TransportCounters;
use super::options::Reply;
use crate::readiness::Readiness;
use crate::socket::{Peek, PipePool, SendQueue, Splice};

/// One stream's part in the echo.
#[derive(Debug)]
pub(super) struct ByteMover {
    phase: Phase,
    /// Answered bytes that the socket did not take, from the first unsent one on.
    unsent: Option<Box<[Unsent; 1]>>,
    /// Answered bytes that the socket took and the peer has yet to take, as far as is known.
    untaken: Untaken,
    /// When a byte last moved, in either direction.
    moved_at: Moment,
    /// When the peer last took some of its answer, or was first sent one.
    taken_at: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The detector tells whether the stream is in bulk.
    Echoing(BulkDetector),
    /// This side ends it: pay, then send FIN.
    Finishing,
    /// FIN is sent. Input is thrown away until the peer's FIN: to close with input unread would
    /// reset the connection, and the reset would overtake the last bytes of the answer.
    Lingering { read_kib: u16 },
}

/// What a slice of a stream ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `WouldBlock`, or a short read, in every direction that is wanted.
    Wait,
    /// The slice is used up.
    Again,
    /// All is paid after [`ByteMover::finish`]: send FIN, and go on with [`ByteMover::linger`].
    Flushed,
    /// The peer has sent FIN and has all it was owed: close.
    Finished,
}

/// What the mover needs besides its stream.
pub(super) struct StreamWork<'a> {
    pub(super) scratch: &'a mut [u8],
    pub(super) pipes: &'a mut PipePool,
    /// Whether bulk may go by a pipe, unseen.
    pub(super) splices: bool,
    pub(super) reply: &'a Reply,
    /// What all streams owe.
    pub(super) unsent_bytes: &'a UnsentBytes,
    pub(super) counters: &'a mut TransportCounters,
    pub(super) now: Moment,
}

impl ByteMover {
    pub(super) fn new(now: Moment) -> ByteMover {
        let phase = Phase::Echoing(BulkDetector::default());
        ByteMover { phase, unsent: None, untaken: Untaken::NOTHING, moved_at: now, taken_at: now }
    }

    /// Whether some of the answer waits for room in the socket.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent.is_some()
    }

    /// Whether the peer may have yet to take some of its answer.
    pub(super) fn is_waiting_for_peer(&self) -> bool {
        self.has_unsent() || self.untaken != Untaken::NOTHING
    }

    /// How long no byte has moved.
    pub(super) fn quiet_for(&self, now: Moment) -> Duration {
        now.since(self.moved_at)
    }

    /// How long the peer has not been seen to take any of its answer. Means nothing when the mover
    /// is not [waiting for the peer](ByteMover::is_waiting_for_peer).
    pub(super) fn untaken_for(&self, now: Moment) -> Duration {
        now.since(self.taken_at)
    }

    /// Learns what the socket holds of the answer. Returns whether that tells how the peer has
    /// done since an earlier look; without an earlier look there is nothing to compare with.
    ///
    /// A socket is writable again only when a good part of its buffer is free, which may be
    /// megabytes. So only the queue tells a peer that takes its answer slowly from a peer that
    /// takes nothing.
    pub(super) fn note_send_queue(&mut self, queue: SendQueue, now: Moment) -> bool {
        let before = std::mem::replace(&mut self.untaken, Untaken::after_look(queue));
        match self.untaken.progress_since(before, queue) {
            Some(false) => return true,
            // It was taken at some moment since the earlier look.
            Some(true) => (self.moved_at, self.taken_at) = (now, now),
            None => self.taken_at = now,
        }
        self.untaken == Untaken::NOTHING
    }

    /// Reads no more of the peer's messages; pays what is owed.
    pub(super) fn finish(&mut self) {
        if let Phase::Echoing(_) = self.phase {
            self.phase = Phase::Finishing;
        }
    }

    /// To be called once FIN is sent.
    pub(super) fn linger(&mut self) {
        self.phase = Phase::Lingering { read_kib: 0 };
    }

    /// Moves bytes for one slice. `on_message` sees each chunk that was read.
    ///
    /// # Errors
    ///
    /// What ended the stream: a reset, EPIPE, `WriteZero` for a write that took nothing, or
    /// `OutOfMemory` when what is owed cannot be kept.
    pub(super) fn advance<T: Read + Write + Peek + Splice>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        work: &mut StreamWork<'_>,
        mut on_message: impl FnMut(&T, &[u8]),
    ) -> io::Result<Step> {
        for _ in 0..READS_PER_SLICE {
            if self.has_unsent() && !self.flush(stream, readiness, work)? {
                return Ok(Step::Wait);
            }
            if self.phase == Phase::Finishing {
                return Ok(Step::Flushed);
            }
            if !readiness.is_readable() {
                return Ok(Step::Wait);
            }
            if self.carry(stream, readiness, work)? {
                continue;
            }
            if let Some(step) = self.exchange(stream, readiness, work, &mut on_message)? {
                return Ok(step);
            }
        }
        // The last answer may have blocked, or the last read emptied the socket: then the slice has
        // come to its natural end as well.
        let rests =
            if self.has_unsent() { !readiness.is_writable() } else { !readiness.is_readable() };
        Ok(if rests { Step::Wait } else { Step::Again })
    }

    /// Reads once and answers what came. Returns how the slice ends, if it ends here.
    fn exchange<T: Read + Write + Peek>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        work: &mut StreamWork<'_>,
        on_message: &mut impl FnMut(&T, &[u8]),
    ) -> io::Result<Option<Step>> {
        if matches!(self.phase, Phase::Lingering { read_kib } if read_kib >= LINGER_READ_KIB_MAX) {
            // The rest stays in the kernel, whose buffer fills and stops the peer.
            return Ok(Some(Step::Wait));
        }
        // What is not taken off the stream does not have to be kept here until it is sent.
        let is_peek = T::CAN_PEEK
            && matches!((work.reply, self.phase), (Reply::Echo, Phase::Echoing(_)))
            && work.unsent_bytes.are_too_many();
        if is_peek && !readiness.is_writable() {
            return Ok(Some(Step::Wait));
        }
        let seen = if is_peek { stream.peek(work.scratch) } else { stream.read(work.scratch) };
        let count = match seen {
            // The peer's FIN, and nothing is owed: what is owed is paid before each read.
            Ok(0) => return Ok(Some(Step::Finished)),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(None),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                readiness.clear_readable();
                self.note_read(false);
                return Ok(Some(Step::Wait));
            }
            Err(error) => return Err(error),
        };
        if is_peek {
            let replied = self.reply_peeked(stream, readiness, count, work, on_message)?;
            return Ok((replied < count).then_some(Step::Wait));
        }
        if count < work.scratch.len() && readiness.short_read_drains() {
            readiness.clear_readable();
        }
        if let Phase::Lingering { read_kib } = &mut self.phase {
            let kib = u16::try_from(count.div_ceil(1024)).unwrap_or(u16::MAX);
            *read_kib = read_kib.saturating_add(kib);
            return Ok(None);
        }
        self.note_read(count == work.scratch.len());
        self.moved_at = work.now;
        work.counters.received(count);
        on_message(stream, &work.scratch[..count]);
        self.reply(stream, readiness, count, work)?;
        Ok(None)
    }

    fn note_read(&mut self, is_full: bool) {
        if let Phase::Echoing(detector) = &mut self.phase {
            detector.note_read(is_full);
        }
    }

    /// Writes the answer to `count` bytes of scratch, and keeps what the socket does not take.
    fn reply<T: Write>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        count: usize,
        work: &mut StreamWork<'_>,
    ) -> io::Result<()> {
        let bytes = match work.reply {
            Reply::Echo => &work.scratch[..count],
            Reply::Text(text) => text,
            Reply::Nothing => return Ok(()),
        };
        let sent = write_until_blocked(stream, bytes, readiness, work.counters)?;
        if sent > 0 {
            self.note_sent(work.now);
        }
        if sent < bytes.len() {
            let unsent = match work.reply {
                Reply::Text(_) => Unsent::Text { sent },
                _ => Unsent::bytes(&bytes[sent..], work.unsent_bytes)?,
            };
            self.keep(unsent, work.now)?;
        }
        Ok(())
    }

    /// Writes back as much of `count` bytes of scratch as the socket takes, and takes as much off
    /// the stream, where all of them still are. Returns how many that were.
    fn reply_peeked<T: Read + Write>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        count: usize,
        work: &mut StreamWork<'_>,
        on_message: &mut impl FnMut(&T, &[u8]),
    ) -> io::Result<usize> {
        self.note_read(count == work.scratch.len());
        let sent = write_until_blocked(stream, &work.scratch[..count], readiness, work.counters)?;
        let mut taken = 0;
        while taken < sent {
            match stream.read(&mut work.scratch[taken..sent]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => taken += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if sent > 0 {
            self.moved_at = work.now;
            self.note_sent(work.now);
            work.counters.received(sent);
            on_message(stream, &work.scratch[..sent]);
        }
        Ok(sent)
    }

    /// The socket has taken bytes for the peer.
    fn note_sent(&mut self, now: Moment) {
        if self.untaken == Untaken::NOTHING {
            self.taken_at = now;
        }
        self.untaken.note_sent();
    }

    /// Keeps what is owed, from now on.
    fn keep(&mut self, unsent: Unsent, now: Moment) -> io::Result<()> {
        if !self.is_waiting_for_peer() {
            self.taken_at = now;
        }
        self.unsent = Some(unsent.boxed()?);
        Ok(())
    }

    /// Pays what is owed; true when nothing is owed any more.
    fn flush<T: Write + Splice>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        work: &mut StreamWork<'_>,
    ) -> io::Result<bool> {
        let Some(unsent) = &mut self.unsent else { return Ok(true) };
        let [unsent] = &mut **unsent;
        if unsent.send(stream, readiness, work)? > 0 {
            // There was room because the peer has taken something.
            (self.moved_at, self.taken_at) = (work.now, work.now);
            self.untaken.note_sent();
        }
        if !unsent.is_sent(work.reply) {
            return Ok(false);
        }
        if let Some(unsent) = self.unsent.take() {
            let [unsent] = *unsent;
            unsent.settle(work);
        }
        Ok(true)
    }
}

/// Writes until all is taken or the socket would block, and returns how much was taken.
fn write_until_blocked<T: Write>(
    stream: &mut T,
    bytes: &[u8],
    readiness: &mut Readiness,
    counters: &mut TransportCounters,
) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() && readiness.is_writable() {
        match stream.write(&bytes[sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                counters.sent(count);
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

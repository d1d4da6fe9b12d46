//! The byte mover of a stream: it reads messages and sends replies.
//!
//! Flush the unsent bytes → read into the shared scratch buffer → write the reply at once →
//! keep only what did not fit. A stream with unsent bytes does not read, so a peer that never
//! reads costs at most one buffer. An idle stream owns no buffer.
//!
//! When the unsent bytes of all streams together reach their bound, a stream reads only as many
//! bytes as its socket takes back: it peeks at its input, writes it, and then reads as many bytes
//! as were written.

mod bulk;
mod queue_sample;
mod unsent;

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use self::bulk::BulkDetector;
use self::queue_sample::QueueSample;
use self::unsent::Unsent;
pub(super) use self::unsent::UnsentBytes;
use super::bounds::{LINGER_READ_KIB_MAX, READS_PER_SLICE};
use super::clock::Moment;
use super::counters::TransportCounters;
use super::options::Reply;
use crate::readiness::Readiness;
use crate::socket::{Peek, PipePool, SendQueue, Splice};

/// The state of one stream's echo.
#[derive(Debug)]
pub(super) struct ByteMover {
    phase: Phase,
    /// The part of a reply that the socket did not take.
    unsent: Option<Box<[Unsent; 1]>>,
    /// What the last look at the socket's send queue has found, and whether bytes were sent since.
    queue_sample: QueueSample,
    /// When a byte last moved, in either direction.
    moved_at: Moment,
    /// When the peer last took some of its reply, or when a reply was sent to a peer that had taken
    /// everything.
    taken_at: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The detector says whether the stream is in bulk.
    Echoing(BulkDetector),
    /// The server ends the stream: it sends the unsent bytes, then FIN.
    Finishing,
    /// FIN is sent. The server discards input until the peer's FIN, because closing with unread
    /// input would reset the connection, and the reset would overtake the last bytes of the reply.
    Lingering { read_kib: u16 },
}

/// The reason why a slice of a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The mover has seen `WouldBlock`, or a short read, in every direction that it wants.
    Wait,
    /// The slice is used up.
    Again,
    /// All is sent after [`ByteMover::finish`]: send FIN, then call [`ByteMover::linger`].
    Flushed,
    /// The peer has sent FIN and its whole reply is sent: close.
    Finished,
}

/// What a slice of a stream needs besides the stream.
pub(super) struct StreamWork<'a> {
    pub(super) scratch: &'a mut [u8],
    pub(super) pipes: &'a mut PipePool,
    /// Bulk may go through a pipe, where no observer sees it.
    pub(super) splices: bool,
    pub(super) reply: &'a Reply,
    /// The unsent bytes of all streams.
    pub(super) unsent_bytes: &'a UnsentBytes,
    pub(super) counters: &'a mut TransportCounters,
    pub(super) now: Moment,
}

impl ByteMover {
    pub(super) fn new(now: Moment) -> ByteMover {
        ByteMover {
            phase: Phase::Echoing(BulkDetector::default()),
            unsent: None,
            queue_sample: QueueSample::EMPTY,
            moved_at: now,
            taken_at: now,
        }
    }

    /// Returns true if part of the reply waits for room in the socket.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent.is_some()
    }

    /// Returns the length of the stream's copy of unsent bytes, if it has one.
    pub(super) fn counted_bytes(&self) -> Option<usize> {
        self.unsent.as_deref().and_then(|[unsent]| unsent.counted_bytes())
    }

    /// Returns true if part of the reply is unsent, or may still be in the socket's send queue.
    pub(super) fn is_waiting_for_peer(&self) -> bool {
        self.has_unsent() || self.queue_sample != QueueSample::EMPTY
    }

    /// Returns how long no byte has moved.
    pub(super) fn quiet_for(&self, now: Moment) -> Duration {
        now.since(self.moved_at)
    }

    /// Returns how long the peer has not been seen to take any of its reply. Has no meaning when
    /// the mover is not [waiting for the peer](ByteMover::is_waiting_for_peer).
    pub(super) fn stalled_for(&self, now: Moment) -> Duration {
        now.since(self.taken_at)
    }

    /// Takes a sample of the socket's send queue and compares it with the last one. Returns true if
    /// the server can judge the peer: the peer has taken nothing since the last sample, or it has
    /// taken everything. Returns false if the peer has taken a part, or if the last sample cannot
    /// be compared with this one.
    ///
    /// A socket becomes writable only when a good part of its buffer is free, which may be
    /// megabytes. So only the send queue distinguishes a peer that takes its reply slowly from a
    /// peer that takes nothing.
    pub(super) fn sample_send_queue(&mut self, queue: SendQueue, now: Moment) -> bool {
        let before = std::mem::replace(&mut self.queue_sample, QueueSample::of(queue));
        match self.queue_sample.progress_since(before, queue) {
            Some(false) => return true,
            // The peer took bytes at some moment since the earlier sample.
            Some(true) => (self.moved_at, self.taken_at) = (now, now),
            None => self.taken_at = now,
        }
        self.queue_sample == QueueSample::EMPTY
    }

    /// Stops reading messages. The unsent bytes are still sent.
    pub(super) fn finish(&mut self) {
        if let Phase::Echoing(_) = self.phase {
            self.phase = Phase::Finishing;
        }
    }

    /// Discards input from now on. Call it after FIN is sent.
    pub(super) fn linger(&mut self) {
        self.phase = Phase::Lingering { read_kib: 0 };
    }

    /// Moves bytes for one slice, and passes each chunk that was read to `on_message`.
    ///
    /// # Errors
    ///
    /// Returns the error that ended the stream: a reset, EPIPE, `WriteZero` for a write that took
    /// nothing, or `OutOfMemory` when there is no memory to keep unsent bytes.
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
            if self.echo_by_pipe(stream, readiness, work)? {
                continue;
            }
            if let Some(step) = self.read_and_reply(stream, readiness, work, &mut on_message)? {
                return Ok(step);
            }
        }
        // If the last reply blocked, or the last read emptied the socket, another slice would find
        // nothing to do.
        let rests =
            if self.has_unsent() { !readiness.is_writable() } else { !readiness.is_readable() };
        Ok(if rests { Step::Wait } else { Step::Again })
    }

    /// Reads once and replies. Returns a step if the slice ends here.
    fn read_and_reply<T: Read + Write + Peek>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        work: &mut StreamWork<'_>,
        on_message: &mut impl FnMut(&T, &[u8]),
    ) -> io::Result<Option<Step>> {
        if matches!(self.phase, Phase::Lingering { read_kib } if read_kib >= LINGER_READ_KIB_MAX) {
            // The rest stays in the kernel's buffer, which fills up and stops the peer.
            return Ok(Some(Step::Wait));
        }
        // Peeked bytes stay in the kernel until they are sent, so the server need not keep them.
        let is_peek = T::CAN_PEEK
            && matches!((work.reply, self.phase), (Reply::Echo, Phase::Echoing(_)))
            && work.unsent_bytes.are_too_many();
        if is_peek && !readiness.is_writable() {
            return Ok(Some(Step::Wait));
        }
        let seen = if is_peek { stream.peek(work.scratch) } else { stream.read(work.scratch) };
        let count = match seen {
            // The peer's FIN. Nothing is unsent, because unsent bytes are sent before each read.
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

    /// Writes the reply to `count` bytes of scratch, and keeps what the socket does not take.
    #[inline(always)]
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

    /// Writes back as much of `count` peeked bytes of scratch as the socket takes, and then reads
    /// as many bytes off the stream. Returns their number.
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

    /// Notes that the socket has taken bytes for the peer.
    fn note_sent(&mut self, now: Moment) {
        if self.queue_sample == QueueSample::EMPTY {
            self.taken_at = now;
        }
        self.queue_sample.note_sent();
    }

    /// Keeps the unsent part of a reply.
    fn keep(&mut self, unsent: Unsent, now: Moment) -> io::Result<()> {
        if !self.is_waiting_for_peer() {
            self.taken_at = now;
        }
        self.unsent = Some(unsent.boxed()?);
        Ok(())
    }

    /// Sends unsent bytes. Returns true when none are left.
    fn flush<T: Write + Splice>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        work: &mut StreamWork<'_>,
    ) -> io::Result<bool> {
        let Some(unsent) = &mut self.unsent else { return Ok(true) };
        let [unsent] = &mut **unsent;
        if unsent.send(stream, readiness, work)? > 0 {
            // The socket had room because the peer has taken something.
            (self.moved_at, self.taken_at) = (work.now, work.now);
            self.queue_sample.note_sent();
        }
        if !unsent.is_sent(work.reply) {
            return Ok(false);
        }
        if let Some(unsent) = self.unsent.take() {
            let [unsent] = *unsent;
            unsent.return_pipe(work);
        }
        Ok(true)
    }
}

/// Writes until the socket has taken everything or would block. Returns how many bytes it took.
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

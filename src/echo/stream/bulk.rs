//! Bulk: a stream whose reads keep filling the buffer is not read for a while. Its bytes go through
//! a pipe, and never enter user space.
//!
//! The shape is that of the copying path: pay what is owed, take what has arrived, send it at once,
//! keep what did not fit; what is kept is in the pipe. A pipe is filled only while it is empty, and
//! emptied before the stream is looked at again. So splice(2), whose EAGAIN does not say which of
//! its two ends it is about, has one meaning only: it is about the stream.
//!
//! A splice that would block has found the stream empty, unless an out-of-band mark is ahead, at
//! which a splice stops for good. There, and where the peer has closed, a read follows in the same
//! slice, and tells. So this step may be left out at any time.
//!
//! The pipe holds references to pages. Where the sender is on this host and sent its own pages
//! (sendfile(2), splice(2), vmsplice(2)), the echo is of these pages: if the sender changes them
//! before it has received the echo, it gets the changed bytes back.
//!
//! What is saved is two copies and the pages between them: on loopback about two fifths of the
//! server's CPU at messages of 256 KiB, a twentieth to an eighth at 64 KiB. Below, reads do not
//! fill the buffer, and bytes are copied: at 16 KiB splices would cost a tenth more.

use std::io::{self, ErrorKind, Read, Write};

use super::unsent::Unsent;
use super::{ByteMover, Phase, StreamWork};
use crate::echo::bounds::SPLICE_BYTES_MAX;
use crate::echo::counters::TransportCounters;
use crate::readiness::Readiness;
use crate::socket::{Pipe, Splice};

/// Full reads in a row that make bulk of a stream. The first tells as much as the third: whoever
/// sends 64 KiB at once sends more of that kind.
pub(super) const FULL_READS_MIN: u8 = 1;

/// Splices in a row, each shorter than half of a full read, that make an ordinary stream of it
/// again. A message of bulk arrives in pieces, some of which are short, and to go back and forth
/// costs more than a few short splices do.
pub(super) const SHORT_SPLICES_MAX: u8 = 16;

/// Tells bulk from the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BulkDetector {
    is_bulk: bool,
    /// Full reads in a row, or short splices in a row: what speaks for a change.
    streak: u8,
}

impl BulkDetector {
    #[cfg(test)]
    pub(super) fn bulk() -> BulkDetector {
        BulkDetector { is_bulk: true, streak: 0 }
    }

    /// A read was made, of a stream that is not in bulk or has no pipe: it filled the buffer, or
    /// not, or there was nothing to read.
    pub(super) fn note_read(&mut self, is_full: bool) {
        if !self.is_bulk {
            self.note(is_full, FULL_READS_MIN);
        }
    }

    /// Bytes were taken by a splice: at least half as many as a full read brings, or fewer.
    fn note_splice(&mut self, is_short: bool) {
        self.note(is_short, SHORT_SPLICES_MAX);
    }

    fn note(&mut self, speaks_for_change: bool, needed: u8) {
        self.streak = if speaks_for_change { self.streak + 1 } else { 0 };
        if self.streak >= needed {
            *self = BulkDetector { is_bulk: !self.is_bulk, streak: 0 };
        }
    }
}

/// A pipe and what it holds.
#[derive(Debug)]
pub(super) struct PipedBytes {
    pipe: Pipe,
    bytes: usize,
}

impl PipedBytes {
    /// Sends until the pipe is empty or the stream would block. Returns how many bytes went.
    pub(super) fn send<T: Splice>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        counters: &mut TransportCounters,
    ) -> io::Result<usize> {
        let mut sent = 0;
        while self.bytes > 0 && readiness.is_writable() {
            match stream.splice_out(&self.pipe, self.bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    counters.sent(count);
                    counters.spliced(count);
                    self.bytes -= count;
                    sent += count;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => readiness.clear_writable(),
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Copies out what is held, for a stream that does not take it from a pipe.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` when there is no memory to copy it to.
    pub(super) fn copy_out(&mut self) -> io::Result<Box<[u8]>> {
        let length = std::mem::take(&mut self.bytes);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| ErrorKind::OutOfMemory)?;
        bytes.resize(length, 0);
        self.pipe.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }

    pub(super) fn into_pipe(self) -> Pipe {
        self.pipe
    }
}

/// Whether the call itself is what is refused: by a kernel without it, for this kind of stream, or
/// by a filter of system calls.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EOPNOTSUPP)
    )
}

impl ByteMover {
    /// Moves what has arrived by a pipe, if this stream is in bulk and there is one to be had.
    /// False when nothing was moved: the stream is to be read then, as any other.
    pub(super) fn carry<T: Read + Write + Splice>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        work: &mut StreamWork<'_>,
    ) -> io::Result<bool> {
        let is_bulk = matches!(self.phase, Phase::Echoing(detector) if detector.is_bulk);
        let is_wanted = work.splices && is_bulk;
        // What cannot be sent at once had better not take a pipe.
        if !is_wanted || !readiness.is_writable() {
            return Ok(false);
        }
        let Some(pipe) = work.pipes.lend() else { return Ok(false) };
        let bytes = match stream.splice_in(&pipe, SPLICE_BYTES_MAX) {
            Ok(count) => count,
            Err(error) => {
                work.pipes.give_back(pipe);
                if is_refusal(&error) {
                    work.pipes.switch_off();
                } else if !is_passing(&error) {
                    return Err(error);
                } else if error.kind() == ErrorKind::WouldBlock && readiness.short_read_drains() {
                    // The pipe was empty, and neither FIN nor an out-of-band mark is in the way.
                    readiness.clear_readable();
                    return Ok(true);
                }
                return Ok(false);
            }
        };
        if bytes == 0 {
            work.pipes.give_back(pipe);
            return Ok(false);
        }
        if let Phase::Echoing(detector) = &mut self.phase {
            detector.note_splice(bytes < work.scratch.len() / 2);
        }
        self.moved_at = work.now;
        work.counters.received(bytes);
        let mut unsent = Unsent::Piped(PipedBytes { pipe, bytes });
        if unsent.send(stream, readiness, work)? > 0 {
            self.note_sent(work.now);
        }
        if unsent.is_sent(work.reply) {
            unsent.settle(work);
        } else {
            self.keep(unsent, work.now)?;
        }
        Ok(true)
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

//! Bulk: when the reads of a stream keep filling the buffer, the server moves the stream's bytes
//! through a pipe by splice(2), so that they never enter user space.
//!
//! The path has the same steps as the copying path: send unsent bytes, take what has arrived, send
//! it at once, keep what did not fit. Here the pipe keeps it. The server fills a pipe only while
//! the pipe is empty, and empties it before it takes more from the stream. So EAGAIN from
//! splice(2), which does not say which of its two ends would block, always means the stream.
//!
//! A splice that would block has found the stream empty, unless it is at an out-of-band mark: no
//! splice passes a mark. At a mark, and after the peer has closed, a read follows in the same slice
//! and finds out. So every slice can also do without splicing.
//!
//! The pipe holds references to pages. If a sender on this host sent its own pages (sendfile(2),
//! splice(2), vmsplice(2)), the echo consists of these pages: if the sender changes them before it
//! has received the echo, it gets the changed bytes back.
//!
//! Splicing saves two copies and the memory for them: on loopback about two fifths of the server's
//! CPU at messages of 256 KiB, and a twentieth to an eighth at 64 KiB. Smaller messages do not fill
//! the buffer, and the server copies them: at 16 KiB splices would cost a tenth more.

use std::io::{self, ErrorKind, Read, Write};

use super::unsent::Unsent;
use super::{ByteMover, Phase, StreamWork};
use crate::echo::bounds::SPLICE_BYTES_MAX;
use crate::echo::counters::TransportCounters;
use crate::readiness::Readiness;
use crate::socket::{Pipe, Splice};

/// Full reads in a row after which a stream is bulk. One is enough: a peer that sends 64 KiB at
/// once sends more messages of that size.
pub(super) const FULL_READS_MIN: u8 = 1;

/// Splices in a row, each shorter than half of a full read, after which a stream is no longer bulk.
/// A large message arrives in pieces, and some are short. Switching back and forth costs more than
/// a few short splices.
pub(super) const SHORT_SPLICES_MAX: u8 = 16;

/// Detects whether a stream is in bulk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BulkDetector {
    is_bulk: bool,
    /// Full reads in a row of an ordinary stream, or short splices in a row of bulk.
    streak: u8,
}

impl BulkDetector {
    #[cfg(test)]
    pub(super) fn bulk() -> BulkDetector {
        BulkDetector { is_bulk: true, streak: 0 }
    }

    /// Notes a read, and whether it filled the buffer. A stream in bulk reads as well when it has
    /// no pipe; such reads do not count.
    pub(super) fn note_read(&mut self, is_full: bool) {
        if !self.is_bulk {
            self.note(is_full, FULL_READS_MIN);
        }
    }

    /// Notes a splice. `is_short`: it took less than half of a full read.
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

/// A pipe and the number of bytes that it holds.
#[derive(Debug)]
pub(super) struct PipedBytes {
    pipe: Pipe,
    bytes: usize,
}

impl PipedBytes {
    /// Sends until the pipe is empty or the stream would block. Returns how many bytes it sent.
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

    /// Copies the bytes out of the pipe, for a stream that refuses splice(2).
    ///
    /// # Errors
    ///
    /// Returns `OutOfMemory` when there is no memory for the copy.
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

/// Returns true if splice(2) itself is refused: the kernel lacks it, this kind of stream does not
/// support it, or a filter of system calls forbids it.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EOPNOTSUPP)
    )
}

impl ByteMover {
    /// Moves what has arrived through a pipe, if the stream is in bulk and a pipe is free. Returns
    /// false when the stream must be read as an ordinary stream.
    #[inline(always)]
    pub(super) fn echo_by_pipe<T: Read + Write + Splice>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        work: &mut StreamWork<'_>,
    ) -> io::Result<bool> {
        let is_bulk = matches!(self.phase, Phase::Echoing(detector) if detector.is_bulk);
        let is_wanted = work.splices && is_bulk;
        // Pipes are few, so bytes that cannot be sent at once must not occupy one.
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
                } else if !is_transient(&error) {
                    return Err(error);
                } else if error.kind() == ErrorKind::WouldBlock && readiness.short_read_drains() {
                    // The pipe was empty, and there is neither a FIN nor an out-of-band mark: the
                    // stream is empty.
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
            unsent.return_pipe(work);
        } else {
            self.keep(unsent, work.now)?;
        }
        Ok(true)
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

//! What a stream is owed, what keeping it costs, and what all streams together may be owed.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::bulk::{self, Load};
use super::{StreamWork, write_until_blocked};
use crate::echo::bounds::{OWED_BYTES_MAX, SCRATCH_BYTES};
use crate::echo::options::Answer;
use crate::readiness::Readiness;
use crate::socket::Splice;

/// The memory of all that streams are owed, in one server or in several together.
///
/// Clones are the same count. It changes only when a socket does not take an answer whole, and is
/// read once for each read of a stream.
#[derive(Clone, Debug, Default)]
pub(in crate::echo) struct OwedBytes(Arc<AtomicUsize>);

impl OwedBytes {
    /// Whether there is no room for what one more read may bring.
    ///
    /// Loops that ask at the same time may all hear that there is: then each of them keeps one
    /// read more.
    pub(super) fn are_too_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) > OWED_BYTES_MAX - SCRATCH_BYTES
    }
}

#[cfg(test)]
impl OwedBytes {
    /// As if so many bytes were owed.
    pub(in crate::echo) fn of(bytes: usize) -> OwedBytes {
        OwedBytes(Arc::new(bytes.into()))
    }

    pub(in crate::echo) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes that are kept, and counted as long as they are.
#[derive(Debug)]
pub(super) struct Kept {
    bytes: Box<[u8]>,
    all: OwedBytes,
}

impl Kept {
    /// Counts these bytes, together with `all`.
    fn new(bytes: Box<[u8]>, all: &OwedBytes) -> Kept {
        all.0.fetch_add(bytes.len(), Ordering::Relaxed);
        Kept { bytes, all: all.clone() }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let before = self.all.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        debug_assert!(before >= self.bytes.len(), "{before} bytes were owed by all");
    }
}

/// Answered bytes that are still to be sent.
#[derive(Debug)]
pub(super) enum Owed {
    Bytes {
        kept: Kept,
        sent: usize,
    },
    /// Of the reply that all messages get, what follows its first bytes.
    Text {
        sent: usize,
    },
    /// Bytes in a pipe. They are the kernel's memory, and the pool has few pipes.
    Piped(Load),
}

impl Owed {
    /// Keeps a copy of `bytes`, and counts its memory.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` when there is no memory for the copy.
    pub(super) fn bytes(bytes: &[u8], all: &OwedBytes) -> io::Result<Owed> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(bytes.len()).map_err(|_| ErrorKind::OutOfMemory)?;
        copy.extend_from_slice(bytes);
        Ok(Owed::Bytes { kept: Kept::new(copy.into(), all), sent: 0 })
    }

    /// Moves it to the heap. An array of one is a box that can be had without aborting when there
    /// is no memory.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` when there is no memory for it.
    pub(super) fn boxed(self) -> io::Result<Box<[Owed; 1]>> {
        let mut list = Vec::new();
        list.try_reserve_exact(1).map_err(|_| ErrorKind::OutOfMemory)?;
        list.push(self);
        Ok(list.into_boxed_slice().try_into().expect("one was pushed"))
    }

    /// Sends until all is taken or the stream would block, and returns how much was taken.
    pub(super) fn send<T: Write + Splice>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        work: &mut StreamWork<'_>,
    ) -> io::Result<usize> {
        let (bytes, sent) = match self {
            Owed::Bytes { kept, sent } => (&*kept.bytes, sent),
            Owed::Text { sent } => (reply(work.answer), sent),
            Owed::Piped(load) => match load.pour(stream, readiness, work.tally) {
                Err(error) if bulk::is_refusal(&error) => {
                    work.pipes.switch_off();
                    let kept = Kept::new(load.unload()?, work.owed_bytes);
                    *self = Owed::Bytes { kept, sent: 0 };
                    return self.send(stream, readiness, work);
                }
                outcome => return outcome,
            },
        };
        let count = write_until_blocked(stream, &bytes[*sent..], readiness, work.tally)?;
        *sent += count;
        Ok(count)
    }

    pub(super) fn is_paid(&self, answer: &Answer) -> bool {
        match self {
            Owed::Bytes { kept, sent } => *sent == kept.bytes.len(),
            Owed::Text { sent } => *sent == reply(answer).len(),
            Owed::Piped(load) => load.is_empty(),
        }
    }

    /// How many of its own bytes are unsent.
    #[cfg(test)]
    pub(super) fn unsent_bytes(&self, answer: &Answer) -> Option<usize> {
        match self {
            Owed::Bytes { kept, sent } => Some(kept.bytes.len() - sent),
            Owed::Text { sent } => Some(reply(answer).len() - sent),
            Owed::Piped(_) => None,
        }
    }

    /// Must be called when all is paid.
    pub(super) fn settle(self, work: &mut StreamWork<'_>) {
        if let Owed::Piped(load) = self {
            work.pipes.give_back(load.into_pipe());
        }
    }
}

/// The reply that all messages get; nothing when each gets its own.
fn reply(answer: &Answer) -> &[u8] {
    match answer {
        Answer::Text(text) => text,
        Answer::Echo | Answer::Nothing => &[],
    }
}

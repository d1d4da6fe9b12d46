//! What a stream is owed, what keeping it costs, and what all streams together may be owed.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::bulk::{self, PipedBytes};
use super::{StreamWork, write_until_blocked};
use crate::echo::bounds::{SCRATCH_BYTES, UNSENT_BYTES_MAX};
use crate::echo::options::Reply;
use crate::readiness::Readiness;
use crate::socket::Splice;

/// The memory of all that streams are owed, in one server or in several together.
///
/// Clones are the same count. It changes only when a socket does not take an answer whole, and is
/// read once for each read of a stream.
#[derive(Clone, Debug, Default)]
pub(in crate::echo) struct UnsentBytes(Arc<AtomicUsize>);

impl UnsentBytes {
    /// Whether there is no room for what one more read may bring.
    ///
    /// Loops that ask at the same time may all hear that there is: then each of them keeps one
    /// read more.
    pub(super) fn are_too_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) > UNSENT_BYTES_MAX - SCRATCH_BYTES
    }
}

#[cfg(test)]
impl UnsentBytes {
    /// As if so many bytes were owed.
    pub(in crate::echo) fn of(bytes: usize) -> UnsentBytes {
        UnsentBytes(Arc::new(bytes.into()))
    }

    pub(in crate::echo) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes that are kept, and counted as long as they are.
#[derive(Debug)]
pub(super) struct Kept {
    bytes: Box<[u8]>,
    all: UnsentBytes,
}

impl Kept {
    /// Counts these bytes, together with `all`.
    fn new(bytes: Box<[u8]>, all: &UnsentBytes) -> Kept {
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
pub(super) enum Unsent {
    Bytes {
        kept: Kept,
        sent: usize,
    },
    /// Of the reply that all messages get, what follows its first bytes.
    Text {
        sent: usize,
    },
    /// Bytes in a pipe. They are the kernel's memory, and the pool has few pipes.
    Piped(PipedBytes),
}

impl Unsent {
    /// Keeps a copy of `bytes`, and counts its memory.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` when there is no memory for the copy.
    pub(super) fn bytes(bytes: &[u8], all: &UnsentBytes) -> io::Result<Unsent> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(bytes.len()).map_err(|_| ErrorKind::OutOfMemory)?;
        copy.extend_from_slice(bytes);
        Ok(Unsent::Bytes { kept: Kept::new(copy.into(), all), sent: 0 })
    }

    /// Moves it to the heap. An array of one is a box that can be had without aborting when there
    /// is no memory.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` when there is no memory for it.
    pub(super) fn boxed(self) -> io::Result<Box<[Unsent; 1]>> {
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
            Unsent::Bytes { kept, sent } => (&*kept.bytes, sent),
            Unsent::Text { sent } => (text_of(work.reply), sent),
            Unsent::Piped(piped) => match piped.send(stream, readiness, work.counters) {
                Err(error) if bulk::is_refusal(&error) => {
                    work.pipes.switch_off();
                    let kept = Kept::new(piped.copy_out()?, work.unsent_bytes);
                    *self = Unsent::Bytes { kept, sent: 0 };
                    return self.send(stream, readiness, work);
                }
                outcome => return outcome,
            },
        };
        let count = write_until_blocked(stream, &bytes[*sent..], readiness, work.counters)?;
        *sent += count;
        Ok(count)
    }

    pub(super) fn is_sent(&self, reply: &Reply) -> bool {
        match self {
            Unsent::Bytes { kept, sent } => *sent == kept.bytes.len(),
            Unsent::Text { sent } => *sent == text_of(reply).len(),
            Unsent::Piped(piped) => piped.is_empty(),
        }
    }

    /// How many of its own bytes are unsent.
    #[cfg(test)]
    pub(super) fn unsent_bytes(&self, reply: &Reply) -> Option<usize> {
        match self {
            Unsent::Bytes { kept, sent } => Some(kept.bytes.len() - sent),
            Unsent::Text { sent } => Some(text_of(reply).len() - sent),
            Unsent::Piped(_) => None,
        }
    }

    /// Must be called when all is paid.
    pub(super) fn settle(self, work: &mut StreamWork<'_>) {
        if let Unsent::Piped(piped) = self {
            work.pipes.give_back(piped.into_pipe());
        }
    }
}

/// The reply that all messages get; nothing when each gets its own.
fn text_of(reply: &Reply) -> &[u8] {
    match reply {
        Reply::Text(text) => text,
        Reply::Echo | Reply::Nothing => &[],
    }
}

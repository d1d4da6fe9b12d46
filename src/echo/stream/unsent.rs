//! The unsent bytes of a stream, and the count of the unsent bytes of all streams.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use super::bulk::{self, PipedBytes};
use super::{StreamWork, write_until_blocked};
use crate::echo::bounds::{SCRATCH_BYTES, UNSENT_BYTES_MAX};
use crate::echo::options::Reply;
use crate::readiness::Readiness;
use crate::socket::Splice;

/// The memory of the unsent bytes of all streams, in one server or in several together.
///
/// Clones share one count. It changes when the server keeps unsent bytes and when it drops them.
/// The server loads it before a read whose bytes it echoes.
#[derive(Clone, Debug, Default)]
pub(in crate::echo) struct UnsentBytes(Arc<AtomicUsize>);

impl UnsentBytes {
    /// Returns true if there is no room for the bytes of one more read.
    ///
    /// Loops that call it at the same time may all find room. Then each of them may exceed the
    /// limit by one read.
    pub(super) fn are_too_many(&self) -> bool {
        self.count() > UNSENT_BYTES_MAX - SCRATCH_BYTES
    }

    pub(in crate::echo) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns true if the count agrees with the streams of one server, which hold `copies` copies
    /// of `bytes` bytes in all. Copies of other servers may add to the count.
    pub(in crate::echo) fn agrees_with(&self, copies: usize, bytes: usize) -> bool {
        let is_shared = Arc::strong_count(&self.0) > 1 + copies;
        // Pairs with the release of the last other clone, so that its subtraction is visible here.
        fence(Ordering::Acquire);
        let count = self.count();
        if is_shared { count >= bytes } else { count == bytes }
    }
}

#[cfg(test)]
impl UnsentBytes {
    /// Creates a count of `bytes` unsent bytes.
    pub(in crate::echo) fn of(bytes: usize) -> UnsentBytes {
        UnsentBytes(Arc::new(bytes.into()))
    }
}

/// Unsent bytes, which [`UnsentBytes`] counts until they are dropped.
#[derive(Debug)]
pub(super) struct CountedBytes {
    bytes: Box<[u8]>,
    all: UnsentBytes,
}

impl CountedBytes {
    /// Adds these bytes to the count of all unsent bytes.
    fn new(bytes: Box<[u8]>, all: &UnsentBytes) -> CountedBytes {
        all.0.fetch_add(bytes.len(), Ordering::Relaxed);
        CountedBytes { bytes, all: all.clone() }
    }
}

impl Drop for CountedBytes {
    fn drop(&mut self) {
        let before = self.all.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        debug_assert!(before >= self.bytes.len(), "only {before} bytes were counted");
    }
}

/// The part of a reply that is still to be sent.
#[derive(Debug)]
pub(super) enum Unsent {
    /// A copy of the unsent bytes. The first `sent` of them have been sent since.
    Bytes { copy: CountedBytes, sent: usize },
    /// The fixed reply to all messages, without its first `sent` bytes.
    Text { sent: usize },
    /// Bytes in a pipe. They are the kernel's memory, and the pool has few pipes.
    Piped(PipedBytes),
}

impl Unsent {
    /// Copies `bytes` and counts the copy's memory in `all`.
    ///
    /// # Errors
    ///
    /// Returns `OutOfMemory` when there is no memory for the copy.
    pub(super) fn bytes(bytes: &[u8], all: &UnsentBytes) -> io::Result<Unsent> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(bytes.len()).map_err(|_| ErrorKind::OutOfMemory)?;
        copy.extend_from_slice(bytes);
        Ok(Unsent::Bytes { copy: CountedBytes::new(copy.into(), all), sent: 0 })
    }

    /// Moves it to the heap. The result is an array of one element, because the allocation of a
    /// plain box aborts the process when there is no memory.
    ///
    /// # Errors
    ///
    /// Returns `OutOfMemory` when there is no memory for it.
    pub(super) fn boxed(self) -> io::Result<Box<[Unsent; 1]>> {
        let mut list = Vec::new();
        list.try_reserve_exact(1).map_err(|_| ErrorKind::OutOfMemory)?;
        list.push(self);
        Ok(list.into_boxed_slice().try_into().expect("one was pushed"))
    }

    /// Sends until the stream has taken everything or would block. Returns how many bytes it took.
    pub(super) fn send<T: Write + Splice>(
        &mut self,
        stream: &mut T,
        readiness: &mut Readiness,
        work: &mut StreamWork<'_>,
    ) -> io::Result<usize> {
        let (bytes, sent) = match self {
            Unsent::Bytes { copy, sent } => (&*copy.bytes, sent),
            Unsent::Text { sent } => (text_of(work.reply), sent),
            Unsent::Piped(piped) => match piped.send(stream, readiness, work.counters) {
                Err(error) if bulk::is_refusal(&error) => {
                    work.pipes.switch_off();
                    let copy = CountedBytes::new(piped.copy_out()?, work.unsent_bytes);
                    *self = Unsent::Bytes { copy, sent: 0 };
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
            Unsent::Bytes { copy, sent } => *sent == copy.bytes.len(),
            Unsent::Text { sent } => *sent == text_of(reply).len(),
            Unsent::Piped(piped) => piped.is_empty(),
        }
    }

    /// Returns the length of the copy that [`UnsentBytes`] counts, if there is one.
    pub(super) fn counted_bytes(&self) -> Option<usize> {
        match self {
            Unsent::Bytes { copy, .. } => Some(copy.bytes.len()),
            Unsent::Text { .. } | Unsent::Piped(_) => None,
        }
    }

    /// Returns how many bytes of a copy or of the fixed reply are unsent. `None` for a pipe.
    #[cfg(test)]
    pub(super) fn unsent_bytes(&self, reply: &Reply) -> Option<usize> {
        match self {
            Unsent::Bytes { copy, sent } => Some(copy.bytes.len() - sent),
            Unsent::Text { sent } => Some(text_of(reply).len() - sent),
            Unsent::Piped(_) => None,
        }
    }

    /// Gives the pipe back to the pool. Must be called when everything is sent.
    pub(super) fn return_pipe(self, work: &mut StreamWork<'_>) {
        if let Unsent::Piped(piped) = self {
            work.pipes.give_back(piped.into_pipe());
        }
    }
}

/// Returns the fixed reply to all messages, or nothing if there is none.
fn text_of(reply: &Reply) -> &[u8] {
    match reply {
        Reply::Text(text) => text,
        Reply::Echo | Reply::Nothing => &[],
    }
}

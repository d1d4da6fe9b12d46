//! The sources themselves, each in the place of its slot. Nothing else registers.

use std::collections::TryReserveError;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::key::Key;

/// Something the reactor can hold: a descriptor that knows which readiness it waits for.
///
/// The descriptor must not block (`O_NONBLOCK`), because a handler learns from `WouldBlock` that
/// there is nothing more. Debug builds panic when one does.
///
/// A descriptor rather than mio's own `Source` trait: an enum of sources then has one `match` to
/// write instead of three, and std's sockets are sources as they are.
pub trait Source: AsFd {
    /// What to be told of: both directions, unless the source says otherwise. Asked after every
    /// slice; when the answer differs from the one before, the loop registers anew (and the system
    /// reports at once what is already ready).
    ///
    /// Both directions suit a stream, which is then registered once. A datagram socket should ask
    /// to be told of writability only while it has something to send: on Linux each datagram sent
    /// makes it writable anew.
    fn interest(&self) -> Interest {
        Interest::READABLE | Interest::WRITABLE
    }

    /// Whether the handler may answer [`Next::Wait`](super::Next::Wait) while the source is
    /// readable, because it wakes the source at some later event of another: a listener rests so at
    /// a connection limit. Debug builds take it for a mistake of any other source.
    fn may_rest(&self) -> bool {
        false
    }
}

/// All sources of one reactor, each under its [`Key`].
#[derive(Debug)]
pub struct Sources<S> {
    /// At the index of the source's slot.
    places: Vec<Option<Stored<S>>>,
    len: usize,
}

#[derive(Debug)]
struct Stored<S> {
    key: Key,
    source: S,
}

impl<S: Source> Sources<S> {
    pub(super) fn new() -> Sources<S> {
        Sources { places: Vec::new(), len: 0 }
    }

    /// How many sources there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no source.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every source with its key, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &S)> {
        self.places.iter().flatten().map(|stored| (stored.key, &stored.source))
    }

    /// The source of this key, if it still lives.
    pub fn get(&self, key: Key) -> Option<&S> {
        let stored = self.places.get(key.index())?.as_ref()?;
        (stored.key == key).then_some(&stored.source)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut S> {
        let stored = self.places.get_mut(key.index())?.as_mut()?;
        (stored.key == key).then_some(&mut stored.source)
    }

    /// Registers a source and stores it; on failure it comes back with the reason.
    pub(super) fn store(
        &mut self,
        registry: &Registry,
        key: Key,
        source: S,
        interest: Interest,
    ) -> Result<(), (S, io::Error)> {
        if self.make_room(key.index()).is_err() {
            return Err((source, io::ErrorKind::OutOfMemory.into()));
        }
        let fd = source.as_fd().as_raw_fd();
        if let Err(error) = registry.register(&mut SourceFd(&fd), key.token(), interest) {
            return Err((source, error));
        }
        // Behind the selector, which refuses what cannot be waited for at all, as a plain file.
        #[cfg(debug_assertions)]
        super::checks::assert_nonblocking(&source);
        let before = self.places[key.index()].replace(Stored { key, source });
        debug_assert!(before.is_none(), "the slot of {key:?} was not free");
        self.len += 1;
        Ok(())
    }

    /// Has a place at this index. Memory that is missing costs one source, not the process.
    fn make_room(&mut self, index: usize) -> Result<(), TryReserveError> {
        if index >= self.places.len() {
            self.places.try_reserve(index + 1 - self.places.len())?;
            self.places.resize_with(index + 1, || None);
        }
        Ok(())
    }

    /// Tells the selector what a source now waits for.
    pub(super) fn register_anew(
        registry: &Registry,
        key: Key,
        source: &S,
        interest: Interest,
    ) -> io::Result<()> {
        let fd = source.as_fd().as_raw_fd();
        registry.reregister(&mut SourceFd(&fd), key.token(), interest)
    }

    /// Deregisters a source and gives it back.
    pub(super) fn remove(&mut self, registry: &Registry, key: Key) -> Option<S> {
        self.get(key)?;
        let Stored { source, .. } = self.places[key.index()].take()?;
        self.len -= 1;
        // Closing the descriptor, which is next, deregisters as well: a failure changes nothing.
        let _ = registry.deregister(&mut SourceFd(&source.as_fd().as_raw_fd()));
        Some(source)
    }
}

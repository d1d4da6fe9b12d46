//! The sources themselves, each at the index of its slot. Only this module registers sources.

use std::collections::TryReserveError;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::key::Key;

/// Something that the reactor can hold: a descriptor, and the readiness that it waits for.
///
/// The descriptor must be non-blocking (`O_NONBLOCK`), because `WouldBlock` tells a handler that
/// nothing more is ready. Debug builds panic if it blocks.
///
/// The trait builds on [`AsFd`] instead of mio's own `Source`: an enum of sources then needs one
/// `match` instead of three, and the sockets of the standard library work unchanged.
pub trait Source: AsFd {
    /// Returns the directions to watch; both by default. The loop asks after every slice. When the
    /// answer changes, the loop registers the source again, and the system reports at once what is
    /// already ready.
    ///
    /// Both directions suit a stream, which is then registered once. A datagram socket should ask
    /// for writable events only while it has something to send, because on Linux every datagram
    /// that it sends causes another writable event.
    fn interest(&self) -> Interest {
        Interest::READABLE | Interest::WRITABLE
    }

    /// Returns true if the handler may return [`Next::Wait`](super::Next::Wait) while the source is
    /// readable, because it wakes the source after an event of another source. An example is a
    /// listener at its connection limit. Debug builds panic for any other source if the loop is
    /// about to sleep without a deadline.
    fn may_rest(&self) -> bool {
        false
    }

    /// Returns what kind of source this is, in a word or two. A trace shows it.
    fn kind(&self) -> &'static str {
        "source"
    }
}

/// All sources of one reactor, by [`Key`].
#[derive(Debug)]
pub struct Sources<S> {
    /// Each source is at the index of its slot.
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

    /// Returns the number of sources.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true if there are no sources.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns every source with its key, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &S)> {
        self.places.iter().flatten().map(|stored| (stored.key, &stored.source))
    }

    /// Returns the source of this key, unless it has been removed.
    pub fn get(&self, key: Key) -> Option<&S> {
        let stored = self.places.get(key.index())?.as_ref()?;
        (stored.key == key).then_some(&stored.source)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut S> {
        let stored = self.places.get_mut(key.index())?.as_mut()?;
        (stored.key == key).then_some(&mut stored.source)
    }

    /// Registers a source and stores it. On failure returns the source with the error.
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
        // Checked after the registration, which refuses descriptors that epoll cannot watch, such
        // as a plain file.
        #[cfg(debug_assertions)]
        super::checks::assert_nonblocking(&source);
        let before = self.places[key.index()].replace(Stored { key, source });
        debug_assert!(before.is_none(), "the slot of {key:?} was not free");
        self.len += 1;
        Ok(())
    }

    /// Makes room for this index. If memory runs out, one source fails, not the process.
    fn make_room(&mut self, index: usize) -> Result<(), TryReserveError> {
        if index >= self.places.len() {
            self.places.try_reserve(index + 1 - self.places.len())?;
            self.places.resize_with(index + 1, || None);
        }
        Ok(())
    }

    /// Changes the interest of a registered source.
    pub(super) fn reregister(
        registry: &Registry,
        key: Key,
        source: &S,
        interest: Interest,
    ) -> io::Result<()> {
        let fd = source.as_fd().as_raw_fd();
        registry.reregister(&mut SourceFd(&fd), key.token(), interest)
    }

    /// Deregisters a source and returns it.
    pub(super) fn remove(&mut self, registry: &Registry, key: Key) -> Option<S> {
        self.get(key)?;
        let Stored { source, .. } = self.places[key.index()].take()?;
        self.len -= 1;
        // A failure does not matter: closing the descriptor deregisters it as well.
        let _ = registry.deregister(&mut SourceFd(&source.as_fd().as_raw_fd()));
        Some(source)
    }
}

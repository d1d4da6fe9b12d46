//! The slab of sources and the list of those that have work. Nothing else registers.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use slab::Slab;

use super::key::Key;
use crate::readiness::Readiness;

/// Room for sources at first; from then on it doubles.
const SOURCES_MIN: usize = 4;

/// Something the reactor can hold: a descriptor that knows which readiness it waits for.
///
/// The descriptor must not block (`O_NONBLOCK`), because a handler learns from `WouldBlock` that
/// there is nothing more. Debug builds panic when one does.
///
/// A descriptor rather than mio's own `Source` trait: an enum of sources then has one `match` to
/// write in place of three, and std's sockets are sources as they are.
pub trait Source: AsFd {
    /// What to be told of. Asked after every slice; when the answer differs from the one before,
    /// the loop registers anew (and the system reports at once what is already ready).
    fn interest(&self) -> Interest;

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
    registry: Registry,
    entries: Slab<Entry<S>>,
    /// Keys that have work, each at most once; a key may have died since it was put here.
    ready: VecDeque<Key>,
    /// Counts insertions, so that no two tenants of a slot share a key.
    generation: usize,
}

#[derive(Debug)]
struct Entry<S> {
    source: S,
    key: Key,
    interest: Interest,
    readiness: Readiness,
    queued: bool,
}

impl<S: Source> Sources<S> {
    pub(super) fn new(registry: Registry) -> Sources<S> {
        Sources { registry, entries: Slab::new(), ready: VecDeque::new(), generation: 0 }
    }

    /// How many sources there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no source.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every source with its key, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &S)> {
        self.entries.iter().map(|(_, entry)| (entry.key, &entry.source))
    }

    /// The source of this key, if it still lives.
    pub fn get(&self, key: Key) -> Option<&S> {
        let entry = self.entries.get(key.index())?;
        (entry.key == key).then_some(&entry.source)
    }

    /// Registers a source and takes it in; on failure it comes back with the reason.
    pub(super) fn insert(&mut self, source: S) -> Result<Key, (S, io::Error)> {
        if let Err(error) = self.make_room() {
            return Err((source, error));
        }
        let slot = self.entries.vacant_entry();
        if slot.key() >= Key::INDEX_LIMIT {
            return Err((source, io::Error::other("more sources than a key can name")));
        }
        self.generation = self.generation.wrapping_add(1);
        let key = Key::new(slot.key(), self.generation);
        let interest = source.interest();
        if let Err(error) = self.registry.register(
            &mut SourceFd(&source.as_fd().as_raw_fd()),
            key.token(),
            interest,
        ) {
            return Err((source, error));
        }
        // Behind the selector, which refuses what cannot be waited for at all, as a plain file.
        #[cfg(debug_assertions)]
        super::checks::assert_nonblocking(&source);
        let readiness = Readiness::NONE;
        slot.insert(Entry { source, key, interest, readiness, queued: false });
        Ok(key)
    }

    /// Has room for one more source, on the ready list too, so that putting a key there does not
    /// allocate (but for the rare list that is full of the dead).
    fn make_room(&mut self) -> io::Result<()> {
        if self.entries.len() < self.entries.capacity() {
            return Ok(());
        }
        let more = self.entries.len().max(SOURCES_MIN);
        self.ready
            .try_reserve(self.entries.len() + more - self.ready.len())
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        // The slab aborts the process when it cannot grow. It finds what can be had here.
        let mut as_much = Vec::<(usize, Entry<S>)>::new();
        as_much
            .try_reserve_exact(self.entries.len() + more)
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        // Looked at, so that the compiler does not leave the allocation out.
        drop(std::hint::black_box(as_much));
        self.entries.reserve_exact(more);
        Ok(())
    }

    /// Merges readiness and puts the key on the ready list, once. False when the key is dead: a
    /// late event for a source that is gone.
    pub(super) fn mark(&mut self, key: Key, readiness: Readiness) -> bool {
        let Some(entry) = self.entry_mut(key) else { return false };
        entry.readiness.merge(readiness);
        if !entry.queued {
            entry.queued = true;
            self.ready.push_back(key);
        }
        true
    }

    /// How many places the ready list has in use.
    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Takes the first key off the ready list; `None` when it has died there.
    pub(super) fn next_ready(&mut self) -> Option<Key> {
        let key = self.ready.pop_front()?;
        self.entry_mut(key)?.queued = false;
        Some(key)
    }

    /// The source and its remembered readiness, for one slice.
    pub(super) fn slice(&mut self, key: Key) -> Option<(&mut S, &mut Readiness)> {
        self.entry_mut(key).map(|entry| (&mut entry.source, &mut entry.readiness))
    }

    /// Registers anew when the source now waits for something else than it did.
    pub(super) fn refresh_interest(&mut self, key: Key) -> io::Result<()> {
        let Some(entry) = self.entries.get_mut(key.index()) else { return Ok(()) };
        let interest = entry.source.interest();
        if entry.key != key || entry.interest == interest {
            return Ok(());
        }
        entry.interest = interest;
        self.registry.reregister(
            &mut SourceFd(&entry.source.as_fd().as_raw_fd()),
            key.token(),
            interest,
        )
    }

    /// Deregisters a source and gives it back; its key names nothing from here on.
    pub(super) fn remove(&mut self, key: Key) -> Option<S> {
        self.entry_mut(key)?;
        let entry = self.entries.remove(key.index());
        // Closing the descriptor, which is next, deregisters as well: a failure changes nothing.
        let _ = self.registry.deregister(&mut SourceFd(&entry.source.as_fd().as_raw_fd()));
        Some(entry.source)
    }

    fn entry_mut(&mut self, key: Key) -> Option<&mut Entry<S>> {
        let entry = self.entries.get_mut(key.index())?;
        (entry.key == key).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;
    use std::os::unix::net::UnixDatagram;

    use mio::Poll;

    use super::*;

    struct Half(UnixDatagram);

    impl Source for Half {
        fn interest(&self) -> Interest {
            Interest::READABLE
        }
    }

    impl AsFd for Half {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    fn sources() -> (Poll, Sources<Half>) {
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        (poll, Sources::new(registry))
    }

    fn half() -> Half {
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
        Half(socket)
    }

    fn insert(sources: &mut Sources<Half>) -> Key {
        sources.insert(half()).map_err(|(_, error)| error).unwrap()
    }

    /// case L3
    #[test]
    fn a_late_event_for_a_reused_slot_is_ignored() {
        let (_poll, mut sources) = sources();
        let gone = insert(&mut sources);
        sources.remove(gone);
        let tenant = insert(&mut sources);
        assert_eq!(gone.index(), tenant.index(), "slab reuses the slot that was freed last");
        assert!(!sources.mark(gone, Readiness::READABLE));
        assert_eq!(sources.ready_len(), 0);
        assert_eq!(*sources.slice(tenant).unwrap().1, Readiness::NONE);
    }

    /// case L4
    #[test]
    fn a_source_closed_while_on_the_ready_list_loses_its_place() {
        let (_poll, mut sources) = sources();
        let first = insert(&mut sources);
        let second = insert(&mut sources);
        assert!(sources.mark(first, Readiness::READABLE));
        assert!(sources.mark(second, Readiness::READABLE));
        sources.remove(first);
        let tenant = insert(&mut sources);
        assert_eq!(tenant.index(), first.index());
        assert_eq!(sources.next_ready(), None);
        assert_eq!(sources.next_ready(), Some(second));
        assert_eq!(sources.ready_len(), 0);
    }

    /// case L5
    #[test]
    fn a_source_is_on_the_ready_list_at_most_once() {
        let (_poll, mut sources) = sources();
        let key = insert(&mut sources);
        sources.mark(key, Readiness::READABLE);
        sources.mark(key, Readiness::WRITABLE);
        assert_eq!(sources.ready_len(), 1);
        assert_eq!(sources.next_ready(), Some(key));
        let (_, readiness) = sources.slice(key).unwrap();
        assert!(readiness.is_readable() && readiness.is_writable());
        sources.mark(key, Readiness::NONE);
        assert_eq!(sources.ready_len(), 1);
    }

    #[test]
    fn removing_twice_gives_nothing_the_second_time() {
        let (_poll, mut sources) = sources();
        let key = insert(&mut sources);
        assert!(sources.remove(key).is_some());
        assert!(sources.remove(key).is_none());
        assert!(sources.is_empty());
    }

    #[test]
    fn marking_never_allocates_once_the_slab_has_grown() {
        let (_poll, mut sources) = sources();
        let keys: Vec<Key> = (0..100).map(|_| insert(&mut sources)).collect();
        let capacity = sources.ready.capacity();
        keys.iter().for_each(|key| assert!(sources.mark(*key, Readiness::READABLE)));
        assert_eq!(sources.ready.capacity(), capacity);
    }
}

//! The loop's state of each source: its key, its readiness, its place on the ready list and its
//! timer.
//!
//! This state is stored apart from the sources, because a handler's [`Context`](super::Context)
//! changes it while one of the sources runs.

use std::collections::{TryReserveError, VecDeque};
use std::time::Instant;

use mio::Interest;
use slab::Slab;

use super::key::Key;
use super::timers::Timers;
use crate::readiness::Readiness;

/// Free slots that the loop keeps for the handler's next call. One call may insert this many
/// sources before the loop can detect that memory has run out.
const SPARE_MIN: usize = 64;

/// One slot for each stored source, and for each inserted source that the loop has yet to store.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Slab<Slot>,
    /// Keys that have work, each at most once. The source of a key may be gone already.
    ready: VecDeque<Key>,
    timers: Timers,
    /// Counts insertions, so that two tenants of a slot have different keys.
    generation: usize,
}

/// The state of one source. It takes 16 bytes, so four slots share a cache line.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: Key,
    /// The interest that the selector was last given.
    pub(super) interest: Interest,
    pub(super) readiness: Readiness,
    /// The key is on the ready list.
    queued: bool,
    /// The position of its timer in the heap, or [`Slot::NO_TIMER`].
    pub(super) timer: u32,
}

impl Slot {
    pub(super) const NO_TIMER: u32 = u32::MAX;
}

impl Slots {
    pub(super) fn new() -> Slots {
        Slots {
            slots: Slab::new(),
            ready: VecDeque::new(),
            timers: Timers::default(),
            generation: 0,
        }
    }

    /// Takes a free slot and returns the key of its new tenant.
    pub(super) fn claim(&mut self, interest: Interest) -> Key {
        self.generation = self.generation.wrapping_add(1);
        let vacant = self.slots.vacant_entry();
        let key = Key::new(vacant.key(), self.generation);
        let readiness = Readiness::NONE;
        vacant.insert(Slot { key, interest, readiness, queued: false, timer: Slot::NO_TIMER });
        key
    }

    /// Makes room for the sources that the handler's next call may insert. It also makes room on
    /// the ready list, so that marking a source does not allocate, except when the list is full of
    /// removed keys. If memory runs out, only the source that is being inserted fails, not the
    /// process.
    pub(super) fn make_room(&mut self) -> Result<(), TryReserveError> {
        if self.slots.capacity() - self.slots.len() >= SPARE_MIN {
            return Ok(());
        }
        let more = self.slots.len().max(SPARE_MIN);
        self.ready.try_reserve((self.slots.len() + more).saturating_sub(self.ready.len()))?;
        // The slab aborts the process when it cannot grow, so this tries an allocation of the same
        // size first.
        let mut probe = Vec::<(usize, Slot)>::new();
        probe.try_reserve_exact(self.slots.len() + more)?;
        // `black_box` keeps the compiler from removing the allocation.
        drop(std::hint::black_box(probe));
        self.slots.reserve_exact(more);
        Ok(())
    }

    /// Frees a slot and removes its timer. The key then names no source. Returns false if the slot
    /// was already free.
    pub(super) fn free(&mut self, key: Key) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        self.timers.cancel(key, &mut self.slots);
        self.slots.remove(key.index());
        true
    }

    pub(super) fn get(&self, key: Key) -> Option<&Slot> {
        self.slots.get(key.index()).filter(|slot| slot.key == key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Slot> {
        self.slots.get_mut(key.index()).filter(|slot| slot.key == key)
    }

    /// Merges readiness and puts the key on the ready list, once. Returns false if the source is
    /// gone, as it is for a late event.
    pub(super) fn mark(&mut self, key: Key, readiness: Readiness) -> bool {
        let Some(slot) = self.get_mut(key) else { return false };
        slot.readiness.merge(readiness);
        if !slot.queued {
            slot.queued = true;
            self.ready.push_back(key);
        }
        true
    }

    /// Returns the length of the ready list.
    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Takes the first key off the ready list and returns it with its remembered readiness. Returns
    /// `None` if the source has been removed since its key was put on the list.
    pub(super) fn next_ready(&mut self) -> Option<(Key, Readiness)> {
        let key = self.ready.pop_front()?;
        let slot = self.get_mut(key)?;
        debug_assert!(slot.queued, "{key:?} was on the ready list but not marked as queued");
        slot.queued = false;
        Some((key, slot.readiness))
    }

    /// Sets a timer that marks the source at this time. It replaces the source's earlier timer.
    pub(super) fn wake_at(&mut self, key: Key, at: Instant) {
        if self.get(key).is_some() {
            self.timers.set(key, at, &mut self.slots);
        }
    }

    pub(super) fn cancel_wake(&mut self, key: Key) {
        if self.get(key).is_some() {
            self.timers.cancel(key, &mut self.slots);
        }
    }

    /// Returns when the first timer is due.
    pub(super) fn first_timer(&self) -> Option<Instant> {
        self.timers.first()
    }

    /// Marks each source with a timer that is due by `now`, and calls `on_mark` for it.
    #[inline]
    pub(super) fn mark_due(&mut self, now: Instant, mut on_mark: impl FnMut(Key)) {
        while self.timers.first().is_some_and(|at| at <= now) {
            if let Some(key) = self.timers.pop(&mut self.slots) {
                let is_alive = self.mark(key, Readiness::NONE);
                debug_assert!(is_alive, "the timer of {key:?} outlived its source");
                on_mark(key);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    #[cfg(test)]
    pub(super) fn timers_len(&self) -> usize {
        self.timers.len()
    }

    /// Returns true if the slots marked as queued are exactly those on the ready list, and each
    /// timer is at its slot's position. The check visits every slot, so it runs only for few
    /// sources.
    #[cfg(debug_assertions)]
    pub(super) fn is_consistent(&self) -> bool {
        /// A higher bound would slow the tests that have thousands of sources.
        const CHECKED_MAX: usize = 64;
        if self.slots.len() > CHECKED_MAX || self.ready.len() > CHECKED_MAX {
            return true;
        }
        let times_listed = |slot: &Slot| self.ready.iter().filter(|key| **key == slot.key).count();
        let is_listed_right = |(_, slot)| times_listed(slot) == usize::from(slot.queued);
        self.slots.iter().all(is_listed_right) && self.timers.is_consistent(&self.slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(slots: &mut Slots) -> Key {
        slots.claim(Interest::READABLE)
    }

    /// case L3
    #[test]
    fn a_late_event_for_a_reused_slot_is_ignored() {
        let mut slots = Slots::new();
        let gone = claim(&mut slots);
        slots.free(gone);
        let tenant = claim(&mut slots);
        assert_eq!(gone.index(), tenant.index(), "slab reuses the slot that was freed last");
        assert!(!slots.mark(gone, Readiness::READABLE));
        assert_eq!(slots.ready_len(), 0);
        assert_eq!(slots.get(tenant).unwrap().readiness, Readiness::NONE);
    }

    /// case L4
    #[test]
    fn a_source_closed_while_on_the_ready_list_loses_its_place() {
        let mut slots = Slots::new();
        let first = claim(&mut slots);
        let second = claim(&mut slots);
        assert!(slots.mark(first, Readiness::READABLE));
        assert!(slots.mark(second, Readiness::READABLE));
        slots.free(first);
        let tenant = claim(&mut slots);
        assert_eq!(tenant.index(), first.index());
        assert_eq!(slots.next_ready(), None);
        assert_eq!(slots.next_ready(), Some((second, Readiness::READABLE)));
        assert_eq!(slots.ready_len(), 0);
    }

    /// case L5
    #[test]
    fn a_source_is_on_the_ready_list_at_most_once() {
        let mut slots = Slots::new();
        let key = claim(&mut slots);
        slots.mark(key, Readiness::READABLE);
        slots.mark(key, Readiness::WRITABLE);
        assert_eq!(slots.ready_len(), 1);
        let (ready, readiness) = slots.next_ready().unwrap();
        assert!(ready == key && readiness.is_readable() && readiness.is_writable());
        slots.mark(key, Readiness::NONE);
        assert_eq!(slots.ready_len(), 1);
    }

    /// case L9
    #[test]
    fn a_timer_of_a_removed_source_does_not_mark_the_next_tenant_of_its_slot() {
        let (mut slots, now) = (Slots::new(), Instant::now());
        let gone = claim(&mut slots);
        slots.wake_at(gone, now);
        slots.free(gone);
        let tenant = claim(&mut slots);
        assert_eq!(gone.index(), tenant.index());
        slots.wake_at(gone, now);
        assert_eq!(slots.first_timer(), None);
        slots.mark_due(now, |_| {});
        assert_eq!(slots.ready_len(), 0);
    }

    #[test]
    fn freeing_a_slot_twice_does_nothing_the_second_time() {
        let mut slots = Slots::new();
        let key = claim(&mut slots);
        assert!(slots.free(key));
        assert!(!slots.free(key));
        assert_eq!(slots.len(), 0);
    }

    #[test]
    fn marking_never_allocates_once_the_slab_has_grown() {
        let mut slots = Slots::new();
        let mut keys = Vec::new();
        for _ in 0..1_000 {
            keys.push(claim(&mut slots));
            slots.make_room().unwrap();
        }
        let capacity = slots.ready.capacity();
        keys.iter().for_each(|key| assert!(slots.mark(*key, Readiness::READABLE)));
        assert_eq!(slots.ready.capacity(), capacity);
    }

    #[test]
    fn a_slot_takes_two_words() {
        assert_eq!(size_of::<Slot>(), 2 * size_of::<u64>());
    }
}

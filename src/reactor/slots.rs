//! What the loop knows of each source, apart from the source itself: its key, its readiness, its
//! place on the ready list and its timer.
//!
//! A handler's [`Context`](super::Context) changes these while one of the sources runs, so they lie
//! apart from the sources.

use std::collections::{TryReserveError, VecDeque};
use std::time::Instant;

use mio::Interest;
use slab::Slab;

use super::key::Key;
use super::timers::Timers;
use crate::readiness::Readiness;

/// Free slots that are kept for the handler's next call, which may insert so many before the loop
/// can find that memory is missing.
const SPARE_MIN: usize = 64;

/// One slot for each source that lives, or that waits to be stored when the handler returns.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Slab<Slot>,
    /// Keys that have work, each at most once; a source may have died since its key was put here.
    ready: VecDeque<Key>,
    timers: Timers,
    /// Counts insertions, so that no two tenants of a slot share a key.
    generation: usize,
}

/// 16 bytes: four share a cache line.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: Key,
    /// What the selector was last told.
    pub(super) interest: Interest,
    pub(super) readiness: Readiness,
    /// Whether the key is on the ready list.
    queued: bool,
    /// Where its timer is in the heap, or [`Slot::NO_TIMER`].
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

    /// Takes a free slot and names its new tenant.
    pub(super) fn claim(&mut self, interest: Interest) -> Key {
        self.generation = self.generation.wrapping_add(1);
        let vacant = self.slots.vacant_entry();
        let key = Key::new(vacant.key(), self.generation);
        let readiness = Readiness::NONE;
        vacant.insert(Slot { key, interest, readiness, queued: false, timer: Slot::NO_TIMER });
        key
    }

    /// Has room for the sources that the handler's next call may insert, on the ready list too, so
    /// that putting a key there does not allocate (but for the rare list that is full of the dead).
    /// Memory that is missing costs the source that is inserted now, and not the process.
    pub(super) fn make_room(&mut self) -> Result<(), TryReserveError> {
        if self.slots.capacity() - self.slots.len() >= SPARE_MIN {
            return Ok(());
        }
        let more = self.slots.len().max(SPARE_MIN);
        self.ready.try_reserve((self.slots.len() + more).saturating_sub(self.ready.len()))?;
        // The slab aborts the process when it cannot grow. It finds what can be had here.
        let mut as_much = Vec::<(usize, Slot)>::new();
        as_much.try_reserve_exact(self.slots.len() + more)?;
        // Looked at, so that the compiler does not leave the allocation out.
        drop(std::hint::black_box(as_much));
        self.slots.reserve_exact(more);
        Ok(())
    }

    /// Frees a slot, and drops its timer; its key names nothing from here on. False when the key is
    /// dead already.
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

    /// Merges readiness and puts the key on the ready list, once. False when the key is dead: a
    /// late event for a source that is gone.
    pub(super) fn mark(&mut self, key: Key, readiness: Readiness) -> bool {
        let Some(slot) = self.get_mut(key) else { return false };
        slot.readiness.merge(readiness);
        if !slot.queued {
            slot.queued = true;
            self.ready.push_back(key);
        }
        true
    }

    /// How many places the ready list has in use.
    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Takes the first key off the ready list, with what the loop remembers of its source. `None`
    /// when the source has died on the list.
    pub(super) fn next_ready(&mut self) -> Option<(Key, Readiness)> {
        let key = self.ready.pop_front()?;
        let slot = self.get_mut(key)?;
        debug_assert!(slot.queued, "{key:?} was on the ready list and not marked so");
        slot.queued = false;
        Some((key, slot.readiness))
    }

    /// Marks the source at this time. Replaces the timer that it has.
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

    /// When the first timer is due.
    pub(super) fn first_timer(&self) -> Option<Instant> {
        self.timers.first()
    }

    /// Marks each source whose timer is due by `now`.
    #[inline]
    pub(super) fn mark_due(&mut self, now: Instant) {
        while self.timers.first().is_some_and(|at| at <= now) {
            if let Some(key) = self.timers.pop(&mut self.slots) {
                let is_alive = self.mark(key, Readiness::NONE);
                debug_assert!(is_alive, "the timer of {key:?} has outlived its source");
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

    /// Whether a slot is marked as queued exactly if its key is on the ready list, and each timer
    /// is where its slot says. Looks at everything, and so only at few sources.
    #[cfg(debug_assertions)]
    pub(super) fn is_consistent(&self) -> bool {
        /// More would slow the tests that have thousands of sources.
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
    fn a_timer_of_a_source_that_is_gone_does_not_mark_the_next_tenant_of_its_slot() {
        let (mut slots, now) = (Slots::new(), Instant::now());
        let gone = claim(&mut slots);
        slots.wake_at(gone, now);
        slots.free(gone);
        let tenant = claim(&mut slots);
        assert_eq!(gone.index(), tenant.index());
        slots.wake_at(gone, now);
        assert_eq!(slots.first_timer(), None);
        slots.mark_due(now);
        assert_eq!(slots.ready_len(), 0);
    }

    #[test]
    fn freeing_twice_frees_nothing_the_second_time() {
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

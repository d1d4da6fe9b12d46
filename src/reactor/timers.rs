//! The timers of sources: a binary heap, and in each slot the position of its timer.
//!
//! A source has at most one timer, and closing the source removes its timer. The heap therefore has
//! at most one entry per source and no stale entries. Setting the timer of a connection again with
//! each message moves one entry and does not allocate.

use std::time::Instant;

use slab::Slab;

use super::key::Key;
use super::slots::Slot;

/// The heap. The timer that is due first is at the front.
///
/// Every method that takes `slots` keeps [`Slot::timer`] equal to the position of the slot's timer.
#[derive(Debug, Default)]
pub(super) struct Timers(Vec<Timer>);

#[derive(Clone, Copy, Debug)]
struct Timer {
    at: Instant,
    key: Key,
}

impl Timers {
    /// Returns when the first timer is due.
    pub(super) fn first(&self) -> Option<Instant> {
        self.0.first().map(|timer| timer.at)
    }

    /// Sets the timer of an existing source.
    pub(super) fn set(&mut self, key: Key, at: Instant, slots: &mut Slab<Slot>) {
        let timer = Timer { at, key };
        let place = match slots[key.index()].timer {
            Slot::NO_TIMER => {
                self.0.push(timer);
                self.0.len() - 1
            }
            place => place as usize,
        };
        self.sift(place, timer, slots);
    }

    /// Removes the timer of an existing source, if it has one.
    pub(super) fn cancel(&mut self, key: Key, slots: &mut Slab<Slot>) {
        let place = std::mem::replace(&mut slots[key.index()].timer, Slot::NO_TIMER);
        if place != Slot::NO_TIMER {
            self.remove(place as usize, slots);
        }
    }

    /// Removes the first timer and returns its key.
    pub(super) fn pop(&mut self, slots: &mut Slab<Slot>) -> Option<Key> {
        let key = self.0.first()?.key;
        self.cancel(key, slots);
        Some(key)
    }

    /// Removes the timer at `place` and moves the last timer into the gap.
    fn remove(&mut self, place: usize, slots: &mut Slab<Slot>) {
        let Some(last) = self.0.pop() else { return };
        if place < self.0.len() {
            self.sift(place, last, slots);
        }
    }

    /// Moves the gap at `place` up or down the heap to the position of `timer`, and stores it.
    fn sift(&mut self, mut place: usize, timer: Timer, slots: &mut Slab<Slot>) {
        while place > 0 && timer.at < self.0[(place - 1) / 2].at {
            let parent = (place - 1) / 2;
            self.put(place, self.0[parent], slots);
            place = parent;
        }
        while let Some(child) = self.first_child(place).filter(|child| self.0[*child].at < timer.at)
        {
            self.put(place, self.0[child], slots);
            place = child;
        }
        self.put(place, timer, slots);
    }

    /// Returns the position of the child that is due first.
    fn first_child(&self, place: usize) -> Option<usize> {
        let (left, right) = (2 * place + 1, 2 * place + 2);
        let children = left..self.0.len().min(right + 1);
        children.min_by_key(|child| self.0[*child].at)
    }

    fn put(&mut self, place: usize, timer: Timer, slots: &mut Slab<Slot>) {
        self.0[place] = timer;
        let slot = &mut slots[timer.key.index()];
        debug_assert_eq!(slot.key, timer.key, "a timer outlived its source");
        slot.timer = u32::try_from(place).expect("there are fewer than 2^32 sources");
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if slots and heap agree and no timer is due before its parent.
    #[cfg(debug_assertions)]
    pub(super) fn is_consistent(&self, slots: &Slab<Slot>) -> bool {
        let is_pointed_at = |(place, timer): (usize, &Timer)| {
            slots.get(timer.key.index()).is_some_and(|slot| {
                slot.key == timer.key && usize::try_from(slot.timer) == Ok(place)
            })
        };
        let with_timer = slots.iter().filter(|(_, slot)| slot.timer != Slot::NO_TIMER).count();
        let is_ordered = |place: usize| self.0[(place - 1) / 2].at <= self.0[place].at;
        self.0.iter().enumerate().all(is_pointed_at)
            && with_timer == self.0.len()
            && (1..self.0.len()).all(is_ordered)
    }
}

/// Returns the smaller of two values, or the only one, or `None`.
pub(super) fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use mio::Interest;
    use proptest::prelude::*;

    use super::super::slots::Slots;
    use super::*;

    /// Few sources and few times, so that equal ones are frequent.
    const SOURCES: usize = 12;
    const MOMENTS: u64 = 20;

    #[derive(Clone, Debug)]
    enum Step {
        Set {
            source: usize,
            at: u64,
        },
        Cancel {
            source: usize,
        },
        /// Closes the source and gives its slot to another.
        Replace {
            source: usize,
        },
        /// Lets time pass, and marks the sources of due timers.
        Pass {
            to: u64,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        let source = 0..SOURCES;
        prop_oneof![
            4 => (source.clone(), 0..MOMENTS).prop_map(|(source, at)| Step::Set { source, at }),
            1 => source.clone().prop_map(|source| Step::Cancel { source }),
            1 => source.prop_map(|source| Step::Replace { source }),
            2 => (0..MOMENTS).prop_map(|to| Step::Pass { to }),
        ]
    }

    /// Takes the keys off the ready list.
    fn marked(slots: &mut Slots) -> Vec<Key> {
        let mut keys: Vec<Key> =
            std::iter::from_fn(|| slots.next_ready()).map(|(key, _)| key).collect();
        keys.sort_by_key(|key| key.token().0);
        keys
    }

    proptest! {
        /// case L9: compares with a map from each existing key to the time last set for it.
        #[test]
        fn each_timer_fires_once_at_its_last_time_and_only_for_its_own_source(
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let start = Instant::now();
            let moment = |at| start + Duration::from_millis(at);
            let mut slots = Slots::new();
            let mut keys: Vec<Key> =
                (0..SOURCES).map(|_| slots.claim(Interest::READABLE)).collect();
            let mut gone = keys[0];
            let mut model: BTreeMap<usize, (Key, u64)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Set { source, at } => {
                        slots.wake_at(keys[source], moment(at));
                        model.insert(source, (keys[source], at));
                        // The key of a removed source sets no timer.
                        if !keys.contains(&gone) {
                            slots.wake_at(gone, moment(0));
                        }
                    }
                    Step::Cancel { source } => {
                        slots.cancel_wake(keys[source]);
                        model.remove(&source);
                    }
                    Step::Replace { source } => {
                        gone = keys[source];
                        prop_assert!(slots.free(gone));
                        keys[source] = slots.claim(Interest::READABLE);
                        model.remove(&source);
                    }
                    Step::Pass { to } => {
                        slots.mark_due(moment(to), |_| {});
                        let due = |(_, at): &(Key, u64)| *at <= to;
                        let expected = model.values().filter(|timer| due(timer));
                        let mut expected: Vec<Key> = expected.map(|(key, _)| *key).collect();
                        expected.sort_by_key(|key| key.token().0);
                        model.retain(|_, timer| !due(timer));
                        prop_assert_eq!(marked(&mut slots), expected);
                    }
                }
                let first = model.values().map(|(_, at)| moment(*at)).min();
                prop_assert_eq!(slots.first_timer(), first);
                #[cfg(debug_assertions)]
                prop_assert!(slots.is_consistent());
            }
        }
    }

    #[test]
    fn a_timer_that_is_set_a_million_times_has_one_entry() {
        let (mut slots, now) = (Slots::new(), Instant::now());
        let key = slots.claim(Interest::READABLE);
        for later in 0..1_000_000 {
            slots.wake_at(key, now + Duration::from_nanos(later));
        }
        assert_eq!(slots.timers_len(), 1);
    }
}

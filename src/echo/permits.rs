//! How many connections there may be, in one server or in several together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places for connections, as many as may be open. A place is taken before its connection is
/// accepted and given back when it has closed, so that there are never more, not for a moment.
///
/// Clones are the same places.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    free: AtomicUsize,
    /// Servers that have somebody waiting for a place.
    servers_waiting: AtomicUsize,
}

impl Places {
    /// So many places, all of them free.
    pub(super) fn new(limit: usize) -> Places {
        let servers_waiting = AtomicUsize::new(0);
        Places(Arc::new(Shared { limit, free: AtomicUsize::new(limit), servers_waiting }))
    }

    /// How many there are, taken ones among them.
    pub(super) fn limit(&self) -> usize {
        self.0.limit
    }

    /// Takes a place, if one is free. What its last owner did is over then.
    pub(super) fn take(&self) -> bool {
        let taken = |free: usize| free.checked_sub(1);
        self.0.free.fetch_update(Ordering::Acquire, Ordering::Relaxed, taken).is_ok()
    }

    pub(super) fn give_back(&self) {
        self.0.free.fetch_add(1, Ordering::Release);
    }

    /// Whether any place is taken, by this server or by another.
    pub(super) fn is_any_taken(&self) -> bool {
        self.0.free.load(Ordering::Relaxed) < self.0.limit
    }

    /// Whether a place may become free without the one who asks learning of it.
    pub(super) fn are_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Keeps count of the servers that wait. A hint that nothing else hangs on, hence relaxed.
    pub(super) fn note_waiting(&self, before: bool, after: bool) {
        match (before, after) {
            (false, true) => self.0.servers_waiting.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.0.servers_waiting.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    /// Whether a server waits besides the one that asks. One that has ended does not count when
    /// it was the last other one: whoever relies on it has to look for a place by himself.
    pub(super) fn others_wait(&self, own: bool) -> bool {
        self.are_shared() && self.0.servers_waiting.load(Ordering::Relaxed) > usize::from(own)
    }
}

#[cfg(test)]
impl Places {
    /// How many may be taken.
    pub(super) fn free(&self) -> usize {
        self.0.free.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn there_are_as_many_places_as_the_limit_and_one_given_back_is_free_again() {
        let places = Places::new(2);
        let clone = places.clone();
        assert!(places.take() && clone.take());
        assert!(!places.take() && !clone.take());
        clone.give_back();
        assert!(places.take());
        assert!(!clone.take());
        assert_eq!((places.limit(), clone.limit()), (2, 2));
    }

    /// case A5
    #[test]
    fn threads_that_take_and_give_back_never_have_more_than_the_limit_together() {
        const LIMIT: usize = 3;
        let places = Places::new(LIMIT);
        let taken = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut successes = 0;
                    while successes < 10_000 {
                        if places.take() {
                            successes += 1;
                            assert!(taken.fetch_add(1, Ordering::SeqCst) < LIMIT);
                            taken.fetch_sub(1, Ordering::SeqCst);
                            places.give_back();
                        }
                    }
                });
            }
        });
        assert_eq!(places.free(), LIMIT, "all are back");
    }

    #[test]
    fn who_waits_is_told_from_the_others_who_wait() {
        let places = Places::new(1);
        let others = places.clone();
        assert!(!places.others_wait(false));
        places.note_waiting(false, true);
        assert!(!places.others_wait(true), "it is itself");
        assert!(places.others_wait(false));
        places.note_waiting(true, true);
        others.note_waiting(false, true);
        assert!(places.others_wait(true));
        places.note_waiting(true, false);
        assert!(places.others_wait(false) && !others.others_wait(true));
        drop(others);
        assert!(!places.others_wait(false), "it has ended");
    }

    #[test]
    fn places_are_shared_as_long_as_another_server_has_them() {
        let places = Places::new(1);
        assert!(!places.are_shared());
        let other = places.clone();
        assert!(places.are_shared());
        drop(other);
        assert!(!places.are_shared());
    }
}

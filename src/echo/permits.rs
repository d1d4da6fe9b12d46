//! How many connections there may be, in one server or in several together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A permit for each connection that may be open. A listener acquires one before it accepts, and
/// the server releases it when the connection has closed, so the limit holds at every moment.
///
/// Clones share the same permits.
#[derive(Clone, Debug)]
pub(super) struct Permits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    free: AtomicUsize,
    /// Servers that have a listener waiting for a permit.
    servers_waiting: AtomicUsize,
}

impl Permits {
    /// So many permits, all of them free.
    pub(super) fn new(limit: usize) -> Permits {
        let servers_waiting = AtomicUsize::new(0);
        Permits(Arc::new(Shared { limit, free: AtomicUsize::new(limit), servers_waiting }))
    }

    /// How many permits there are, free or taken.
    pub(super) fn limit(&self) -> usize {
        self.0.limit
    }

    /// Takes a permit if one is free. What its last owner did happens before this.
    pub(super) fn acquire(&self) -> bool {
        let taken = |free: usize| free.checked_sub(1);
        self.0.free.fetch_update(Ordering::Acquire, Ordering::Relaxed, taken).is_ok()
    }

    pub(super) fn release(&self) {
        let free = self.0.free.fetch_add(1, Ordering::Release);
        debug_assert!(free < self.0.limit, "a permit is released that was not taken");
    }

    /// Whether any permit is taken, by this server or by another.
    pub(super) fn is_any_taken(&self) -> bool {
        self.0.free.load(Ordering::Relaxed) < self.0.limit
    }

    /// Whether another server may release a permit, which this one then does not learn of.
    pub(super) fn are_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Keeps count of the servers that wait. No other memory depends on it, hence relaxed.
    pub(super) fn note_waiting(&self, before: bool, after: bool) {
        match (before, after) {
            (false, true) => self.0.servers_waiting.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.0.servers_waiting.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    /// Whether a server other than the caller waits. A server that has ended while it waited still
    /// counts, unless it was the last other one, so a waiting server also looks by itself.
    pub(super) fn others_wait(&self, own: bool) -> bool {
        self.are_shared() && self.0.servers_waiting.load(Ordering::Relaxed) > usize::from(own)
    }
}

#[cfg(test)]
impl Permits {
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
    fn there_are_as_many_permits_as_the_limit_and_a_released_one_is_free_again() {
        let permits = Permits::new(2);
        let clone = permits.clone();
        assert!(permits.acquire() && clone.acquire());
        assert!(!permits.acquire() && !clone.acquire());
        clone.release();
        assert!(permits.acquire());
        assert!(!clone.acquire());
        assert_eq!((permits.limit(), clone.limit()), (2, 2));
    }

    /// case A5
    #[test]
    fn threads_that_acquire_and_release_never_have_more_than_the_limit_together() {
        const LIMIT: usize = 3;
        let permits = Permits::new(LIMIT);
        let taken = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut successes = 0;
                    while successes < 10_000 {
                        if permits.acquire() {
                            successes += 1;
                            assert!(taken.fetch_add(1, Ordering::SeqCst) < LIMIT);
                            taken.fetch_sub(1, Ordering::SeqCst);
                            permits.release();
                        }
                    }
                });
            }
        });
        assert_eq!(permits.free(), LIMIT, "all are back");
    }

    #[test]
    fn a_waiting_server_is_told_from_the_others_that_wait() {
        let permits = Permits::new(1);
        let others = permits.clone();
        assert!(!permits.others_wait(false));
        permits.note_waiting(false, true);
        assert!(!permits.others_wait(true), "it is itself");
        assert!(permits.others_wait(false));
        permits.note_waiting(true, true);
        others.note_waiting(false, true);
        assert!(permits.others_wait(true));
        permits.note_waiting(true, false);
        assert!(permits.others_wait(false) && !others.others_wait(true));
        drop(others);
        assert!(!permits.others_wait(false), "it has ended");
    }

    #[test]
    fn permits_are_shared_as_long_as_another_server_has_them() {
        let permits = Permits::new(1);
        assert!(!permits.are_shared());
        let other = permits.clone();
        assert!(permits.are_shared());
        drop(other);
        assert!(!permits.are_shared());
    }
}

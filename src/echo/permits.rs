//! The connection limit of one server, or of several together.

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
    /// Creates `limit` permits, all of them free.
    pub(super) fn new(limit: usize) -> Permits {
        let servers_waiting = AtomicUsize::new(0);
        Permits(Arc::new(Shared { limit, free: AtomicUsize::new(limit), servers_waiting }))
    }

    /// Returns the number of permits, free or taken.
    pub(super) fn limit(&self) -> usize {
        self.0.limit
    }

    /// Takes a permit if one is free, and returns whether it did. What the last owner of the permit
    /// did before the release happens before this call returns.
    pub(super) fn acquire(&self) -> bool {
        let taken = |free: usize| free.checked_sub(1);
        self.0.free.fetch_update(Ordering::Acquire, Ordering::Relaxed, taken).is_ok()
    }

    pub(super) fn release(&self) {
        let free = self.0.free.fetch_add(1, Ordering::Release);
        debug_assert!(free < self.0.limit, "a permit is released that was not taken");
    }

    /// Returns how many permits are taken, by this server or by others.
    pub(super) fn taken(&self) -> usize {
        self.0.limit - self.0.free.load(Ordering::Relaxed)
    }

    /// Returns true if another server may release a permit. The caller does not learn of such a
    /// release.
    pub(super) fn are_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Counts the servers that have a waiting listener. `before` and `after` say whether the caller
    /// had one and has one now. The order is relaxed because no other memory depends on the count.
    pub(super) fn note_waiting(&self, before: bool, after: bool) {
        match (before, after) {
            (false, true) => self.0.servers_waiting.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.0.servers_waiting.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    /// Returns true if a server other than the caller waits. `own_waits`: the caller waits, too. A
    /// server that ended while it waited still counts, unless it was the last other one. So a
    /// waiting server must also look for a free permit by timer.
    pub(super) fn others_wait(&self, own_waits: bool) -> bool {
        let servers_waiting = self.0.servers_waiting.load(Ordering::Relaxed);
        self.are_shared() && servers_waiting > usize::from(own_waits)
    }
}

#[cfg(test)]
impl Permits {
    /// Returns the number of free permits.
    pub(super) fn free(&self) -> usize {
        self.0.free.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_limit_is_the_number_of_permits_and_a_released_permit_is_free_again() {
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
    fn a_waiting_server_does_not_count_itself_among_the_others() {
        let permits = Permits::new(1);
        let others = permits.clone();
        assert!(!permits.others_wait(false));
        permits.note_waiting(false, true);
        assert!(!permits.others_wait(true), "only the caller waits");
        assert!(permits.others_wait(false));
        permits.note_waiting(true, true);
        others.note_waiting(false, true);
        assert!(permits.others_wait(true));
        permits.note_waiting(true, false);
        assert!(permits.others_wait(false) && !others.others_wait(true));
        drop(others);
        assert!(!permits.others_wait(false), "the other server has ended");
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

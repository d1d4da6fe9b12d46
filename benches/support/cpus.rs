//! Pins threads to CPUs. Without this the system runs client and server sometimes on one CPU and
//! sometimes on two, and a round trip takes twice as long in one case as in the other.

use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The place of the client's CPU among those that this process may use.
pub(crate) const CLIENT: usize = 0;
/// The place of the server's CPU.
pub(crate) const SERVER: usize = 1;

/// Pins this thread, and threads that it starts later, to a CPU. Does nothing if the process may
/// use only one.
pub(crate) fn pin(place: usize) {
    // Read once, before any thread is pinned.
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    let allowed = ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
    });
    if allowed.len() > 1 {
        let mut set = CpuSet::new();
        set.set(allowed[place]);
        sched_setaffinity(None, &set).unwrap();
    }
}

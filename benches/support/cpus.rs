//! Which CPU a thread runs on. Left to itself the system puts client and server now on one CPU and
//! now on two, and a round trip takes twice as long in the one case as in the other.

use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The one of those this process may use, of which the client has the first.
pub(crate) const CLIENT: usize = 0;
pub(crate) const SERVER: usize = 1;

/// Keeps this thread, and those it starts, on a CPU. Where there are fewer than two, on any.
pub(crate) fn pin(place: usize) {
    // Asked once, before any thread is pinned.
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

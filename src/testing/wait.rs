//! Waiting for a condition, with one bound for all tests.

use std::thread;
use std::time::{Duration, Instant};

/// No test waits longer than this for anything. It is far beyond what a busy machine needs.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer.
///
/// # Panics
///
/// If there is none within [`WAIT_MAX`].
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {WAIT_MAX:?} for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the condition holds.
///
/// # Panics
///
/// If it does not hold within [`WAIT_MAX`].
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

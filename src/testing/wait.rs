//! Functions that wait for a condition, with one time limit for all tests.

use std::thread;
use std::time::{Duration, Instant};

/// The longest time that a test waits for anything. It is far longer than a busy machine needs.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);

/// Calls `answer` repeatedly until it returns a value.
///
/// # Panics
///
/// Panics if it returns none within [`WAIT_MAX`].
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
/// Panics if it does not hold within [`WAIT_MAX`].
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

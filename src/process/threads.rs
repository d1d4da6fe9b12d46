//! Starts a thread, with an error that names the limit.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread with this name.
///
/// # Errors
///
/// The system grants no more threads. pthread_create(3) reports `EAGAIN` then, which elsewhere
/// means that a call would block; the error here names the limits that can be raised.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let thread = resound::process::spawn_thread("worker", || 6 * 7)?;
/// assert_eq!(thread.join().expect("the thread does not panic"), 42);
/// # Ok(())
/// # }
/// ```
pub fn spawn_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::other(
            "no more threads can be started: raise ulimit -u, TasksMax= or pids.max, or free \
             memory",
        ),
        _ => error,
    })
}

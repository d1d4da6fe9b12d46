//! Starts a thread, with an error that names the limit, and finds out whether memory is free.

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
    Builder::new().name(name.to_owned()).spawn(work).map_err(thread_error)
}

/// Returns the error of a thread that could not be started, with the limits that can be raised.
pub(crate) fn thread_error(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::other(
            "no more threads can be started: raise ulimit -u, TasksMax= or pids.max, or free \
             memory",
        ),
        _ => error,
    }
}

/// Returns true if the system grants this much memory now. The memory is not used, and is free
/// again when the function returns.
///
/// Ask for more than 32 MiB: glibc then does not change its own thresholds when the memory is freed
/// (mallopt(3), `M_MMAP_THRESHOLD`).
///
/// ```
/// assert!(resound::process::has_memory(40 << 20));
/// assert!(!resound::process::has_memory(isize::MAX as usize));
/// ```
#[must_use]
pub fn has_memory(bytes: usize) -> bool {
    let mut memory = Vec::<u8>::new();
    let is_granted = memory.try_reserve_exact(bytes).is_ok();
    // Without this the compiler may leave the allocation out.
    std::hint::black_box(memory.as_ptr());
    is_granted
}

//! Finds out whether stdin and stdout were closed when the process started. The standard library
//! then opens /dev/null instead before `main`, so stdin would seem empty, and each write to stdout
//! would seem to succeed.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

static WAS_STDIN_CLOSED: AtomicBool = AtomicBool::new(false);
static WAS_STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

// SAFETY: the dynamic loader calls the functions in this section before `main`, on the only thread.
// This function makes two system calls and writes to atomics. None needs initialisation.
#[used]
#[unsafe(link_section = ".init_array")]
static CHECK_STREAMS: extern "C" fn() = check_streams;

extern "C" fn check_streams() {
    WAS_STDIN_CLOSED.store(is_closed(libc::STDIN_FILENO), Ordering::Relaxed);
    WAS_STDOUT_CLOSED.store(is_closed(libc::STDOUT_FILENO), Ordering::Relaxed);
}

fn is_closed(fd: c_int) -> bool {
    // SAFETY: F_GETFD only reads, and fails if the number is not an open descriptor.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags < 0
}

/// Returns true if stdin was closed when the process started.
pub(crate) fn was_stdin_closed() -> bool {
    WAS_STDIN_CLOSED.load(Ordering::Relaxed)
}

/// Returns true if stdout was closed when the process started.
pub(crate) fn was_stdout_closed() -> bool {
    WAS_STDOUT_CLOSED.load(Ordering::Relaxed)
}

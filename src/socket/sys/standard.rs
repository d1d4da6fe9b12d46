//! Finds out whether stdout was closed when the process started. The standard library then opens
//! /dev/null as stdout before `main`, so each write would seem to succeed.

use std::sync::atomic::{AtomicBool, Ordering};

static WAS_STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

// SAFETY: the dynamic loader calls the functions in this section before `main`, on the only thread.
// This function makes a system call and writes to an atomic. Neither needs initialisation.
#[used]
#[unsafe(link_section = ".init_array")]
static CHECK_STDOUT: extern "C" fn() = check_stdout;

extern "C" fn check_stdout() {
    // SAFETY: F_GETFD only reads, and fails if the number is not an open descriptor.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    WAS_STDOUT_CLOSED.store(flags < 0, Ordering::Relaxed);
}

/// Returns true if stdout was closed when the process started.
pub(crate) fn was_stdout_closed() -> bool {
    WAS_STDOUT_CLOSED.load(Ordering::Relaxed)
}

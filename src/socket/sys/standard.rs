//! Whether stdout was closed when the process started. The standard library opens /dev/null in its
//! place before `main`, and from then on each write seems to succeed.

use std::sync::atomic::{AtomicBool, Ordering};

static WAS_STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

// SAFETY: the dynamic loader calls the functions in this section before `main`, on the only thread.
// This one makes a system call and writes to an atomic, neither of which needs initialisation.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: F_GETFD only reads, and a number without a descriptor is an error.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    WAS_STDOUT_CLOSED.store(flags < 0, Ordering::Relaxed);
}

/// Whether stdout was closed when the process started.
pub(crate) fn was_stdout_closed() -> bool {
    WAS_STDOUT_CLOSED.load(Ordering::Relaxed)
}

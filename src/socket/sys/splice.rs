//! splice(2) between a socket and a pipe, without the SIGPIPE that it can raise.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::c_int;

/// Creates a non-blocking pipe. Returns the read end and the write end.
pub(in crate::socket) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds: [c_int; 2] = [-1; 2];
    // SAFETY: the call writes two descriptors to the array, which outlives it.
    let result = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both descriptors are open, and nothing else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Sets the capacity of a pipe, which has one slot for each 4 KiB (pipe(7)).
pub(in crate::socket) fn set_pipe_size(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    // SAFETY: this command takes an int and accesses no memory of this process.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Moves at most `bytes_max` bytes from one descriptor to the other. One of them must be a pipe.
pub(in crate::socket) fn splice(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    bytes_max: usize,
) -> io::Result<usize> {
    // SAFETY: without offsets the call accesses no memory of this process.
    let count = unsafe {
        libc::splice(
            source.as_raw_fd(),
            ptr::null_mut(),
            target.as_raw_fd(),
            ptr::null_mut(),
            bytes_max,
            libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE,
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Makes a call that may raise SIGPIPE, and suppresses the signal. `MSG_NOSIGNAL` does the same for
/// calls that take the flags of send(2), which splice(2) does not.
///
/// If the process ignores the signal, as Rust programs do by default, this only adds the call that
/// finds that out. Otherwise the kernel sends the signal to this thread, so this blocks it on this
/// thread and then removes it if it is pending.
pub(in crate::socket) fn without_sigpipe<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if sigpipe_is_ignored() { call() } else { with_sigpipe_blocked(call) }
}

fn with_sigpipe_blocked<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let sigpipe = sigpipe_set();
    let mut mask_before = MaybeUninit::uninit();
    // SAFETY: the set is valid, and the call writes the mask, which outlives it.
    let result =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &sigpipe, mask_before.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    // A signal that was pending before is not from this call, so it stays.
    let was_pending = sigpipe_is_pending();
    let outcome = call();
    // A successful call can raise the signal too: a splice that sends some pages before the peer
    // closes succeeds.
    if !was_pending {
        consume_sigpipe(&sigpipe);
    }
    // SAFETY: the first pthread_sigmask has written the mask.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, mask_before.as_ptr(), ptr::null_mut());
    }
    outcome
}

fn sigpipe_is_ignored() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the call changes no action. It writes the current one, which outlives it.
    let result = unsafe { libc::sigaction(libc::SIGPIPE, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the call has written the action if it succeeded.
    result == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

fn sigpipe_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the first call initialises the set, which outlives both.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE);
        set.assume_init()
    }
}

fn sigpipe_is_pending() -> bool {
    let mut pending = MaybeUninit::uninit();
    // SAFETY: the second call reads the set only if the first has written it.
    unsafe {
        libc::sigpending(pending.as_mut_ptr()) == 0
            && libc::sigismember(pending.as_ptr(), libc::SIGPIPE) == 1
    }
}

/// Removes the signal if it is pending for this thread.
fn consume_sigpipe(sigpipe: &libc::sigset_t) {
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the set and the time are valid and outlive the call, which writes no memory.
    while unsafe { libc::sigtimedwait(sigpipe, ptr::null_mut(), &at_once) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

#[cfg(test)]
mod tests;

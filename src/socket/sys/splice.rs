//! splice(2) between a socket and a pipe, and the SIGPIPE that it raises.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::c_int;

/// Makes a pipe whose two ends, the one to read from first, never block.
pub(in crate::socket) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds: [c_int; 2] = [-1; 2];
    // SAFETY: the call writes two descriptors to the array, which outlives it.
    let result = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both are open, and nobody else knows of them.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Asks for room for `bytes` in a pipe, which is a slot for each 4 KiB of it (pipe(7)).
pub(in crate::socket) fn set_pipe_size(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    // SAFETY: this command takes an int and touches no memory of ours.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Moves at most `bytes_max` from one to the other, one of which is a pipe.
pub(in crate::socket) fn splice(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    bytes_max: usize,
) -> io::Result<usize> {
    // SAFETY: without offsets the call touches no memory of ours.
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

/// Makes a call that fails with EPIPE without the SIGPIPE that comes with it, as `MSG_NOSIGNAL`
/// does where a call takes flags of send(2), and splice(2) does not.
///
/// A process that ignores the signal, as a program of Rust's does unless it is told otherwise,
/// pays for the question alone. In any other it is held back on this thread, to which the kernel
/// sends it, and taken off it if it came.
pub(in crate::socket) fn without_sigpipe<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if sigpipe_is_ignored() { call() } else { holding_sigpipe_back(call) }
}

fn holding_sigpipe_back<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let sigpipe = sigpipe_set();
    let mut mask_before = MaybeUninit::uninit();
    // SAFETY: the set is valid; the call writes the mask, which outlives it.
    let result =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &sigpipe, mask_before.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    // One that somebody else holds back is his, and stays.
    let was_pending = sigpipe_is_pending();
    let outcome = call();
    // Not only with EPIPE: a splice that has sent some pages before it met a closed peer raises
    // the signal, and succeeds.
    if !was_pending {
        take_sigpipe(&sigpipe);
    }
    // SAFETY: the call above has written the mask.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, mask_before.as_ptr(), ptr::null_mut());
    }
    outcome
}

fn sigpipe_is_ignored() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is changed; the call writes the action, which outlives it.
    let result = unsafe { libc::sigaction(libc::SIGPIPE, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: it was written when the call succeeded.
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
    // SAFETY: the first call writes the set, if it succeeds, and the second reads it.
    unsafe {
        libc::sigpending(pending.as_mut_ptr()) == 0
            && libc::sigismember(pending.as_ptr(), libc::SIGPIPE) == 1
    }
}

/// Takes the signal off this thread if it waits there.
fn take_sigpipe(sigpipe: &libc::sigset_t) {
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the set and the time are valid and outlive the call, which writes nothing.
    while unsafe { libc::sigtimedwait(sigpipe, ptr::null_mut(), &at_once) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

#[cfg(test)]
mod tests;

//! Blocked SIGPIPE. The test runtime ignores SIGPIPE, so each test blocks it: a blocked signal
//! becomes pending even if it is ignored.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;

use super::*;

/// Makes a write that raises SIGPIPE on this thread.
fn write_to_a_closed_peer() -> io::Result<usize> {
    let (near, far) = UnixStream::pair().unwrap();
    drop(far);
    File::from(OwnedFd::from(near)).write(b"x")
}

fn block_sigpipe() {
    let sigpipe = sigpipe_set();
    // SAFETY: the set is valid, and a null pointer discards the previous mask.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &sigpipe, ptr::null_mut()) };
    assert_eq!(result, 0);
}

/// case S7: such as a splice whose peer closes between two pages.
#[test]
fn a_call_that_raises_sigpipe_and_succeeds_leaves_no_signal() {
    block_sigpipe();
    let outcome = with_sigpipe_blocked(|| {
        let error = write_to_a_closed_peer().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(sigpipe_is_pending(), "the signal was raised");
        Ok(7)
    });
    assert_eq!(outcome.unwrap(), 7);
    assert!(!sigpipe_is_pending());
}

/// case S7
#[test]
fn a_call_that_fails_with_epipe_leaves_no_signal() {
    block_sigpipe();
    let error = with_sigpipe_blocked(write_to_a_closed_peer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert!(!sigpipe_is_pending());
}

#[test]
fn a_signal_that_was_pending_before_the_call_stays() {
    block_sigpipe();
    write_to_a_closed_peer().unwrap_err();
    with_sigpipe_blocked(write_to_a_closed_peer).unwrap_err();
    assert!(sigpipe_is_pending());
    consume_sigpipe(&sigpipe_set());
}

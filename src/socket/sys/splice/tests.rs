//! SIGPIPE held back. Tests hold it back themselves, since the runtime of tests ignores it: a
//! signal that is blocked waits even if it is ignored.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;

use super::*;

/// A write that raises SIGPIPE on this thread.
fn write_to_a_closed_peer() -> io::Result<usize> {
    let (near, far) = UnixStream::pair().unwrap();
    drop(far);
    File::from(OwnedFd::from(near)).write(b"x")
}

fn hold_sigpipe_back() {
    let sigpipe = sigpipe_set();
    // SAFETY: the set is valid; the mask before is not wanted.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &sigpipe, ptr::null_mut()) };
    assert_eq!(result, 0);
}

/// case S7: as of a splice whose peer closes between two of its pages.
#[test]
fn a_call_that_raises_sigpipe_and_succeeds_leaves_no_signal() {
    hold_sigpipe_back();
    let outcome = holding_sigpipe_back(|| {
        let error = write_to_a_closed_peer().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(sigpipe_is_pending(), "it was raised");
        Ok(7)
    });
    assert_eq!(outcome.unwrap(), 7);
    assert!(!sigpipe_is_pending());
}

/// case S7
#[test]
fn a_call_that_fails_with_epipe_leaves_no_signal() {
    hold_sigpipe_back();
    let error = holding_sigpipe_back(write_to_a_closed_peer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert!(!sigpipe_is_pending());
}

#[test]
fn a_signal_that_somebody_else_holds_back_stays() {
    hold_sigpipe_back();
    write_to_a_closed_peer().unwrap_err();
    holding_sigpipe_back(write_to_a_closed_peer).unwrap_err();
    assert!(sigpipe_is_pending());
    take_sigpipe(&sigpipe_set());
}

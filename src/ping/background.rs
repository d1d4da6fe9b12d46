//! Blocking work on a separate thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, TryRecvError};

use crate::process::spawn_thread;

/// Work on a separate thread, and a descriptor that becomes readable when the work is done.
#[derive(Debug)]
pub(super) struct Background<T> {
    done: UnixStream,
    result: Receiver<T>,
}

impl<T: Send + 'static> Background<T> {
    pub(super) fn start(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Background<T>> {
        let (done, at_work) = UnixStream::pair()?;
        let (sender, result) = mpsc::channel();
        // The thread is not joined, so that a caller can drop this without waiting for it.
        spawn_thread("connect", move || {
            // This fails if the caller has dropped the receiver.
            let _ = sender.send(work());
            drop(at_work);
        })?;
        Ok(Background { done, result })
    }

    /// Returns the result if the work is done.
    pub(super) fn take(&self) -> Option<io::Result<T>> {
        match self.result.try_recv() {
            Ok(result) => Some(Ok(result)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(io::Error::other("a thread panicked"))),
        }
    }
}

impl<T> AsFd for Background<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}

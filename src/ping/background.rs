//! Work that blocks, done on a thread beside the one that waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, TryRecvError};

use crate::process::spawn_thread;

/// Work on a thread of its own, and a descriptor that is readable when it is done.
#[derive(Debug)]
pub(super) struct Background<T> {
    done: UnixStream,
    result: Receiver<T>,
}

impl<T: Send + 'static> Background<T> {
    pub(super) fn start(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Background<T>> {
        let (done, at_work) = UnixStream::pair()?;
        let (sender, result) = mpsc::channel();
        // Not joined: a caller that drops this does not wait for the thread.
        spawn_thread("connect", move || {
            // Fails when the caller has dropped this.
            let _ = sender.send(work());
            drop(at_work);
        })?;
        Ok(Background { done, result })
    }

    /// The result, once it is there.
    pub(super) fn take(&self) -> Option<io::Result<T>> {
        match self.result.try_recv() {
            Ok(result) => Some(Ok(result)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(io::Error::other("a thread has died"))),
        }
    }
}

impl<T> AsFd for Background<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}

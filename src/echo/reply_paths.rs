//! Sends replies to Unix datagrams to their senders and to no other socket.
//!
//! The server knows the names of its own sockets and sends them no reply. It follows the path of
//! any other sender and holds the file at its end open for further replies (see
//! [`ReplyPathFinder`]). When it replies, it checks that the path still leads to that file if the
//! last check is older than [`REPLY_PATH_CHECK_INTERVAL`]. It sends no reply to a path that leads
//! to another socket than the sender's. This is the loop guard of Unix datagrams.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use socket2::SockAddr;

use super::bounds::{REPLY_PATH_CHECK_INTERVAL, REPLY_PATHS_MAX, UNIX_SLOTS};
use super::cause::{Cause, reply_cause};
use crate::socket::{ReplyPath, ReplyPathError, ReplyPathFinder};

/// The most descriptors that a server uses for replies to Unix datagram senders, besides those of
/// its sockets: the files that it holds open, and the probe.
pub const REPLY_PATH_DESCRIPTORS_MAX: u64 = REPLY_PATHS_MAX as u64 + 1;

/// All queued replies need their paths at the same time, and the next reply needs one more.
const _: () = assert!(REPLY_PATHS_MAX > UNIX_SLOTS);

/// The paths of Unix senders that one server knows.
#[derive(Debug, Default)]
pub(super) struct ReplyPaths {
    /// The names of the server's own sockets.
    own_names: Vec<Box<[u8]>>,
    /// `None` if files cannot be held open. Replies then go to their senders' paths.
    finder: Option<ReplyPathFinder>,
    known: HashMap<Box<[u8]>, KnownPath>,
    /// Paths replaced since the last batch began. Queued replies may use them.
    replaced: Vec<ReplyPath>,
    /// The number of the current batch.
    batch: u64,
}

#[derive(Debug)]
struct KnownPath {
    path: ReplyPath,
    /// When the sender's name was last seen to lead to this file.
    checked_at: Instant,
    /// The last batch that had a reply to this sender.
    last_batch: u64,
}

impl ReplyPaths {
    /// Adds the name of a socket of this server.
    pub(super) fn note_own_name(&mut self, name: Box<[u8]>) {
        if self.finder.is_none() {
            self.finder = ReplyPathFinder::new().ok();
        }
        self.own_names.push(name);
    }

    /// Returns the socket that the finder connects to what a path leads to.
    pub(super) fn probe(&self) -> Option<BorrowedFd<'_>> {
        self.finder.as_ref().map(ReplyPathFinder::probe_socket)
    }

    /// Begins a batch. Call it while no reply is queued, because it closes replaced files.
    pub(super) fn begin_batch(&mut self) {
        self.batch += 1;
        self.replaced.clear();
    }

    /// Returns where the reply to this sender goes; `None` for the sender's own address.
    ///
    /// # Errors
    ///
    /// The cause for which the sender gets no reply.
    #[inline]
    pub(super) fn follow(&mut self, name: &[u8], now: Instant) -> Result<Option<SockAddr>, Cause> {
        if !self.needs_path(name)? {
            return Ok(None);
        }
        if let Some(known) = self.known.get_mut(name)
            && now.saturating_duration_since(known.checked_at) < REPLY_PATH_CHECK_INTERVAL
        {
            known.last_batch = self.batch;
            return Ok(Some(known.path.addr().clone()));
        }
        self.check(name, now)
    }

    /// Returns the same as [`ReplyPaths::follow`], but always checks the path: for a reply that was
    /// held, or that the socket at the path refused.
    pub(super) fn recheck(&mut self, name: &[u8], now: Instant) -> Result<Option<SockAddr>, Cause> {
        if self.needs_path(name)? { self.check(name, now) } else { Ok(None) }
    }

    /// Returns true if the sender's name is a path that must be followed.
    #[inline]
    fn needs_path(&self, name: &[u8]) -> Result<bool, Cause> {
        if self.own_names.iter().any(|own| **own == *name) {
            return Err(Cause::LoopOwnPath);
        }
        Ok(self.finder.is_some() && is_path(name))
    }

    /// Checks that a path leads to its sender, and returns the address of the file at its end.
    /// Returns `None` if there is no descriptor to hold that file open.
    fn check(&mut self, name: &[u8], now: Instant) -> Result<Option<SockAddr>, Cause> {
        if let Some(known) = self.known.get_mut(name)
            && known.path.is_at(name)
        {
            (known.checked_at, known.last_batch) = (now, self.batch);
            return Ok(Some(known.path.addr().clone()));
        }
        if let Some(known) = self.known.remove(name) {
            self.replaced.push(known.path);
        }
        let Some(path) = self.find(name)? else { return Ok(None) };
        if self.known.len() == REPLY_PATHS_MAX {
            self.forget_one();
        }
        let addr = path.addr().clone();
        let known = KnownPath { path, checked_at: now, last_batch: self.batch };
        self.known.insert(name.into(), known);
        Ok(Some(addr))
    }

    /// Finds the file at the end of a sender's path. Returns `None` if the process has no
    /// descriptor to hold that file open. The path then leads to the sender at this moment, and the
    /// reply goes to the path at once.
    fn find(&mut self, name: &[u8]) -> Result<Option<ReplyPath>, Cause> {
        let Some(finder) = &self.finder else { return Err(Cause::ReplyFailed) };
        let is_scarce = |found: &Result<ReplyPath, ReplyPathError>| match found {
            Err(ReplyPathError::Failed(error)) => is_out_of_descriptors(error),
            _ => false,
        };
        let mut found = finder.find(name);
        if is_scarce(&found) {
            let batch = self.batch;
            self.known.retain(|_, known| known.last_batch == batch);
            found = finder.find(name);
        }
        let found =
            if is_scarce(&found) { finder.check(name).map(|()| None) } else { found.map(Some) };
        found.map_err(|error| match error {
            ReplyPathError::OtherSocket(other) if self.own_names.contains(&other) => {
                Cause::LoopOwnPath
            }
            ReplyPathError::OtherSocket(_) => Cause::LoopPath,
            ReplyPathError::Failed(error) => reply_cause(&error),
        })
    }

    /// Closes the file that was not used for the longest time. No queued reply uses it: those of
    /// the current batch were used later, and a batch needs fewer files than may be known.
    fn forget_one(&mut self) {
        let oldest = self.known.iter().min_by_key(|(_, known)| known.last_batch);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.known.remove(&name);
        }
    }
}

/// Returns true if a name is the path of a file, and neither abstract nor empty.
fn is_path(name: &[u8]) -> bool {
    name.first().is_some_and(|byte| *byte != 0)
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

//! Where answers to Unix datagrams go: back to their senders, and nowhere else.
//!
//! A server's own names are known. The path of any other sender is followed once, and the file that
//! it leads to is held open for the answers to come (see [`ReplyPathFinder`]). A path that leads to
//! another socket than the sender's is not answered: the loop guard of Unix datagrams.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use socket2::SockAddr;

use super::bounds::{REPLY_PATH_CHECK_INTERVAL, REPLY_PATHS_MAX, UNIX_SLOTS};
use super::cause::{Cause, answer_cause};
use crate::socket::{ReplyPath, ReplyPathError, ReplyPathFinder};

/// Descriptors of a server for replies to Unix datagram senders, beside those of its sockets: the
/// files that it holds open, and the probe.
pub const REPLY_PATH_DESCRIPTORS_MAX: u64 = REPLY_PATHS_MAX as u64 + 1;

/// The answers in the line all have their way at once, and one more is looked for.
const _: () = assert!(REPLY_PATHS_MAX > UNIX_SLOTS);

/// The paths that one server knows.
#[derive(Debug, Default)]
pub(super) struct ReplyPaths {
    /// The names of its own sockets.
    own: Vec<Box<[u8]>>,
    /// None where files cannot be held open. Answers then go by their paths.
    finder: Option<ReplyPathFinder>,
    known: HashMap<Box<[u8]>, Known>,
    /// ReplyPaths that were replaced since the last batch began: answers in the line may have them.
    replaced: Vec<ReplyPath>,
    batches: u64,
}

#[derive(Debug)]
struct Known {
    way: ReplyPath,
    /// When its path last led there.
    checked_at: Instant,
    /// The last batch that had an answer for it.
    used_in: u64,
}

impl ReplyPaths {
    /// Notes the name of a socket of this server.
    pub(super) fn note_own_name(&mut self, name: Box<[u8]>) {
        if self.finder.is_none() {
            self.finder = ReplyPathFinder::new().ok();
        }
        self.own.push(name);
    }

    /// The socket that is connected to what a path leads to.
    pub(super) fn probe(&self) -> Option<BorrowedFd<'_>> {
        self.finder.as_ref().map(ReplyPathFinder::probe_socket)
    }

    /// A batch begins: no answer is in the line.
    pub(super) fn begin_batch(&mut self) {
        self.batches += 1;
        self.replaced.clear();
    }

    /// Where the answer to this sender goes: `None` for the address that it has.
    ///
    /// # Errors
    ///
    /// Why it gets none.
    #[inline]
    pub(super) fn follow(&mut self, name: &[u8], now: Instant) -> Result<Option<&SockAddr>, Cause> {
        if self.own.iter().any(|own| **own == *name) {
            return Err(Cause::LoopOwnPath);
        }
        if self.finder.is_none() || !is_path(name) {
            return Ok(None);
        }
        let is_fresh = |known: &Known| {
            now.saturating_duration_since(known.checked_at) < REPLY_PATH_CHECK_INTERVAL
        };
        if !self.known.get(name).is_some_and(is_fresh) {
            self.check(name, now)?;
        }
        let batch = self.batches;
        Ok(self.known.get_mut(name).map(|known| {
            known.used_in = batch;
            known.way.addr()
        }))
    }

    /// As [`ReplyPaths::follow`], and the path is followed anew: for a reply that was held for a
    /// while, or that the path's socket refused.
    pub(super) fn follow_anew(
        &mut self,
        name: &[u8],
        now: Instant,
    ) -> Result<Option<&SockAddr>, Cause> {
        if self.finder.is_some() && is_path(name) {
            self.check(name, now)?;
        }
        self.follow(name, now)
    }

    /// Makes sure that a path leads to its sender, by a way that is known then if there are
    /// descriptors.
    fn check(&mut self, name: &[u8], now: Instant) -> Result<(), Cause> {
        let batch = self.batches;
        if let Some(known) = self.known.get_mut(name)
            && known.way.is_at(name)
        {
            known.checked_at = now;
            return Ok(());
        }
        if let Some(known) = self.known.remove(name) {
            self.replaced.push(known.way);
        }
        let Some(way) = self.find(name)? else { return Ok(()) };
        if self.known.len() == REPLY_PATHS_MAX {
            self.forget_one();
        }
        self.known.insert(name.into(), Known { way, checked_at: now, used_in: batch });
        Ok(())
    }

    /// The way to a sender. None when the process has no descriptor to hold its file open: then the
    /// path leads to the sender now, and the answer goes by the path at once.
    fn find(&mut self, name: &[u8]) -> Result<Option<ReplyPath>, Cause> {
        let Some(finder) = &self.finder else { return Err(Cause::AnswerFailed) };
        let is_scarce = |found: &Result<ReplyPath, ReplyPathError>| match found {
            Err(ReplyPathError::Failed(error)) => is_out_of_descriptors(error),
            _ => false,
        };
        let mut found = finder.find(name);
        if is_scarce(&found) {
            let batch = self.batches;
            self.known.retain(|_, known| known.used_in == batch);
            found = finder.find(name);
        }
        let found =
            if is_scarce(&found) { finder.check(name).map(|()| None) } else { found.map(Some) };
        found.map_err(|astray| match astray {
            ReplyPathError::OtherSocket(other) if self.own.contains(&other) => Cause::LoopOwnPath,
            ReplyPathError::OtherSocket(_) => Cause::LoopPath,
            ReplyPathError::Failed(error) => answer_cause(&error),
        })
    }

    /// Closes the way that was not used for longest. Those of the answers in the line are later:
    /// there are fewer of them than paths that may be known.
    fn forget_one(&mut self) {
        let oldest = self.known.iter().min_by_key(|(_, known)| known.used_in);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.known.remove(&name);
        }
    }
}

/// Whether a name is one of a file, and not abstract or none.
fn is_path(name: &[u8]) -> bool {
    name.first().is_some_and(|byte| *byte != 0)
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

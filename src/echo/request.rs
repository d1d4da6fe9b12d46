//! What other threads may ask of a running server.

use std::fmt;

use super::counters::Counters;
use crate::reactor::LoopCounts;

/// A message to a running [`Server`](super::Server), sent by a
/// [`Handle`](crate::reactor::Handle) of its reactor.
///
/// ```
/// use std::sync::mpsc;
///
/// use resound::echo::{Options, Request, Server};
/// use resound::reactor::Reactor;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// let thread = std::thread::spawn(move || reactor.run(&mut Server::new(Options::default())));
///
/// let (sender, snapshots) = mpsc::channel();
/// handle.send(Request::snapshot(move |snapshot| {
///     // The receiver may be gone: then there is no use for a snapshot.
///     let _ = sender.send(snapshot);
/// }))?;
/// assert_eq!(snapshots.recv()?.counters.connections_open, 0);
///
/// handle.send(Request::Drain)?; // nothing is open: the loop ends at once
/// thread.join().expect("the loop does not panic")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Request {
    /// Tell what is counted. An answer is also a sign that the loop turns.
    Snapshot(OnSnapshot),
    /// End in peace: see [`Server::drain`](super::Server::drain).
    Drain,
}

/// Takes a snapshot, on the server's thread: so it must not block.
pub struct OnSnapshot(Box<dyn FnOnce(Snapshot) + Send>);

/// All that a server and its loop have counted, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    /// Of the server.
    pub counters: Counters,
    /// Of its loop, the turn that answers included but for its
    /// [measures](LoopCounts::measures).
    pub counts: LoopCounts,
    /// Whether the server accepts no more, and ends when its peers have finished.
    pub is_draining: bool,
}

impl Request {
    /// Asks for a snapshot, which `on_snapshot` takes on the server's thread.
    pub fn snapshot(on_snapshot: impl FnOnce(Snapshot) + Send + 'static) -> Request {
        Request::Snapshot(OnSnapshot(Box::new(on_snapshot)))
    }
}

impl OnSnapshot {
    /// Passes the snapshot on.
    pub fn send(self, snapshot: Snapshot) {
        (self.0)(snapshot);
    }
}

impl fmt::Debug for OnSnapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OnSnapshot").finish_non_exhaustive()
    }
}

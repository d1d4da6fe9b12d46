//! Requests of other threads to a running server.

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
///     // Sending fails if the receiver is gone. Then the snapshot is not needed.
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
    /// Asks for a snapshot of the counters. The snapshot also shows that the loop turns.
    Snapshot(OnSnapshot),
    /// Shuts the server down gracefully: see [`Server::drain`](super::Server::drain).
    Drain,
}

/// A function that receives a snapshot. The server calls it on its own thread, so it must not
/// block.
pub struct OnSnapshot(Box<dyn FnOnce(Snapshot) + Send>);

/// The counts of a server and of its loop at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    /// The counts of the server.
    pub counters: Counters,
    /// The counts of its loop. They include the current turn, except for its
    /// [measures](LoopCounts::measures).
    pub counts: LoopCounts,
    /// True if the server drains: it accepts no more, and ends when its peers have finished.
    pub is_draining: bool,
}

impl Request {
    /// Creates a request for a snapshot. The server calls `on_snapshot` on its own thread.
    pub fn snapshot(on_snapshot: impl FnOnce(Snapshot) + Send + 'static) -> Request {
        Request::Snapshot(OnSnapshot(Box::new(on_snapshot)))
    }
}

impl OnSnapshot {
    /// Calls the function with the snapshot.
    pub fn send(self, snapshot: Snapshot) {
        (self.0)(snapshot);
    }
}

impl fmt::Debug for OnSnapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OnSnapshot").finish_non_exhaustive()
    }
}

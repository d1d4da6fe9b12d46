//! Reaches all loops from any thread: asks for their counters, and stops them.
//!
//! A loop replies in the turn that receives the request, so a reply also shows that the loop turns.
//! The last snapshot of a loop is kept when the loop ends, so that the sums of the counters never
//! fall.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::echo::{Request, Snapshot};
use crate::reactor::{Handle, SendError};

/// The latest snapshot of each loop, in order; `None` for a loop that never replied.
pub(super) type Snapshots = Vec<Option<Snapshot>>;

/// Handles of all loops. A clone reaches the same loops.
#[derive(Clone, Debug)]
pub(super) struct Handles(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    loops: Vec<Handle<Request>>,
    latest: Mutex<Snapshots>,
}

impl Handles {
    pub(super) fn new(loops: Vec<Handle<Request>>) -> Handles {
        let latest = Mutex::new(vec![None; loops.len()]);
        Handles(Arc::new(Shared { loops, latest }))
    }

    /// Stops every loop.
    pub(super) fn stop(&self) {
        self.0.loops.iter().for_each(Handle::stop);
    }

    /// Keeps a snapshot of the loop at this index.
    pub(super) fn keep(&self, index: usize, snapshot: Snapshot) {
        self.latest()[index] = Some(snapshot);
    }

    /// Asks each loop for a snapshot, and calls `reply` once every loop has replied or ended. The
    /// call is made on the thread of the last loop, so it must not block. A loop that hangs
    /// prevents the call.
    pub(super) fn ask(&self, reply: impl Fn(Snapshots) + Send + Sync + 'static) {
        let waiting = Arc::new((AtomicUsize::new(self.0.loops.len()), reply));
        for (index, handle) in self.0.loops.iter().enumerate() {
            let (handles, replied) = (self.clone(), Arc::clone(&waiting));
            let request = Request::snapshot(move |snapshot| {
                handles.keep(index, snapshot);
                handles.note_reply(&replied);
            });
            match handle.send(request) {
                Ok(()) => {}
                Err(SendError::Stopped(_)) => self.note_reply(&waiting),
                // The inbox of the loop is full, so the loop hangs.
                Err(_) => {}
            }
        }
    }

    /// Asks each loop and waits for the replies. Returns `None` if a loop does not reply in time.
    pub(super) fn ask_and_wait(&self, timeout: Duration) -> Option<Snapshots> {
        let (sender, replies) = sync_channel(1);
        self.ask(move |snapshots| {
            // The channel has room for the one reply. If the reply is late, its receiver is gone.
            let _ = sender.try_send(snapshots);
        });
        replies.recv_timeout(timeout).ok()
    }

    fn note_reply(&self, (left, reply): &(AtomicUsize, impl Fn(Snapshots))) {
        // The last reply sees the snapshots of all others.
        if left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let snapshots = self.latest().clone();
            reply(snapshots);
        }
    }

    fn latest(&self) -> MutexGuard<'_, Snapshots> {
        self.0.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::echo::{Options, Server, Source};
    use crate::reactor::Reactor;
    use crate::testing::WAIT_MAX;

    fn reactors(count: usize) -> (Vec<Reactor<Source, Request>>, Handles) {
        let reactors: Vec<Reactor<_, _>> = (0..count).map(|_| Reactor::new().unwrap()).collect();
        let handles = Handles::new(reactors.iter().map(Reactor::handle).collect());
        (reactors, handles)
    }

    #[test]
    fn every_loop_replies_and_the_last_reply_of_an_ended_loop_is_kept() {
        let (mut reactors, handles) = reactors(2);
        let each: Vec<_> = reactors.iter().map(Reactor::handle).collect();
        let threads: Vec<_> = reactors
            .drain(..)
            .map(|mut reactor| {
                thread::spawn(move || reactor.run(&mut Server::new(Options::default())).unwrap())
            })
            .collect();
        for _ in 0..3 {
            let replies = handles.ask_and_wait(WAIT_MAX).unwrap();
            assert_eq!(replies.len(), 2);
            assert!(replies.iter().all(|reply| reply.is_some_and(|a| a.counts.turns > 0)));
        }
        let turns = |reply: &Option<Snapshot>| reply.unwrap().counts.turns;
        for (index, (handle, thread)) in each.into_iter().zip(threads).enumerate() {
            let before = handles.ask_and_wait(WAIT_MAX).unwrap();
            handle.stop();
            thread.join().unwrap();
            let after = handles.ask_and_wait(WAIT_MAX).unwrap();
            assert_eq!(after.len(), 2, "one entry per loop");
            assert_eq!(turns(&after[index]), turns(&before[index]), "the loop's last reply");
        }
    }

    #[test]
    fn a_late_reply_is_not_taken_for_the_reply_to_the_next_request() {
        let (mut reactors, handles) = reactors(1);
        let mut server = Server::new(Options::default());
        for turns in 1..=3 {
            assert!(handles.ask_and_wait(Duration::ZERO).is_none());
            reactors[0].turn(&mut server).unwrap();
            assert_eq!(handles.latest()[0].unwrap().counts.turns, turns, "late, and kept");
        }
        assert!(handles.ask_and_wait(Duration::ZERO).is_none());
    }

    #[test]
    fn a_request_does_not_wait_for_loops_that_ended_without_a_reply() {
        let (reactors, handles) = reactors(2);
        drop(reactors);
        assert!(handles.ask_and_wait(WAIT_MAX).unwrap().iter().all(Option::is_none));
    }
}

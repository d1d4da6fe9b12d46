//! The way to all loops from any thread: it asks what they have counted, and ends them.
//!
//! A loop replies in the turn that receives the request, so a reply also shows that the loop turns.
//! The last snapshot of a loop stays here when the loop ends, so that the sum of the counters never
//! falls.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::echo::{Request, Snapshot};
use crate::reactor::{Handle, SendError};

/// The latest snapshot of each loop, in their order; `None` for a loop that never replied.
pub(super) type Snapshots = Vec<Option<Snapshot>>;

/// Reaches all loops. Clones reach the same loops.
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

    /// Ends every loop.
    pub(super) fn stop(&self) {
        self.0.loops.iter().for_each(Handle::stop);
    }

    /// Keeps a snapshot of the loop at this index.
    pub(super) fn keep(&self, index: usize, snapshot: Snapshot) {
        self.latest()[index] = Some(snapshot);
    }

    /// Asks each loop, and calls `reply` when the last of them has replied or ended: on the thread
    /// of that loop, so it must not block. A loop that hangs keeps it from being called.
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
                // A loop that leaves so many requests without a reply hangs.
                Err(_) => {}
            }
        }
    }

    /// Asks each loop, and waits for the replies. `None` when a loop does not reply in time.
    pub(super) fn ask_and_wait(&self, timeout: Duration) -> Option<Snapshots> {
        let (sender, replies) = sync_channel(1);
        self.ask(move |snapshots| {
            // There is room for the one reply. When it comes late, its receiver is gone.
            let _ = sender.try_send(snapshots);
        });
        replies.recv_timeout(timeout).ok()
    }

    fn note_reply(&self, (left, reply): &(AtomicUsize, impl Fn(Snapshots))) {
        // The last one sees what all others have kept.
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
    fn every_loop_answers_and_one_that_has_ended_leaves_its_last_answer() {
        let (mut reactors, handles) = reactors(2);
        let each: Vec<_> = reactors.iter().map(Reactor::handle).collect();
        let threads: Vec<_> = reactors
            .drain(..)
            .map(|mut reactor| {
                thread::spawn(move || reactor.run(&mut Server::new(Options::default())).unwrap())
            })
            .collect();
        for _ in 0..3 {
            let answers = handles.ask_and_wait(WAIT_MAX).unwrap();
            assert_eq!(answers.len(), 2);
            assert!(answers.iter().all(|answer| answer.is_some_and(|a| a.counts.turns > 0)));
        }
        let turns = |answer: &Option<Snapshot>| answer.unwrap().counts.turns;
        for (index, (handle, thread)) in each.into_iter().zip(threads).enumerate() {
            let before = handles.ask_and_wait(WAIT_MAX).unwrap();
            handle.stop();
            thread.join().unwrap();
            let after = handles.ask_and_wait(WAIT_MAX).unwrap();
            assert_eq!(after.len(), 2, "in its place");
            assert_eq!(turns(&after[index]), turns(&before[index]), "the last it has told");
        }
    }

    #[test]
    fn a_loop_that_does_not_turn_is_silent_and_its_late_answer_is_none_to_the_next_question() {
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
    fn loops_that_have_ended_without_an_answer_are_waited_for_no_longer() {
        let (reactors, handles) = reactors(2);
        drop(reactors);
        assert!(handles.ask_and_wait(WAIT_MAX).unwrap().iter().all(Option::is_none));
    }
}

//! Asking the loops what they have counted, from a thread that is none of theirs.
//!
//! A loop answers in the turn that receives the request, so an answer is also a sign of life: a
//! loop that hangs gives none. What a loop has answered last stays behind when it ends, so that
//! what all have counted never becomes less.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::echo::{Request, Snapshot};
use crate::reactor::{Handle, SendError};

/// Asks all loops. Clones ask the same loops.
#[derive(Clone, Debug)]
pub(super) struct Inquiry(Arc<[Asked]>);

/// A loop that is asked.
#[derive(Debug)]
struct Asked {
    handle: Handle<Request>,
    latest: Latest,
}

/// The latest snapshot of one loop.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest(Arc<Mutex<Option<Snapshot>>>);

/// A loop did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silent;

impl Inquiry {
    /// Asks the loops of these handles. Each loop leaves its last snapshot in its [`Latest`].
    pub(super) fn new(loops: impl Iterator<Item = (Handle<Request>, Latest)>) -> Inquiry {
        Inquiry(loops.map(|(handle, latest)| Asked { handle, latest }).collect())
    }

    /// Asks each loop, and calls `when_answered` when the last of them has answered or ended: on
    /// that loop's thread, so it must not block. A loop that hangs keeps it from being called.
    pub(super) fn ask(&self, when_answered: impl Fn() + Send + Sync + 'static) {
        let waiting = Arc::new((AtomicUsize::new(self.0.len()), when_answered));
        for Asked { handle, latest } in self.0.iter() {
            let (replied, latest) = (Arc::clone(&waiting), latest.clone());
            let request = Request::snapshot(move |snapshot| {
                latest.set(snapshot);
                note_answer(&replied);
            });
            match handle.send(request) {
                Ok(()) => {}
                Err(SendError::Stopped(_)) => note_answer(&waiting),
                // A loop that leaves so many requests unanswered hangs.
                Err(_) => {}
            }
        }
    }

    /// The latest snapshot of each loop, in their order; `None` of one that never gave any.
    pub(super) fn latest(&self) -> Vec<Option<Snapshot>> {
        self.0.iter().map(|asked| asked.latest.get()).collect()
    }

    /// Asks each loop, and waits for the answers.
    pub(super) fn ask_and_wait(&self, timeout: Duration) -> Result<Vec<Option<Snapshot>>, Silent> {
        let (sender, answered) = sync_channel(1);
        self.ask(move || {
            // There is room for the one that comes. One that is late has no receiver.
            let _ = sender.try_send(());
        });
        answered.recv_timeout(timeout).map_err(|_| Silent)?;
        Ok(self.latest())
    }
}

fn note_answer((left, when_answered): &(AtomicUsize, impl Fn())) {
    // The last one sees what all others have left in their `Latest`.
    if left.fetch_sub(1, Ordering::AcqRel) == 1 {
        when_answered();
    }
}

impl Latest {
    pub(super) fn set(&self, snapshot: Snapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    fn get(&self) -> Option<Snapshot> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::echo::{Options, Server, Source};
    use crate::reactor::Reactor;
    use crate::testing::WAIT_MAX;

    fn reactors(count: usize) -> (Vec<Reactor<Source, Request>>, Inquiry) {
        let reactors: Vec<Reactor<_, _>> = (0..count).map(|_| Reactor::new().unwrap()).collect();
        let asked = reactors.iter().map(|reactor| (reactor.handle(), Latest::default()));
        let inquiry = Inquiry::new(asked);
        (reactors, inquiry)
    }

    #[test]
    fn every_loop_answers_and_one_that_has_ended_leaves_its_last_answer() {
        let (mut reactors, inquiry) = reactors(2);
        let handles: Vec<_> = reactors.iter().map(Reactor::handle).collect();
        let threads: Vec<_> = reactors
            .drain(..)
            .map(|mut reactor| {
                thread::spawn(move || reactor.run(&mut Server::new(Options::default())).unwrap())
            })
            .collect();
        for _ in 0..3 {
            let answers = inquiry.ask_and_wait(WAIT_MAX).unwrap();
            assert_eq!(answers.len(), 2);
            assert!(answers.iter().all(|answer| answer.is_some_and(|a| a.counts.turns > 0)));
        }
        let turns = |answer: &Option<Snapshot>| answer.unwrap().counts.turns;
        for (index, (handle, thread)) in handles.into_iter().zip(threads).enumerate() {
            let before = inquiry.ask_and_wait(WAIT_MAX).unwrap();
            handle.stop();
            thread.join().unwrap();
            let after = inquiry.ask_and_wait(WAIT_MAX).unwrap();
            assert_eq!(after.len(), 2, "in its place");
            assert_eq!(turns(&after[index]), turns(&before[index]), "the last it has told");
        }
    }

    #[test]
    fn a_loop_that_does_not_turn_is_silent_and_its_late_answer_is_none_to_the_next_question() {
        let (mut reactors, inquiry) = reactors(1);
        let mut server = Server::new(Options::default());
        for turns in 1..=3 {
            assert_eq!(inquiry.ask_and_wait(Duration::ZERO).unwrap_err(), Silent);
            reactors[0].turn(&mut server).unwrap();
            assert_eq!(inquiry.latest()[0].unwrap().counts.turns, turns, "late, and kept");
        }
        assert_eq!(inquiry.ask_and_wait(Duration::ZERO).unwrap_err(), Silent);
    }

    #[test]
    fn loops_that_have_ended_without_an_answer_are_waited_for_no_longer() {
        let (reactors, inquiry) = reactors(2);
        drop(reactors);
        assert!(inquiry.ask_and_wait(WAIT_MAX).unwrap().iter().all(Option::is_none));
    }
}

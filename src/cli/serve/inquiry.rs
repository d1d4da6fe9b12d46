//! Asking the loops how they fare, from a thread that is none of theirs.
//!
//! A loop answers at the end of the turn that the question has begun, so that an answer is also a
//! sign of life: a loop that hangs gives none.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use resound::echo::Counters;
use resound::reactor::{AskHandle, LoopCounts};

/// Answers of one loop that wait to be fetched: the one asked for, and a late one to a question
/// that was given up. What does not fit is not waited for.
const ANSWERS_PER_LOOP: usize = 2;

/// What a loop has answered.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code)]
pub(super) struct Answer {
    pub(super) counters: Counters,
    pub(super) counts: LoopCounts,
}

/// Asks all loops. Questions of several threads are put one after the other.
#[derive(Debug)]
pub(super) struct Inquiry(Mutex<Vec<(AskHandle, Receiver<Answer>)>>);

/// What a loop answers by. Dropped with the loop's server: a loop that has ended is asked no more.
#[derive(Debug)]
pub(super) struct Respondent(SyncSender<Answer>);

/// A loop did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silent;

/// An inquiry of the loops with these handles, and the respondent of each.
pub(super) fn inquiry(handles: impl Iterator<Item = AskHandle>) -> (Inquiry, Vec<Respondent>) {
    let (asked, respondents) = handles
        .map(|handle| {
            let (sender, receiver) = sync_channel(ANSWERS_PER_LOOP);
            ((handle, receiver), Respondent(sender))
        })
        .unzip();
    (Inquiry(Mutex::new(asked)), respondents)
}

impl Inquiry {
    /// The answer of each loop that has not ended, in their order.
    pub(super) fn ask(&self, timeout: Duration) -> Result<Vec<Answer>, Silent> {
        let deadline = Instant::now() + timeout;
        // Whoever panicked with it in hand has left nothing half done.
        let loops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (handle, answers) in loops.iter() {
            // Those to a question that was given up.
            while answers.try_recv().is_ok() {}
            handle.ask();
        }
        let mut all = Vec::with_capacity(loops.len());
        for (_, answers) in loops.iter() {
            match answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(answer) => all.push(answer),
                Err(RecvTimeoutError::Disconnected) => {}
                Err(RecvTimeoutError::Timeout) => return Err(Silent),
            }
        }
        Ok(all)
    }
}

impl Respondent {
    /// Answers for its loop, on that loop's thread; does not block.
    pub(super) fn answer(&self, counters: &Counters, counts: &LoopCounts) {
        // Full: nobody fetches answers, and the last ones are there. Or nobody is left to ask.
        let _ = self.0.try_send(Answer { counters: *counters, counts: *counts });
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use resound::echo::{Observer, Options, Server, Source};
    use resound::reactor::Reactor;

    use super::*;

    /// Far beyond what a busy machine needs.
    const WAIT_MAX: Duration = Duration::from_secs(60);

    struct Asked(Respondent);

    impl Observer for Asked {
        fn asked(&mut self, counters: &Counters, counts: &LoopCounts) {
            self.0.answer(counters, counts);
        }
    }

    fn reactor() -> Reactor<Source> {
        Reactor::new().unwrap()
    }

    #[test]
    fn every_loop_that_has_not_ended_answers() {
        let mut reactors = vec![reactor(), reactor()];
        let (inquiry, respondents) = inquiry(reactors.iter().map(Reactor::ask_handle));
        let stops: Vec<_> = reactors.iter().map(Reactor::stop_handle).collect();
        let threads: Vec<_> = reactors
            .drain(..)
            .zip(respondents)
            .map(|(mut reactor, respondent)| {
                let mut server = Server::with_observer(Options::default(), Asked(respondent));
                thread::spawn(move || reactor.run(&mut server).unwrap())
            })
            .collect();
        for _ in 0..3 {
            let answers = inquiry.ask(WAIT_MAX).unwrap();
            assert_eq!(answers.len(), 2);
            assert!(answers.iter().all(|answer| answer.counts.turns > 0));
        }
        let mut loops = stops.into_iter().zip(threads);
        for left in [1, 0] {
            let (stop, thread) = loops.next().unwrap();
            stop.stop();
            thread.join().unwrap();
            assert_eq!(inquiry.ask(WAIT_MAX).unwrap().len(), left);
        }
    }

    #[test]
    fn a_loop_that_does_not_turn_is_silent_and_its_late_answer_is_none_to_the_next_question() {
        let mut reactor = reactor();
        let (inquiry, mut respondents) = inquiry([reactor.ask_handle()].into_iter());
        let asked = Asked(respondents.remove(0));
        let mut server = Server::with_observer(Options::default(), asked);
        assert_eq!(inquiry.ask(Duration::ZERO).unwrap_err(), Silent);
        // However often it answers: nobody waits for room.
        for _ in 0..2 * ANSWERS_PER_LOOP {
            reactor.ask_handle().ask();
            reactor.turn(&mut server).unwrap();
        }
        assert_eq!(inquiry.ask(Duration::ZERO).unwrap_err(), Silent);
    }
}

//! Asking the loops how they fare, from a thread that is none of theirs.
//!
//! A loop answers at the end of the turn that the question has begun, so that an answer is also a
//! sign of life: a loop that hangs gives none. One that ends leaves a last answer behind, so that
//! what all have counted never becomes less.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use resound::echo::Counters;
use resound::reactor::{AskHandle, LoopCounts};

/// Answers of one loop that wait to be fetched: the one asked for, a late one to a question that
/// was given up, and the last one of all. What does not fit is not waited for.
const ANSWERS_PER_LOOP: usize = 3;

/// What a loop has answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) counters: Counters,
    pub(super) counts: LoopCounts,
    /// The loop accepts no more, and ends when its peers have finished.
    pub(super) is_draining: bool,
}

/// Asks all loops. Questions of several threads are put one after the other.
#[derive(Debug)]
pub(super) struct Inquiry(Mutex<Vec<Asked>>);

/// A loop that is asked.
#[derive(Debug)]
struct Asked {
    handle: AskHandle,
    answers: Receiver<Answer>,
    latest: Option<Answer>,
}

/// What a loop answers by. Dropped with the loop's server: a loop that has ended is waited for no
/// more.
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
            (Asked { handle, answers: receiver, latest: None }, Respondent(sender))
        })
        .unzip();
    (Inquiry(Mutex::new(asked)), respondents)
}

impl Inquiry {
    /// The answer of each loop, in their order; of one that has ended its last, `None` if it never
    /// gave one.
    pub(super) fn ask(&self, timeout: Duration) -> Result<Vec<Option<Answer>>, Silent> {
        // Whoever panicked with it in hand has left nothing half done.
        let mut loops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // From here on: who waited for another's answer is no sign that a loop hangs.
        let deadline = Instant::now() + timeout;
        for Asked { handle, answers, latest } in loops.iter_mut() {
            // Those to a question that was given up, or the last of all.
            while let Ok(answer) = answers.try_recv() {
                *latest = Some(answer);
            }
            handle.ask();
        }
        for Asked { answers, latest, .. } in loops.iter_mut() {
            match answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(answer) => *latest = Some(answer),
                Err(RecvTimeoutError::Disconnected) => {}
                Err(RecvTimeoutError::Timeout) => return Err(Silent),
            }
        }
        Ok(loops.iter().map(|asked| asked.latest).collect())
    }
}

impl Respondent {
    /// Answers for its loop, on that loop's thread; does not block.
    pub(super) fn answer(&self, counters: &Counters, counts: &LoopCounts, is_draining: bool) {
        // Full: nobody fetches answers, and the last ones are there. Or nobody is left to ask.
        let _ = self.0.try_send(Answer { counters: *counters, counts: *counts, is_draining });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::thread;

    use resound::echo::{Observer, Options, Server, Source};
    use resound::reactor::Reactor;

    use super::*;

    /// Far beyond what a busy machine needs.
    const WAIT_MAX: Duration = Duration::from_secs(60);

    /// The observer of a server that does nothing but answer.
    pub(in crate::cli::serve) struct Answering(pub(in crate::cli::serve) Respondent);

    impl Observer for Answering {
        fn asked(&mut self, counters: &Counters, counts: &LoopCounts) {
            self.0.answer(counters, counts, false);
        }
    }

    fn reactor() -> Reactor<Source> {
        Reactor::new().unwrap()
    }

    #[test]
    fn every_loop_answers_and_one_that_has_ended_leaves_its_last_answer() {
        let mut reactors = vec![reactor(), reactor()];
        let (inquiry, respondents) = inquiry(reactors.iter().map(Reactor::ask_handle));
        let stops: Vec<_> = reactors.iter().map(Reactor::stop_handle).collect();
        let threads: Vec<_> = reactors
            .drain(..)
            .zip(respondents)
            .map(|(mut reactor, respondent)| {
                let mut server = Server::with_observer(Options::default(), Answering(respondent));
                thread::spawn(move || reactor.run(&mut server).unwrap())
            })
            .collect();
        for _ in 0..3 {
            let answers = inquiry.ask(WAIT_MAX).unwrap();
            assert_eq!(answers.len(), 2);
            assert!(answers.iter().all(|answer| answer.is_some_and(|a| a.counts.turns > 0)));
        }
        let turns = |answer: &Option<Answer>| answer.unwrap().counts.turns;
        for (index, (stop, thread)) in stops.into_iter().zip(threads).enumerate() {
            let before = inquiry.ask(WAIT_MAX).unwrap();
            stop.stop();
            thread.join().unwrap();
            let after = inquiry.ask(WAIT_MAX).unwrap();
            assert_eq!(after.len(), 2, "in its place");
            assert_eq!(turns(&after[index]), turns(&before[index]), "the last it has told");
        }
    }

    #[test]
    fn a_loop_that_does_not_turn_is_silent_and_its_late_answer_is_none_to_the_next_question() {
        let mut reactor = reactor();
        let (inquiry, mut respondents) = inquiry([reactor.ask_handle()].into_iter());
        let asked = Answering(respondents.remove(0));
        let mut server = Server::with_observer(Options::default(), asked);
        assert_eq!(inquiry.ask(Duration::ZERO).unwrap_err(), Silent);
        // However often it answers: nobody waits for room.
        for _ in 0..2 * ANSWERS_PER_LOOP {
            reactor.ask_handle().ask();
            reactor.turn(&mut server).unwrap();
        }
        assert_eq!(inquiry.ask(Duration::ZERO).unwrap_err(), Silent);
    }

    #[test]
    fn the_last_word_of_a_loop_finds_room_behind_answers_that_nobody_has_fetched() {
        let mut reactor = reactor();
        let (inquiry, mut respondents) = inquiry([reactor.ask_handle()].into_iter());
        let respondent = respondents.remove(0);
        let mut server = Server::with_observer(Options::default(), Answering(respondent));
        // As many as there can be: one to a question that was given up, and one to the next.
        assert_eq!(inquiry.ask(Duration::ZERO).unwrap_err(), Silent);
        reactor.turn(&mut server).unwrap();
        reactor.ask_handle().ask();
        reactor.turn(&mut server).unwrap();
        let last = LoopCounts { turns: 7, ..reactor.counts() };
        server.observer_mut().asked(&Counters::default(), &last);
        drop(server);
        assert_eq!(inquiry.ask(WAIT_MAX).unwrap()[0].unwrap().counts.turns, 7);
        assert!(inquiry.ask(WAIT_MAX).unwrap()[0].is_some(), "as often as it is asked");
    }
}

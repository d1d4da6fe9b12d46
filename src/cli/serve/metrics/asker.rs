//! Asking the loops without waiting for them: the waiting is another thread's.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use resound::reactor::AskHandle;
use resound::spawn_thread;

use crate::cli::serve::inquiry::{Answer, Inquiry, Silent};

/// What came of a question.
pub(super) type Outcome = Result<Vec<Option<Answer>>, Silent>;

/// Puts one question to the loops at a time, for all who want an answer. Questions are numbered.
#[derive(Debug)]
pub(super) struct Asker {
    questions: SyncSender<()>,
    outcomes: Receiver<Outcome>,
    /// The last question that was put to the loops.
    put: u64,
    /// The last one that somebody waits for: that one or the next.
    wanted: u64,
    /// The last one that was answered, or given up.
    answered: u64,
    latest: Outcome,
}

impl Asker {
    /// Starts the thread that waits, up to so long for each question. It has `handle`'s reactor
    /// [asked](resound::reactor::Handler::asked) when there is something to [`hear`](Asker::hear).
    pub(super) fn start(
        inquiry: Arc<Inquiry>,
        timeout: Duration,
        handle: AskHandle,
    ) -> io::Result<Asker> {
        // Of each at most one: the next question is put when the last one is answered.
        let (questions, questions_put) = sync_channel(1);
        let (sender, outcomes) = sync_channel(1);
        spawn_thread("metrics-asker", move || {
            // Until the asker is gone.
            while let Ok(()) = questions_put.recv() {
                if sender.send(inquiry.ask(timeout)).is_err() {
                    break;
                }
                handle.ask();
            }
        })?;
        Ok(Asker { questions, outcomes, put: 0, wanted: 0, answered: 0, latest: Ok(Vec::new()) })
    }

    /// The number of a question that is put no earlier than now. An answer to one that is underway
    /// may be older than whatever is asked about.
    pub(super) fn next_question(&mut self) -> u64 {
        self.wanted = self.put + 1;
        if self.put == self.answered {
            self.put_next();
        }
        self.wanted
    }

    /// What came of this question; `None` as long as nothing has.
    pub(super) fn outcome(&self, question: u64) -> Option<&Outcome> {
        (question <= self.answered).then_some(&self.latest)
    }

    /// Takes in what came of the last question, and puts the next one if somebody waits for it.
    pub(super) fn hear(&mut self) {
        if let Ok(outcome) = self.outcomes.try_recv() {
            self.answered = self.put;
            self.latest = outcome;
            if self.wanted > self.put {
                self.put_next();
            }
        }
    }

    fn put_next(&mut self) {
        self.put += 1;
        // Whoever waits for a thread that is gone has a deadline of his own.
        let _ = self.questions.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use resound::echo::{Options, Server, Source};
    use resound::reactor::{self, Handler, LoopCounts, Reactor};

    use super::*;
    use crate::cli::serve::inquiry::inquiry;
    use crate::cli::serve::inquiry::tests::Answering;

    /// Far beyond what a busy machine needs.
    const WAIT_MAX: Duration = Duration::from_secs(60);

    /// A loop that turns when it is told to, and who asks it from a reactor of his own.
    struct Rig {
        asked: Reactor<Source>,
        server: Server<Answering>,
        own: Reactor<Source>,
        asker: Asker,
    }

    impl Rig {
        fn new(timeout: Duration) -> Rig {
            let (asked, own) = (Reactor::new().unwrap(), Reactor::new().unwrap());
            let (inquiry, mut respondents) = inquiry([asked.ask_handle()].into_iter());
            let observer = Answering(respondents.remove(0));
            let server = Server::with_observer(Options::default(), observer);
            let asker = Asker::start(Arc::new(inquiry), timeout, own.ask_handle()).unwrap();
            Rig { asked, server, own, asker }
        }

        /// Has the loop answer as often as it is asked, until something is heard of the question.
        fn turn_until_heard(&mut self, question: u64) {
            struct Hearing<'a>(&'a mut Asker);
            impl Handler for Hearing<'_> {
                type Source = Source;

                fn ready(
                    &mut self,
                    _: &mut Source,
                    _: &mut resound::Readiness,
                    _: &mut reactor::Context<'_, Source>,
                ) -> reactor::Next {
                    reactor::Next::Wait
                }

                fn asked(&mut self, _: &LoopCounts) {
                    self.0.hear();
                }
            }
            self.asked.set_spin(reactor::Spin::Always);
            self.own.set_spin(reactor::Spin::Always);
            let deadline = Instant::now() + WAIT_MAX;
            while self.asker.outcome(question).is_none() {
                assert!(Instant::now() < deadline, "nothing is heard of question {question}");
                self.asked.turn(&mut self.server).unwrap();
                self.own.turn(&mut Hearing(&mut self.asker)).unwrap();
            }
        }

        fn turns_told(&self, question: u64) -> u64 {
            self.asker.outcome(question).unwrap().as_ref().unwrap()[0].unwrap().counts.turns
        }
    }

    #[test]
    fn who_asks_while_a_question_is_underway_waits_for_the_next_one() {
        let mut rig = Rig::new(WAIT_MAX);
        let first = rig.asker.next_question();
        let (second, third) = (rig.asker.next_question(), rig.asker.next_question());
        assert_eq!((first, second, third), (1, 2, 2));
        assert!(rig.asker.outcome(first).is_none());
        rig.turn_until_heard(first);
        let turns = rig.turns_told(first);
        assert!(rig.asker.outcome(second).is_none(), "put, and not answered");
        rig.turn_until_heard(second);
        assert!(rig.turns_told(second) > turns, "a newer answer");
        assert!(rig.asker.outcome(first).is_some(), "an older question has the newest answer");
    }

    #[test]
    fn of_a_loop_that_does_not_turn_is_heard_that_it_is_silent() {
        let mut rig = Rig::new(Duration::from_millis(1));
        let question = rig.asker.next_question();
        let deadline = Instant::now() + WAIT_MAX;
        while rig.asker.outcome(question).is_none() {
            assert!(Instant::now() < deadline, "nothing is heard");
            rig.asker.hear();
        }
        assert_eq!(*rig.asker.outcome(question).unwrap().as_ref().unwrap_err(), Silent);
        // It may turn again.
        let mut rig = Rig { asker: rig.asker, ..Rig::new(WAIT_MAX) };
        assert_eq!(rig.asker.next_question(), 2);
    }
}

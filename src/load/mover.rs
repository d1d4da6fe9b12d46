//! What a stream and a datagram socket have in common: messages in flight, of which the oldest is
//! the first to be given up.

use super::recorder::InFlight;
use super::run::Run;
use crate::measured::LossCause;

/// What a slice ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `WouldBlock`, or nothing to do, in each direction.
    Wait,
    /// The slice is used up.
    Again,
    /// The peer has closed.
    Closed,
}

/// The messages of one flow, and how they end.
pub(super) trait Mover {
    fn flow(&self) -> u32;

    /// Messages in flight that are not given up.
    fn in_flight(&self) -> usize;

    /// The oldest of them.
    fn oldest(&self) -> Option<InFlight>;

    /// Notes that the oldest is given up.
    fn drop_oldest(&mut self);

    /// Takes the message that was begun and waits for the socket to take it.
    fn take_unsent(&mut self) -> Option<InFlight> {
        None
    }

    /// Gives up what is overdue.
    fn expire(&mut self, run: &mut Run, now_ns: u64) {
        while let Some(message) = self.oldest().filter(|oldest| run.is_overdue(*oldest, now_ns)) {
            self.give_up(message, LossCause::TimedOut, run, now_ns);
        }
    }

    /// The connection or the socket is gone: so are its messages.
    fn give_up_all(&mut self, cause: LossCause, run: &mut Run) {
        if let Some(message) = self.take_unsent() {
            run.recorder.not_taken(message);
        }
        while let Some(message) = self.oldest() {
            self.give_up(message, cause, run, message.sent_ns);
        }
    }

    /// Gives up the oldest message, which is this one.
    fn give_up(&mut self, message: InFlight, cause: LossCause, run: &mut Run, now_ns: u64) {
        self.drop_oldest();
        run.recorder.lost(message, cause, now_ns);
        if self.in_flight() + 1 == run.in_flight_max {
            run.freed(self.flow(), now_ns);
        }
    }

    /// The echo of a message that was in flight has come. Returns whether it came in time; the
    /// caller then counts it as received.
    fn answered(&mut self, message: InFlight, run: &mut Run, now_ns: u64) -> bool {
        let is_in_time = !run.is_too_late(message, now_ns);
        if !is_in_time {
            // No slice came between the end of its time and its echo.
            run.recorder.lost(message, LossCause::TimedOut, now_ns);
            run.recorder.late(run.recorder.is_measured(message.intended_ns), now_ns);
        }
        if self.in_flight() + 1 == run.in_flight_max {
            run.freed_by(self.flow(), message, now_ns);
        }
        is_in_time
    }
}

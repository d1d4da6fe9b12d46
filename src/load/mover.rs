//! What streams and datagram sockets have in common: messages in flight, and giving them up from
//! the oldest on.

use super::recorder::InFlight;
use super::run::Run;
use crate::measured::LossCause;

/// How a slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Each direction met `WouldBlock` or had nothing to do.
    Wait,
    /// The slice is used up.
    Again,
    /// The peer closed the connection.
    Closed,
}

/// The messages of one flow, and how they end.
pub(super) trait Mover {
    fn flow(&self) -> u32;

    /// Returns how many messages are in flight and not given up.
    fn in_flight(&self) -> usize;

    /// Returns the oldest message in flight.
    fn oldest(&self) -> Option<InFlight>;

    /// Notes that the oldest message is given up.
    fn drop_oldest(&mut self);

    /// Takes the message that was begun and waits for the socket to take it.
    fn take_held(&mut self) -> Option<InFlight> {
        None
    }

    /// Gives up overdue messages.
    fn expire(&mut self, run: &mut Run, now_ns: u64) {
        while let Some(message) = self.oldest().filter(|oldest| run.is_overdue(*oldest, now_ns)) {
            self.give_up(message, LossCause::TimedOut, run, now_ns);
        }
    }

    /// Gives up all messages, because the connection or the socket is gone.
    fn give_up_all(&mut self, cause: LossCause, run: &mut Run) {
        if let Some(message) = self.take_held() {
            run.recorder.not_taken(message);
        }
        while let Some(message) = self.oldest() {
            self.give_up(message, cause, run, message.sent_ns);
        }
    }

    /// Gives up the oldest message, which the caller passes as `message`.
    fn give_up(&mut self, message: InFlight, cause: LossCause, run: &mut Run, now_ns: u64) {
        self.drop_oldest();
        run.recorder.lost(message, cause, now_ns);
        if self.in_flight() + 1 == run.in_flight_max {
            run.note_free(self.flow(), now_ns);
        }
    }

    /// Records the echo of a message in flight. Returns true if it came in time; the caller then
    /// counts it as received.
    fn answered(&mut self, message: InFlight, run: &mut Run, now_ns: u64) -> bool {
        let is_in_time = !run.is_too_late(message, now_ns);
        if !is_in_time {
            // No slice ran between the end of its timeout and its echo.
            run.recorder.lost(message, LossCause::TimedOut, now_ns);
            run.recorder.late(run.recorder.is_measured(message.intended_ns), now_ns);
        }
        if self.in_flight() + 1 == run.in_flight_max {
            run.note_free_after(self.flow(), message, now_ns);
        }
        is_in_time
    }
}

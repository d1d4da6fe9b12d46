//! Errors that the kernel reports for a datagram socket, and what follows from each. No error ends
//! a socket that has ever sent, because the next message may reach the peer.

use super::DatagramMover;
use crate::load::mover::Mover;
use crate::load::opening::RETRY_NS;
use crate::load::pattern::MessageId;
use crate::load::recorder::InFlight;
use crate::load::run::Run;
use crate::measured::LossCause;

impl DatagramMover {
    /// Notes that an earlier datagram did not arrive, as ICMP reported. The kernel keeps one such
    /// error for all datagrams sent, and reports it before it delivers queued ones. So the mover
    /// receives what is queued first; messages that are still unanswered then are lost.
    pub(super) fn note_error(&mut self, cause: LossCause, run: &mut Run) {
        self.count_refusal(cause, run);
        self.noted_error = Some((cause, self.window.next_number()));
    }

    /// Gives up the messages that the noted error concerns, once everything queued before it is
    /// received.
    pub(super) fn apply_noted_error(&mut self, run: &mut Run) {
        let Some((cause, below)) = self.noted_error.take() else { return };
        let now_ns = run.clock.now_ns();
        let mut is_any_lost = false;
        while self.window.oldest_number().is_some_and(|number| number < below) {
            let Some(message) = self.oldest() else { break };
            self.give_up(message, cause, run, now_ns);
            is_any_lost = true;
        }
        if is_any_lost && !run.is_open_loop() {
            self.back_off(run, now_ns);
        }
    }

    /// Counts a message as lost because the socket refused to send it. In an open loop the socket
    /// then makes no load, unless the peer refused the message: a Unix socket reports that at once,
    /// UDP only after the send. The message was offered in both cases.
    pub(super) fn lose_at_send(
        &mut self,
        message: InFlight,
        cause: LossCause,
        run: &mut Run,
        now_ns: u64,
    ) {
        self.count_refusal(cause, run);
        if self.held.take().is_some() {
            run.note_free(self.flow, now_ns);
        }
        run.recorder.sent_and_lost(message, cause, now_ns);
        if run.is_mixed() {
            let id = MessageId { flow: self.flow, number: self.window.next_number() };
            run.note_class_sent(id, message.intended_ns);
            // The next message gets a length of its own, because this one may be too long.
            self.window.skip();
        }
        if !run.is_open_loop() {
            self.back_off(run, now_ns);
        } else if is_refusal_by_peer(cause) {
            self.end_outage(run, now_ns);
        } else {
            self.begin_outage(run, now_ns);
        }
    }

    /// Makes a closed loop wait after an error, because nothing else would delay the next message.
    /// The first error does not: the next message follows at once, because a path that has just
    /// become narrower takes it.
    fn back_off(&mut self, run: &mut Run, now_ns: u64) {
        if !std::mem::replace(&mut self.has_failed, true) {
            return;
        }
        self.backs_off_until_ns = now_ns.saturating_add(RETRY_NS);
        self.begin_outage(run, now_ns);
    }

    fn begin_outage(&mut self, run: &mut Run, now_ns: u64) {
        self.is_in_outage = true;
        run.outages.begin(self.flow, now_ns);
    }

    /// Notes that the socket makes its load again.
    pub(super) fn end_outage(&mut self, run: &mut Run, now_ns: u64) {
        if std::mem::take(&mut self.is_in_outage) {
            run.outages.end(self.flow, now_ns, run.end_ns());
        }
    }

    /// Counts a refused socket, once per socket.
    fn count_refusal(&mut self, cause: LossCause, run: &mut Run) {
        if cause == LossCause::Refused && !self.was_refused {
            self.was_refused = true;
            run.recorder.flows.refused += 1;
        }
    }
}

/// Returns true if an error is the peer's refusal, and not a fault of this host or the network.
fn is_refusal_by_peer(cause: LossCause) -> bool {
    matches!(cause, LossCause::Refused | LossCause::Disconnected)
}

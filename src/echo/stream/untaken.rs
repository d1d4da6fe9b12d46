//! What is known of the bytes that were sent to a peer and that it has yet to take.

use crate::socket::SendQueue;

/// What the last look at a send queue has told, in as few bytes as possible: every connection has
/// one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Untaken(u32);

/// Bytes were sent since the last look.
const SENT: u32 = 1 << 31;

/// Of a figure, what is kept. Zero stands for none.
const FIGURE: u32 = SENT - 1;

impl Untaken {
    /// The peer has taken all.
    pub(super) const NOTHING: Untaken = Untaken(0);

    /// Bytes were sent.
    pub(super) fn note_sent(&mut self) {
        self.0 |= SENT;
    }

    pub(super) fn after_look(queue: SendQueue) -> Untaken {
        let figure = match queue {
            SendQueue::Empty => return Untaken::NOTHING,
            SendQueue::Holds(bytes) => u32::try_from(bytes).unwrap_or(FIGURE).min(FIGURE),
            // Below 2^31, the remainder changes whenever the count does.
            SendQueue::HasTaken(bytes) => 1 + u32::try_from(bytes % u64::from(FIGURE)).unwrap_or(0),
        };
        Untaken(figure.max(1))
    }

    /// Whether the peer has taken something between the look `before` and this one, which has found
    /// `queue`. `None` when the two cannot be compared.
    pub(super) fn progress_since(self, before: Untaken, queue: SendQueue) -> Option<bool> {
        let (figure, figure_before) = (self.0 & FIGURE, before.0 & FIGURE);
        match queue {
            _ if figure_before == 0 => None,
            SendQueue::Empty => Some(true),
            SendQueue::HasTaken(_) => Some(figure != figure_before),
            SendQueue::Holds(_) if before.0 & SENT == 0 => Some(figure < figure_before),
            // More has come in than the figures tell apart from what has gone out.
            SendQueue::Holds(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a look tells after these looks, in order, with nothing sent between them.
    fn progress(queues: [SendQueue; 2], sends_between: bool) -> Option<bool> {
        let mut before = Untaken::after_look(queues[0]);
        if sends_between {
            before.note_sent();
        }
        Untaken::after_look(queues[1]).progress_since(before, queues[1])
    }

    /// case S18
    #[test]
    fn the_first_look_tells_nothing() {
        let mut never_looked = Untaken::NOTHING;
        never_looked.note_sent();
        for queue in [SendQueue::Empty, SendQueue::Holds(5), SendQueue::HasTaken(5)] {
            assert_eq!(Untaken::after_look(queue).progress_since(never_looked, queue), None);
        }
    }

    /// case S2
    #[test]
    fn a_peer_has_taken_something_when_the_figure_says_so() {
        use SendQueue::*;
        for (queues, expected) in [
            ([Holds(5), Holds(5)], Some(false)),
            ([Holds(5), Holds(4)], Some(true)),
            ([Holds(5), Empty], Some(true)),
            ([HasTaken(0), HasTaken(0)], Some(false)),
            ([HasTaken(7), HasTaken(9)], Some(true)),
            ([HasTaken(u64::from(u32::MAX)), HasTaken(1 << 32)], Some(true)),
            ([HasTaken(9), Empty], Some(true)),
        ] {
            assert_eq!(progress(queues, false), expected, "{queues:?}");
        }
    }

    /// case S2: what was sent hides what was taken, except where the taken bytes are counted.
    #[test]
    fn after_another_send_only_a_count_of_taken_bytes_can_be_compared() {
        use SendQueue::*;
        assert_eq!(progress([Holds(5), Holds(4)], true), None);
        assert_eq!(progress([HasTaken(7), HasTaken(7)], true), Some(false));
        assert_eq!(progress([HasTaken(7), HasTaken(8)], true), Some(true));
    }
}

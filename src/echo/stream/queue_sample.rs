//! Samples of a socket's send queue. Two samples show whether the peer takes its reply.

use crate::socket::SendQueue;

/// The last state of a send queue, in 4 bytes because every connection holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueSample(u32);

/// The bit that is set if bytes were sent since the sample was taken.
const SENT: u32 = 1 << 31;

/// The bits of the figure that the queue gave. Zero means that there is no figure.
const FIGURE: u32 = SENT - 1;

impl QueueSample {
    /// The peer has taken everything.
    pub(super) const EMPTY: QueueSample = QueueSample(0);

    /// Notes that bytes were sent.
    pub(super) fn note_sent(&mut self) {
        self.0 |= SENT;
    }

    pub(super) fn of(queue: SendQueue) -> QueueSample {
        let figure = match queue {
            SendQueue::Empty => return QueueSample::EMPTY,
            SendQueue::Holds(bytes) => u32::try_from(bytes).unwrap_or(FIGURE).min(FIGURE),
            // The remainder changes whenever the count grows by less than FIGURE.
            SendQueue::HasTaken(bytes) => 1 + u32::try_from(bytes % u64::from(FIGURE)).unwrap_or(0),
        };
        QueueSample(figure.max(1))
    }

    /// Returns whether the peer has taken something between the sample `before` and this sample,
    /// which is the sample of `queue`. `None` when the two cannot be compared.
    pub(super) fn progress_since(self, before: QueueSample, queue: SendQueue) -> Option<bool> {
        let (figure, figure_before) = (self.0 & FIGURE, before.0 & FIGURE);
        match queue {
            _ if figure_before == 0 => None,
            SendQueue::Empty => Some(true),
            SendQueue::HasTaken(_) => Some(figure != figure_before),
            SendQueue::Holds(_) if before.0 & SENT == 0 => Some(figure < figure_before),
            // Bytes were added and perhaps taken since. The sum does not show how many were taken.
            SendQueue::Holds(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the progress between samples of these two states.
    fn progress(queues: [SendQueue; 2], sends_between: bool) -> Option<bool> {
        let mut before = QueueSample::of(queues[0]);
        if sends_between {
            before.note_sent();
        }
        QueueSample::of(queues[1]).progress_since(before, queues[1])
    }

    /// case S18
    #[test]
    fn the_first_sample_shows_no_progress() {
        let mut never_sampled = QueueSample::EMPTY;
        never_sampled.note_sent();
        for queue in [SendQueue::Empty, SendQueue::Holds(5), SendQueue::HasTaken(5)] {
            assert_eq!(QueueSample::of(queue).progress_since(never_sampled, queue), None);
        }
    }

    /// case S2
    #[test]
    fn two_samples_show_whether_the_peer_has_taken_something() {
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

    /// case S2: sent bytes hide taken bytes, except where the system counts the taken bytes.
    #[test]
    fn after_another_send_only_a_count_of_taken_bytes_can_be_compared() {
        use SendQueue::*;
        assert_eq!(progress([Holds(5), Holds(4)], true), None);
        assert_eq!(progress([HasTaken(7), HasTaken(7)], true), Some(false));
        assert_eq!(progress([HasTaken(7), HasTaken(8)], true), Some(true));
    }
}

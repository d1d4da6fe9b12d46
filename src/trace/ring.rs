//! The records of a trace: a ring that keeps the last turns.

use std::collections::VecDeque;

use crate::reactor::{Key, MarkedBy, Waited};
use crate::readiness::Readiness;

/// The number of records that the rings of all loops together hold. A round trip takes five (its
/// event, its slice, two system calls, its turn), so this is about the last 60,000 round trips. A
/// record takes 72 bytes, and a signal copies the ring: 43 MB in all. A signal while a file is
/// written makes a second copy: 65 MB.
pub const RECORDS_MAX: usize = 300_000;

/// The number of records that a turn may have, beside its own. A record becomes at most three trace
/// events, so the largest turn fits into a file of [`EVENTS_MAX`](super::chrome::EVENTS_MAX).
pub(super) const TURN_RECORDS_MAX: usize = 90_000;

/// The timeout of a wait that only an event ends.
pub(super) const NO_TIMEOUT: u64 = u64::MAX;

/// One thing that a loop did. Times are nanoseconds since the trace began.
#[derive(Clone, Copy, Debug)]
pub(super) enum Record {
    /// Something marked a source, or found it gone.
    Mark(Mark),
    /// A source had its slice.
    Slice(Slice),
    /// The slice before made a system call.
    Call(Call),
    /// A source was inserted.
    Opened { at_ns: u64, key: Key, kind: &'static str },
    /// A source was removed.
    Closed { at_ns: u64, key: Key, kind: &'static str },
    /// The process received a signal.
    Signal { at_ns: u64, signal: i32 },
    /// The turn of all records since the previous `Turn` has ended.
    Turn(Turn),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    pub(super) key: Key,
    pub(super) kind: &'static str,
    pub(super) readiness: Readiness,
    pub(super) by: MarkedBy,
    pub(super) is_stale: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    pub(super) key: Key,
    pub(super) kind: &'static str,
    pub(super) bytes_in: u32,
    pub(super) bytes_out: u32,
    pub(super) messages_in: u32,
    pub(super) messages_out: u32,
    pub(super) end: SliceEnd,
}

/// A system call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    pub(super) name: &'static str,
    /// What the call returned, or the number of its error.
    pub(super) result: Result<u32, i32>,
}

/// Why a slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SliceEnd {
    /// The handler read until `WouldBlock` or a short read.
    Drained,
    /// The source waits until it can write.
    Owing,
    /// The source is readable, and waits for something else than an event of its own.
    Resting,
    /// The slice used its bound up. The source goes to the back of the ready list.
    UsedUp,
    /// The handler closed the source.
    Closed,
}

/// A whole turn: from `begun_ns` it waits, from `waited_ns` it marks, from `run_ns` it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) begun_ns: u64,
    pub(super) waited_ns: u64,
    pub(super) run_ns: u64,
    pub(super) ended_ns: u64,
    /// [`NO_TIMEOUT`] without one.
    pub(super) timeout_ns: u64,
    pub(super) waited: Waited,
    /// The length of the ready list when the turn began.
    pub(super) ready_before: u32,
    /// The length of the ready list when the first source ran.
    pub(super) ready: u32,
    /// The length of the ready list when the turn ended.
    pub(super) ready_after: u32,
    pub(super) sources: u32,
    /// Turns since the previous one that polled without sleeping and found nothing.
    pub(super) idle_before: u32,
    /// Records of this turn that did not fit into the ring.
    pub(super) lost: u32,
}

/// The last turns of one loop.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    records: VecDeque<Record>,
    capacity: usize,
    /// Records of the current turn.
    current: usize,
    /// Turns that the loop has made since its start, those included that were dropped or found
    /// nothing.
    pub(super) turns_total: u64,
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Ring {
        Ring { records: VecDeque::with_capacity(capacity), capacity, current: 0, turns_total: 0 }
    }

    /// Adds a record of the current turn. Drops the oldest turns to make room. Returns false if the
    /// current turn has too many.
    pub(super) fn push(&mut self, record: Record) -> bool {
        // The last place is that of the `Turn`.
        if self.current >= TURN_RECORDS_MAX.min(self.capacity.saturating_sub(1)) {
            return false;
        }
        self.make_room();
        self.records.push_back(record);
        self.current += 1;
        true
    }

    /// Ends the current turn. Its own record always fits.
    pub(super) fn end_turn(&mut self, turn: Turn) {
        self.turns_total += 1 + u64::from(turn.idle_before);
        self.make_room();
        self.records.push_back(Record::Turn(turn));
        self.current = 0;
    }

    /// Returns true if the current turn has no record yet.
    pub(super) fn is_turn_empty(&self) -> bool {
        self.current == 0
    }

    /// Drops the oldest turn if the ring is full. The current turn does not fill the ring alone.
    fn make_room(&mut self) {
        if self.records.len() < self.capacity {
            return;
        }
        debug_assert!(self.current < self.capacity.max(1), "there is no turn to drop");
        while let Some(record) = self.records.pop_front() {
            if matches!(record, Record::Turn(_)) {
                break;
            }
        }
    }

    /// Prepares the ring for [`turns`](Ring::turns).
    pub(super) fn unroll(&mut self) {
        self.records.make_contiguous();
    }

    /// Returns each complete turn with its number from 0 and its records, oldest first. The ring
    /// must be [unrolled](Ring::unroll).
    pub(super) fn turns(&self) -> Vec<(u64, Turn, &[Record])> {
        let (records, rest) = self.records.as_slices();
        debug_assert!(rest.is_empty(), "the ring is not unrolled");
        let mut number = self.turns_total;
        let of_turn = |record: &Record| matches!(record, Record::Turn(_));
        let mut turns: Vec<_> = records
            .split_inclusive(of_turn)
            .filter_map(|records| match records.split_last() {
                Some((Record::Turn(turn), details)) => Some((0, *turn, details)),
                // The loop ended in the middle of a turn.
                _ => None,
            })
            .collect();
        for (own, turn, _) in turns.iter_mut().rev() {
            number = number.saturating_sub(1);
            *own = number;
            number = number.saturating_sub(u64::from(turn.idle_before));
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(at_ns: u64) -> Record {
        Record::Signal { at_ns, signal: 0 }
    }

    fn turn(begun_ns: u64) -> Turn {
        Turn {
            begun_ns,
            waited_ns: begun_ns,
            run_ns: begun_ns,
            ended_ns: begun_ns,
            timeout_ns: NO_TIMEOUT,
            waited: Waited::Polled,
            ready_before: 0,
            ready: 0,
            ready_after: 0,
            sources: 0,
            idle_before: 0,
            lost: 0,
        }
    }

    #[test]
    fn a_full_ring_drops_whole_turns_from_the_front_and_never_grows() {
        let mut ring = Ring::new(30);
        let capacity = ring.records.capacity();
        for number in 0..1_000 {
            (0..number % 5).for_each(|_| assert!(ring.push(signal(number))));
            ring.end_turn(turn(number));
            assert!(ring.records.len() <= 30);
        }
        assert_eq!(ring.records.capacity(), capacity);
        ring.unroll();
        let turns = ring.turns();
        assert!(turns.len() > 5);
        for ((number, turn, details), expected) in turns.iter().rev().zip((0..1_000).rev()) {
            assert_eq!((*number, turn.begun_ns), (expected, expected));
            assert_eq!(details.len() as u64, expected % 5, "no turn lost a part");
        }
    }

    #[test]
    fn a_turn_that_fills_the_ring_alone_keeps_its_first_records_and_its_end() {
        let mut ring = Ring::new(10);
        ring.end_turn(turn(0));
        let kept = (0..25).filter(|at_ns| ring.push(signal(*at_ns))).count();
        ring.end_turn(turn(1));
        assert_eq!(kept, 9, "one place is that of the turn itself");
        ring.unroll();
        let turns = ring.turns();
        assert_eq!(turns.len(), 1);
        assert_eq!((turns[0].0, turns[0].2.len()), (1, 9));
    }

    #[test]
    fn a_turn_has_a_bound_of_its_own_and_does_not_drop_all_others() {
        let mut ring = Ring::new(TURN_RECORDS_MAX + 100);
        ring.end_turn(turn(0));
        assert!((0..TURN_RECORDS_MAX as u64).all(|at_ns| ring.push(signal(at_ns))));
        assert!(!ring.push(signal(0)));
        ring.end_turn(turn(1));
        assert!(ring.push(signal(0)), "the next turn has its own records");
        ring.end_turn(turn(2));
        ring.unroll();
        let lengths: Vec<_> = ring.turns().iter().map(|(_, _, records)| records.len()).collect();
        assert_eq!(lengths, [0, TURN_RECORDS_MAX, 1]);
    }

    #[test]
    fn a_record_takes_at_most_nine_words() {
        assert!(size_of::<Record>() <= 72, "{}", size_of::<Record>());
    }
}

//! The datagrams in flight of one socket, and what an echo is: in time, late, a duplicate, or out
//! of order. Echoes are matched by number, so a late echo never counts as that of a newer message.

use std::collections::VecDeque;

use super::recorder::InFlight;

/// Messages whose fate is remembered after their echo, to tell a duplicate from a late echo. An
/// echo of an older message counts as late if that message or a later one was given up.
const HISTORY: usize = 1024;

/// Bits of the fate of a message.
const ANSWERED: u8 = 1;
const MEASURED: u8 = 1 << 1;

/// The messages of one socket.
#[derive(Debug)]
pub(super) struct Window {
    /// Messages in flight by number, which is also the order of their times.
    outstanding: VecDeque<(u64, InFlight)>,
    /// The fate of message n, at index n modulo the length.
    fates: Box<[u8; HISTORY]>,
    /// The number of the next message.
    next: u64,
    /// The highest number that was answered in time.
    answered_max: Option<u64>,
    /// The highest number that was given up.
    given_up_max: Option<u64>,
    /// The first number that is measured.
    measured_from: Option<u64>,
}

/// What an echo is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EchoKind {
    /// It came in time.
    InTime {
        /// The message whose echo it is.
        message: InFlight,
        /// The echo of a later message came before it.
        is_overtaken: bool,
    },
    /// Its message was given up before it came.
    Late {
        /// The message is measured.
        is_measured: bool,
    },
    /// A repeated echo.
    Duplicate {
        /// The message is measured.
        is_measured: bool,
    },
    /// No such message was sent.
    Unknown,
}

impl Window {
    pub(super) fn new() -> Window {
        Window {
            outstanding: VecDeque::new(),
            fates: Box::new([0; HISTORY]),
            next: 0,
            answered_max: None,
            given_up_max: None,
            measured_from: None,
        }
    }

    /// Returns the number of the next message.
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    /// Returns how many messages wait for their echo.
    pub(super) fn len(&self) -> usize {
        self.outstanding.len()
    }

    /// Returns the numbers of the messages that wait for their echo, the latest first.
    pub(super) fn latest(&self) -> impl Iterator<Item = u64> {
        self.outstanding.iter().rev().map(|(number, _)| *number)
    }

    /// Returns the oldest message that waits for its echo.
    pub(super) fn oldest(&self) -> Option<InFlight> {
        self.outstanding.front().map(|(_, message)| *message)
    }

    /// Returns the number of the oldest message that waits for its echo.
    pub(super) fn oldest_number(&self) -> Option<u64> {
        self.outstanding.front().map(|(number, _)| *number)
    }

    /// Notes that the next message was sent.
    pub(super) fn sent(&mut self, message: InFlight, is_measured: bool) {
        self.outstanding.push_back((self.next, message));
        self.fates[slot(self.next)] = if is_measured { MEASURED } else { 0 };
        if is_measured {
            self.measured_from.get_or_insert(self.next);
        }
        self.next += 1;
    }

    /// Leaves out the next number, whose message was not sent.
    pub(super) fn skip(&mut self) {
        self.fates[slot(self.next)] = 0;
        self.next += 1;
    }

    /// Gives up the oldest message.
    pub(super) fn give_up_oldest(&mut self) {
        if let Some((number, _)) = self.outstanding.pop_front() {
            self.given_up_max = Some(number);
        }
    }

    #[inline(always)]
    fn position(&self, number: u64) -> Option<usize> {
        // The common case: no message between the oldest and this one has been answered.
        let (oldest, _) = self.outstanding.front()?;
        let behind = usize::try_from(number.checked_sub(*oldest)?).ok()?;
        if self.outstanding.get(behind).is_some_and(|(found, _)| *found == number) {
            return Some(behind);
        }
        self.outstanding.binary_search_by_key(&number, |(number, _)| *number).ok()
    }

    /// Returns the fate of a message that is too old for the history. If it is newer than every
    /// message given up, it was answered. Otherwise its fate is unknown, and it counts as given up.
    fn assumed_fate(&self, number: u64) -> u8 {
        let is_measured = self.measured_from.is_some_and(|from| number >= from);
        let is_answered = self.given_up_max.is_none_or(|max| number > max);
        (if is_measured { MEASURED } else { 0 }) | (if is_answered { ANSWERED } else { 0 })
    }

    /// Records the echo of a message and returns what it is.
    #[inline(always)]
    pub(super) fn arrived(&mut self, number: u64) -> EchoKind {
        if number >= self.next {
            return EchoKind::Unknown;
        }
        let is_remembered = self.next - number <= HISTORY as u64;
        let fate = &self.fates[slot(number)];
        let before = if is_remembered { *fate } else { self.assumed_fate(number) };
        if is_remembered {
            self.fates[slot(number)] |= ANSWERED;
        }
        let is_measured = before & MEASURED != 0;
        if let Some(at) = self.position(number) {
            let is_overtaken = self.answered_max.is_some_and(|max| number < max);
            self.answered_max = self.answered_max.max(Some(number));
            // `pop_front` costs less than `remove`, even at index 0.
            let removed = match at {
                0 => self.outstanding.pop_front(),
                _ => self.outstanding.remove(at),
            };
            let (_, message) = removed.expect("the position was found");
            return EchoKind::InTime { message, is_overtaken };
        }
        match before & ANSWERED != 0 {
            true => EchoKind::Duplicate { is_measured },
            false => EchoKind::Late { is_measured },
        }
    }
}

fn slot(number: u64) -> usize {
    // The remainder is below the length, which is a `usize`.
    #[expect(clippy::cast_possible_truncation, reason = "a remainder of a usize")]
    let slot = (number % HISTORY as u64) as usize;
    slot
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const MESSAGE: InFlight =
        InFlight { intended_ns: 1, sent_ns: 2, ideal_ns: 1, is_scheduled: false };

    fn window(sent: u64) -> Window {
        let mut window = Window::new();
        (0..sent).for_each(|_| window.sent(MESSAGE, true));
        window
    }

    fn in_time(is_overtaken: bool) -> EchoKind {
        EchoKind::InTime { message: MESSAGE, is_overtaken }
    }

    /// case B3
    #[test]
    fn of_two_swapped_echoes_one_is_out_of_order() {
        let mut window = window(3);
        assert_eq!(window.arrived(1), in_time(false));
        assert_eq!(window.arrived(0), in_time(true));
        assert_eq!(window.arrived(2), in_time(false));
    }

    /// case B3
    #[test]
    fn a_late_echo_never_answers_a_newer_message() {
        let mut window = window(2);
        window.give_up_oldest();
        assert_eq!(window.arrived(0), EchoKind::Late { is_measured: true });
        assert_eq!(window.len(), 1);
        assert_eq!(window.arrived(0), EchoKind::Duplicate { is_measured: true });
        assert_eq!(window.arrived(1), in_time(false));
    }

    #[test]
    fn an_echo_older_than_the_history_is_late_if_a_later_message_was_given_up() {
        let mut window = Window::new();
        window.sent(MESSAGE, false);
        (0..HISTORY + 2).for_each(|_| window.sent(MESSAGE, true));
        for number in 0..3 {
            assert_eq!(window.arrived(number), in_time(false));
        }
        assert_eq!(window.arrived(0), EchoKind::Duplicate { is_measured: false });
        assert_eq!(window.arrived(1), EchoKind::Duplicate { is_measured: true });
        assert_eq!(window.arrived(2), EchoKind::Duplicate { is_measured: true });
        window.give_up_oldest(); // number 3
        assert_eq!(window.arrived(2), EchoKind::Late { is_measured: true });
    }

    #[test]
    fn a_number_that_was_never_sent_is_unknown() {
        assert_eq!(window(2).arrived(2), EchoKind::Unknown);
        assert_eq!(window(0).arrived(0), EchoKind::Unknown);
    }

    #[test]
    fn an_echo_of_a_warm_up_message_counts_as_warm_up() {
        let mut window = Window::new();
        window.sent(MESSAGE, false);
        window.sent(MESSAGE, true);
        window.give_up_oldest();
        assert_eq!(window.arrived(0), EchoKind::Late { is_measured: false });
        assert_eq!(window.arrived(0), EchoKind::Duplicate { is_measured: false });
    }

    proptest! {
        /// case B3
        #[test]
        fn each_message_is_answered_once_in_any_order_of_echoes(
            arrivals in prop::collection::vec(0_u64..300, 0..600),
        ) {
            const SENT: u64 = 250;
            let mut window = window(SENT);
            let mut seen = HashSet::new();
            let (mut answered, mut duplicated, mut unknown) = (0, 0, 0);
            for number in &arrivals {
                match window.arrived(*number) {
                    EchoKind::InTime { .. } => {
                        prop_assert!(seen.insert(*number));
                        answered += 1;
                    }
                    EchoKind::Duplicate { .. } => {
                        prop_assert!(seen.contains(number));
                        duplicated += 1;
                    }
                    EchoKind::Unknown => unknown += 1,
                    EchoKind::Late { .. } => prop_assert!(false, "no message was given up"),
                }
            }
            prop_assert_eq!(answered + duplicated + unknown, arrivals.len());
            prop_assert_eq!(window.len() as u64 + answered as u64, SENT);
        }
    }
}

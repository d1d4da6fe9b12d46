//! Hiccups: times in which the generator's thread could not run.
//!
//! The loop knows how long it asked to sleep, and the system knows how much processor time the
//! thread has used. The rest of the time between two turns is time in which the thread could not
//! run: the process was stopped, its virtual machine paused, its cgroup throttled, or other threads
//! had the processor. Messages do not age in that time, because their echoes may lie unread in the
//! sockets.

use std::collections::VecDeque;

use super::thread_usage::thread_cpu_ns;
use crate::measured::Hiccups;

/// A shorter hiccup is not counted: the scheduler gives a busy neighbour slices of some
/// milliseconds, and [`ThreadUsage`](super::thread_usage::ThreadUsage) adds up these waits.
const HICCUP_NS_MIN: u64 = 10_000_000;

/// The longest sleep of the loop, so that a halt which starts in a sleep outlasts it. An idle loop
/// wakes 50 times per second for this, which costs about 0.03 % of a processor.
pub(super) const SLEEP_NS_MAX: u64 = 20_000_000;

/// mio rounds a poll timeout up to a whole millisecond.
const POLL_ROUNDING_NS: u64 = 1_000_000;

/// Turns and time after which the thread's processor time is read again. They bound the processor
/// time that can be mistaken for that of one turn. They also bound the cost: a fraction of a system
/// call per turn.
const TURNS_PER_READING: u32 = 16;
const READING_NS: u64 = 2_000_000;

/// Pauses that are remembered when messages age: 25 s of a cgroup that is throttled 10 times per
/// second.
const PAUSES_MAX: usize = 256;

/// Detects hiccups of the thread that it is called on.
#[derive(Debug)]
pub(super) struct HiccupDetector {
    /// All time before this is accounted for.
    accounted_ns: u64,
    /// How much of the time since then the loop may sleep.
    sleep_ns: u64,
    /// The length of the previous turn, including its sleep.
    turn_ns: u64,
    /// The time that sleep alone explains ends here.
    alarm_ns: u64,
    turns: u32,
    read_ns: u64,
    cpu_ns: u64,
    /// The latest times in which the loop did not turn, in their order.
    pauses: VecDeque<Pause>,
    found: Hiccups,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    from_ns: u64,
    until_ns: u64,
}

impl HiccupDetector {
    pub(super) fn new() -> HiccupDetector {
        HiccupDetector {
            accounted_ns: 0,
            sleep_ns: 0,
            turn_ns: 0,
            // Before the first turn has ended, there is nothing to compare with.
            alarm_ns: u64::MAX,
            turns: 0,
            read_ns: 0,
            cpu_ns: thread_cpu_ns(),
            pauses: VecDeque::with_capacity(PAUSES_MAX),
            found: Hiccups::default(),
        }
    }

    /// Notes the end of a turn that began at `now_ns`. The loop then sleeps for `sleep_ns` unless
    /// an event comes.
    pub(super) fn end_turn(&mut self, now_ns: u64, sleep_ns: u64) {
        self.turn_ns = now_ns.saturating_sub(self.accounted_ns);
        // A check within the turn may have accounted for more.
        self.accounted_ns = self.accounted_ns.max(now_ns);
        self.sleep_ns = sleep_ns.saturating_add(POLL_ROUNDING_NS);
        self.alarm_ns = self.accounted_ns.saturating_add(self.sleep_ns + HICCUP_NS_MIN);
        self.turns += 1;
        if self.turns >= TURNS_PER_READING && now_ns.saturating_sub(self.read_ns) >= READING_NS {
            self.turns = 0;
            self.read_ns = now_ns;
            self.cpu_ns = thread_cpu_ns();
        }
    }

    /// Checks whether the thread could not run for some time until now. Counts the part of that
    /// time after `measure_from_ns`. Returns the length of the pause; 0 if there was none.
    #[inline]
    pub(super) fn check(&mut self, now_ns: u64, measure_from_ns: u64) -> u64 {
        if now_ns <= self.alarm_ns { 0 } else { self.account(now_ns, measure_from_ns) }
    }

    #[cold]
    fn account(&mut self, now_ns: u64, measure_from_ns: u64) -> u64 {
        let cpu_ns = thread_cpu_ns();
        // This includes time used shortly before the turn, since the last reading.
        let ran_ns = cpu_ns.saturating_sub(self.cpu_ns);
        let from_ns = self.accounted_ns;
        let unexplained_ns = (now_ns - from_ns).saturating_sub(ran_ns);
        let is_hiccup = unexplained_ns >= self.sleep_ns.saturating_add(HICCUP_NS_MIN);
        // The start of the halt within the sleep is unknown. Without the halt, an event would have
        // ended this sleep as early as it ended the previous one.
        let halted_ns = unexplained_ns.saturating_sub(self.sleep_ns.min(self.turn_ns));
        self.cpu_ns = cpu_ns;
        self.read_ns = now_ns;
        self.accounted_ns = now_ns;
        self.sleep_ns = 0;
        self.alarm_ns = now_ns.saturating_add(HICCUP_NS_MIN);
        if !is_hiccup {
            return 0;
        }
        if self.pauses.len() == PAUSES_MAX {
            self.pauses.pop_front();
        }
        self.pauses.push_back(Pause { from_ns, until_ns: now_ns });
        let measured_ns = halted_ns.min(now_ns.saturating_sub(measure_from_ns));
        if measured_ns > 0 {
            self.found.count += 1;
            self.found.longest_ns = self.found.longest_ns.max(measured_ns);
            self.found.total_ns += measured_ns;
        }
        now_ns - from_ns
    }

    /// Returns how much of the time from `from_ns` to `until_ns` the loop could not run.
    pub(super) fn paused_ns(&self, from_ns: u64, until_ns: u64) -> u64 {
        let within =
            |pause: &Pause| pause.until_ns.min(until_ns).saturating_sub(pause.from_ns.max(from_ns));
        let later = self.pauses.iter().rev().take_while(|pause| pause.until_ns > from_ns);
        later.map(within).sum()
    }

    /// Counts a lost measured message if it was in flight during a pause.
    pub(super) fn lost(&mut self, sent_ns: u64) {
        self.found.lost += u64::from(self.paused_ns(sent_ns, u64::MAX) > 0);
    }

    /// Returns the hiccups since the measurement started.
    pub(super) fn found(&self) -> Hiccups {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Creates the detector of a loop that turned at 980 ms and at 1 s, and then sleeps for 20 ms.
    fn detector() -> HiccupDetector {
        let mut detector = HiccupDetector::new();
        detector.end_turn(980 * MS, 20 * MS);
        detector.end_turn(1_000 * MS, 20 * MS);
        detector
    }

    #[test]
    fn a_sleep_that_ends_in_time_is_no_hiccup() {
        let mut detector = detector();
        assert_eq!(detector.check(1_000 * MS + 31 * MS, 0), 0);
        assert_eq!(detector.found(), Hiccups::default());
    }

    /// case B15
    #[test]
    fn time_neither_slept_nor_worked_is_a_hiccup_of_that_length() {
        let mut detector = detector();
        assert_eq!(detector.check(2_220 * MS, 0), 1_220 * MS);
        let found = detector.found();
        assert_eq!(found.count, 1);
        // The test itself has used some processor time since it created the detector.
        assert!(found.longest_ns <= 1_200 * MS && found.longest_ns > 1_000 * MS, "{found:?}");
        assert_eq!(found.total_ns, found.longest_ns);
        assert_eq!(detector.check(2_222 * MS, 0), 0, "already accounted for");
    }

    /// case B15: the events of a busy loop would have ended its sleep at once.
    #[test]
    fn a_hiccup_of_a_busy_loop_is_reported_with_its_whole_length() {
        let mut detector = detector();
        detector.end_turn(1_001 * MS, 20 * MS);
        detector.check(1_102 * MS, 0);
        let found = detector.found();
        assert!(found.longest_ns <= 100 * MS && found.longest_ns > 80 * MS, "{found:?}");
    }

    #[test]
    fn time_in_which_the_thread_worked_is_no_hiccup() {
        let mut detector = detector();
        let begun_ns = thread_cpu_ns();
        while thread_cpu_ns() < begun_ns + 15 * MS {}
        assert_eq!(detector.check(1_000 * MS + 36 * MS, 0), 0);
        assert_eq!(detector.found().count, 0);
    }

    #[test]
    fn a_hiccup_that_starts_in_the_warm_up_counts_from_the_measurement_on() {
        let mut detector = detector();
        detector.check(2_000 * MS, 1_900 * MS);
        assert_eq!(detector.found().longest_ns, 100 * MS);
        detector.end_turn(2_000 * MS, 0);
        detector.check(3_000 * MS, u64::MAX);
        assert_eq!(detector.found().count, 1, "nothing is measured yet");
        assert_eq!(detector.paused_ns(2_500 * MS, 4_000 * MS), 500 * MS, "and messages do not age");
    }

    /// case B15
    #[test]
    fn a_loss_is_due_to_a_hiccup_if_its_message_was_in_flight_then() {
        let mut detector = detector();
        detector.check(2_000 * MS, 0);
        detector.lost(1_999 * MS);
        detector.lost(2_000 * MS);
        assert_eq!(detector.found().lost, 1);
    }

    #[test]
    fn pauses_add_up_and_the_oldest_are_dropped() {
        let mut detector = HiccupDetector::new();
        let count = 256 + 10;
        for second in 0..count {
            detector.end_turn(second * 1_000 * MS, 0);
            detector.check(second * 1_000 * MS + 500 * MS, 0);
        }
        assert_eq!(detector.paused_ns((count - 2) * 1_000 * MS, u64::MAX), 1_000 * MS);
        assert_eq!(detector.paused_ns(0, u64::MAX), 256 * 500 * MS);
        assert_eq!(detector.paused_ns(0, 0), 0);
        assert_eq!(detector.found().count, count);
    }
}

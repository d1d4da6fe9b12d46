//! Records the course of a run in a bounded number of slots.

use std::time::Duration;

use super::recorder::Recorder;
use crate::measured::{Messages, Slot, SlotTimes};
use crate::units::duration_ns;

/// The number of slots of a run whose length is known. Each costs the loop the time to read one
/// histogram, some 50 us.
const SLOTS_PLANNED: u64 = 60;

/// The most slots. Each has 37 KiB. In a run of unknown length, pairs of slots are then joined.
const SLOTS_MAX: usize = 120;

/// The shortest slot: reading a histogram takes less than a thousandth of it.
const SLOT_NS_MIN: u64 = 250_000_000;

/// The slots so far.
#[derive(Debug)]
pub(super) struct TimelineRecorder {
    /// The length of a slot; `None` if no slots are recorded.
    width_ns: Option<u64>,
    /// When the current slot ends; `u64::MAX` before the measured time begins.
    next_ns: u64,
    slots: Vec<Recorded>,
    /// All measured messages and times before the current slot.
    before: (Messages, SlotTimes),
}

#[derive(Debug)]
struct Recorded {
    start_ns: u64,
    end_ns: u64,
    messages: Messages,
    times: SlotTimes,
}

impl Recorded {
    /// Adds a slot that follows this one.
    fn join(&mut self, other: &Recorded) {
        self.end_ns = other.end_ns;
        self.messages.sent += other.messages.sent;
        self.messages.received += other.messages.received;
        self.messages.lost += other.messages.lost;
        self.times.add(&other.times);
    }
}

impl TimelineRecorder {
    /// `duration`: the length of the measured time, if it is known.
    pub(super) fn new(is_wanted: bool, duration: Option<Duration>) -> TimelineRecorder {
        let planned_ns = duration.map_or(0, |duration| duration_ns(duration) / SLOTS_PLANNED);
        TimelineRecorder {
            width_ns: is_wanted.then_some(planned_ns.max(SLOT_NS_MIN)),
            next_ns: u64::MAX,
            slots: Vec::new(),
            before: (Messages::default(), SlotTimes::default()),
        }
    }

    /// Begins with the measured time.
    pub(super) fn start(&mut self, from_ns: u64) {
        if let Some(width_ns) = self.width_ns {
            self.next_ns = from_ns.saturating_add(width_ns);
        }
    }

    /// Ends the current slot if its time is over.
    pub(super) fn note(&mut self, recorder: &Recorder, now_ns: u64) {
        if now_ns >= self.next_ns {
            self.end_slot(recorder, now_ns);
        }
    }

    fn end_slot(&mut self, recorder: &Recorder, now_ns: u64) {
        let Some(width_ns) = self.width_ns else { return };
        self.push(recorder, now_ns);
        if self.slots.len() >= SLOTS_MAX {
            self.join_pairs();
            self.width_ns = Some(width_ns.saturating_mul(2));
        }
        self.next_ns = now_ns.saturating_add(self.width_ns.unwrap_or(u64::MAX));
    }

    fn push(&mut self, recorder: &Recorder, now_ns: u64) {
        let from_ns = recorder.measure_from_ns;
        let start_ns = self.slots.last().map_or(0, |slot| slot.end_ns);
        let times = recorder.times_so_far();
        let (messages, earlier) = std::mem::replace(&mut self.before, (recorder.measured, times));
        self.slots.push(Recorded {
            start_ns,
            end_ns: now_ns.saturating_sub(from_ns).max(start_ns),
            messages: since(&recorder.measured, &messages),
            times: self.before.1.since(&earlier),
        });
    }

    fn join_pairs(&mut self) {
        let mut slots = std::mem::take(&mut self.slots).into_iter();
        while let Some(mut first) = slots.next() {
            if let Some(second) = slots.next() {
                first.join(&second);
            }
            self.slots.push(first);
        }
    }

    /// Ends the last slot and returns all. `until_ns`: the end of the measured time. Echoes that
    /// came after it are in the last slot.
    pub(super) fn finish(&mut self, recorder: &Recorder, until_ns: u64) -> Vec<Slot> {
        let Some(width_ns) = self.width_ns.filter(|_| self.next_ns != u64::MAX) else {
            return Vec::new();
        };
        self.push(recorder, until_ns);
        // A short rest would have a rate of its own that says nothing.
        if let [.., before, rest] = &mut self.slots[..]
            && rest.end_ns - rest.start_ns < width_ns / 2
        {
            before.join(rest);
            self.slots.pop();
        }
        let slot = |slot: &Recorded| slot.times.slot(slot.start_ns, slot.end_ns, &slot.messages);
        self.slots.iter().map(slot).collect()
    }
}

/// Returns the messages that were counted since `before`.
fn since(now: &Messages, before: &Messages) -> Messages {
    Messages {
        sent: now.sent - before.sent,
        received: now.received - before.received,
        lost: now.lost - before.lost,
        ..Messages::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::recorder::InFlight;

    fn recorder() -> Recorder {
        let mut recorder = Recorder::new();
        recorder.measure_from_ns = 1_000;
        recorder
    }

    fn receive(recorder: &mut Recorder, count: u64, latency_ns: u64, now_ns: u64) {
        let sent_ns = now_ns - latency_ns;
        let message =
            InFlight { intended_ns: sent_ns, sent_ns, ideal_ns: sent_ns, is_scheduled: false };
        for _ in 0..count {
            recorder.sent(sent_ns);
            recorder.received(message, now_ns);
        }
    }

    #[test]
    fn slots_add_up_to_the_run() {
        let (mut recorder, second) = (recorder(), 1_000_000_000);
        let mut timeline = TimelineRecorder::new(true, Some(Duration::from_secs(60)));
        timeline.start(1_000);
        for slot in 0..4 {
            let now_ns = 1_000 + second * (slot + 1);
            receive(&mut recorder, 100 * (slot + 1), 1_000 * (slot + 1), now_ns - 1);
            timeline.note(&recorder, now_ns);
            // The observer's intervals do not disturb the slots.
            recorder.take_interval(false);
        }
        receive(&mut recorder, 7, 1_000, 1_000 + 4 * second + 5);
        let slots = timeline.finish(&recorder, 1_000 + 4 * second + 10);
        let received: Vec<u64> = slots.iter().map(|slot| slot.received).collect();
        assert_eq!(received, [100, 200, 300, 407], "the short rest is in the last slot");
        let p50: Vec<u64> = slots.iter().filter_map(|slot| slot.p50).collect();
        assert!(p50.windows(2).all(|pair| pair[0] < pair[1]), "{p50:?}");
        assert_eq!((slots[0].start_ns, slots[3].end_ns), (0, 4 * second + 10));
        assert!(slots.windows(2).all(|pair| pair[0].end_ns == pair[1].start_ns));
    }

    #[test]
    fn a_run_of_unknown_length_keeps_a_bounded_number_of_slots() {
        let mut recorder = recorder();
        let mut timeline = TimelineRecorder::new(true, None);
        timeline.start(1_000);
        let mut now_ns = 1_000;
        for _ in 0..1_000 {
            now_ns += SLOT_NS_MIN;
            receive(&mut recorder, 2, 500, now_ns - 1);
            timeline.note(&recorder, now_ns);
            assert!(timeline.slots.len() < SLOTS_MAX);
        }
        let slots = timeline.finish(&recorder, now_ns);
        assert!(slots.len() >= SLOTS_MAX / 2 - 1, "{}", slots.len());
        assert_eq!(slots.iter().map(|slot| slot.received).sum::<u64>(), 2_000);
        assert!(slots.windows(2).all(|pair| pair[0].end_ns == pair[1].start_ns));
    }

    #[test]
    fn nothing_is_recorded_unless_it_is_wanted() {
        let mut timeline = TimelineRecorder::new(false, Some(Duration::from_secs(1)));
        timeline.start(1_000);
        assert_eq!(timeline.next_ns, u64::MAX);
        assert!(timeline.finish(&recorder(), 5_000).is_empty());
    }
}

//! Counts what happened to messages and connections, and records how long echoes took.

use super::hiccups::HiccupDetector;
use crate::measured::{
    Bytes, Difference, Distribution, Flows, LossCause, Losses, Messages, SlotTimes, Trains,
};
use crate::reactor::Moved;

/// All counts and distributions of a run. Its memory is allocated once and does not grow.
#[derive(Debug)]
pub(super) struct Recorder {
    /// Messages intended from this time on are measured; earlier ones belong to the warm-up.
    pub(super) measure_from_ns: u64,
    /// The run has a warm-up. Bytes that answer no message belong to it if they come before
    /// `measure_from_ns`. Without a warm-up they are measured.
    pub(super) has_warmup: bool,
    pub(super) measured: Messages,
    pub(super) warmup: Messages,
    /// Measured messages that were lost, by cause.
    pub(super) losses: Losses,
    /// How long measured messages that timed out were in flight, up to the end of sending.
    pub(super) lost_wait_ns: u64,
    /// Measured messages that were begun and that no socket took before the run ended.
    pub(super) never_taken: u64,
    pub(super) bytes: Bytes,
    bytes_warmup: Bytes,
    pub(super) flows: Flows,
    pub(super) flows_open: u64,
    pub(super) trains: Trains,
    /// Detects the times in which the generator could not run.
    pub(super) hiccups: HiccupDetector,
    pub(super) held_back: u64,
    pub(super) first_difference: Option<Difference>,
    /// When sending ends, or ended.
    pub(super) end_ns: u64,
    /// Echoes of measured messages received before `end_ns`.
    pub(super) received_by_end: u64,
    /// When the last measured message was begun.
    pub(super) begun_ns_last: u64,
    /// When the last echo of a measured message was received.
    pub(super) echo_ns_last: u64,
    /// When the last echo, or bytes that answer no message, were received.
    pub(super) heard_ns_last: Option<u64>,
    /// Response times since the last interval, of measured messages.
    latency: Distribution,
    /// Response times of measured messages in earlier intervals.
    latency_before: Distribution,
    /// Response times of the warm-up since the last interval.
    latency_warmup: Distribution,
    pub(super) service_time: Distribution,
    pub(super) schedule_lag: Distribution,
    /// Measured messages by the class of their length; empty if all have the same length.
    pub(super) classes: Vec<Class>,
}

/// The measured messages of one class of lengths.
#[derive(Debug, Default)]
pub(super) struct Class {
    pub(super) sent: u64,
    /// The response times of those that were answered in time.
    pub(super) latency: Distribution,
}

impl Recorder {
    pub(super) fn new() -> Recorder {
        Recorder {
            measure_from_ns: u64::MAX,
            has_warmup: true,
            measured: Messages::default(),
            warmup: Messages::default(),
            losses: Losses::default(),
            lost_wait_ns: 0,
            never_taken: 0,
            bytes: Bytes::default(),
            bytes_warmup: Bytes::default(),
            flows: Flows::default(),
            flows_open: 0,
            trains: Trains::default(),
            hiccups: HiccupDetector::new(),
            held_back: 0,
            first_difference: None,
            end_ns: u64::MAX,
            received_by_end: 0,
            begun_ns_last: 0,
            echo_ns_last: 0,
            heard_ns_last: None,
            latency: Distribution::new(),
            latency_before: Distribution::new(),
            latency_warmup: Distribution::new(),
            service_time: Distribution::new(),
            schedule_lag: Distribution::new(),
            classes: Vec::new(),
        }
    }

    /// Returns true if a message that was intended at this time is measured.
    pub(super) fn is_measured(&self, intended_ns: u64) -> bool {
        intended_ns >= self.measure_from_ns
    }

    /// Returns true if bytes that answer no message count as measured. A peer that speaks first
    /// does so while connections are made; without a warm-up these bytes count as measured.
    fn is_unsolicited_measured(&self, now_ns: u64) -> bool {
        !self.has_warmup || self.is_measured(now_ns)
    }

    /// Counts bytes that answer no message.
    pub(super) fn unsolicited(&mut self, difference: Difference, now_ns: u64) {
        self.heard_ns_last = Some(now_ns);
        self.differs(difference, self.is_unsolicited_measured(now_ns));
    }

    /// Returns a copy of the counts of the warm-up or of the measured messages.
    pub(super) fn of_phase(&self, is_measured: bool) -> Messages {
        if is_measured { self.measured } else { self.warmup }
    }

    /// Returns the counts to which a message belongs.
    pub(super) fn of(&mut self, is_measured: bool) -> &mut Messages {
        if is_measured { &mut self.measured } else { &mut self.warmup }
    }

    /// Returns the byte counts to which a message belongs.
    fn bytes_of(&mut self, is_measured: bool) -> &mut Bytes {
        if is_measured { &mut self.bytes } else { &mut self.bytes_warmup }
    }

    /// Returns what was sent and received so far, warm-up included.
    pub(super) fn moved(&self) -> Moved {
        Moved {
            bytes_in: self.bytes.received + self.bytes_warmup.received,
            bytes_out: self.bytes.sent + self.bytes_warmup.sent,
            messages_in: self.measured.received + self.warmup.received,
            messages_out: self.measured.sent + self.warmup.sent,
        }
    }

    /// Counts sent bytes of a message that was intended at this time.
    pub(super) fn bytes_sent(&mut self, count: usize, intended_ns: u64) {
        self.bytes_of(self.is_measured(intended_ns)).sent += count as u64;
    }

    /// Counts received bytes of the echo of a message that was intended at this time. The bytes may
    /// be wrong.
    pub(super) fn bytes_received(&mut self, count: usize, intended_ns: u64) {
        self.bytes_of(self.is_measured(intended_ns)).received += count as u64;
    }

    pub(super) fn sent(&mut self, intended_ns: u64) {
        self.of(self.is_measured(intended_ns)).sent += 1;
    }

    /// Counts and records an echo that came in time.
    pub(super) fn received(&mut self, message: InFlight, now_ns: u64) {
        self.received_alike(message, 1, now_ns);
    }

    /// Counts and records `count` echoes that were received together, of messages with equal times.
    fn received_alike(&mut self, message: InFlight, count: u64, now_ns: u64) {
        let latency_ns = now_ns.saturating_sub(message.intended_ns);
        self.heard_ns_last = Some(now_ns);
        if !self.is_measured(message.intended_ns) {
            self.warmup.received += count;
            self.latency_warmup.record_many(latency_ns, count);
            return;
        }
        self.measured.received += count;
        self.received_by_end += if now_ns < self.end_ns { count } else { 0 };
        self.echo_ns_last = now_ns;
        self.latency.record_many(latency_ns, count);
        // In a closed loop a message is intended when it is begun, so its service time would say
        // nothing new.
        if message.is_scheduled {
            self.service_time.record_many(now_ns.saturating_sub(message.sent_ns), count);
        }
    }

    /// Counts the echo of a message that was given up.
    pub(super) fn late(&mut self, is_measured: bool, now_ns: u64) {
        self.heard_ns_last = Some(now_ns);
        self.of(is_measured).late += 1;
    }

    /// Counts a message that was refused when it was sent.
    pub(super) fn sent_and_lost(&mut self, message: InFlight, cause: LossCause, now_ns: u64) {
        self.sent(message.intended_ns);
        self.lost(message, cause, now_ns);
    }

    /// Returns the number of messages sent so far, in the warm-up and measured.
    pub(super) fn sent_in_all(&self) -> u64 {
        self.measured.sent + self.warmup.sent
    }

    /// Counts a sent message as lost; it is given up now.
    pub(super) fn lost(&mut self, message: InFlight, cause: LossCause, now_ns: u64) {
        if !self.is_measured(message.intended_ns) {
            self.warmup.lost += 1;
            return;
        }
        self.measured.lost += 1;
        self.hiccups.lost(message.sent_ns);
        *self.losses.of_mut(cause) += 1;
        if cause == LossCause::TimedOut {
            let waited_ns = now_ns.min(self.end_ns).saturating_sub(message.sent_ns);
            self.lost_wait_ns = self.lost_wait_ns.saturating_add(waited_ns);
        }
    }

    /// Counts messages that were due while their connection was gone: lost without being sent.
    pub(super) fn lost_without_connection(&mut self, of_warmup: u64, measured: u64) {
        let messages = [(&mut self.warmup, of_warmup), (&mut self.measured, measured)];
        for (messages, count) in messages {
            messages.sent = messages.sent.saturating_add(count);
            messages.lost = messages.lost.saturating_add(count);
        }
        let lost = self.losses.of_mut(LossCause::Disconnected);
        *lost = lost.saturating_add(measured);
    }

    /// Counts a message that was begun and is given up before any socket took it.
    pub(super) fn not_taken(&mut self, message: InFlight) {
        self.never_taken += u64::from(self.is_measured(message.intended_ns));
    }

    /// Counts a message of a closed loop that waits because the socket takes no more.
    pub(super) fn waits_for_room(&mut self, now_ns: u64) {
        self.held_back += u64::from(self.is_measured(now_ns) && now_ns < self.end_ns);
    }

    pub(super) fn differs(&mut self, difference: Difference, is_measured: bool) {
        self.of(is_measured).corrupted += 1;
        self.first_difference.get_or_insert(difference);
    }

    /// Records how late a scheduled message is begun. Its connection could have taken it from
    /// `free_ns` on: the generator itself causes only the delay after both that time and the due
    /// time.
    pub(super) fn begun(&mut self, due_ns: u64, free_ns: u64, now_ns: u64) {
        if !self.is_measured(due_ns) {
            return;
        }
        self.held_back += u64::from(free_ns > due_ns);
        self.schedule_lag.record(now_ns.saturating_sub(due_ns.max(free_ns)));
    }

    /// Returns the number of messages that are neither answered nor given up.
    pub(super) fn in_flight(&self) -> u64 {
        let of = |messages: &Messages| messages.sent - messages.received - messages.lost;
        of(&self.measured) + of(&self.warmup)
    }

    /// Returns the response times since the last interval, and moves them to the earlier ones.
    pub(super) fn take_interval(&mut self, is_warmup: bool) -> Distribution {
        let source = if is_warmup { &mut self.latency_warmup } else { &mut self.latency };
        let taken = source.clone();
        if !is_warmup {
            self.latency_before.add(source);
        }
        source.clear();
        taken
    }

    /// Returns how many values exceeded the range of their histograms. Call it after
    /// [`Recorder::latency`].
    pub(super) fn saturated_values(&self) -> u64 {
        let all = [&self.latency_before, &self.service_time, &self.schedule_lag];
        all.iter().map(|values| values.saturated()).sum()
    }

    /// Returns a copy of the response times of all measured messages so far.
    pub(super) fn latency_so_far(&self) -> Distribution {
        let mut latency = self.latency_before.clone();
        latency.add(&self.latency);
        latency
    }

    /// Returns the response times of all measured messages so far, as coarsely as a slot of the
    /// timeline keeps them.
    pub(super) fn times_so_far(&self) -> SlotTimes {
        SlotTimes::of(&[&self.latency_before, &self.latency])
    }

    /// Returns the response times of all measured messages.
    pub(super) fn latency(&mut self) -> &Distribution {
        self.latency_before.add(&self.latency);
        self.latency.clear();
        &self.latency_before
    }
}

/// A message that was sent and has not been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InFlight {
    /// When it was due. In a closed loop, when it was begun: a datagram that the socket did not
    /// take at once keeps that time.
    pub(super) intended_ns: u64,
    pub(super) sent_ns: u64,
    /// When a generator that is never late would have sent it.
    pub(super) ideal_ns: u64,
    /// It had a due time (open loop).
    pub(super) is_scheduled: bool,
}

/// Echoes that were received together and in time. Where one train is the echo of another, all its
/// messages have equal times, so a streak counts and records them at once.
#[derive(Debug)]
pub(super) struct Streak {
    now_ns: u64,
    alike: Option<(InFlight, u64)>,
}

impl Streak {
    /// Creates an empty streak of echoes received at `now_ns`.
    pub(super) fn starting_at(now_ns: u64) -> Streak {
        Streak { now_ns, alike: None }
    }

    pub(super) fn push(&mut self, message: InFlight, recorder: &mut Recorder) {
        match &mut self.alike {
            Some((other, count)) if *other == message => *count += 1,
            _ => {
                self.flush(recorder);
                self.alike = Some((message, 1));
            }
        }
    }

    /// Counts the echoes that have not been counted yet.
    pub(super) fn flush(&mut self, recorder: &mut Recorder) {
        if let Some((message, count)) = self.alike.take() {
            recorder.received_alike(message, count, self.now_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measured::PercentileList;

    /// Creates a message of an open loop.
    fn message(intended_ns: u64, sent_ns: u64) -> InFlight {
        InFlight { intended_ns, sent_ns, ideal_ns: intended_ns, is_scheduled: true }
    }

    #[test]
    fn a_message_due_in_the_warm_up_enters_no_measured_figure() {
        let mut recorder = Recorder { measure_from_ns: 100, ..Recorder::new() };
        for intended_ns in [99, 100] {
            recorder.sent(intended_ns);
            recorder.begun(intended_ns, 0, 150);
            recorder.received(message(intended_ns, 150), 200);
        }
        assert_eq!((recorder.measured.received, recorder.warmup.received), (1, 1));
        assert_eq!((recorder.latency().count(), recorder.latency().histogram().max()), (1, 100));
        assert_eq!((recorder.service_time.count(), recorder.schedule_lag.count()), (1, 1));
        assert_eq!(recorder.service_time.histogram().max(), 50);
    }

    #[test]
    fn before_the_start_messages_count_as_warm_up() {
        let mut recorder = Recorder::new();
        recorder.sent(u64::MAX - 1);
        assert_eq!((recorder.warmup.sent, recorder.in_flight()), (1, 1));
    }

    /// case B8: a clock that seems to go backwards causes no panic.
    #[test]
    fn an_echo_earlier_than_its_message_has_latency_0() {
        let mut recorder = Recorder { measure_from_ns: 0, ..Recorder::new() };
        recorder.received(message(500, 600), 400);
        assert_eq!(recorder.latency().histogram().max(), 0);
    }

    #[test]
    fn the_first_difference_is_kept_and_every_one_is_counted() {
        let mut recorder = Recorder { measure_from_ns: 0, ..Recorder::new() };
        for message in [3, 1] {
            let message = Some(message);
            let difference = Difference { flow: 0, message, offset: 0, sent: None, received: None };
            recorder.differs(difference, true);
        }
        assert_eq!(recorder.measured.corrupted, 2);
        assert_eq!(recorder.first_difference.and_then(|first| first.message), Some(3));
    }

    proptest! {
        // Each case merges dozens of histograms.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_intervals_add_up_to_the_total(
            intervals in prop::collection::vec(
                prop::collection::vec((0_u64..2_000, 0_u64..10_000_000_000), 0..40),
                0..8,
            ),
            rest in prop::collection::vec((0_u64..2_000, 0_u64..10_000_000_000), 0..40),
        ) {
            const MEASURE_FROM_NS: u64 = 1_000;
            let mut recorder = Recorder { measure_from_ns: MEASURE_FROM_NS, ..Recorder::new() };
            let (mut all, mut of_warmup) = (Distribution::new(), 0);
            let mut receive = |recorder: &mut Recorder, (intended_ns, latency_ns): (u64, u64)| {
                recorder.sent(intended_ns);
                recorder.received(message(intended_ns, intended_ns), intended_ns + latency_ns);
                match intended_ns >= MEASURE_FROM_NS {
                    true => all.record(latency_ns),
                    false => of_warmup += 1,
                }
            };
            let (mut merged, mut warmup) = (Distribution::new(), 0);
            for interval in intervals {
                interval.into_iter().for_each(|message| receive(&mut recorder, message));
                merged.add(&recorder.take_interval(false));
                warmup += recorder.take_interval(true).count();
            }
            rest.into_iter().for_each(|message| receive(&mut recorder, message));
            let list = PercentileList::default();
            prop_assert_eq!(recorder.latency().summary(&list), all.summary(&list));
            prop_assert_eq!(recorder.latency().count(), recorder.measured.received, "asked again");
            merged.add(&recorder.take_interval(false));
            warmup += recorder.take_interval(true).count();
            prop_assert_eq!(warmup, of_warmup);
            prop_assert!(merged.count() <= all.count());
            prop_assert_eq!(recorder.in_flight(), 0);
        }
    }
}

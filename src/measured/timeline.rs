//! The course of a run: its figures for each of a bounded number of slots of time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use super::histograms::decoded_like;
use super::{Distribution, Messages};

/// The significant digits of the times of a slot: within 1 %, in 37 KiB.
const DIGITS: u8 = 2;

/// The significant digits of a slot's histogram in the document: within 6 %, in about 300 bytes.
const DIGITS_WRITTEN: u8 = 1;

/// A slot must have this many echoes beyond a percentile, as in the whole run.
const SAMPLES_BEYOND_MIN: f64 = 10.0;

/// The longest time, as in [`Distribution`].
const VALUE_NS_MAX: u64 = 3_600 * 1_000_000_000;

/// The figures of one slot of the measured time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slot {
    /// Its start, since the start of the measured time.
    pub start_ns: u64,
    /// Its end, since the start of the measured time.
    pub end_ns: u64,
    /// Measured messages that were sent in it.
    pub sent: u64,
    /// Measured echoes that came in it.
    pub received: u64,
    /// Measured messages that were given up in it.
    pub lost: u64,
    /// The median of the response times, within 1 %, after an addition within 6 %; null if fewer
    /// than ten samples lie beyond.
    pub p50: Option<u64>,
    /// The 99th percentile, as p50.
    pub p99: Option<u64>,
    /// The greatest response time, within 1 %; null without echoes.
    pub max: Option<u64>,
    /// The response times, as in `histograms`, within 6 %; null without echoes.
    pub histogram: Option<String>,
}

impl Slot {
    /// Returns the response times; `None` without echoes, or if the text holds no histogram.
    pub(crate) fn times(&self) -> Option<Histogram<u64>> {
        decoded_like(&histogram(DIGITS_WRITTEN), self.histogram.as_deref()?)
    }

    /// Adds the slot of another part of the same load at about the same time.
    fn add(&mut self, other: &Slot) {
        let mut times = SlotTimes::default();
        for range in
            [self.times(), other.times()].iter().flatten().flat_map(Histogram::iter_recorded)
        {
            let count = range.count_since_last_iteration();
            times.0.saturating_record_n(range.value_iterated_to(), count);
        }
        let messages = Messages {
            sent: self.sent.saturating_add(other.sent),
            received: self.received.saturating_add(other.received),
            lost: self.lost.saturating_add(other.lost),
            ..Messages::default()
        };
        let max = self.max.max(other.max);
        *self = times.slot(self.start_ns, self.end_ns.max(other.end_ns), &messages);
        self.max = max;
    }
}

/// Adds the course of another part, whose slots have the same length. Percentiles are then within 6
/// %.
pub(super) fn add(own: &mut Vec<Slot>, others: Vec<Slot>) {
    for (index, other) in others.into_iter().enumerate() {
        match own.get_mut(index) {
            Some(slot) => slot.add(&other),
            None => own.push(other),
        }
    }
}

/// The response times of a slot while it is recorded.
#[derive(Clone, Debug)]
pub struct SlotTimes(Histogram<u64>);

impl SlotTimes {
    /// Creates the times of these distributions together.
    pub fn of(all: &[&Distribution]) -> SlotTimes {
        let mut times = SlotTimes::default();
        for values in all {
            for range in values.histogram().iter_recorded() {
                let count = range.count_since_last_iteration();
                times.0.saturating_record_n(range.value_iterated_to(), count);
            }
        }
        times
    }

    /// Returns the times that are here and not in `earlier`, which this contains.
    pub fn since(&self, earlier: &SlotTimes) -> SlotTimes {
        let mut later = self.clone();
        // Both have the same bounds, and counts only grow.
        let _ = later.0.subtract(&earlier.0);
        later
    }

    /// Adds the times of a slot beside this one.
    pub fn add(&mut self, other: &SlotTimes) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// Returns the figures of a slot with these times.
    pub fn slot(&self, start_ns: u64, end_ns: u64, messages: &Messages) -> Slot {
        let Messages { sent, received, lost, .. } = *messages;
        let at = |share: f64| {
            let has_beyond = self.0.len() as f64 * (1.0 - share) >= SAMPLES_BEYOND_MIN - 1e-6;
            has_beyond.then(|| self.0.value_at_quantile(share))
        };
        let (p50, p99) = (at(0.5), at(0.99));
        let max = (!self.0.is_empty()).then(|| self.0.max());
        let histogram = self.written();
        Slot { start_ns, end_ns, sent, received, lost, p50, p99, max, histogram }
    }

    /// Encodes the times coarsely; `None` without times.
    fn written(&self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let mut coarse = histogram(DIGITS_WRITTEN);
        for range in self.0.iter_recorded() {
            let count = range.count_since_last_iteration();
            coarse.saturating_record_n(range.value_iterated_to(), count);
        }
        let mut bytes = Vec::new();
        let written = V2DeflateSerializer::new().serialize(&coarse, &mut bytes);
        written.is_ok().then(|| STANDARD.encode(bytes))
    }
}

impl Default for SlotTimes {
    fn default() -> SlotTimes {
        SlotTimes(histogram(DIGITS))
    }
}

fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, VALUE_NS_MAX, digits).expect("the bounds are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_the_figures_of_the_times_that_came_in_it() {
        let mut all = Distribution::new();
        all.record_many(1_000_000, 500);
        let before = SlotTimes::of(&[&all]);
        all.record_many(50_000, 980);
        all.record_many(9_000_000, 20);
        let messages = Messages { sent: 1_001, received: 1_000, lost: 1, ..Messages::default() };
        let slot = SlotTimes::of(&[&all]).since(&before).slot(5, 10, &messages);
        assert_eq!((slot.start_ns, slot.end_ns, slot.sent, slot.lost), (5, 10, 1_001, 1));
        let near = |value: Option<u64>, expected: u64| {
            assert!(value.unwrap().abs_diff(expected) <= expected / 100, "{value:?} {expected}");
        };
        near(slot.p50, 50_000);
        near(slot.p99, 9_000_000);
        near(slot.max, 9_000_000);
        assert_eq!(slot.times().unwrap().len(), 1_000);
        assert!(slot.histogram.unwrap().len() < 300);
    }

    #[test]
    fn slots_of_parts_are_added_one_by_one() {
        let slot = |latency_ns: u64, count: u64, end_ns: u64| {
            let mut values = Distribution::new();
            values.record_many(latency_ns, count);
            let messages = Messages { sent: count, received: count, ..Messages::default() };
            SlotTimes::of(&[&values]).slot(0, end_ns, &messages)
        };
        let mut own = vec![slot(50_000, 100, 10)];
        add(&mut own, vec![slot(90_000, 300, 11), slot(70_000, 20, 20)]);
        assert_eq!(own.iter().map(|slot| slot.received).collect::<Vec<_>>(), [400, 20]);
        assert_eq!((own[0].end_ns, own[0].times().unwrap().len()), (11, 400));
        let p50 = own[0].p50.unwrap();
        assert!(p50.abs_diff(90_000) < 6_000, "{p50}");
        assert!(own[0].max.unwrap().abs_diff(90_000) < 900);
    }

    #[test]
    fn a_slot_with_few_echoes_has_no_percentile() {
        let mut few = Distribution::new();
        few.record_many(1_000, 19);
        let slot = SlotTimes::of(&[&few]).slot(0, 1, &Messages::default());
        assert_eq!((slot.p50, slot.p99), (None, None));
        assert!(slot.max.is_some());
        let empty = SlotTimes::default().slot(0, 1, &Messages::default());
        assert_eq!((empty.max, empty.histogram), (None, None));
    }
}

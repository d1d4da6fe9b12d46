//! Cuts the measured time into thirds, whose response times are compared at the end.

use super::recorder::Recorder;
use crate::measured::Distribution;

/// The thirds of a run so far. A third ends when a third of the time or of the messages is over,
/// whichever is first.
#[derive(Debug, Default)]
pub(super) struct Thirds {
    /// The response times from the beginning to the end of the first and of the second third. Each
    /// is copied once per run.
    ends: Vec<Distribution>,
}

impl Thirds {
    /// Notes the end of a third if it is over by now. `planned_end_ns`: the planned end of the
    /// measured time, `u64::MAX` if there is none.
    pub(super) fn note(
        &mut self,
        recorder: &Recorder,
        now_ns: u64,
        planned_end_ns: u64,
        count: Option<u64>,
    ) {
        if self.ends.len() >= 2 {
            return;
        }
        let part = self.ends.len() as u64 + 1;
        let from_ns = recorder.measure_from_ns;
        let has_had_time = planned_end_ns != u64::MAX
            && now_ns >= from_ns + planned_end_ns.saturating_sub(from_ns) / 3 * part;
        let received = recorder.measured.received;
        if has_had_time || count.is_some_and(|count| received >= count.div_ceil(3) * part) {
            self.ends.push(recorder.latency_so_far());
        }
    }

    /// Returns the response times of each third of a run that is over. `all`: all response times.
    pub(super) fn finish(&self, all: &Distribution) -> Option<[Distribution; 3]> {
        let [first, second] = &self.ends[..] else { return None };
        Some([first.clone(), second.since(first), all.since(second)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::recorder::InFlight;
    use crate::measured::Percentile;

    /// Records 30 echoes of messages that were sent `latency_ns` ago.
    fn receive(recorder: &mut Recorder, latency_ns: u64, now_ns: u64) {
        let sent_ns = now_ns - latency_ns;
        let message =
            InFlight { intended_ns: sent_ns, sent_ns, ideal_ns: sent_ns, is_scheduled: false };
        (0..30).for_each(|_| recorder.received(message, now_ns));
    }

    fn recorder() -> Recorder {
        let mut recorder = Recorder::new();
        recorder.measure_from_ns = 0;
        recorder
    }

    #[test]
    fn the_time_is_cut_into_thirds_that_add_up_to_all() {
        let (mut recorder, mut thirds) = (recorder(), Thirds::default());
        for (now_ns, latency_ns) in [(299, 100), (300, 100), (599, 100), (600, 100), (900, 200)] {
            thirds.note(&recorder, now_ns, 900, None);
            receive(&mut recorder, latency_ns, now_ns);
        }
        let thirds = thirds.finish(recorder.latency()).unwrap();
        assert_eq!(thirds.each_ref().map(Distribution::count), [30, 60, 60]);
        assert_eq!(thirds.map(|third| third.value_at(Percentile::P50)), [100; 3]);
    }

    #[test]
    fn a_run_by_count_is_cut_by_its_echoes() {
        let (mut recorder, mut thirds) = (recorder(), Thirds::default());
        for latency_ns in [100, 100, 300] {
            receive(&mut recorder, latency_ns, 1_000);
            thirds.note(&recorder, 1_000, u64::MAX, Some(90));
        }
        let thirds = thirds.finish(recorder.latency()).unwrap();
        assert_eq!(thirds.each_ref().map(Distribution::count), [30; 3]);
        assert_eq!(thirds.map(|third| third.value_at(Percentile::P50)), [100, 100, 300]);
    }

    #[test]
    fn a_run_that_ends_in_its_second_third_has_no_thirds() {
        let (mut recorder, mut thirds) = (recorder(), Thirds::default());
        receive(&mut recorder, 100, 300);
        thirds.note(&recorder, 300, 900, None);
        assert_eq!(thirds.finish(recorder.latency()), None);
    }
}

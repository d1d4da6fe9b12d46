//! Where the time of a round trip goes, by the kernel's timestamps of its packets.

use serde::{Deserialize, Serialize};

use super::{Distribution, PercentileList, Times};

/// The times of sampled messages on their three stretches. Each stretch has a value per sample.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Split {
    /// From the call that sends to the device's driver: the way down through this host's kernel.
    pub send_ns: Times,
    /// From the driver to the kernel's receipt of the echo: the network and the peer.
    pub away_ns: Times,
    /// From the kernel's receipt of the echo until the program has it: the way up, and the time
    /// until the program runs.
    pub wake_ns: Times,
    /// The number of sampled messages.
    pub samples: u64,
}

impl Split {
    /// Adds the samples of another part of the load, but leaves the summaries.
    pub(super) fn add(&mut self, part: &Split) {
        self.send_ns.values.add(&part.send_ns.values);
        self.away_ns.values.add(&part.away_ns.values);
        self.wake_ns.values.add(&part.wake_ns.values);
        self.samples += part.samples;
    }
}

/// When a sampled message passed four points, in nanoseconds by the wall clock, which is the clock
/// of the kernel's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Before the call that sends.
    pub called_ns: u64,
    /// The kernel gave the packet to the device's driver.
    pub sent_ns: u64,
    /// The kernel got the echo from the driver.
    pub arrived_ns: u64,
    /// The call that receives has returned.
    pub received_ns: u64,
}

/// How long one sampled message took on each stretch. The sum is its round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretches {
    /// See [`Split::send_ns`].
    pub send_ns: u64,
    /// See [`Split::away_ns`].
    pub away_ns: u64,
    /// See [`Split::wake_ns`].
    pub wake_ns: u64,
}

impl Passage {
    /// Returns the times of the stretches. `round_trip_ns` is the time from before the first point
    /// until after the last by the monotonic clock.
    ///
    /// Returns `None` if the points are out of order, or if the stretches take longer than the
    /// round trip: the wall clock was set meanwhile, or a timestamp belongs to another packet.
    ///
    /// ```
    /// use resound::measured::{Passage, Stretches};
    ///
    /// let passage =
    ///     Passage { called_ns: 100, sent_ns: 103, arrived_ns: 150, received_ns: 162 };
    /// let stretches = Stretches { send_ns: 3, away_ns: 47, wake_ns: 12 };
    /// assert_eq!(passage.stretches(70), Some(stretches));
    /// assert_eq!(passage.stretches(50), None);
    /// ```
    pub fn stretches(&self, round_trip_ns: u64) -> Option<Stretches> {
        let stretches = Stretches {
            send_ns: self.sent_ns.checked_sub(self.called_ns)?,
            away_ns: self.arrived_ns.checked_sub(self.sent_ns)?,
            wake_ns: self.received_ns.checked_sub(self.arrived_ns)?,
        };
        (self.received_ns - self.called_ns <= round_trip_ns).then_some(stretches)
    }
}

/// The values of a [`Split`] while they are collected.
#[derive(Clone, Debug, Default)]
pub struct SplitValues {
    send: Distribution,
    away: Distribution,
    wake: Distribution,
}

impl SplitValues {
    /// Adds a sample.
    pub fn record(&mut self, stretches: Stretches) {
        self.send.record(stretches.send_ns);
        self.away.record(stretches.away_ns);
        self.wake.record(stretches.wake_ns);
    }

    /// Returns the number of samples.
    pub fn count(&self) -> u64 {
        self.send.count()
    }

    /// Returns the figures at these percentiles.
    pub fn split(&self, percentiles: &PercentileList) -> Split {
        let times = |values: &Distribution| Times::of(values.clone(), percentiles);
        Split {
            send_ns: times(&self.send),
            away_ns: times(&self.away),
            wake_ns: times(&self.wake),
            samples: self.count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_sample_has_a_value_on_each_stretch() {
        let mut values = SplitValues::default();
        values.record(Stretches { send_ns: 3, away_ns: 40, wake_ns: 0 });
        values.record(Stretches { send_ns: 5, away_ns: 60, wake_ns: 9 });
        let split = values.split(&PercentileList::default());
        assert_eq!(split.samples, 2);
        let counts = [&split.send_ns, &split.away_ns, &split.wake_ns].map(|t| t.summary.count);
        assert_eq!(counts, [2; 3]);
        assert_eq!((split.away_ns.summary.min, split.away_ns.summary.max), (40, 60));
    }

    proptest! {
        /// A sample that is kept adds up to its round trip by the wall clock, and never exceeds the
        /// one by the monotonic clock.
        #[test]
        fn stretches_add_up_to_the_round_trip_whatever_the_clock_did(
            called_ns in 0_u64..1_000_000_000_000_000_000,
            steps in prop::array::uniform3(-2_000_i64..1_000_000),
            round_trip_ns in 0_u64..3_000_000,
        ) {
            let mut points = vec![called_ns];
            for step in steps {
                points.push(points.last().unwrap().saturating_add_signed(step));
            }
            let passage = Passage {
                called_ns,
                sent_ns: points[1],
                arrived_ns: points[2],
                received_ns: points[3],
            };
            let is_in_order = points.is_sorted();
            let by_wall_clock = points[3].saturating_sub(called_ns);
            match passage.stretches(round_trip_ns) {
                Some(Stretches { send_ns, away_ns, wake_ns }) => {
                    prop_assert_eq!(send_ns + away_ns + wake_ns, by_wall_clock);
                    prop_assert!(is_in_order && by_wall_clock <= round_trip_ns);
                }
                None => prop_assert!(!is_in_order || by_wall_clock > round_trip_ns),
            }
        }
    }
}

//! The histograms of a run as text, from which documents can be merged and drawn later.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde::Serialize;

use super::{RunResult, Times};

/// The histograms of a run, in nanoseconds. Each is the base64 text of HdrHistogram's compressed
/// encoding, version 2 ("V2 deflate"), which the HdrHistogram libraries of other languages read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Histograms {
    /// Response times; null if no echo came.
    pub latency: Option<String>,
    /// Service times; null in a closed loop, or if no echo came.
    pub service_time: Option<String>,
    /// How late the generator sent messages by its own fault; null in a closed loop, or if no
    /// message was sent.
    pub schedule_lag: Option<String>,
}

impl Histograms {
    /// Encodes the distributions of a run.
    pub fn of(result: &RunResult) -> Histograms {
        let encoded_times = |times: &Option<Times>| times.as_ref().and_then(encoded);
        Histograms {
            latency: encoded(&result.latency_ns),
            service_time: encoded_times(&result.service_time_ns),
            schedule_lag: encoded_times(&result.generator.schedule_lag_ns),
        }
    }
}

/// Encodes the distribution behind these times; `None` without values.
fn encoded(times: &Times) -> Option<String> {
    if times.values.count() == 0 {
        return None;
    }
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    serializer
        .serialize(times.values.histogram(), &mut bytes)
        .expect("a histogram of an hour fits the encoding, and a vector takes all bytes");
    Some(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use proptest::prelude::*;

    use super::*;
    use crate::measured::{Distribution, PercentileList};

    fn times(values: &[u64]) -> Times {
        let mut distribution = Distribution::new();
        values.iter().for_each(|value| distribution.record(*value));
        Times::of(distribution, &PercentileList::default())
    }

    fn decoded(text: &str) -> Histogram<u64> {
        let bytes = STANDARD.decode(text).unwrap();
        Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap()
    }

    #[test]
    fn times_without_values_have_no_histogram() {
        let mut result = RunResult::default();
        assert_eq!(Histograms::of(&result), Histograms::default());
        result.service_time_ns = Some(times(&[]));
        result.generator.schedule_lag_ns = Some(times(&[7]));
        let histograms = Histograms::of(&result);
        assert_eq!((&histograms.latency, &histograms.service_time), (&None, &None));
        assert_eq!(decoded(&histograms.schedule_lag.unwrap()).len(), 1);
    }

    proptest! {
        #[test]
        fn any_histogram_is_read_back_with_every_count(
            values in prop::collection::vec(any::<u64>(), 1..200),
        ) {
            let times = times(&values);
            let result = RunResult { latency_ns: times.clone(), ..RunResult::default() };
            let text = Histograms::of(&result).latency.unwrap();
            prop_assert_eq!(&decoded(&text), times.values.histogram());
        }
    }
}

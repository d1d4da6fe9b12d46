//! Keeps the page of one run small enough to be sent around.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde_json::Value;

/// The largest page of one run: mail and chat show a file of this size without a question.
pub(super) const PAGE_BYTES_MAX: usize = 200 << 10;

/// The significant digits of a histogram that was made smaller: within 1 %.
const DIGITS: u8 = 2;

/// Returns the document without the histograms of its thirds, which only repeat the whole.
pub(super) fn without_thirds(document: &Value) -> Value {
    let mut document = document.clone();
    for name in ["first_third", "second_third", "last_third"] {
        if let Some(histogram) = document.pointer_mut(&format!("/histograms/{name}")) {
            *histogram = Value::Null;
        }
    }
    document
}

/// Returns the document with histograms of fewer digits. The document was read or made by this
/// program, so the histograms of these names are its own.
pub(super) fn with_coarse_histograms(document: &Value) -> Value {
    let mut document = document.clone();
    for name in ["latency", "service_time", "schedule_lag", "send", "away", "wake"] {
        let Some(histogram) = document.pointer_mut(&format!("/histograms/{name}")) else {
            continue;
        };
        if let Some(coarse) = histogram.as_str().and_then(coarse) {
            *histogram = Value::String(coarse);
        }
    }
    document
}

/// Moves the values of a histogram to fewer buckets, which compress better. It keeps its bounds,
/// because a reader expects them, and its least and its greatest value, which stand beside it.
fn coarse(text: &str) -> Option<String> {
    let bytes = STANDARD.decode(text).ok()?;
    let fine: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).ok()?;
    let buckets = Histogram::<u64>::new_with_bounds(fine.low(), fine.high(), DIGITS).ok()?;
    let mut coarse = Histogram::<u64>::new_from(&fine);
    let (least, greatest) = (fine.min(), fine.max());
    for range in fine.iter_recorded() {
        let value = range.value_iterated_to();
        let is_end = fine.equivalent(value, least) || fine.equivalent(value, greatest);
        let moved = buckets.highest_equivalent(value).min(greatest);
        let count = range.count_since_last_iteration();
        coarse.saturating_record_n(if is_end { value } else { moved }, count);
    }
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(&coarse, &mut bytes).ok()?;
    Some(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{Histograms, RunResult, samples};

    #[test]
    fn a_document_with_coarse_histograms_is_read_back_with_every_count() {
        let mut result = samples::open_run();
        result.histograms = Histograms::of(&result);
        let document = serde_json::to_value(&result).unwrap();
        let slim = with_coarse_histograms(&without_thirds(&document));
        assert!(slim.to_string().len() <= document.to_string().len());
        let read = RunResult::from_json(&slim.to_string()).unwrap();
        assert_eq!(read.latency_ns.values.count(), result.latency_ns.values.count());
        assert_eq!(read.latency_ns.summary, result.latency_ns.summary);
    }
}

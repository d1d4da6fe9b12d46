//! Keeps a page small enough to be sent around.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde_json::Value;

/// The largest page of one document: mail and chat show a file of this size without a question. A
/// series of many runs may be longer even without what can be left out.
const PAGE_BYTES_MAX: usize = 200 << 10;

/// The significant digits of a histogram that was made smaller: within 1 %.
const DIGITS: u8 = 2;

/// What makes the document of a run smaller, with all that the document then lacks.
type Step = (fn(&mut Value), &'static str);

/// The steps, the least missed first.
const STEPS: [Step; 4] = [
    (leave_out_thirds, "the histograms of the thirds of a run"),
    (make_coarse, "the histograms of the thirds of a run, and all but two digits of the others"),
    (
        leave_out_timeline,
        "the timeline, the histograms of the thirds of a run, and all but two digits of the others",
    ),
    (leave_out_histograms, "the timeline and all histograms"),
];

/// Returns the page of documents, each with its name. If it is the page of one and longer than
/// [`PAGE_BYTES_MAX`], the runs in it are made smaller, as far as needed. `page` makes the page of
/// documents and of what they lack, if anything.
pub(super) fn within_bound(
    documents: &[(&str, &Value)],
    page: impl Fn(&[(&str, &Value)], Option<&str>) -> String,
) -> String {
    let mut made = page(documents, None);
    let [(name, document)] = documents else { return made };
    let mut small = (*document).clone();
    for (step, lacks) in STEPS {
        if made.len() <= PAGE_BYTES_MAX {
            break;
        }
        each_run(&mut small, step);
        made = page(&[(name, &small)], Some(lacks));
    }
    made
}

/// Changes each run in a document, which is one run, or has many in its points or pairs.
fn each_run(document: &mut Value, step: fn(&mut Value)) {
    match document {
        Value::Object(fields) if fields.contains_key("histograms") => step(document),
        Value::Object(fields) => fields.values_mut().for_each(|value| each_run(value, step)),
        Value::Array(values) => values.iter_mut().for_each(|value| each_run(value, step)),
        _ => {}
    }
}

/// Leaves out the histograms of the thirds, which only repeat the whole.
fn leave_out_thirds(run: &mut Value) {
    for name in ["first_third", "second_third", "last_third"] {
        if let Some(histogram) = run.pointer_mut(&format!("/histograms/{name}")) {
            *histogram = Value::Null;
        }
    }
}

/// Makes the histograms coarse. The document was read or made by this program, so the histograms of
/// these names are its own.
fn make_coarse(run: &mut Value) {
    for name in ["latency", "service_time", "schedule_lag", "send", "away", "wake"] {
        let Some(histogram) = run.pointer_mut(&format!("/histograms/{name}")) else { continue };
        if let Some(coarse) = histogram.as_str().and_then(coarse) {
            *histogram = Value::String(coarse);
        }
    }
}

fn leave_out_timeline(run: &mut Value) {
    if let Some(slots) = run.get_mut("timeline").and_then(Value::as_array_mut) {
        slots.clear();
    }
}

fn leave_out_histograms(run: &mut Value) {
    let Some(histograms) = run["histograms"].as_object_mut() else { return };
    for histogram in histograms.values_mut() {
        match histogram {
            Value::Array(of_lengths) => of_lengths.fill(Value::Null),
            one => *one = Value::Null,
        }
    }
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

    fn open_run() -> (RunResult, Value) {
        let mut result = samples::open_run();
        result.histograms = Histograms::of(&result);
        let document = serde_json::to_value(&result).unwrap();
        (result, document)
    }

    /// Returns the document in a page that takes `around` bytes without it.
    fn kept(document: &Value, around: usize) -> Value {
        let page = |documents: &[(&str, &Value)], _: Option<&str>| {
            documents[0].1.to_string() + &" ".repeat(around)
        };
        serde_json::from_str(within_bound(&[("", document)], page).trim_end()).unwrap()
    }

    #[test]
    fn a_document_with_coarse_histograms_is_read_back_with_every_count() {
        let (result, document) = open_run();
        let mut slim = document.clone();
        leave_out_thirds(&mut slim);
        make_coarse(&mut slim);
        assert!(slim.to_string().len() <= document.to_string().len());
        let read = RunResult::from_json(&slim.to_string()).unwrap();
        assert_eq!(read.latency_ns.values.count(), result.latency_ns.values.count());
        assert_eq!(read.latency_ns.summary, result.latency_ns.summary);
    }

    #[test]
    fn only_as_much_is_left_out_as_the_page_needs() {
        let (result, mut document) = open_run();
        document["histograms"]["first_third"] = document["histograms"]["latency"].clone();
        let room = PAGE_BYTES_MAX - document.to_string().len();
        assert_eq!(kept(&document, room), document);
        let smaller = kept(&document, room + 1);
        assert!(smaller["histograms"]["first_third"].is_null());
        assert!(smaller["histograms"]["latency"].is_string());
        let least = kept(&document, PAGE_BYTES_MAX);
        assert!(least["histograms"]["latency"].is_null());
        let read = RunResult::from_json(&least.to_string()).unwrap();
        assert_eq!(read.latency_ns.summary, result.latency_ns.summary);
    }

    #[test]
    fn every_run_of_a_series_is_made_smaller() {
        let (_, run) = open_run();
        let sweep = serde_json::json!({"kind": "sweep", "points": [run, run]});
        let pairs = serde_json::json!({"kind": "compare", "pairs": [{"a": run, "b": run}]});
        let runs = ["/points/0", "/points/1"].map(|at| (&sweep, at));
        let sides = ["/pairs/0/a", "/pairs/0/b"].map(|at| (&pairs, at));
        for (document, at) in runs.into_iter().chain(sides) {
            let least = kept(document, PAGE_BYTES_MAX);
            let run = least.pointer(at).unwrap();
            assert_eq!(run["timeline"], serde_json::json!([]), "{at}");
            assert!(run["histograms"]["latency"].is_null(), "{at}");
        }
    }
}

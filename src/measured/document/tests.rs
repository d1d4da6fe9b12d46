//! A document that is read back is the same document, and one of anything else is refused.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Distribution, Histograms, PercentileList, Times, samples};
use super::*;

fn times(values: &[u64]) -> Times {
    let mut distribution = Distribution::new();
    values.iter().for_each(|value| distribution.record(*value));
    Times::of(distribution, &PercentileList::default())
}

/// Returns the document of a run with every histogram.
fn document() -> Value {
    let mut run = samples::open_run();
    run.histograms = Histograms::of(&run);
    serde_json::from_str(&run.to_json()).unwrap()
}

fn refusal(document: &Value) -> String {
    RunResult::from_json(&document.to_string()).unwrap_err().to_string()
}

#[test]
fn a_document_that_was_read_is_written_as_it_was() {
    let failed = RunResult::failed(vec!["bench".to_owned()], "refused");
    for mut run in [samples::open_run(), samples::closed_run(), failed] {
        run.histograms = Histograms::of(&run);
        let text = run.to_json();
        let read = RunResult::from_json(&text).unwrap();
        assert_eq!(read.to_json(), text);
        assert_eq!(Histograms::of(&read), run.histograms, "every distribution is restored");
    }
}

#[test]
fn keys_that_came_later_may_be_missing_and_keys_of_the_future_are_ignored() {
    let mut document = document();
    let keys = document.as_object_mut().unwrap();
    for key in ["run", "sockets", "tcp", "udp", "drift", "hiccups", "histograms"] {
        assert!(keys.remove(key).is_some(), "{key}");
    }
    keys["latency_ns"].as_object_mut().unwrap().remove("intervals");
    keys["generator"].as_object_mut().unwrap().remove("wait_ns_mean");
    keys.insert("of_the_future".to_owned(), json!({"a": [1]}));
    let read = RunResult::from_json(&document.to_string()).unwrap();
    assert_eq!(read.latency_ns.summary.percentile("99.9"), Some(120_000));
    assert_eq!(read.latency_ns.values.count(), 0, "there is no histogram");
    assert_eq!((read.run.part.as_str(), read.generator.wait_ns_mean), ("1/1", None));
}

#[test]
fn what_is_not_the_document_of_a_run_is_refused_in_one_line() {
    let edited = |pointer: &str, value: Value| {
        let mut document = document();
        *document.pointer_mut(pointer).unwrap() = value;
        refusal(&document)
    };
    let mut of_sweep = document();
    of_sweep["kind"] = json!("sweep");
    let cases = [
        (refusal(&json!([])), "it is not the document of a run: "),
        (RunResult::from_json("{").unwrap_err().to_string(), "it is not a JSON document (EOF"),
        (RunResult::from_json("{}\n{}").unwrap_err().to_string(), "it is not a JSON document (tr"),
        (refusal(&json!({"version": 1, "messages": {}})), "it is not the document of a run: "),
        (refusal(&of_sweep), "it is the document of 'resound sweep': "),
        (edited("/version", json!(2)), "it is of version 2: expected version 1"),
        (edited("/version", json!("one")), "it is not the document of a run: "),
        (edited("/messages/sent", json!(-1)), "invalid value: integer `-1`, expected u64"),
        (edited("/loop", json!("ajar")), "unknown variant `ajar`"),
        (edited("/run/started_at", json!("noon")), "at line 1"),
    ];
    for (message, expected) in cases {
        assert!(message.starts_with("cannot read the document: ") && !message.contains('\n'));
        assert!(message.contains(expected), "{message}");
    }
    let long = " ".repeat(DOCUMENT_BYTES_MAX + 1);
    assert!(RunResult::from_json(&long).unwrap_err().to_string().contains("longer than 16 MiB"));
}

#[test]
fn a_histogram_that_contradicts_its_figures_is_refused() {
    let contradiction = "histograms.latency contradicts the figures beside it";
    for (pointer, value) in [("count", 9_999), ("min", 1), ("max", 1_u64 << 40), ("mean", 1)] {
        let mut document = document();
        document["latency_ns"][pointer] = json!(value);
        assert!(refusal(&document).contains(contradiction), "{pointer}: {}", refusal(&document));
    }
    let mut without_times = document();
    without_times["service_time_ns"] = Value::Null;
    assert!(refusal(&without_times).contains("histograms.service_time contradicts"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))] // a case decodes megabytes
    #[test]
    fn any_run_is_read_back_as_it_was(
        latency in prop::collection::vec(any::<u64>(), 0..200),
        lag in prop::option::of(prop::collection::vec(0_u64..1_000_000, 0..50)),
        numbers in prop::collection::vec(any::<u64>(), 3),
        achieved in 0.0_f64..1e12,
        cpu_share in 0.0_f64..1.0,
        text in ".{0,40}",
    ) {
        let mut run = samples::closed_run();
        run.latency_ns = times(&latency);
        run.generator.schedule_lag_ns = lag.as_deref().map(times);
        (run.messages.sent, run.bytes.sent, run.elapsed_ns) = (numbers[0], numbers[1], numbers[2]);
        (run.rate.achieved, run.generator.cpu_share) = (achieved, cpu_share);
        (run.label, run.error) = (Some(text.clone()), Some(text));
        run.histograms = Histograms::of(&run);
        let read = RunResult::from_json(&run.to_json()).unwrap();
        prop_assert_eq!(read.to_json(), run.to_json());
        let (read, run) = (&read.latency_ns.values, &run.latency_ns.values);
        prop_assert_eq!(read.histogram(), run.histogram());
        let list = PercentileList::default();
        prop_assert_eq!(read.summary(&list), run.summary(&list));
    }
}

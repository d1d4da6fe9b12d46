//! Tests of the JSON document that the library writes, and of the checker that other tests use.

use resound::measured::{
    Comparison, Difference, Distribution, Drift, Environment, Interval, Messages, Outcome,
    RunResult, SplitValues, Tcp, Third, Times, Udp, Warning,
};
use serde_json::{Value, json};

use crate::schema::{
    bench_violations, check_bench_document, check_compare_document, check_definition,
    check_document, undocumented_keys,
};

/// Returns a document with every optional part.
fn full_document() -> Value {
    let mut result = RunResult::failed(vec!["bench".to_owned()], "refused");
    let mut distribution = Distribution::new();
    (0..1_000).for_each(|value| distribution.record(value * 1_000));
    let times = Times::of(distribution, &"50,99.9".parse().unwrap());
    result.environment = Environment::here(true, true);
    result.latency_ns = times.clone();
    result.service_time_ns = Some(times.clone());
    result.generator.schedule_lag_ns = Some(times);
    result.split = Some(SplitValues::default().split(&"50,99.9".parse().unwrap()));
    result.tcp = Some(Tcp::default());
    result.udp = Some(Udp::default());
    result.server_drops = Some([("overflowed".to_owned(), 1)].into());
    let third = Third { count: 30, p50: Some(70_000), p99: None };
    let thirds = [third.clone(), third.clone(), third];
    result.drift = Some(Drift { found: false, thirds });
    result.rate.asked = Some(100_000.0);
    result.messages =
        Messages { sent: 10, received: 7, lost: 2, in_flight_at_end: 1, ..Messages::default() };
    let (sent, received) = (Some(0x41), None);
    result.first_difference =
        Some(Difference { flow: 3, message: None, offset: 5, sent, received });
    let expression = "p99<200us".to_owned();
    result.asserts = vec![Outcome { expression, value: None, held: false }];
    result.warnings = vec![Warning("a virtual machine".to_owned())];
    serde_json::from_str(&result.to_json()).unwrap()
}

#[test]
fn every_key_of_a_document_is_in_the_schema() {
    let document = full_document();
    check_bench_document(&document);
    assert_eq!(undocumented_keys(&document), Vec::<String>::new());
}

#[test]
fn a_run_that_could_not_start_has_a_valid_document() {
    let result = RunResult::failed(Vec::new(), "cannot connect: refused");
    check_bench_document(&serde_json::from_str(&result.to_json_line()).unwrap());
}

#[test]
fn an_interval_line_is_in_the_schema() {
    let messages = Messages { received: 3, ..Messages::default() };
    let mut latency = Distribution::new();
    latency.record(70_000);
    let interval = Interval {
        start_ns: 0,
        end_ns: 1_000_000_000,
        is_warmup: true,
        is_drain: false,
        messages,
        latency,
        flows_open: 2,
    };
    let line = interval.to_json_line(&"50".parse().unwrap());
    let line: Value = serde_json::from_str(&line).unwrap();
    check_document("interval_line", &line);
    check_definition("messages", &line["interval"]["messages"]);
    check_definition("summary", &line["interval"]["latency_ns"]);
}

#[test]
fn a_missing_key_is_found_at_any_depth() {
    fn remove_each(document: &Value, path: &str, value: &Value) {
        for (key, child) in value.as_object().into_iter().flatten() {
            let child_path = format!("{path}/{key}");
            let mut without = document.clone();
            let parent = without.pointer_mut(path).unwrap().as_object_mut().unwrap();
            parent.remove(key);
            let found = bench_violations(&without);
            let free = ["/percentiles", "/intervals", "/server_drops"];
            let is_free = free.iter().any(|name| path.ends_with(name));
            assert_eq!(found.is_empty(), is_free, "{child_path}: {found:?}");
            remove_each(document, &child_path, child);
        }
    }
    let document = full_document();
    remove_each(&document, "", &document);
}

#[test]
fn a_wrong_value_is_found() {
    let cases = [
        ("/version", json!(2)),
        ("/status", json!("fine")),
        ("/loop", json!("half")),
        ("/generator/verdict", json!("OK")),
        ("/generator/verdict", json!(0)),
        ("/generator/pacing", Value::Null),
        ("/error", Value::Null),
        ("/error", json!("two\nlines")),
        ("/depth", json!(-1)),
        ("/depth", json!(1.5)),
        ("/rate/achieved", json!(-0.5)),
        ("/rate/achieved", Value::Null),
        ("/messages/sent", json!(11)),
        ("/messages/sent", json!("10")),
        ("/warmup_messages/lost", json!(1)),
        ("/latency_ns/min", json!(1_000_000_000)),
        ("/latency_ns/percentiles/50", json!(0.5)),
        ("/service_time_ns", json!({})),
        ("/service_time_ns/mean", Value::Null),
        ("/split/samples", json!(-1)),
        ("/split/away_ns/mean", Value::Null),
        ("/first_difference/sent", json!(256)),
        ("/asserts/0/held", json!("yes")),
        ("/options/typed", json!(["bench", 1])),
        ("/warnings", Value::Null),
    ];
    for (path, wrong) in cases {
        let mut document = full_document();
        *document.pointer_mut(path).unwrap() = wrong.clone();
        assert!(!bench_violations(&document).is_empty(), "{path}: {wrong}");
    }
}

#[test]
fn an_added_key_is_valid() {
    let mut document = full_document();
    document["generator"]["mood"] = json!("bright");
    document["latency_ns"]["percentiles"]["42"] = Value::Null;
    check_bench_document(&document);
    assert_eq!(undocumented_keys(&document), ["document.generator.mood"]);
}

#[test]
fn a_comparison_that_did_not_take_place_has_every_key() {
    let comparison = Comparison { error: Some("refused".to_owned()), ..Comparison::default() };
    let document: Value = serde_json::from_str(&comparison.to_json()).unwrap();
    check_compare_document(&document);
    assert_eq!(document["kind"], "compare");
    let read: Comparison = serde_json::from_value(document).unwrap();
    assert_eq!(read.to_json(), comparison.to_json());
}

//! Parts of one load are added exactly, and anything else is refused by name.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::measured::{ClockError, Distribution, Histograms, PercentileList, Times, samples};

fn at(seconds: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        + Duration::from_secs(1_764_236_123)
        + Duration::from_secs_f64(10.0 + seconds)
}

/// Returns part `part` with these response times, which measured for 10 s from `from` on.
fn part_from(part: &str, from: f64, values: &[u64]) -> Named {
    let mut result = samples::open_run();
    let mut latency = Distribution::new();
    values.iter().for_each(|value| latency.record(*value));
    result.latency_ns = Times::of(latency, &PercentileList::default());
    result.messages = Messages {
        sent: values.len() as u64,
        received: values.len() as u64,
        ..Messages::default()
    };
    result.rate = Rate { asked: Some(100.0), achieved: 99.5, over_planned: 99.0 };
    result.asserts.clear();
    let stamp = RunStamp::new(at(from - 1.0), at(from), Duration::from_secs(10));
    result.run = RunStamp { part: part.to_owned(), ..stamp };
    let meant = json!({"rate": 200, "warmup_ns": 1_000_000_000, "part": part});
    result.options.meant = meant.as_object().unwrap().clone();
    result.histograms = Histograms::of(&result);
    (format!("{}.json", part.replace('/', "-")), result)
}

fn part(part: &str) -> Named {
    part_from(part, 0.0, &[50_000; 40])
}

#[track_caller]
fn refused(parts: Vec<Named>, expected: &str) {
    let error = RunResult::merge(parts).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_merged_result_has_the_sums_the_common_window_and_a_row_for_each_part() {
    let mut second = part_from("2/2", 0.05, &[70_000; 60]);
    second.1.environment.host = "lab-8".to_owned();
    second.1.generator.verdict = Some(Verdict::Saturated);
    let merged = RunResult::merge(vec![second, part("1/2")]).unwrap();
    assert_eq!(
        (merged.status, merged.messages.received, merged.latency_ns.summary.count),
        (Status::Ok, 100, 100)
    );
    let Rate { asked, achieved, over_planned } = merged.rate;
    assert_eq!((asked, achieved, over_planned), (Some(200.0), 199.0, 198.0));
    assert_eq!(
        (merged.run.measured_from, merged.run.measured_to),
        (Some(at(0.05)), Some(at(10.0)))
    );
    assert_eq!((merged.elapsed_ns, merged.connections), (9_950_000_000, 100));
    assert_eq!(merged.generator.verdict, Some(Verdict::Saturated), "the worst");
    let names: Vec<_> = merged.parts.iter().map(|part| part.run.part.as_str()).collect();
    assert_eq!(names, ["1/2", "2/2"], "in their order");
    assert_eq!(merged.parts[1].verdict, Some(Verdict::Saturated));
    assert_eq!(merged.environment.host, "lab-7, lab-8");
    assert_eq!(merged.run.part, "1/1");
    let again = RunResult::from_json(&merged.to_json()).unwrap();
    assert_eq!(again.to_json(), merged.to_json(), "it can be read back");
    refused(vec![("merged.json".to_owned(), again)], "merged.json is a merged result");
}

/// case B17
#[test]
fn a_part_that_is_missing_repeated_or_of_another_division_is_refused() {
    refused(vec![part("1/3"), part("3/3")], "part 2/3 is missing");
    refused(vec![part("1/2")], "part 2/2 is missing");
    refused(vec![part("2/2"), part("1/2"), part("2/2")], "2-2.json and 2-2.json are both part 2/2");
    refused(vec![part("1/2"), part("2/3")], "2-3.json is one of 3 parts, and 1-2.json one of 2");
    refused(vec![part("1/1"), part("1/1")], "are each a whole load");
    refused(vec![part("0/2")], "0-2.json is part '0/2': expected I/N");
    refused(Vec::new(), "expected the file of a part");
    assert!(RunResult::merge(vec![part("1/1")]).is_ok(), "one part of one");
}

/// case B17
#[test]
fn parts_of_different_loads_are_refused_with_the_difference() {
    let differing = |edit: fn(&mut RunResult)| {
        let mut other = part("2/2");
        edit(&mut other.1);
        vec![part("1/2"), other]
    };
    refused(
        differing(|other| _ = other.options.meant.insert("rate".to_owned(), json!(300))),
        "1-2.json and 2-2.json are parts of different loads: rate is 200 and 300",
    );
    refused(differing(|other| _ = other.options.meant.remove("rate")), "rate is 200 and none");
    refused(differing(|other| other.length = 9), "length of a message is 64 and 9");
    let allowed = differing(|other| _ = other.options.meant.insert("spin".to_owned(), json!(0)));
    assert!(RunResult::merge(allowed).is_ok());
}

/// case B17: hosts reach one server by its name, by several addresses, or through a tunnel.
#[test]
fn parts_with_different_endpoints_are_merged_with_a_warning_that_names_them() {
    let to = |endpoints: [Value; 3], transport: &str| {
        let mut parts: Vec<Named> = ["1/3", "2/3", "3/3"].map(part).into();
        for ((_, part), endpoint) in parts.iter_mut().zip(endpoints) {
            part.options.meant.insert("endpoint".to_owned(), endpoint);
            part.options.meant.insert("transport".to_owned(), json!("tcp"));
        }
        parts[2].1.options.meant.insert("transport".to_owned(), json!(transport));
        parts
    };
    let [name, address] = [json!("tcp://server:7007"), json!("tcp://10.0.0.1:7007")];
    let named = to([name.clone(), address.clone(), name.clone()], "tcp");
    let [warning] = RunResult::merge(named).unwrap().warnings.try_into().unwrap();
    let expected = "different endpoints: tcp://server:7007 (1-3.json); tcp://10.0.0.1:7007 \
                    (2-3.json); the figures are of one server only if ";
    assert!(warning.0.contains(expected), "{warning:?}");
    let alike = to([(); 3].map(|()| name.clone()), "tcp");
    assert_eq!(RunResult::merge(alike).unwrap().warnings, []);
    refused(to([name.clone(), address, name.clone()], "udp"), "transport is \"tcp\" and \"udp\"");
    let own = to([name.clone(), Value::Null, name], "tcp");
    refused(own, "different loads: a server in its own process is false and true");
}

/// case B17
#[test]
fn with_windows_that_differ_the_rate_is_the_sum_of_the_rates_of_the_parts() {
    let mut second = part_from("2/2", 2.0, &[70_000; 60]);
    second.1.rate = Rate { asked: Some(100.0), achieved: 60.5, over_planned: 60.0 };
    let merged = RunResult::merge(vec![part("1/2"), second]).unwrap();
    assert_eq!(merged.elapsed_ns, 8_000_000_000, "the common window");
    let expected = Rate { asked: Some(200.0), achieved: 160.0, over_planned: 159.0 };
    assert_eq!(merged.rate, expected);
    assert_eq!(merged.messages.received, 100, "the whole windows");
    let rates: Vec<f64> = merged.parts.iter().map(|part| part.rate.achieved).collect();
    assert_eq!(rates, [99.5, 60.5]);
}

/// case B17
#[test]
fn windows_that_hardly_overlap_are_refused_and_others_are_a_warning() {
    let from = |seconds| vec![part("1/2"), part_from("2/2", seconds, &[50_000; 40])];
    refused(from(11.0), "did not measure at the same time: 2-2.json measured from 2025-11-27T");
    refused(from(6.0), "have only 4.0 s of 10.0 s in common");
    let windowed = RunResult::merge(from(2.0)).unwrap();
    assert!(
        windowed.warnings.iter().any(|warning| warning.0.contains("8.0 s of 10.0 s in common"))
    );
    assert_eq!(windowed.elapsed_ns, 8_000_000_000);
    assert!(RunResult::merge(from(0.05)).unwrap().warnings.is_empty());
}

#[test]
fn a_clock_that_may_be_off_is_a_warning_on_several_hosts_only() {
    let on = |host: &str, clock_error| {
        let mut second = part("2/2");
        second.1.environment.host = host.to_owned();
        second.1.run.clock_error = clock_error;
        let mut first = part("1/2");
        first.1.run.clock_error = Some(ClockError { synchronized: true, ..ClockError::default() });
        RunResult::merge(vec![first, second]).unwrap().warnings
    };
    assert_eq!(on("lab-7", None), []);
    let [warning] = on("lab-8", None).try_into().unwrap();
    assert!(warning.0.contains("on the hosts of 2-2.json: "), "{warning:?}");
    assert_eq!(
        on("lab-8", Some(ClockError { synchronized: true, estimated_ns: 1, max_ns: 2 })),
        []
    );
}

/// case B17
#[test]
fn a_part_that_failed_is_named_and_makes_the_result_partial() {
    let mut failed = part_from("2/2", 0.0, &[]);
    failed.1.status = Status::Error;
    failed.1.error = Some("refused".to_owned());
    failed.1.run.measured_from = None;
    let merged = RunResult::merge(vec![part("1/2"), failed]).unwrap();
    assert_eq!(
        (merged.status, merged.error.as_deref()),
        (Status::Partial, Some("part 2/2 (2-2.json): refused"))
    );
    assert_eq!(merged.messages.received, 40);
    let many = (1..=9).map(|place| {
        let mut dead = part_from(&format!("{place}/9"), 0.0, &[]);
        dead.1.status = Status::Error;
        dead
    });
    let merged = RunResult::merge(many.collect()).unwrap();
    assert_eq!(merged.status, Status::Error);
    assert!(merged.error.unwrap().ends_with("; and 4 more"));
}

#[test]
fn a_part_with_messages_and_without_a_window_is_refused() {
    let broken = |edit: fn(&mut RunStamp)| {
        let mut second = part("2/2");
        edit(&mut second.1.run);
        vec![part("1/2"), second]
    };
    let expected = "2-2.json has messages, but no time in which they were measured";
    refused(broken(|run| run.measured_from = None), expected);
    refused(broken(|run| run.measured_to = None), expected);
    refused(broken(|run| (run.measured_from, run.measured_to) = (None, None)), expected);
    refused(broken(|run| run.measured_to = run.measured_from), expected);
}

#[test]
fn a_document_without_histograms_or_with_absurd_counts_is_refused() {
    let mut old = part("1/1");
    old.1.latency_ns.values = Distribution::new();
    refused(vec![old], "1-1.json has no histograms");
    let mut absurd = part("1/1");
    absurd.1.flows.opened = u64::MAX;
    refused(vec![absurd], "1-1.json has a count that no run reaches");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))] // a case encodes megabytes

    /// case B17
    #[test]
    fn the_merged_histogram_is_that_of_all_samples(
        first in prop::collection::vec(0_u64..10_000_000_000, 1..200),
        second in prop::collection::vec(0_u64..10_000_000_000, 1..200),
        third in prop::collection::vec(0_u64..10_000_000_000, 1..200),
    ) {
        let mut all = Distribution::new();
        let parts = [("1/3", &first), ("2/3", &second), ("3/3", &third)];
        let parts = parts.map(|(name, values)| {
            values.iter().for_each(|value| all.record(*value));
            let (file, part) = part_from(name, 0.0, values);
            (file, RunResult::from_json(&part.to_json()).unwrap())
        });
        let merged = RunResult::merge(parts.into()).unwrap().latency_ns;
        prop_assert_eq!(merged.values.histogram(), all.histogram());
        let all = all.summary(&PercentileList::default());
        prop_assert_eq!((merged.summary.min, merged.summary.max), (all.min, all.max));
        prop_assert_eq!(&merged.summary.percentiles, &all.percentiles);
        prop_assert!(merged.summary.mean.abs_diff(all.mean) <= 1, "means are whole in documents");
    }
}

//! Tests of every name, every operator, and of refused expressions.

use serde_json::Value;

use super::*;
use crate::measured::{
    Distribution, Messages, Rate, SplitValues, Stretches, Tcp, Trains, Udp, Verdict, samples,
};

fn check(expression: &str, result: &RunResult) -> Outcome {
    expression.parse::<Assertion>().unwrap().check(result)
}

/// Returns a run with 1,000 response times, half of 100 us and half of 200 us, and 1,000 lags of 5
/// us.
fn run() -> RunResult {
    let mut result = samples::open_run();
    let mut response = Distribution::new();
    let mut lag = Distribution::new();
    for index in 0..1_000 {
        response.record(if index % 2 == 0 { 100_000 } else { 200_000 });
        lag.record(5_000);
    }
    let percentiles = "50".parse().unwrap();
    result.latency_ns = Times::of(response, &percentiles);
    result.generator.schedule_lag_ns = Some(Times::of(lag, &percentiles));
    result
}

#[test]
fn any_percentile_can_be_asserted_listed_or_not() {
    let result = run();
    assert!(check("p12.5 < 110us", &result).held);
    assert!(check("p75>=200us", &result).held);
    assert!(!check("p75<200us", &result).held);
    assert!(check("lag.p98<6us", &result).held);
    assert!(check("service.p90<=80.1us", &result).held);
    assert!(check("service.p90.0<=80.1us", &result).held, "written another way");
}

#[test]
fn a_percentile_with_too_few_samples_does_not_hold_and_has_no_value() {
    for expression in ["p99.1<1h", "p99.1>0ns", "p99.1!=1us", "service.p99.99<1h"] {
        let outcome = check(expression, &run());
        assert_eq!((outcome.value, outcome.held), (None, false), "{expression}");
    }
    assert_eq!(check("p99<1h", &run()).value.map(|value| value > 199_000.0), Some(true));
}

/// case B10
#[test]
fn without_an_echo_no_time_holds() {
    let result = RunResult::default();
    for expression in ["p50<1h", "min<1h", "mean<1h", "max<1h", "stddev<1h", "service.min<1h"] {
        assert!(!check(expression, &result).held, "{expression}");
    }
    for expression in ["rate<1", "loss<1%", "cpu_share<50%", "lag.max<1h"] {
        assert_eq!(check(expression, &result).value, None, "{expression}");
    }
}

#[test]
fn each_operator_compares_as_it_reads() {
    let mut result = samples::closed_run();
    result.messages.lost = 5;
    let held = ["lost<6", "lost<=5", "lost>4", "lost>=5", "lost==5", "lost!=4", " lost  ==  5 "];
    held.iter().for_each(|expression| assert!(check(expression, &result).held, "{expression}"));
    let not_held = ["lost<5", "lost<=4", "lost>5", "lost>=6", "lost==4", "lost!=5"];
    not_held.iter().for_each(|expression| assert!(!check(expression, &result).held));
}

/// Adds the keys of all counts in a part of the schema, joined by dots. Leaves out lists, such as
/// the loops, and distributions, whose counts are those of their messages.
fn gather_counts(keys: &str, schema: &Value, all: &Value, found: &mut Vec<String>) {
    match schema["$ref"].as_str() {
        Some("#/$defs/count") => found.push(keys.to_owned()),
        Some("#/$defs/summary") | None => {}
        Some(path) => gather_counts(keys, all.pointer(&path[1..]).unwrap(), all, found),
    }
    let alternatives = schema["anyOf"].as_array();
    alternatives.into_iter().flatten().for_each(|schema| gather_counts(keys, schema, all, found));
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        let keys = if keys.is_empty() { key.clone() } else { format!("{keys}.{key}") };
        gather_counts(&keys, schema, all, found);
    }
}

/// Returns the keys of all counts in the document of a run.
fn counts_of_schema() -> Vec<String> {
    let schema: Value = serde_json::from_str(include_str!("../../report/schema.json")).unwrap();
    let mut found = Vec::new();
    gather_counts("", &schema["$defs"]["bench"], &schema, &mut found);
    // What was asked for is no result, and the place of a difference is no count.
    found.retain(|keys| !["depth", "connections", "length"].contains(&keys.as_str()));
    found.retain(|keys| !keys.starts_with("first_difference."));
    found
}

/// case B4: a count that the schema describes can be asserted by its keys, and has the value that
/// the document has there.
#[test]
fn every_count_of_the_document_has_its_name() {
    let counts = counts_of_schema();
    assert!(counts.len() > 50 && counts.contains(&"losses.network_unreachable".to_owned()));
    let mut run = samples::open_run();
    run.tcp = Some(Tcp::default());
    run.udp = Some(Udp::default());
    run.trains = Some(Trains::default());
    run.split = Some(SplitValues::default().split(&"50".parse().unwrap()));
    let mut document = serde_json::to_value(&run).unwrap();
    for (index, keys) in counts.iter().enumerate() {
        let place = format!("/{}", keys.replace('.', "/"));
        *document.pointer_mut(&place).unwrap_or_else(|| panic!("{keys}")) = (index + 1).into();
    }
    let run: RunResult = serde_json::from_value(document).unwrap();
    for (index, keys) in counts.iter().enumerate() {
        assert!(check(&format!("{keys}=={}", index + 1), &run).held, "{keys}");
    }
}

#[test]
fn no_two_figures_have_the_same_name() {
    let keys = FACTS.iter().filter(|fact| fact.key != Some(fact.name));
    let mut names = FACTS.iter().map(|fact| fact.name).chain(keys.filter_map(|fact| fact.key));
    let mut seen = std::collections::BTreeSet::new();
    assert_eq!(names.find(|name| !seen.insert(*name)), None);
    for name in ["lost", "bytes_sent", "hiccup.count", "network_unreachable", "warmup.corrupted"] {
        assert!(check(&format!("{name}==0"), &RunResult::default()).held, "{name}");
    }
    let mut run = samples::open_run();
    assert_eq!(check("server_drops==0", &run).value, None, "another program");
    run.server_drops = Some([("a".to_owned(), 2), ("b".to_owned(), 3)].into());
    assert!(check("server_drops==5", &run).held);
}

#[test]
fn the_page_on_bench_names_every_figure() {
    let page = include_str!("../../../docs/bench.md");
    let missing: Vec<_> = FACTS
        .iter()
        .map(|fact| fact.name)
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn a_figure_tells_what_a_run_must_have_for_it() {
    for (expression, need) in [
        ("p99<1ms", None),
        ("hiccup.total<1s", None),
        ("losses.refused==0", None),
        ("achieved>=99%", Some(Need::Rate)),
        ("lag.max<1ms", Some(Need::Rate)),
        ("service.p50<1ms", Some(Need::Rate)),
        ("away.p99<50us", Some(Need::Timestamps)),
        ("split.samples>0", Some(Need::Timestamps)),
        ("tcp.rtt.max<1ms", Some(Need::Tcp)),
        ("udp.receive_drops==0", Some(Need::Udp)),
        ("server_drops==0", Some(Need::OwnServer)),
    ] {
        assert_eq!(expression.parse::<Assertion>().unwrap().need(), need, "{expression}");
    }
}

#[test]
fn rates_and_shares_have_their_units() {
    let mut result = samples::closed_run();
    result.rate = Rate { asked: None, achieved: 200_000.0, over_planned: 100_000.5 };
    result.messages = Messages { sent: 1_000, lost: 1, ..result.messages };
    assert!(check("rate>100k", &result).held);
    assert!(check("rate>100000.4", &result).held);
    assert_eq!(check("loss<=0.1%", &result).value, Some(0.1));
    assert!(check("loss <= 0.1 %", &result).held);
    assert!(check("cpu_share<62%", &result).held);
}

#[test]
fn the_health_of_the_generator_is_compared_by_name() {
    let mut result = run();
    result.generator.verdict = Some(Verdict::Ok);
    assert!(check("health==ok", &result).held);
    assert!(!check("health != ok", &result).held);
    for (name, verdict) in [
        ("starved", Verdict::Starved),
        ("saturated", Verdict::Saturated),
        ("behind", Verdict::Behind),
    ] {
        result.generator.verdict = Some(verdict);
        assert!(!check("health==ok", &result).held, "{name}");
        assert!(check(&format!("health=={name}"), &result).held, "{name}");
    }
    assert_eq!(check("health==ok", &RunResult::default()).value, None, "nothing was measured");
}

#[test]
fn each_stretch_of_a_round_trip_has_a_value_if_it_was_sampled() {
    let mut result = run();
    result.split = None;
    assert_eq!(check("away.p50<1h", &result).value, None, "not asked for");
    let mut values = SplitValues::default();
    let percentiles = "50".parse().unwrap();
    result.split = Some(values.split(&percentiles));
    assert!(!check("away.min<1h", &result).held, "without a sample");
    for _ in 0..20 {
        values.record(Stretches { send_ns: 1_000, away_ns: 50_000, wake_ns: 7_000 });
    }
    result.split = Some(values.split(&percentiles));
    for expression in ["send.max==1us", "away.p50<=50.1us", "away.p25>49us", "wake.mean==7us"] {
        assert!(check(expression, &result).held, "{expression}");
    }
    assert_eq!(check("away.p99<1h", &result).value, None, "too few samples");
}

#[test]
fn the_counts_of_the_kernel_have_a_value_if_it_tells_them() {
    let mut result = run();
    for name in ["tcp.retransmits", "tcp.bytes_retransmitted", "tcp.lost", "tcp.reordering"] {
        assert_eq!(check(&format!("{name}==0"), &result).value, None, "{name}");
    }
    assert_eq!(check("udp.receive_drops==0", &result).value, None);
    let (retransmits, bytes_retransmitted, lost, reordering) = (1, 2, 3, 4);
    result.tcp = Some(Tcp { retransmits, bytes_retransmitted, lost, reordering, ..Tcp::default() });
    result.udp = Some(Udp { receive_drops: 5 });
    for expression in [
        "tcp.retransmits==1",
        "tcp.bytes_retransmitted==2",
        "tcp.lost==3",
        "tcp.reordering==4",
        "udp.receive_drops==5",
    ] {
        assert!(check(expression, &result).held, "{expression}");
    }
    assert!(!check("tcp.retransmits==0", &result).held);
}

#[test]
fn the_achieved_rate_is_compared_in_percent_of_the_rate_asked_for() {
    let mut result = run();
    result.rate = Rate { asked: Some(1_000.0), achieved: 1_000.0, over_planned: 990.0 };
    assert!(check("achieved>=99%", &result).held);
    assert!(!check("achieved>99%", &result).held, "of all the time asked for");
    result.rate.asked = None;
    assert_eq!(check("achieved>=0%", &result).value, None, "a closed loop asks for none");
}

#[test]
fn the_expression_stays_as_it_was_typed() {
    assert_eq!(check(" p99 < 200us", &run()).expression, "p99 < 200us");
}

#[test]
fn a_malformed_assertion_is_refused_with_an_example() {
    let cases = [
        ("", "expected a name"),
        ("p99", "expected a name"),
        ("lost=0", "one of < <= > >= == !="),
        ("lost!0", "one of < <= > >= == !="),
        ("<5", "expected a percentile"),
        ("p100<1ms", "expected a percentile below 100"),
        ("p<1ms", "expected a percentile"),
        ("p50,90<1ms", "expected a percentile"),
        ("p-1<1ms", "expected a percentile"),
        ("P99<1ms", "expected a percentile"),
        ("latency<1ms", "expected a percentile"),
        ("service<1ms", "expected a percentile"),
        ("other.p99<1ms", "expected a percentile"),
        ("p99<200", "expected a time with its unit after 'p99'"),
        ("p99<0", "expected a time with its unit"),
        ("p99<", "expected a time"),
        ("p99<1ms<2ms", "expected a time"),
        ("p99<-1ms", "expected a time"),
        ("rate>fast", "expected a rate per second after 'rate'"),
        ("rate>1.", "expected a rate"),
        ("loss<0.001", "expected a percentage with its % after 'loss'"),
        ("loss<%", "expected a percentage"),
        ("loss<infinity%", "expected a percentage"),
        ("lost<0.5", "expected a whole count after 'lost'"),
        ("lost<1%", "expected a whole count"),
        (
            "health==well",
            "expected ok, starved, saturated or behind after 'health', such as health==ok",
        ),
        ("health<starved", "expected == or != after 'health'"),
        ("achieved>=0.99", "expected a percentage with its %"),
        ("achieved>=99", "such as achieved>=99%"),
        ("achieved>=all", "such as achieved>=99%"),
        ("rate>100k%", "such as rate>100k"),
        ("rate>=fast", "such as rate>=100k"),
        ("loss<5", "such as loss<5%"),
        ("lost<=1%", "such as lost<=1"),
        ("lost!=few", "such as lost!=0"),
        ("p99>200", "such as p99>200us"),
        ("tcp.rtt<1ms", "or one of tcp.connections, tcp.retransmits, "),
        ("unreached==0", "losses.refused or tcp.retransmits"),
    ];
    for (text, expected) in cases {
        let refused = text.parse::<Assertion>().unwrap_err();
        assert!(refused.contains(expected) && refused.contains("such as"), "{text:?}: {refused}");
        assert!(!refused.contains('\n'));
    }
}

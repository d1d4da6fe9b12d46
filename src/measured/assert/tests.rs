//! Tests of every name, every operator, and of refused expressions.

use super::*;
use crate::measured::{
    Distribution, Flows, Messages, Rate, SplitValues, Stretches, Tcp, Udp, Verdict, samples,
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

/// case B4
#[test]
fn every_count_has_its_name() {
    let mut result = samples::closed_run();
    result.messages = Messages {
        sent: 1,
        received: 2,
        lost: 3,
        late: 4,
        duplicated: 5,
        reordered: 6,
        corrupted: 7,
        in_flight_at_end: 8,
    };
    result.flows = Flows {
        opened: 9,
        refused: 10,
        reset: 11,
        closed: 12,
        timed_out: 13,
        failed_locally: 14,
        unreachable: 15,
        reconnected: 16,
    };
    result.generator.held_back = 17;
    let names = [
        "sent",
        "received",
        "lost",
        "late",
        "duplicated",
        "reordered",
        "corrupted",
        "in_flight_at_end",
        "opened",
        "refused",
        "reset",
        "closed",
        "timed_out",
        "failed_locally",
        "unreachable",
        "reconnected",
        "held_back",
    ];
    for (index, name) in names.iter().enumerate() {
        assert!(check(&format!("{name}=={}", index + 1), &result).held, "{name}");
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
    result.generator.verdict = Verdict::Ok;
    assert!(check("health==ok", &result).held);
    assert!(!check("health != ok", &result).held);
    for (name, verdict) in [
        ("starved", Verdict::Starved),
        ("saturated", Verdict::Saturated),
        ("behind", Verdict::Behind),
    ] {
        result.generator.verdict = verdict;
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
    ];
    for (text, expected) in cases {
        let refused = text.parse::<Assertion>().unwrap_err();
        assert!(refused.contains(expected) && refused.contains("such as"), "{text:?}: {refused}");
        assert!(!refused.contains('\n'));
    }
}

//! Tests of the text report.

use proptest::prelude::*;

use super::*;
use crate::measured::{Difference, Drift, Rate, Third, Times, Trains, Verdict, Warning, samples};

/// Returns the text with each run of white space as one space. `page` tests the wrapping.
fn words_of(result: &RunResult) -> String {
    result.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn assert_says(result: &RunResult, expected: &[&str]) {
    let words = words_of(result);
    for text in expected {
        assert!(words.contains(text), "{text:?} is not in:\n{result}");
    }
}

#[test]
fn a_closed_loop_says_what_was_measured_and_left_out() {
    let result = samples::closed_run();
    assert_says(
        &result,
        &[
            "endpoint tcp://127.0.0.1:40001 (a server in this process)",
            "closed loop: 50 connections, 1 message in flight on each (50 in all), 64 bytes per",
            "measured 10.0 s",
            "left out the warm-up of 1.00 s before it (123 messages sent), the wait of 1.20 ms",
            "100 messages per second achieved, no rate asked for",
            "6.72 kB/s sent, 6.40 kB/s received",
            "1,050 sent, 1,000 received, 0 lost, 50 in flight at the end",
            "none late, duplicated, reordered or corrupted",
            "50 opened none refused, reset by the peer, closed by the peer, timed out or failed",
            "ok: the generator had CPU time to spare",
            "this process used 12.3 s of CPU time in all",
            "resound 0.1.0 on Linux 6.18.5, Intel(R) Xeon(R) CPU @ 2.50GHz, 2 CPUs online",
            "online, allowed 0,1, governor",
            "governor unknown, clock tsc; loopback: no network",
            "both ends may run on the same CPUs",
        ],
    );
    assert!(!words_of(&result).contains("PARTIAL"));
}

#[test]
fn an_open_loop_shows_the_service_time_and_the_lag_beside_the_response_time() {
    let result = samples::open_run();
    assert_says(
        &result,
        &[
            "open loop: ",
            "99,990 messages per second achieved of 100,000 asked for (99.99 %)",
            "round trip response time service time schedule lag",
            "p50 70.0 us 60.0 us 2.00 us",
            "p99.99 - - -",
            "-: fewer than 10 samples beyond it",
            "95 % intervals of the response time: p50 70.0 us to ",
            "assert held: p99<200us (110 us)",
        ],
    );
}

#[test]
fn percentiles_with_enough_samples_need_no_note() {
    let mut result = samples::closed_run();
    result.latency_ns.summary.percentiles.truncate(2);
    assert!(!words_of(&result).contains("fewer than"));
}

/// case B5
#[test]
fn a_partial_report_is_flagged() {
    let mut result = samples::closed_run();
    result.status = Status::Partial;
    result.error = Some("interrupted".to_owned());
    result.elapsed_ns /= 4;
    result.rate.over_planned = 25.0;
    result.asserts = vec!["rate>50".parse::<Assertion>().unwrap().check(&result)];
    assert_says(
        &result,
        &[
            "PARTIAL interrupted; the figures are of a shorter run",
            "100 messages per second achieved, no rate asked for; 25.0 over the 10.0 s asked for",
            "NOT held: rate>50 (25.0 per second)",
        ],
    );
}

/// case B10
#[test]
fn a_run_without_an_echo_says_so_instead_of_times() {
    let mut result = samples::closed_run();
    result.status = Status::Error;
    result.error = Some("no echo came".to_owned());
    result.latency_ns = Times::default();
    result.messages = Messages { sent: 50, lost: 50, ..Messages::default() };
    let expected = ["ERROR no echo came", "no echo came in time", "50 lost (100.00 %)"];
    assert_says(&result, &expected);
}

#[test]
fn a_run_that_could_not_start_is_short() {
    let result = RunResult::failed(Vec::new(), "cannot connect: refused");
    assert_says(&result, &["ERROR cannot connect: refused"]);
    assert_eq!(result.to_string().lines().count(), 1, "{result}");
}

/// cases B3 and B4
#[test]
fn faults_are_counted_by_name() {
    let mut result = samples::closed_run();
    result.messages = Messages {
        sent: 2_000,
        received: 1_990,
        lost: 10,
        late: 4,
        duplicated: 3,
        reordered: 2,
        corrupted: 1,
        in_flight_at_end: 0,
    };
    result.flows = Flows {
        opened: 47,
        refused: 3,
        reset: 2,
        closed: 1,
        timed_out: 5,
        failed_locally: 6,
        unreachable: 7,
        reconnected: 8,
    };
    assert_says(
        &result,
        &[
            "10 lost (0.50 %)",
            "4 late, 3 duplicated, 2 reordered, 1 corrupted",
            "47 opened 3 refused, 2 reset by the peer, 1 closed by the peer, 5 timed out, 6 failed",
        ],
    );
}

/// case U14
#[test]
fn trains_are_shown_if_asked_for_with_their_mean_lengths_or_a_refusal() {
    let mut result = samples::closed_run();
    let trains =
        Trains { asked: true, refused: false, sends: 40, sent: 1_272, receives: 10, received: 320 };
    result.trains = Some(trains);
    let means =
        "trains 31.8 datagrams per send, 32.0 per receive (GSO, GRO; --no-offload sends singly)";
    assert_says(&result, &[means]);
    result.trains = Some(Trains { refused: true, ..trains });
    assert_says(&result, &["trains refused by the system for these messages, so each went alone"]);
    for trains in [None, Some(Trains { asked: false, ..trains })] {
        result.trains = trains;
        assert!(!words_of(&result).contains("trains"));
    }
}

/// case B7
#[test]
fn the_first_difference_is_located() {
    let mut result = samples::closed_run();
    let difference = Difference {
        flow: 3,
        message: Some(17),
        offset: 5,
        sent: Some(0x41),
        received: Some(0x42),
    };
    result.first_difference = Some(difference.clone());
    let text = "first difference: connection 3, message 17, byte 5: sent 0x41, received 0x42";
    assert_says(&result, &[text]);
    let strange = Difference { message: None, sent: None, received: None, ..difference };
    assert_eq!(
        strange.to_string(),
        "first difference: connection 3, an echo that matches no message, byte 5: sent nothing \
         there, received nothing there"
    );
}

/// case B2
#[test]
fn a_limit_of_the_generator_is_named() {
    let mut result = samples::open_run();
    result.generator.verdict = Some(Verdict::Behind);
    result.generator.held_back = 12;
    result.generator.unsent = 3;
    result.generator.saturated_values = 1;
    result.generator.intervals_lost = 2;
    assert_says(
        &result,
        &[
            "HEALTH the generator, not the server, was the limit: it sent messages late",
            "held back 12 messages due while their connection was at its depth, or its socket",
            "UNSENT 3 messages due but never sent",
            "1 time of more than an hour",
            "2 interval lines dropped",
        ],
    );
}

#[test]
fn a_run_whose_thirds_differ_says_so() {
    let mut result = samples::closed_run();
    let third = |p50_us: u64| Third { count: 50, p50: Some(p50_us * 1_000), p99: None };
    result.drift = Some(Drift { found: false, thirds: [70, 71, 90].map(third) });
    assert!(!words_of(&result).contains("DRIFT"));
    result.drift = Some(Drift { found: true, thirds: [70, 71, 90].map(third) });
    let expected = "DRIFT the thirds of the run differ: p50 70.0 us, 71.0 us, 90.0 us; p99 -, -, -";
    assert_says(&result, &[expected]);
    // The notes of the table stand before the next entry.
    let text = words_of(&result);
    assert!(text.find("95 % intervals").unwrap() < text.find("DRIFT").unwrap(), "{text}");
}

#[test]
fn connect_mode_counts_connections_per_second() {
    let mut result = samples::closed_run();
    result.mode = Mode::Connect;
    let expected =
        ["100 connections per second", "every message is a connection: connect, one echo, close"];
    assert_says(&result, &expected);
}

#[test]
fn datagram_sockets_are_not_called_connections() {
    let mut result = samples::closed_run();
    result.endpoint = "udp://127.0.0.1:7".to_owned();
    assert_says(&result, &["50 sockets", "sockets 50 opened"]);
}

#[test]
fn asserts_and_warnings_stand_at_the_end() {
    let mut result = samples::closed_run();
    let expression = "p99.9<1ms".to_owned();
    result.asserts.push(Outcome { expression, value: None, held: false });
    result.warnings = vec![Warning("a virtual machine\n\x1b[2J".to_owned())];
    assert_says(
        &result,
        &[
            r"WARNING a virtual machine\n\u{1b}[2J",
            "NOT held: p99.9<1ms (no value, or too few samples for one)",
        ],
    );
}

#[test]
fn a_value_is_shown_with_its_unit() {
    let text = |expression: &str, value| {
        value_text(value, expression.parse::<Assertion>().unwrap().unit())
    };
    assert_eq!(text("p99<1ms", 71_200.0), "71.2 us");
    assert_eq!(text("rate>1", 100_000.4), "100,000 per second");
    assert_eq!(text("loss<1%", 0.05), "0.0500 %");
    assert_eq!(text("lost<1", 1_000.0), "1,000");
    assert_eq!(text("health==ok", 1.0), "starved");
    assert_eq!(text("achieved>=99%", 99.5), "99.5000 %");
}

proptest! {
    #[test]
    fn the_value_of_an_assert_is_on_one_line(value in 0.0..f64::MAX) {
        for unit in [Unit::Time, Unit::Rate, Unit::Percent, Unit::Count, Unit::Verdict] {
            prop_assert!(!value_text(value, unit).contains(char::is_control));
        }
    }

    #[test]
    fn any_figures_fit_a_page(
        counts: [u64; 8],
        times: [u64; 4],
        asked in prop::option::of(1.0..1e19),
        achieved in 0.0..1e19,
    ) {
        let mut result = samples::open_run();
        result.messages = Messages {
            sent: counts[0],
            received: counts[1],
            lost: counts[2],
            late: counts[3],
            duplicated: counts[4],
            reordered: counts[5],
            corrupted: counts[6],
            in_flight_at_end: counts[7],
        };
        result.warmup_messages = result.messages;
        let latency_ns_max = &mut result.latency_ns.summary.max;
        [result.elapsed_ns, result.warmup_ns, result.drain_ns, *latency_ns_max] = times;
        (result.depth, result.connections) = (counts[0], counts[1]);
        result.bytes.sent = counts[0];
        result.generator.held_back = counts[2];
        result.rate = Rate { asked, achieved, over_planned: achieved / 2.0 };
        for line in result.to_string().lines() {
            prop_assert!(line.chars().count() <= 100, "{}", line);
        }
    }
}

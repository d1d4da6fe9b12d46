//! Times: the delays that the server knows are bounds for the reported times.

use std::iter;

use serde_json::Value;

use crate::bench::{Judge, assert_messages, at_once, count, every_endpoint, good_json};
use crate::support::Daemon;

/// The number of measured messages, sent one at a time.
const MEASURED: usize = 100;

/// The server's bounds for the round trips of a single client with one message in flight. Each list
/// is in ascending order.
struct Bounds {
    /// The times from a message's arrival at the server to its answer's departure. No round trip is
    /// shorter.
    least_ns: Vec<u64>,
    /// The times from the departure of the previous answer to the arrival of the next message. The
    /// round trips of both messages are outside this time, so no round trip is longer.
    most_ns: Vec<u64>,
}

impl Bounds {
    /// Computes the bounds from the last messages, which are the measured ones.
    fn of(record: &Value) -> Bounds {
        let list = |name: &str| -> Vec<u64> {
            record[name].as_array().unwrap().iter().map(|time| time.as_u64().unwrap()).collect()
        };
        let (came, left) = (list("came_ns"), list("left_ns"));
        let next_came = came[1..].iter().copied().chain(iter::once(count(record, "/end_ns")));
        assert!(came.len() > MEASURED, "the warm-up came first");
        let first = came.len() - MEASURED;
        let mut least_ns: Vec<u64> =
            (first..came.len()).map(|number| left[number] - came[number]).collect();
        let mut most_ns: Vec<u64> = next_came
            .enumerate()
            .skip(first)
            .map(|(number, next)| next - left[number - 1])
            .collect();
        least_ns.sort_unstable();
        most_ns.sort_unstable();
        Bounds { least_ns, most_ns }
    }

    /// Returns the bounds of the value at a percentile, which is that of the first sample not
    /// exceeded by this share.
    fn at(&self, percent: usize) -> (u64, u64) {
        let rank = (self.least_ns.len() * percent).div_ceil(100).max(1) - 1;
        (self.least_ns[rank], self.most_ns[rank])
    }
}

/// Asserts that each round trip lies between two times that the server took itself, even on a busy
/// machine. On an idle machine those are within 5 % of each other, so the reported value is too.
#[track_caller]
fn assert_between(endpoint: &str) {
    const ATTEMPTS: usize = 3;
    for _ in 0..ATTEMPTS {
        let judge = Judge::start(endpoint, &["wait:1:0:0.02"]);
        let number = MEASURED.to_string();
        let common = ["-c1", "--warmup=50ms", "--timeout=50s", "--percentiles=50,90"];
        let document = good_json(&[&common[..], &["-n", &number, &judge.endpoint]].concat());
        let bounds = Bounds::of(&judge.record());
        let latency = &document["latency_ns"];
        assert_eq!(count(latency, "/count"), MEASURED as u64);
        for (path, percent) in [("/min", 0), ("/percentiles/50", 50), ("/percentiles/90", 90)] {
            let (least_ns, most_ns) = bounds.at(percent);
            let reported_ns = count(latency, path);
            println!("{endpoint} {path}: {least_ns} <= {reported_ns} <= {most_ns}");
            // The histogram keeps three significant digits.
            let rounding_ns = reported_ns / 1_000 + 1;
            assert!(reported_ns + rounding_ns >= least_ns, "{endpoint} {path}");
            assert!(reported_ns <= most_ns + rounding_ns, "{endpoint} {path}");
        }
        assert!(count(latency, "/max") >= *bounds.least_ns.last().unwrap() / 1_000 * 999);
        let (least_ns, most_ns) = bounds.at(50);
        if most_ns <= least_ns + least_ns / 20 {
            return;
        }
    }
    println!("this machine is too busy to hold the median to less than 5 %");
}

#[test]
fn times_over_tcp_lie_between_what_the_server_saw_before_and_after() {
    assert_between("tcp://127.0.0.1:0");
}

#[test]
fn times_over_udp_lie_between_what_the_server_saw_before_and_after() {
    assert_between("udp://127.0.0.1:0");
}

#[test]
fn times_over_unix_sockets_lie_between_what_the_server_saw_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in ["unix:{}/stream", "unixgram:{}/datagram"] {
        assert_between(&endpoint.replace("{}", &folder.path().display().to_string()));
    }
}

/// Two of a thousand answers are late, so that p99.9 is one of them, and as many samples lie beyond
/// it as a percentile needs.
#[test]
fn a_few_late_answers_are_in_the_high_percentiles_and_not_in_the_low_ones() {
    const LATE_NS: u64 = 50_000_000;
    for endpoint in ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"] {
        let judge = Judge::start(endpoint, &["slow:500:250:0.05"]);
        let common = ["-c8", "--warmup=0", "--timeout=50s", "-n12000"];
        let document = good_json(&[&common[..], &[&judge.endpoint]].concat());
        assert_messages(&document, [12_000, 12_000, 0, 0, 0, 0, 0]);
        let latency = &document["latency_ns"];
        assert!(count(latency, "/percentiles/99.9") >= LATE_NS, "{latency}");
        assert!(latency["percentiles"]["99.99"].is_null(), "one sample lies beyond it");
        // At least half of all samples are not below the median, and eight messages were in flight
        // at a time.
        let elapsed_ns = count(&document, "/elapsed_ns");
        let p50_ns = count(latency, "/percentiles/50");
        assert!(p50_ns <= 8 * elapsed_ns / 6_000 * 1_001 / 1_000, "{latency}");
    }
}

/// In a closed loop the sum of all round trips is at most the sum of the times of all flows.
#[test]
fn the_round_trips_of_a_closed_loop_fit_into_its_time() {
    for transport in ["tcp", "udp", "unix", "unixgram"] {
        let common = ["-c3", "-d2", "-n3000", "--warmup=0", "--timeout=50s"];
        let document = good_json(&[&common[..], &["--transport", transport]].concat());
        let latency = &document["latency_ns"];
        let sum_ns = count(latency, "/mean") * count(latency, "/count");
        let room_ns = 3 * 2 * count(&document, "/elapsed_ns");
        assert!(sum_ns <= room_ns / 1_000 * 1_001, "{sum_ns} ns in {room_ns} ns");
        let achieved = document["rate"]["achieved"].as_f64().unwrap();
        let expected = 3_000.0 * 1e9 / count(&document, "/elapsed_ns") as f64;
        assert!((achieved / expected - 1.0).abs() < 1e-6, "{achieved} {expected}");
    }
}

/// case B1: messages that were due during the stall waited for its end. Measured from the actual
/// send, only the few messages in flight did.
#[test]
fn a_stall_of_a_second_shows_in_the_response_time_and_not_in_the_service_time() {
    at_once(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"], |endpoint| {
        let judge = Judge::start(endpoint, &["wait:0:300:1"]);
        let common = ["-c5", "-d1", "-r500", "-n1500", "--warmup=0", "--timeout=50s"];
        let document = good_json(&[&common[..], &[&judge.endpoint]].concat());
        assert_messages(&document, [1_500, 1_500, 0, 0, 0, 0, 0]);
        let response_ns = count(&document, "/latency_ns/percentiles/99");
        let service_ns = count(&document, "/service_time_ns/percentiles/99");
        assert!(response_ns >= 800_000_000, "{document:#}");
        assert!(service_ns < response_ns / 2, "{document:#}");
        assert!(count(&document, "/service_time_ns/max") >= 999_000_000, "{document:#}");
        assert!(count(&document, "/generator/held_back") >= 100, "{document:#}");
    });
}

/// case B1: datagrams do not wait for each other's echoes, so the stall delays no send.
#[test]
fn a_stall_delays_no_datagram_and_shows_in_the_response_time() {
    // The server's receive buffer holds all of them.
    let judge = Judge::start("udp://127.0.0.1:0", &["wait:0:80:0.5"]);
    let common = ["-c5", "-r200", "-n240", "--warmup=0", "--timeout=50s"];
    let document = good_json(&[&common[..], &[&judge.endpoint]].concat());
    assert_messages(&document, [240, 240, 0, 0, 0, 0, 0]);
    assert_eq!(count(&document, "/generator/held_back"), 0);
    assert!(count(&document, "/latency_ns/percentiles/90") >= 200_000_000, "{document:#}");
    assert!(count(&document, "/service_time_ns/max") >= 499_000_000, "{document:#}");
}

/// The server takes 5 ms for each message, and many messages wait for it. Echoes after the planned
/// end count as messages but not in the rate.
#[test]
fn echoes_after_the_end_of_a_closed_loop_are_not_in_the_rate() {
    at_once(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"], |endpoint| {
        let judge = Judge::start(endpoint, &["wait:1:0:0.005"]);
        let common = ["-c20", "-d1", "-t300ms", "--warmup=0", "--timeout=50s"];
        let document = good_json(&[&common[..], &[&judge.endpoint]].concat());
        let elapsed_s = count(&document, "/elapsed_ns") as f64 / 1e9;
        let achieved = document["rate"]["achieved"].as_f64().unwrap();
        // There is one wait fewer than echoes between the first echo and the last.
        assert!(achieved * elapsed_s <= 200.0 * elapsed_s + 1.0, "{document:#}");
        let received = count(&document, "/messages/received");
        assert_eq!(received, count(&document, "/messages/sent"));
    });
}

/// The loop is never faster than the requested rate: the last of 500 messages is due 499 steps
/// after the first, and none is sent before it is due.
#[test]
fn an_open_loop_is_not_faster_than_the_requested_rate() {
    let judge = Judge::start("tcp://127.0.0.1:0", &[]);
    let common = ["-c4", "-r1k", "-n500", "--warmup=0", "--timeout=50s"];
    let document = good_json(&[&common[..], &[&judge.endpoint]].concat());
    assert!(document["rate"]["achieved"].as_f64().unwrap() <= 1_000.0);
    // No message is sent before it is due, so the time from due is at least the time from the send.
    for path in ["/min", "/percentiles/50", "/percentiles/90", "/max", "/mean"] {
        let [response, service] =
            ["latency_ns", "service_time_ns"].map(|times| count(&document[times], path));
        assert!(response + response / 500 + 2 >= service, "{path}: {document:#}");
    }
    // By the server's clock: the first message came no later after its due time than any round
    // trip.
    let record = judge.record();
    let came = |index: usize| record["came_ns"][index].as_u64().unwrap();
    let span_ns = came(499) - came(0) + count(&document, "/latency_ns/max") / 999 * 1_000;
    assert!(span_ns >= 499_000_000, "{span_ns}");
}

/// A server that takes 5 ms for each message answers at most 200 per second. Messages that could
/// not be sent in time are sent after the planned end, and that time then counts as measured.
#[test]
fn a_rate_beyond_the_server_is_not_reported_as_achieved() {
    at_once(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"], |endpoint| {
        let judge = Judge::start(endpoint, &["wait:1:0:0.005"]);
        let common = ["-c1", "-d1", "-r5k", "-t300ms", "--warmup=0", "--timeout=500ms"];
        let document = good_json(&[&common[..], &[&judge.endpoint]].concat());
        assert_eq!(document["rate"]["asked"], 5_000.0);
        let received = count(&document, "/messages/received") as f64;
        let achieved = document["rate"]["achieved"].as_f64().unwrap();
        // There is one wait fewer than messages between the first message and the last.
        assert!(achieved <= 200.0 * received / (received - 1.0), "{document:#}");
        assert!(count(&document, "/generator/held_back") > 0, "{document:#}");
        assert!(count(&document, "/latency_ns/max") > count(&document, "/service_time_ns/max"));
    });
}

/// The last message gets its share of the time, as every other does.
#[test]
fn a_counted_open_loop_is_never_faster_than_the_requested_rate() {
    let every = every_endpoint("counted");
    at_once(&every, |endpoint| {
        let daemon = Daemon::start(&[endpoint]);
        for load in [
            &["-r10", "-n1"][..],
            &["-r10", "-n2"],
            &["-r100", "-n30"],
            &["-r100", "-n30", "--arrival=poisson"],
            &["-r10", "-t50ms"],
            &["-r1m", "-n1"],
        ] {
            let common = ["--warmup=0", "-c2", "--timeout=50s", &daemon.endpoints[0]];
            let document = good_json(&[load, &common[..]].concat());
            let rate = &document["rate"];
            let [asked, achieved] = ["asked", "achieved"].map(|key| rate[key].as_f64().unwrap());
            assert!(achieved <= asked, "{document:#}");
            let (received, elapsed_ns) =
                (count(&document, "/messages/received"), count(&document, "/elapsed_ns"));
            assert!(achieved <= received as f64 * 1e9 / elapsed_ns as f64 * 1.000_001);
            if !load[1].starts_with("-t") {
                assert!(elapsed_ns as f64 >= received as f64 * 1e9 / asked, "{document:#}");
            }
        }
    });
}

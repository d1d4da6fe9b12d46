//! Datagrams that are lost, duplicated, late, reordered or corrupted. The tests know how many, so
//! they know the correct report.

use serde_json::{Value, json};

use crate::bench::{
    Judge, assert_messages, at_once, bench_json, count, every_endpoint, good_json, is_stream,
    run_bench,
};

/// Returns the endpoints of the datagram transports.
fn datagram_endpoints(tag: &str) -> Vec<String> {
    every_endpoint(tag).into_iter().filter(|endpoint| !is_stream(endpoint)).collect()
}

/// One socket, so that consecutive messages at the server are consecutive in the flow. The depth
/// makes all lost messages time out at the same moment.
const FLOW: [&str; 5] = ["-c1", "-d32", "--warmup=0", "-n1000", "--timeout=5s"];

/// case B3: 1 % of each kind.
#[test]
fn lost_duplicated_and_swapped_answers_are_counted_exactly() {
    at_once(&datagram_endpoints("exact"), |endpoint| {
        let judge = Judge::start(endpoint, &["drop:100:50", "twice:100:25", "swap:100:70"]);
        let document = good_json(&[&FLOW[..], &[&judge.endpoint]].concat());
        assert_messages(&document, [1_000, 990, 10, 0, 10, 10, 0]);
        assert_eq!(count(&document, "/latency_ns/count"), 990);
        assert_eq!(count(&document, "/bytes/sent"), 64_000);
        assert_eq!(count(&document, "/bytes/received"), 64 * 990);
        assert_eq!(count(&judge.record(), "/messages"), 1_000);
    });
}

/// case B3: the depth is far beyond the receive buffers of both ends, so both drop datagrams. Each
/// datagram goes alone: a train is one drop.
#[test]
fn what_the_server_in_this_process_drops_is_in_the_document_and_in_the_text() {
    let load = ["--transport=udp", "-c1", "-d1000", "-n2000", "--rcvbuf=4k", "--no-offload"];
    let document = good_json(&[&load[..], &["--timeout=3s", "--warmup=0"]].concat());
    let of = |path: &str| count(&document, path);
    let dropped = of("/server_drops/overflowed");
    assert!(dropped > 0, "{document:#}");
    assert_eq!(document["server_drops"], json!({"overflowed": dropped}));
    let lost = of("/messages/lost") - of("/messages/late");
    assert_eq!(lost, dropped + of("/udp/receive_drops"), "{document:#}");
    let text = run_bench(&[&load[..], &["--timeout=100ms", "--warmup=0"]].concat()).stdout_text();
    assert!(text.contains(" by the server in this process ("), "{text}");
    let judge = Judge::start("udp://127.0.0.1:0", &[]);
    for (arguments, expected) in
        [(["--transport=tcp"], json!({})), ([judge.endpoint.as_str()], Value::Null)]
    {
        let document = good_json(&[&arguments[..], &["-n9", "--warmup=0"]].concat());
        assert_eq!(document["server_drops"], expected);
    }
}

/// case B3: each fault alone; none counts as another.
#[test]
fn each_fault_is_counted_only_as_itself() {
    for endpoint in datagram_endpoints("alone") {
        for (rule, expected) in [
            ("twice:10:0", [1_000, 1_000, 0, 0, 100, 0, 0]),
            ("twice:1:0", [1_000, 1_000, 0, 0, 1_000, 0, 0]),
            ("swap:10:3", [1_000, 1_000, 0, 0, 0, 100, 0]),
        ] {
            let judge = Judge::start(&endpoint, &[rule]);
            let document = good_json(&[&FLOW[..4], &["--timeout=50s", &judge.endpoint]].concat());
            assert_messages(&document, expected);
        }
    }
}

/// case B3: with one message in flight, the server receives the next message only after the client
/// gave up the one before. Only then does it answer the old message, just before the new one.
#[test]
fn a_late_answer_is_counted_as_lost_and_late_and_does_not_answer_a_newer_message() {
    at_once(&every_endpoint("late"), |endpoint| {
        let judge = Judge::start(endpoint, &["late:0:20"]);
        let document =
            good_json(&[&judge.endpoint, "-c1", "-d1", "--warmup=0", "--timeout=5s", "-n200"]);
        assert_messages(&document, [200, 199, 1, 1, 0, 0, 0]);
        // The seconds that the late answer took are not in the round trips, and do not change any
        // other round trip.
        assert_eq!(count(&document, "/latency_ns/count"), 199);
    });
}

/// case B7: a byte of the payload, and a byte of the number that identifies the message.
#[test]
fn one_wrong_byte_of_a_datagram_is_found_and_shown_and_the_exit_code_is_3() {
    for endpoint in datagram_endpoints("flip") {
        for offset in [40, 63, 12, 9, 0] {
            let rule = format!("flip:0:333:{offset}");
            let judge = Judge::start(&endpoint, &[&rule]);
            let (ended, document) = bench_json(&[&FLOW[..], &[&judge.endpoint]].concat());
            assert_eq!(ended.code(), 3, "{document:#}");
            assert_messages(&document, [1_000, 1_000, 0, 0, 0, 0, 1]);
            let difference = &document["first_difference"];
            assert_eq!(difference["flow"], 0);
            assert_eq!(difference["message"], 333, "offset {offset}: {difference}");
            assert_eq!(difference["offset"], offset);
            let byte = |name: &str| count(difference, name);
            assert_eq!(byte("/sent") ^ byte("/received"), 0xff);
        }
    }
}

/// case B7
#[test]
fn the_text_shows_where_the_first_difference_is() {
    for endpoint in every_endpoint("shown") {
        let judge = Judge::start(&endpoint, &["flip:0:17:40"]);
        let common = ["-c1", "-d1", "--warmup=0", "--timeout=50s", "-n100"];
        let ended = run_bench(&[&common[..], &[&judge.endpoint]].concat());
        assert_eq!(ended.code(), 3, "{}", ended.stderr);
        let text = ended.stdout_text();
        let line = text.lines().find(|line| line.starts_with("DIFFERENCE")).unwrap();
        let expected = "first difference: connection 0, message 17, byte 40: sent 0x";
        assert!(line.contains(expected), "{text}");
        assert!(text.contains("1 corrupted"), "{text}");
    }
}

/// The content of echoes is not checked, so no echo counts as corrupted.
#[test]
fn with_no_verify_a_server_that_corrupts_is_measured() {
    for endpoint in every_endpoint("unverified") {
        let judge = Judge::start(&endpoint, &["flip:1:0:40"]);
        let document = good_json(&[
            &judge.endpoint,
            "-c1",
            "-d1",
            "--no-verify",
            "--warmup=0",
            "--timeout=50s",
            "-n100",
        ]);
        assert_messages(&document, [100, 100, 0, 0, 0, 0, 0]);
        assert_eq!(document["first_difference"], json!(null));
        assert_eq!(document["options"]["meant"]["verify"], false);
    }
}

/// These datagrams are too short for the number of the message. The counts must still be correct.
#[test]
fn the_shortest_datagrams_are_counted_exactly() {
    let with_endpoints = |length| datagram_endpoints("short").into_iter().zip([length; 2]);
    let cases: Vec<(String, usize)> = [1, 2, 7].into_iter().flat_map(with_endpoints).collect();
    at_once(&cases, |(endpoint, length)| {
        let rules = ["drop:100:50", "twice:100:25", "swap:100:70"];
        let judge = Judge::start_for(*length, endpoint, &rules);
        let length = length.to_string();
        let document = good_json(&[&FLOW[..], &["-l", &length, &judge.endpoint]].concat());
        assert_messages(&document, [1_000, 990, 10, 0, 10, 10, 0]);
    });
}

/// The longest datagrams: 65,507 bytes over UDP on IPv4, and a longer Unix datagram.
#[test]
fn the_longest_datagrams_come_back_whole() {
    let endpoints = datagram_endpoints("long");
    let cases: Vec<(String, usize)> = endpoints.into_iter().zip([65_507, 100_000]).collect();
    at_once(&cases, |(endpoint, length)| {
        let judge = Judge::start_for(*length, endpoint, &["drop:0:5"]);
        let length = length.to_string();
        let common = ["-c1", "-d1", "--warmup=0", "--timeout=5s", "-n50", "-l", &length];
        let document = good_json(&[&common[..], &[&judge.endpoint]].concat());
        assert_messages(&document, [50, 49, 1, 0, 0, 0, 0]);
    });
}

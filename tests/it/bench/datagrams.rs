//! Datagrams that go missing, come twice, come late, come in another order or come changed: how
//! many did is known, and so is what is to be reported.

use serde_json::json;

use crate::bench::{
    Judge, assert_messages, at_once, bench_json, count, every_endpoint, good_json, is_stream,
    run_bench,
};

/// The endpoints of the datagram transports.
fn datagram_endpoints(tag: &str) -> Vec<String> {
    every_endpoint(tag).into_iter().filter(|endpoint| !is_stream(endpoint)).collect()
}

/// One socket, so that neighbours at the server are neighbours of the flow; deep enough that all
/// that is lost is given up at the same time.
const FLOW: [&str; 5] = ["-c1", "-d32", "--warmup=0", "-n1000", "--timeout=2s"];

/// case B3: 1 % of each.
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

/// case B3: each kind of trouble alone, in which nothing is to be counted as another kind.
#[test]
fn one_kind_of_trouble_is_not_taken_for_another() {
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

/// case B3: with one message in flight, the server sees the next one only when the one before is
/// given up. Only then it answers that one, and ahead of the newer.
#[test]
fn a_late_answer_is_counted_as_lost_and_late_and_answers_no_newer_message() {
    at_once(&every_endpoint("late"), |endpoint| {
        let judge = Judge::start(endpoint, &["late:0:20"]);
        let document =
            good_json(&[&judge.endpoint, "-c1", "-d1", "--warmup=0", "--timeout=1s", "-n200"]);
        assert_messages(&document, [200, 199, 1, 1, 0, 0, 0]);
        // The late one's second is no round trip, and no other's is shortened or prolonged by it.
        assert_eq!(count(&document, "/latency_ns/count"), 199);
    });
}

/// case B7: the byte is of the message's own part, and of the number that the message is known by.
#[test]
fn one_wrong_byte_of_a_datagram_is_found_and_shown_and_ends_with_3() {
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
        let ended = run_bench(&[&judge.endpoint, "-c1", "-d1", "--warmup=0", "-n100"]);
        assert_eq!(ended.code(), 3, "{}", ended.stderr);
        let text = ended.stdout_text();
        let line = text.lines().find(|line| line.starts_with("DIFFERENCE")).unwrap();
        let expected = "first difference: connection 0, message 17, byte 40: sent 0x";
        assert!(line.contains(expected), "{text}");
        assert!(text.contains("1 corrupted"), "{text}");
    }
}

/// What comes back is not looked at, so nothing of it is wrong.
#[test]
fn without_verifying_a_server_that_corrupts_is_measured_all_the_same() {
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

/// The number that tells messages apart does not fit into these: the counts hold all the same.
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

/// The longest that there are: 65,507 bytes of UDP over IPv4, and a Unix datagram beyond that.
#[test]
fn the_longest_datagrams_come_back_whole() {
    let endpoints = datagram_endpoints("long");
    let cases: Vec<(String, usize)> = endpoints.into_iter().zip([65_507, 100_000]).collect();
    at_once(&cases, |(endpoint, length)| {
        let judge = Judge::start_for(*length, endpoint, &["drop:0:5"]);
        let length = length.to_string();
        let common = ["-c1", "-d1", "--warmup=0", "--timeout=1s", "-n50", "-l", &length];
        let document = good_json(&[&common[..], &[&judge.endpoint]].concat());
        assert_messages(&document, [50, 49, 1, 0, 0, 0, 0]);
    });
}

//! Echoes on streams: in pieces, many at once, and with foreign bytes among them.

use serde_json::json;

use crate::bench::{
    Judge, assert_messages, bench_json, count, every_endpoint, good_json, is_stream, run_bench,
};

/// Returns the endpoints of the stream transports.
fn stream_endpoints(tag: &str) -> Vec<String> {
    every_endpoint(tag).into_iter().filter(|endpoint| is_stream(endpoint)).collect()
}

/// With this timeout no message is lost, even on a busy machine.
const PATIENT: [&str; 2] = ["--warmup=0", "--timeout=50s"];

/// case B7: in a message that takes many reads.
#[test]
fn one_wrong_byte_of_a_long_message_is_found_with_its_offset() {
    const LENGTH: usize = 100 << 10;
    for endpoint in stream_endpoints("flip") {
        for offset in [0, 65_536, 77_777, LENGTH - 1] {
            let rule = format!("flip:0:7:{offset}");
            let judge = Judge::start_for(LENGTH, &endpoint, &[&rule]);
            let common = ["-c1", "-d2", "-n20", "-l100KiB", &judge.endpoint];
            let (ended, document) = bench_json(&[&PATIENT[..], &common].concat());
            assert_eq!(ended.code(), 3, "{document:#}");
            assert_messages(&document, [20, 20, 0, 0, 0, 0, 1]);
            let difference = &document["first_difference"];
            assert_eq!(difference["message"], 7, "{difference}");
            assert_eq!(difference["offset"], offset);
            let byte = |name: &str| count(difference, name);
            assert_eq!(byte("/sent") ^ byte("/received"), 0xff);
        }
    }
}

/// case B7: several messages are wrong; the report shows the first and counts each once.
#[test]
fn every_wrong_message_is_counted_once() {
    for endpoint in stream_endpoints("flips") {
        let judge = Judge::start(&endpoint, &["flip:10:3:5", "flip:20:4:60"]);
        let common = ["-c1", "-d8", "-n1000", &judge.endpoint];
        let (ended, document) = bench_json(&[&PATIENT[..], &common].concat());
        assert_eq!(ended.code(), 3);
        assert_messages(&document, [1_000, 1_000, 0, 0, 0, 0, 150]);
        assert_eq!(count(&document, "/first_difference/message"), 3);
        assert_eq!(count(&document, "/first_difference/offset"), 5);
    }
}

/// case B9
#[test]
fn echoes_in_pieces_of_odd_sizes_are_counted_correctly() {
    for endpoint in stream_endpoints("pieces") {
        let judge = Judge::start(&endpoint, &["pieces:1:0"]);
        let common = ["-c2", "-d3", "-n500", &judge.endpoint];
        let document = good_json(&[&PATIENT[..], &common].concat());
        assert_messages(&document, [500, 500, 0, 0, 0, 0, 0]);
        assert_eq!(count(&document, "/latency_ns/count"), 500);
    }
}

/// case B9: the server collects 64 messages and answers them in one write.
#[test]
fn many_echoes_in_one_read_are_counted_correctly() {
    for endpoint in stream_endpoints("gather") {
        let judge = Judge::start(&endpoint, &["gather:1:0:64"]);
        let common = ["-c1", "-d64", "-n6400", &judge.endpoint];
        let document = good_json(&[&PATIENT[..], &common].concat());
        assert_messages(&document, [6_400, 6_400, 0, 0, 0, 0, 0]);
        assert_eq!(count(&document, "/bytes/received"), 6_400 * 64);
    }
}

/// A server of another protocol sends a greeting, so all bytes after it are shifted.
#[test]
fn a_greeting_is_not_an_echo() {
    for endpoint in stream_endpoints("greet") {
        let judge = Judge::start(&endpoint, &["greet:1:0:220 mail.example ESMTP"]);
        let common = ["-c1", "-d1", "-n20", &judge.endpoint];
        let (ended, document) = bench_json(&[&PATIENT[..], &common].concat());
        assert_eq!(ended.code(), 3, "{document:#}");
        // Without a warm-up, bytes before the first message belong to the measured time.
        assert!(count(&document, "/messages/corrupted") >= 1, "{document:#}");
        assert_eq!(count(&document, "/warmup_messages/corrupted"), 0, "{document:#}");
        assert_eq!(count(&document, "/messages/received"), 20);
        let difference = &document["first_difference"];
        assert_eq!(difference["offset"], 0);
        assert_eq!(difference["received"], json!(b'2'), "{difference}");
    }
}

/// case B13: the exit code, the document and the text agree.
#[test]
fn a_greeting_is_reported_in_the_phase_in_which_it_came() {
    for endpoint in stream_endpoints("phase") {
        for (warmup, phase) in [("--warmup=0", "messages"), ("--warmup=2s", "warmup_messages")] {
            let common = ["-c4", "-n200", "--timeout=50s", warmup];
            let judge = || Judge::start(&endpoint, &["greet:1:0:220 mail.example ESMTP"]);
            let server = judge();
            let (ended, document) = bench_json(&[&common[..], &[&server.endpoint]].concat());
            assert_eq!(ended.code(), 3, "{document:#}");
            assert!(count(&document, &format!("/{phase}/corrupted")) >= 1, "{document:#}");
            drop(server);
            let server = judge();
            let ended = run_bench(&[&common[..], &[&server.endpoint]].concat());
            let text = ended.stdout_text();
            assert_eq!(ended.code(), 3, "{text}");
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let are_measured_good = words.contains("none late, duplicated, reordered or corrupted");
            assert!(phase != "messages" || !are_measured_good, "{text}");
            assert!(words.contains(" corrupted"), "{text}");
            assert!(words.contains("DIFFERENCE first difference"), "{text}");
        }
    }
}

/// case B7: the figures exclude the warm-up; the verdict includes it.
#[test]
fn a_wrong_byte_in_the_warm_up_exits_with_3() {
    for endpoint in every_endpoint("warm") {
        let judge = Judge::start(&endpoint, &["flip:0:0:40"]);
        let common = ["-c1", "-d1", "-n50", "--warmup=100ms", "--timeout=50s"];
        let (ended, document) = bench_json(&[&common[..], &[&judge.endpoint]].concat());
        assert_eq!(ended.code(), 3, "{document:#}");
        assert_eq!(count(&document, "/warmup_messages/corrupted"), 1);
        assert_messages(&document, [50, 50, 0, 0, 0, 0, 0]);
        assert_eq!(count(&document, "/first_difference/message"), 0);
    }
}

/// Many connections have one message in flight each, with their own numbers.
#[test]
fn connections_are_not_mixed_up() {
    for endpoint in stream_endpoints("mixed") {
        let judge = Judge::start(&endpoint, &["slow:7:0:0.002", "flip:0:555:20"]);
        let common = ["-c20", "-d1", "-n1000", &judge.endpoint];
        let (ended, document) = bench_json(&[&PATIENT[..], &common].concat());
        assert_eq!(ended.code(), 3);
        assert_messages(&document, [1_000, 1_000, 0, 0, 0, 0, 1]);
        let record = judge.record();
        assert_eq!((count(&record, "/messages"), count(&record, "/connections")), (1_000, 20));
    }
}

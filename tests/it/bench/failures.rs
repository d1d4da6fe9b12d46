//! Servers that do not answer, that end, or that never existed. `bench` counts the failures by
//! cause, continues with the other connections, and ends on time.

use crate::bench::{
    Judge, assert_messages, at_once, bench_json, count, every_endpoint, good_json, is_stream,
    run_bench,
};
use crate::support::{UnservedPorts, abstract_name};

/// Asserts the counts of connections, in the order opened, refused, reset, closed, timed out,
/// failed locally.
#[track_caller]
fn assert_flows(document: &serde_json::Value, expected: [u64; 6]) {
    let names = ["opened", "refused", "reset", "closed", "timed_out", "failed_locally"];
    let found = names.map(|name| count(document, &format!("/flows/{name}")));
    assert_eq!(found, expected, "{names:?}: {document:#}");
}

/// case B10: limited by count and by time; every message is given up when its timeout expires.
#[test]
fn a_server_that_never_answers_does_not_hold_up_the_end() {
    let with_limits = |endpoint: String| {
        let by_count = (endpoint.clone(), vec!["-n6"]);
        let by_time = (endpoint.replace('@', "@time"), vec!["-t200ms"]);
        [by_count, by_time]
    };
    let cases: Vec<(String, Vec<&str>)> =
        every_endpoint("mute").into_iter().flat_map(with_limits).collect();
    at_once(&cases, |(endpoint, limit)| {
        let judge = Judge::start(endpoint, &["drop:1:0"]);
        let arguments =
            [&["-c2", "--warmup=0", "--timeout=100ms", &judge.endpoint], &limit[..]].concat();
        let (ended, document) = bench_json(&arguments);
        assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 1), "{}", ended.stderr);
        assert_eq!(document["status"], "error");
        let error = format!("nothing came back from {}", judge.endpoint);
        assert_eq!(document["error"].as_str(), Some(error.as_str()));
        assert_eq!(ended.stderr, format!("resound: {error}\n"));
        let sent = count(&document, "/messages/sent");
        assert!(sent > 0, "{document:#}");
        assert_messages(&document, [sent, 0, sent, 0, 0, 0, 0]);
        assert!(limit[0] != "-n6" || sent == 6);
        assert_flows(&document, [2, 0, 0, 0, 0, 0]);
    });
}

/// case B10: the text reports it too.
#[test]
fn the_text_of_a_run_without_an_answer_says_that_none_came() {
    let judge = Judge::start("tcp://127.0.0.1:0", &["drop:1:0"]);
    let ended = run_bench(&[&judge.endpoint, "-c1", "-n2", "--timeout=50ms", "--warmup=0"]);
    assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 1), "{}", ended.stderr);
    let text = ended.stdout_text();
    assert!(text.contains("ERROR         nothing came back"), "{text}");
    assert!(text.contains("2 sent, 0 received, 2 lost (100.00 %)"), "{text}");
}

/// case B4: the peer closes two of four connections.
#[test]
fn connections_that_the_peer_closes_are_counted_and_the_others_continue() {
    for endpoint in every_endpoint("closes").iter().filter(|endpoint| is_stream(endpoint)) {
        let judge = Judge::start(endpoint, &["close:0:100", "close:0:150"]);
        let common = ["-c4", "-n2000", "--warmup=0", "--timeout=50s", "--assert=closed==0"];
        let (ended, document) = bench_json(&[&common[..], &[&judge.endpoint]].concat());
        assert_eq!(ended.code(), 99, "{document:#}");
        assert_eq!(document["status"], "ok");
        assert_flows(&document, [4, 0, 0, count(&document, "/flows/closed"), 0, 0]);
        // Both rules may have applied to the same connection, if its last answers left in one
        // write.
        assert!((1..=2).contains(&count(&document, "/flows/closed")), "{document:#}");
        assert!(count(&document, "/messages/received") >= 1_990, "{document:#}");
        assert_eq!(document["asserts"][0]["held"], false);
        assert!(ended.stderr.is_empty(), "{}", ended.stderr);
    }
}

/// case B4
#[test]
fn a_run_whose_every_connection_is_closed_ends_early_and_is_partial() {
    for endpoint in every_endpoint("all").iter().filter(|endpoint| is_stream(endpoint)) {
        let judge = Judge::start(endpoint, &["close:1:50"]);
        let common = ["-c4", "-t10m", "--warmup=0", "--timeout=50s"];
        let (ended, document) = bench_json(&[&common[..], &[&judge.endpoint]].concat());
        assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 1), "{}", ended.stderr);
        assert!(ended.stderr.contains("every connection ended before the time"), "{document:#}");
        assert_eq!(document["status"], "partial");
        assert_flows(&document, [4, 0, 0, 4, 0, 0]);
        assert_eq!(count(&document, "/messages/in_flight_at_end"), 0);
        // From then on the server answers one message per connection.
        let asserts = ["--assert=closed==0", "--assert=received==4"];
        let (ended, document) = bench_json(&[&common[..], &asserts, &[&judge.endpoint]].concat());
        assert_eq!(ended.code(), 99, "{document:#}");
        let held = |index: usize| document["asserts"][index]["held"].as_bool().unwrap();
        assert_eq!((held(0), held(1)), (false, true), "{document:#}");
    }
}

/// case B4
#[test]
fn connections_that_the_peer_resets_are_counted_and_the_others_continue() {
    for endpoint in every_endpoint("resets").iter().filter(|endpoint| is_stream(endpoint)) {
        let judge = Judge::start(endpoint, &["reset:0:100", "reset:0:200"]);
        let common = ["-c4", "-n2000", "--warmup=0", "--timeout=50s"];
        let document = good_json(&[&common[..], &[&judge.endpoint]].concat());
        assert_messages(&document, [2_000, 1_998, 2, 0, 0, 0, 0]);
        let of_kind = |kind: &str| count(&document, &format!("/flows/{kind}"));
        // A Unix stream has no reset; the peer can only close it.
        let (reset, closed) = (of_kind("reset"), of_kind("closed"));
        assert_eq!(reset + closed, 2, "{document:#}");
        assert!(closed == 0 || !endpoint.starts_with("tcp:"), "{document:#}");
        let (ended, _) = bench_json(
            &[&common[..], &[&judge.endpoint, "--assert=reset==0", "--assert=closed==0"]].concat(),
        );
        assert_eq!(ended.code(), 0, "the rules were for the first run");
    }
}

/// case B4: the server accepts two connections. Of the others, queued ones are reset and later ones
/// are refused.
#[test]
fn a_server_that_accepts_some_connections_and_refuses_others_is_measured_over_the_accepted_ones() {
    for endpoint in every_endpoint("some").iter().filter(|endpoint| is_stream(endpoint)) {
        let judge = Judge::start(endpoint, &["last:0:1"]);
        let common = ["-c6", "-n1000", "--warmup=0", "--timeout=50s"];
        let (ended, document) = bench_json(
            &[&common[..], &[&judge.endpoint, "--assert=received>0", "--assert=loss<1%"]].concat(),
        );
        assert_eq!((ended.code(), &document["status"]), (0, &"ok".into()), "{document:#}");
        let of_kind = |kind: &str| count(&document, &format!("/flows/{kind}"));
        assert_eq!(of_kind("refused") + of_kind("reset") + of_kind("closed"), 4, "{document:#}");
        assert_eq!(of_kind("opened") + of_kind("refused"), 6, "{document:#}");
        assert!(count(&document, "/messages/received") >= 996, "{document:#}");
    }
}

/// case B4: with one connection per message, a refused connection is a lost message, and the run
/// tries again until its time is up.
#[test]
fn connections_refused_one_after_the_other_are_lost_messages() {
    let judge = Judge::start("tcp://127.0.0.1:0", &["last:0:5"]);
    let common = ["--mode=connect", "-c3", "-t800ms", "--warmup=0", "--timeout=50s"];
    let (ended, document) = bench_json(&[&common[..], &[&judge.endpoint]].concat());
    assert_eq!((ended.code(), &document["status"]), (1, &"partial".into()), "{document:#}");
    let refused = count(&document, "/flows/refused");
    let received = count(&document, "/messages/received");
    assert!((1..=6).contains(&received) && refused > 0, "{document:#}");
    assert_eq!(received + count(&document, "/messages/lost"), count(&document, "/messages/sent"));
}

/// case U8: an ICMP error comes for each datagram, and the kernel reports one per socket.
#[test]
fn a_udp_server_that_ends_is_refused_and_the_run_ends_on_time() {
    let judge = Judge::start("udp://127.0.0.1:0", &["end:0:20"]);
    let common = ["-c3", "-t5s", "--warmup=0", "--timeout=500ms"];
    let (ended, document) = bench_json(&[&common[..], &[&judge.endpoint]].concat());
    // A closed loop pauses while it is refused, so it does not reach its load.
    assert_eq!((ended.code(), &document["status"]), (1, &"partial".into()), "{document:#}");
    assert_flows(&document, [3, 3, 0, 0, 0, 0]);
    assert!((1..=20).contains(&count(&document, "/messages/received")), "{document:#}");
    assert!(count(&document, "/messages/lost") >= 3, "{document:#}");
}

#[test]
fn a_unix_datagram_server_that_ends_is_refused() {
    let judge = Judge::start(&format!("unixgram:{}", abstract_name("ends")), &["end:0:100"]);
    let common = ["-c3", "-t5s", "--warmup=0", "--timeout=500ms"];
    let (ended, document) = bench_json(&[&common[..], &[&judge.endpoint]].concat());
    assert_eq!((ended.code(), &document["status"]), (1, &"partial".into()), "{document:#}");
    assert!(count(&document, "/losses/refused") > 0, "{document:#}");
    assert_flows(&document, [3, 3, 0, 0, 0, 0]);
    assert!(count(&document, "/messages/received") <= 100, "{document:#}");
}

#[test]
fn an_unserved_endpoint_is_refused_in_one_line() {
    let unserved = UnservedPorts::new();
    let UnservedPorts { tcp, udp, .. } = &unserved;
    let endpoints = [
        format!("tcp://{tcp}"),
        format!("udp://{udp}"),
        format!("unix:{}", abstract_name("unserved")),
        format!("unixgram:{}", abstract_name("unserved")),
        "unix:/no/such/socket".to_owned(),
        "unixgram:/no/such/socket".to_owned(),
    ];
    at_once(&endpoints, |endpoint| {
        let common = ["-c2", "-t200ms", "--warmup=0", "--timeout=100ms"];
        let modes = if is_stream(endpoint) { ["echo", "connect"] } else { ["echo", "echo"] };
        for mode in modes {
            let (ended, document) =
                bench_json(&[&common[..], &["--mode", mode, endpoint]].concat());
            assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 1), "{}", ended.stderr);
            assert!(ended.stderr.contains(endpoint.as_str()), "{}", ended.stderr);
            let reason = match endpoint.contains("/no/such/") {
                true => "no such file or directory",
                false => "refused (nothing listens",
            };
            assert!(ended.stderr.contains(reason), "{}", ended.stderr);
            assert_eq!(document["status"], "error");
            assert!(count(&document, "/flows/refused") >= 2, "{document:#}");
        }
    });
}

/// The top-level domain `.invalid` has no names (RFC 2606).
#[test]
fn a_host_that_does_not_exist_is_named_in_one_line() {
    for endpoint in ["tcp://no-such-host.invalid:1", "udp://no-such-host.invalid:1"] {
        let (ended, document) = bench_json(&[endpoint, "-n1"]);
        let expected = format!("resound: cannot connect to {endpoint}: no such host\n");
        assert_eq!((ended.code(), ended.stderr), (1, expected));
        assert_eq!(document["status"], "error");
        assert_eq!(document["endpoint"].as_str(), Some(endpoint));
        let ended = run_bench(&[endpoint, "-n1"]);
        assert_eq!((ended.code(), ended.stdout.len()), (1, 0), "the line says it all");
    }
}

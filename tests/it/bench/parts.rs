//! `--part` and `--start-at`: several processes make one load.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::bench::{bench_json, count, good_json, run_bench};
use crate::support::Daemon;

/// Returns the Unix seconds of a moment so far ahead.
fn ahead(time: Duration) -> String {
    let since = (SystemTime::now() + time).duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

fn refused(arguments: &[&str], parts: &[&str]) {
    let ended = run_bench(arguments);
    assert_eq!((ended.code(), ended.stderr.lines().count()), (2, 1), "{}", ended.stderr);
    parts.iter().for_each(|part| assert!(ended.stderr.contains(part), "{}", ended.stderr));
}

/// case B17
#[test]
fn the_parts_of_a_load_have_its_connections_its_count_and_its_rate() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let endpoint = daemon.endpoints[0].as_str();
    let load = ["-c5", "-n100", "-r2k", "--warmup=0", "--timeout=50s", endpoint];
    let mut sum = (0, 0, 0.0);
    for part in ["1/3", "2/3", "3/3"] {
        let document = good_json(&[&["--part", part], &load[..]].concat());
        assert_eq!(document["run"]["part"], *part);
        let meant = &document["options"]["meant"];
        assert_eq!((&meant["connections"], &meant["part"]), (&json!(5), &json!(part)));
        sum.0 += count(&document, "/connections");
        sum.1 += count(&document, "/messages/sent");
        sum.2 += document["rate"]["asked"].as_f64().unwrap();
    }
    assert_eq!((sum.0, sum.1, sum.2.round()), (5, 100, 2_000.0));
    assert_eq!(daemon.counters().get("accepted"), 5);
}

/// case B17
#[test]
fn a_run_measures_from_the_requested_time() {
    // A machine that is too busy to connect within this time fails the run, and not this test.
    for ahead_s in [2, 20] {
        let time = ahead(Duration::from_secs(ahead_s));
        let (ended, document) =
            bench_json(&["--start-at", &time, "--warmup=100ms", "-t100ms", "-c2", "-r100"]);
        if ended.code() == 2 {
            assert!(ended.stderr.contains("too late"), "{}", ended.stderr);
            continue;
        }
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let (from, nanos) =
            (&document["run"]["measured_from"], &document["options"]["meant"]["start_at"]);
        assert_eq!(from, nanos);
        assert!(from.as_str().unwrap().contains(time.split_once('.').unwrap().1), "{from} {time}");
        assert_eq!(document["warmup_ns"], 100_000_000);
        return;
    }
    panic!("20 s were too few to connect");
}

/// case B17
#[test]
fn a_start_that_is_too_late_is_refused() {
    refused(&["--start-at=2026-01-01T00:00:00Z"], &["2026-01-01T00:00:00Z is too late: it was"]);
    refused(&["--start-at=2026-01-01T01:00:00+01:00"], &["2026-01-01T00:00:00Z is too late"]);
    refused(&["--start-at=1767225600"], &["2026-01-01T00:00:00Z is too late"]);
    let soon = ahead(Duration::from_secs(100));
    refused(&["--start-at", &soon, "--warmup=1h"], &["s are left, and the warm-up takes 3600s"]);
    let far = "1767225600000";
    for time in ["noon", "", "-1", "10ms", "2026-01-01", far] {
        let start = format!("--start-at={time}");
        refused(&[&start], &["expected RFC 3339 or Unix seconds", "such as"]);
    }
}

/// A port that drops what it gets keeps a connection from opening until it times out.
///
/// case B17
#[test]
fn a_run_whose_connections_open_too_late_ends_with_2_and_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    // Connections that wait to be accepted fill the backlog, so that later ones are not answered.
    rustix::net::listen(&listener, 0).unwrap();
    let waiting = [(); 2].map(|()| {
        let timeout = Duration::from_millis(300);
        std::net::TcpStream::connect_timeout(&addr, timeout)
    });
    let endpoint = format!("tcp://{addr}");
    // A machine that is too busy to start the program within this time gets another error.
    for ahead_s in [1, 20] {
        let time = ahead(Duration::from_secs(ahead_s));
        let common = ["--warmup=0", "--timeout=50s", "-c2", &endpoint];
        let (ended, document) = bench_json(&[&["--start-at", &time], &common[..]].concat());
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        let error = document["error"].as_str().unwrap();
        assert_eq!(document["messages"]["sent"], 0);
        if error.starts_with("too late to start at the requested time: ") {
            drop(waiting);
            return;
        }
        assert!(error.contains(" is too late: it was"), "{error}");
    }
    panic!("20 s were too few to start the program");
}

/// case B17
#[test]
fn a_part_that_is_impossible_is_refused() {
    for part in ["0/2", "3/2", "2", "1/1001", "a/b", ""] {
        let flag = format!("--part={part}");
        refused(&[&flag], &["expected I/N with I from 1 to N", "such as 2/4"]);
    }
    refused(&["--part=1/4", "-c3"], &["--connections 3 cannot be dealt out to 4 parts"]);
    refused(&["--part=1/4", "-n3"], &["--count 3 cannot be dealt out to 4 parts", "--count 4"]);
}

#[test]
fn a_run_without_a_part_is_the_whole_load() {
    let document: Value = good_json(&["-n10", "-c1", "--warmup=0"]);
    assert_eq!(document["run"]["part"], "1/1");
    assert_eq!(document["options"]["meant"]["start_at"], Value::Null);
}

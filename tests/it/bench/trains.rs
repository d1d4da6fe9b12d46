//! UDP messages in trains: counted by strace, refused by a path, and shown in the report.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::bench::{Judge, assert_messages, bench, count, document, good_json, run_bench};
use crate::support::{Daemon, resound, run, tool, unshare_network};

/// Runs a load of this many messages under strace. Returns the number of sending calls by strace's
/// count, and the document.
fn sends(endpoint: &str, messages: u64, flags: &[&str]) -> Option<(u64, Value)> {
    let strace = tool("strace")?;
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary");
    let count = format!("-n{messages}");
    let common = ["-J", "-c1", "-d32", "--warmup=0", "--timeout=50s", &count, endpoint];
    let bench = bench(&[&common[..], flags].concat());
    let mut command = Command::new(strace);
    command.args(["-f", "-c", "-e", "trace=sendto,sendmsg,sendmmsg", "-o"]).arg(&summary);
    command.arg(bench.get_program()).args(bench.get_args());
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let document = document(&ended);
    assert_messages(&document, [messages, messages, 0, 0, 0, 0, 0]);
    let summary = fs::read_to_string(summary).unwrap();
    // "100.00    0.123456           1     12345       678 sendto"
    let calls = summary.lines().filter(|line| {
        line.split_whitespace().next_back().is_some_and(|name| name.starts_with("send"))
    });
    let calls =
        calls.map(|line| -> u64 { line.split_whitespace().nth(3).unwrap().parse().unwrap() });
    Some((calls.sum(), document))
}

#[test]
fn at_depth_32_a_call_sends_many_messages_and_with_no_offload_one() {
    const MESSAGES: u64 = 10_000;
    let daemon = Daemon::start(&["udp://127.0.0.1:0"]);
    let endpoint = &daemon.endpoints[0];
    let Some((together, document)) = sends(endpoint, MESSAGES, &[]) else { return };
    println!("{together} sends of {MESSAGES} messages at depth 32");
    assert!(together < MESSAGES / 4, "{together} sends of {MESSAGES} messages");
    assert_eq!(count(&document, "/trains/sends"), together);
    assert_eq!(count(&document, "/trains/sent"), MESSAGES);
    assert_eq!(document["trains"]["asked"], true);
    let (alone, document) = sends(endpoint, MESSAGES, &["--no-offload"]).expect("strace");
    assert_eq!((alone, count(&document, "/trains/sends")), (MESSAGES, MESSAGES));
    assert_eq!(count(&document, "/trains/receives"), MESSAGES);
    assert_eq!(document["trains"]["asked"], false);
    assert_eq!(document["options"]["meant"]["no_offload"], true);
}

/// A server that answers one by one receives the same messages as without trains.
#[test]
fn a_server_without_gro_finds_each_message_in_its_own_datagram() {
    for flags in [&[][..], &["--no-offload"]] {
        let judge = Judge::start("udp://127.0.0.1:0", &["drop:100:50", "flip:0:333:40"]);
        let common = ["-J", "-c1", "-d32", "--warmup=0", "-n1000", "--timeout=2s"];
        let ended = run_bench(&[&common[..], flags, &[&judge.endpoint]].concat());
        assert_eq!(ended.code(), 3);
        assert_messages(&document(&ended), [1_000, 990, 10, 0, 0, 0, 1]);
        assert_eq!(count(&judge.record(), "/messages"), 1_000);
    }
}

#[test]
fn the_text_shows_trains_where_they_are_in_use() {
    let common = ["-c2", "-n500", "--warmup=0", "--timeout=50s", "--transport"];
    for (flags, is_told) in [
        (&["udp", "-d32"][..], true),
        (&["udp", "-r20k"], true),
        (&["udp", "-d32", "--no-offload"], false),
        (&["udp", "-d1"], false),
        (&["unixgram", "-d8"], false),
    ] {
        let ended = run_bench(&[&common[..], flags].concat());
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let text = ended.stdout_text();
        assert_eq!(text.contains("\ntrains  "), is_told, "{flags:?}: {text}");
        assert_eq!(text.contains("--no-offload sends singly"), is_told, "{text}");
    }
    let document = good_json(&["-c2", "-d8", "-n100", "--warmup=0", "--timeout=50s"]);
    assert!(document["trains"].is_null(), "a stream has none");
}

/// case U14: the messages are longer than the path takes unfragmented, so they go singly and in
/// fragments.
#[test]
fn a_path_that_refuses_trains_gets_single_datagrams() {
    let Some(unshare) = unshare_network() else { return };
    let script = r#"ip link set lo mtu 1500 up; exec "$0" "$@""#;
    for (length, is_refused) in [("1400", false), ("2000", true)] {
        for is_text in [false, true] {
            let mut command = Command::new(&unshare);
            command.args(["-n", "sh", "-c", script]).arg(resound().get_program()).arg("bench");
            command.args(["--transport=udp", "-c2", "-d8", "-n500", "--warmup=0"]);
            command.args(["--timeout=50s", "-l", length]);
            if !is_text {
                command.arg("-J");
            }
            let ended = run(command);
            assert_eq!(ended.code(), 0, "{}", ended.stderr);
            if is_text {
                let text = ended.stdout_text();
                assert_eq!(text.contains("\ntrains        refused"), is_refused, "{text}");
                continue;
            }
            let document = document(&ended);
            assert_messages(&document, [500, 500, 0, 0, 0, 0, 0]);
            assert_eq!(document["trains"]["refused"], is_refused);
            assert_eq!(count(&document, "/trains/sends") == 500, is_refused, "{document:#}");
        }
    }
}

//! Flags of `bench`: wrong values, and the effect of right ones.

use serde_json::Value;

use crate::bench::{Judge, bench, bench_json, count, good_json, run_bench};
use crate::support::{Daemon, Process, wait_until};

/// case B12: exit code 2 and one line that names the fault and shows a right value. With `-J`, a
/// document contains the same line.
#[test]
fn impossible_values_are_refused_in_one_line() {
    for (arguments, parts) in [
        (&["-c", "0"][..], ["'--connections <N>'", "such as"]),
        (&["-c", "-1"], ["'--connections <N>'", "such as"]),
        (&["-c", "5g"], ["2^32 messages in flight", "such as"]),
        (&["-c", "1m", "-d", "1m"], ["2^32 messages in flight", "such as"]),
        (&["-l", "0"], ["'--length <SIZE>'", "such as"]),
        (&["-l", "64:70%,1200:20%"], ["'--length <SIZE>'", "found 90 %"]),
        (&["-l", "64:50%,70000:50%", "--transport", "udp"], ["'70000'", "at most 65507"]),
        (&["-l", "64..70000", "udp://127.0.0.1:1"], ["'70000'", "at most 65507"]),
        (&["--size", "0"], ["'--length <SIZE>'", "such as"]),
        (&["-d", "0"], ["'--depth <N>'", "such as"]),
        (&["-r", "0"], ["'--rate <N>'", "such as"]),
        (&["-r", "-5"], ["'-5'", "such as"]),
        (&["-r", "99999999999999999999"], ["'99999999999999999999'", "such as"]),
        (&["-r", "1e6"], ["'1e6'", "such as"]),
        (&["-n", "0"], ["'--count <N>'", "such as"]),
        (&["-n", "lots"], ["'lots'", "such as"]),
        (&["-t", "0"], ["'--duration <T>'", "such as"]),
        (&["-t", "99999999d"], ["'99999999d'", "such as"]),
        (&["--timeout", "0"], ["'--timeout <T>'", "such as"]),
        (&["--warmup", "soon"], ["'--warmup <T>'", "such as"]),
        (&["--interval", "0"], ["'--interval <T>'", "such as"]),
        (&["--percentiles", "100"], ["'100'", "such as"]),
        (&["--percentiles", "50,,99"], ["'50,,99'", "such as"]),
        (&["--assert", "nonsense"], ["'nonsense'", "such as"]),
        (&["--assert", "p99<200"], ["'p99<200'", "such as"]),
        (&["-o", "x.txt"], ["'x.txt'", ".hgrm"]),
        (&["-o", "json"], ["'json'", ".hgrm"]),
        (&["--spin", "x"], ["'x'", "such as"]),
        (&["-A", "9999"], ["'9999'", "such as"]),
        (&["-A", "-1"], ["'-1'", "such as"]),
        (&["--rcvbuf", "0"], ["'--rcvbuf <SIZE>'", "such as"]),
        (&["--arrival", "poisson"], ["--rate", "--help"]),
        (&["--arrival", "often", "-r", "5"], ["'often'", "poisson"]),
        (&["--arrival", "burst:0", "-r", "5"], ["'burst:0'", "such as burst:100"]),
        (&["--mode", "shout"], ["'shout'", "connect"]),
        (&["--mode", "connect", "udp://127.0.0.1:1"], ["stream", "such as tcp://"]),
        (&["--mode", "connect", "--transport", "unixgram"], ["stream", "such as tcp://"]),
        (&["--mode", "connect", "-d", "2"], ["--depth 1", "--help"]),
        (&["--transport", "carrier"], ["'carrier'", "unixgram"]),
        (&["--transport", "tcp", "tcp://127.0.0.1:1"], ["--transport", "ENDPOINT"]),
        (&["-l", "70000", "udp://127.0.0.1:1"], ["'70000'", "at most 65507"]),
        (&["-l", "65528", "udp://[::1]:1"], ["'65528'", "at most 65527"]),
        (&["-l", "64k", "--transport", "udp"], ["'65536'", "at most 65507"]),
        (&["-l", "5MiB", "--transport", "unixgram"], ["'5242880'", "Unix datagram"]),
        (&["tcp://"], ["tcp://", "expected"]),
        (&["7007"], ["'7007'", "expected"]),
        (&["tcp://127.0.0.1:1", "udp://127.0.0.1:1"], ["'udp://127.0.0.1:1'", "--help"]),
        (&["--frobnicate"], ["'--frobnicate'", "--help"]),
        (&["--label"], ["'--label <TEXT>'", "--help"]),
    ] {
        refused(arguments, &parts);
    }
}

/// case B12: the flags that decide how packets leave.
#[test]
fn impossible_ways_out_are_refused_in_one_line() {
    for (arguments, parts) in [
        (&["--dscp", "64"][..], ["'--dscp <NAME|N>'", "such as"]),
        (&["--dscp", "af44"], ["'af44'", "such as"]),
        (&["--ttl", "0"], ["'--ttl <N>'", "such as"]),
        (&["--ttl", "256"], ["'256'", "such as"]),
        (&["--mss", "87"], ["'--mss <N>'", "such as"]),
        (&["--busy-poll", "0"], ["'--busy-poll <T>'", "such as"]),
        (&["--bind", "localhost"], ["'localhost'", "such as"]),
        (&["--bind", "127.0.0.1:9-8"], ["'127.0.0.1:9-8'", "such as"]),
        (&["--bind", "::1", "tcp://127.0.0.1:1"], ["'--bind ::1'", "expected"]),
        (&["--bind", "::1", "-4"], ["'--bind ::1'", "expected"]),
        (&["-4", "-6"], ["'--ipv4'", "--help"]),
        (&["-4", "tcp://[::1]:1"], ["'-4'", "expected an IPv4 address"]),
        (&["-6", "udp://127.0.0.1:1"], ["'-6'", "expected an IPv6 address"]),
    ] {
        refused(arguments, &parts);
    }
}

#[track_caller]
fn refused(arguments: &[&str], parts: &[&str]) {
    let (ended, document) = bench_json(arguments);
    assert_eq!((ended.code(), ended.stderr.lines().count()), (2, 1), "{}", ended.stderr);
    for part in parts {
        assert!(ended.stderr.contains(part), "{:?} lacks {part:?}", ended.stderr);
    }
    assert_eq!(document["status"], "error");
    let error = document["error"].as_str().unwrap();
    assert_eq!(ended.stderr, format!("resound: {error}\n"));
    let without = run_bench(arguments);
    assert_eq!((without.code(), without.stdout.len()), (2, 0), "{arguments:?}");
    assert_eq!(without.stderr, ended.stderr);
}

/// case B12: values beyond any machine that are still valid.
#[test]
fn the_greatest_numbers_are_accepted() {
    let common = ["-c2", "-t30ms", "--warmup=0"];
    for greatest in ["-r18446744073709551615", "-n18446744073709551615", "-n18446744073g"] {
        let (ended, document) = bench_json(&[&common[..], &[greatest]].concat());
        assert!([0, 1].contains(&ended.code()), "{greatest}: {}", ended.stderr);
        assert!(count(&document, "/messages/sent") < u64::from(u32::MAX), "{document:#}");
    }
    let times = ["--timeout=500000h", "--interval=500000h", "-n20", "-t500000h", "--warmup=0"];
    let (ended, document) = bench_json(&times);
    assert_eq!((ended.code(), count(&document, "/messages/received")), (0, 20));
}

/// case B12: times that are too short to send anything.
#[test]
fn runs_with_the_shortest_times_end_cleanly() {
    for shortest in [&["-t1ns"][..], &["--timeout=1ns", "-n20"], &["--interval=1ns", "-n20"]] {
        let (ended, document) = bench_json(&[&["--warmup=0", "-c2"], shortest].concat());
        let received = count(&document, "/messages/received");
        assert_eq!(ended.code(), i32::from(received == 0), "{document:#}");
    }
}

#[test]
fn the_document_contains_the_settings_of_the_run() {
    let document = good_json(&[
        "-c3",
        "--size=100",
        "-d2",
        "-n1k",
        "--warmup=20ms",
        "--timeout=50s",
        "--label",
        "before the change\n\u{1b}[31m \"quoted\"",
        "--percentiles=25,99.9,50",
        "-A0",
        "--spin=0",
        "--nagle",
        "--rcvbuf=64KiB",
        "--no-offload",
    ]);
    assert_eq!(document["label"], "before the change\n\u{1b}[31m \"quoted\"");
    assert_eq!((count(&document, "/connections"), count(&document, "/length")), (3, 100));
    assert_eq!((&document["loop"], count(&document, "/depth")), (&"closed".into(), 2));
    let percentiles = document["latency_ns"]["percentiles"].as_object().unwrap();
    assert_eq!(percentiles.keys().collect::<Vec<_>>(), ["25", "99.9", "50"]);
    let meant = &document["options"]["meant"];
    assert_eq!((count(meant, "/count"), count(meant, "/warmup_ns")), (1_000, 20_000_000));
    assert_eq!((&meant["affinity"], &meant["rcvbuf"]), (&0.into(), &65_536.into()));
    assert_eq!((&meant["nagle"], &meant["spin"]), (&true.into(), &0.into()));
    let typed = document["options"]["typed"].as_array().unwrap();
    assert_eq!((&typed[0], &typed[1], typed.len()), (&"bench".into(), &"-J".into(), 16));
    // The text escapes characters that would move the cursor of a terminal.
    let ended = run_bench(&["-n10", "--warmup=0", "--label", "a\n\u{1b}[31mb"]);
    assert!(!ended.stdout_text().contains('\u{1b}'), "{}", ended.stdout_text());
}

/// Uses the first CPU. Every machine has it, although not every process may use it.
#[test]
fn the_generator_runs_on_the_requested_cpu() {
    let common = ["-n100", "--warmup=0", "--timeout=50s", "-A"];
    let (ended, document) = bench_json(&[&common[..], &["0"]].concat());
    if ended.code() == 0 {
        assert_eq!(document["environment"]["cpus_allowed"], serde_json::json!([0]));
    }
    let (ended, document) = bench_json(&[&common[..], &["1023"]].concat());
    assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 1), "{}", ended.stderr);
    assert!(ended.stderr.contains("CPU 1023"), "{}", ended.stderr);
    assert_eq!(document["status"], "error");
}

#[test]
fn asserts_that_hold_exit_with_0_and_one_that_does_not_exits_with_99() {
    let held = ["--assert", "p50<1h", "--assert", "lost == 0", "--assert=loss<=0%"];
    let common = ["-n200", "--warmup=0", "--timeout=50s"];
    let document = good_json(&[&common[..], &held, &["--assert=received>=200"]].concat());
    let asserts = document["asserts"].as_array().unwrap();
    assert_eq!(asserts.len(), 4);
    assert!(asserts.iter().all(|assert| assert["held"] == true), "{asserts:?}");
    // Too few samples lie beyond this percentile, so it has no value, and the assertion does not
    // hold.
    for broken in ["--assert=rate>1g", "--assert=p99.99<1h", "--assert=tcp.connections==49"] {
        let (ended, document) = bench_json(&[&common[..], &held, &[broken]].concat());
        assert_eq!((ended.code(), &document["status"]), (99, &"ok".into()), "{broken}");
        let ended = run_bench(&[&common[..], &held, &[broken]].concat());
        let text = ended.stdout_text();
        assert_eq!(ended.code(), 99);
        assert_eq!(text.matches("\nassert        held: ").count(), 3, "{text}");
        assert_eq!(text.matches("\nassert        NOT held: ").count(), 1, "{text}");
    }
}

#[test]
fn an_assert_that_can_never_have_a_value_does_not_hold_and_a_warning_says_what_to_add() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let served = format!("tcp://{}", daemon.addr(0));
    let udp = ["--transport=udp", "--rate=1k"];
    let common = ["-n100", "--warmup=0", "--timeout=50s"];
    for (assert, load, part) in [
        ("away.p99<50us", &[][..], "expected --timestamps"),
        ("split.samples>0", &udp, "expected --timestamps"),
        ("away.max>0ns", &["--transport=unix", "--timestamps"], "timestamps over TCP or UDP"),
        ("achieved>=99%", &[], "such as --rate 10k"),
        ("service.p99<1ms", &[], "such as --rate 10k"),
        ("lag.max<1ms", &[], "such as --rate 10k"),
        ("tcp.retransmits==0", &udp, "such as tcp://127.0.0.1:7007"),
        ("tcp.rtt.max<1ms", &["--transport=unix"], "such as tcp://127.0.0.1:7007"),
        ("udp.receive_drops==0", &[], "such as udp://127.0.0.1:7007"),
        ("trains.sends>0", &[], "such as udp://127.0.0.1:7007"),
        ("server_drops==0", &[&served], "without an endpoint"),
    ] {
        let (ended, document) = bench_json(&[&common[..], &["--assert", assert], load].concat());
        assert_eq!((ended.code(), &document["status"]), (99, &"ok".into()), "{assert}: {ended:?}");
        assert_eq!(document["asserts"][0]["value"], Value::Null, "{assert}");
        let warnings = document["warnings"].to_string();
        assert!(warnings.contains(&format!("'{assert}' can never have a value")), "{warnings}");
        assert!(warnings.contains(part), "{assert}: {warnings}");
    }
    let load = ["-n100", "--warmup=0", "--timeout=50s", "--rate=10k", "--spin=0"];
    let held = ["--assert=service.min<1h", "--assert=achieved>=0%", "--assert=tcp.connections==50"];
    let more =
        ["--assert=server_drops==0", "--assert=losses.refused==0", "--assert=tcp.rtt.p50<1h"];
    good_json(&[&load[..], &held, &more].concat());
}

/// An error of the run takes precedence over a broken assertion.
#[test]
fn a_wrong_echo_takes_precedence_over_a_broken_assert() {
    let judge = Judge::start("tcp://127.0.0.1:0", &["flip:0:3:40"]);
    let common = ["-c1", "-n10", "--warmup=0", "--assert=corrupted==0", &judge.endpoint];
    let (ended, document) = bench_json(&common);
    assert_eq!((ended.code(), &document["asserts"][0]["held"]), (3, &false.into()));
}

/// A run allocates its memory at the beginning. A run of four times the length has four times the
/// messages, but not four times the memory.
#[test]
fn memory_does_not_grow_with_the_length_of_a_run() {
    let judge = Judge::start("udp://127.0.0.1:0", &["drop:10:5"]);
    let peak_kib = |duration: &str| {
        let arguments = ["-c4", "-r1k", "--warmup=0", "--timeout=100ms", "--interval=10ms"];
        let mut run =
            Process::start(bench(&[&arguments[..], &[duration, &judge.endpoint]].concat()));
        let mut peak_kib = 0;
        wait_until("the end of the run", || {
            let path = format!("/proc/{}/status", run.pid().as_raw_nonzero());
            let status = std::fs::read_to_string(path).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let words = line.and_then(|line| line.split_whitespace().next());
            peak_kib = peak_kib.max(words.map_or(0, |kib| kib.parse().unwrap()));
            !run.is_running()
        });
        assert_eq!(run.wait().code(), 0);
        peak_kib
    };
    let (short_kib, long_kib): (u64, u64) = (peak_kib("-t1s"), peak_kib("-t4s"));
    println!("{short_kib} KiB for a second, {long_kib} KiB for four");
    // Up to 16 histograms of intervals, of 300 KiB each, wait to be shown.
    assert!(long_kib < short_kib + 6_144, "{short_kib} KiB, then {long_kib} KiB");
}

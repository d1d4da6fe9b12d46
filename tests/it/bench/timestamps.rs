//! `--timestamps`: where the time of a round trip goes, and what stays as it is without the flag.

use serde_json::Value;

use crate::bench::{Judge, bench, bench_json, count, document, good_json, run_bench};
use crate::support::{Daemon, Process, has_multipath_tcp, python, run};

/// The number of `SO_TIMESTAMPING` on Linux.
const SO_TIMESTAMPING: &str = "37";

const STRETCHES: [&str; 3] = ["send_ns", "away_ns", "wake_ns"];

/// Makes the kernel note when packets arrive. It begins a moment after it was asked to, so a short
/// run that asks alone may have no samples.
pub fn keep_stamping() -> Process {
    let mut process = Process::start(python("keep_stamping.py"));
    process.wait_for_line("ready");
    process
}

fn of_each(document: &Value, figure: &str) -> [u64; 3] {
    STRETCHES.map(|stretch| count(document, &format!("/split/{stretch}/{figure}")))
}

/// Each sample adds up to no more than the latency of its message, so the means do too.
#[test]
fn the_stretches_of_a_sample_add_up_to_no_more_than_its_round_trip() {
    let _stamping = keep_stamping();
    let endpoints = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "tcp://[::1]:0", "udp://[::1]:0"];
    let daemon = Daemon::start(&endpoints);
    for endpoint in &daemon.endpoints {
        for flags in [&["-d1"][..], &["-d16"], &["-l100KiB", "-d2"], &["-r20k"], &["-r5k", "-d1"]] {
            if flags[0] == "-l100KiB" && endpoint.starts_with("udp") {
                continue;
            }
            let common = ["--timestamps", "-c3", "-n3000", "--warmup=0", "--timeout=50s", endpoint];
            let document = good_json(&[&common[..], flags].concat());
            let warnings = document["warnings"].to_string();
            assert!(!warnings.contains("--timestamps"), "{warnings}");
            let flows = &document["flows"];
            assert_eq!((count(flows, "/opened"), count(flows, "/closed")), (3, 0), "{flows}");
            let samples = count(&document, "/split/samples");
            let of_split = &document["split"];
            // One of 32 sends. At depth 16 a send can carry 16 messages.
            assert!((1..=150).contains(&samples), "{endpoint} {flags:?}: {of_split:#}");
            assert_eq!(of_each(&document, "count"), [samples; 3]);
            let sum: u64 = of_each(&document, "mean").iter().sum();
            // Three means are rounded.
            assert!(sum <= count(&document, "/latency_ns/max") + 2, "{document:#}");
            assert!(count(&document, "/split/away_ns/min") > 0, "{of_split:#}");
            for name in ["send", "away", "wake"] {
                assert!(document["histograms"][name].is_string(), "{name}");
            }
        }
    }
}

#[test]
fn the_samples_of_connections_with_one_message_each_are_of_all_flows() {
    let _stamping = keep_stamping();
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let common = ["--timestamps", "--mode=connect", "-c2", "-n2000", "--warmup=0", "--timeout=50s"];
    let document = good_json(&[&common[..], &[&daemon.endpoints[0]]].concat());
    let samples = count(&document, "/split/samples");
    assert!((10..=200).contains(&samples), "{samples} of 2,000");
}

#[test]
fn without_the_flag_there_is_no_split() {
    let common = ["-c1", "-n200", "--warmup=0", "--timeout=50s"];
    let (ended, document) = bench_json(&common);
    assert_eq!(ended.code(), 0);
    assert_eq!(document["split"], Value::Null);
    assert_eq!(document["histograms"]["away"], Value::Null);
    assert!(!run_bench(&common).stdout_text().contains("split"));
}

#[test]
fn each_stretch_can_be_asserted_and_is_in_the_text() {
    let _stamping = keep_stamping();
    let common = ["--timestamps", "-c1", "-n3000", "--warmup=0", "--timeout=50s"];
    let held = ["--assert=send.p50<1h", "--assert=away.max>0ns", "--assert=wake.min<1h"];
    let ended = run_bench(&[&common[..], &held].concat());
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let text = ended.stdout_text();
    let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert!(lines.any(|words| words == ["split", "send", "away", "wake"]), "{text}");
    assert!(text.contains("samples with the kernel's timestamps"), "{text}");
    let ended = run_bench(&[&common[..], &["--assert=away.max<1ns"]].concat());
    assert_eq!(ended.code(), 99);
}

/// A kernel without the option, or a filter of system calls.
#[test]
fn without_the_kernels_support_the_run_goes_on_with_a_warning() {
    for error in ["ENOPROTOOPT", "EPERM"] {
        let bench = bench(&["-J", "--timestamps", "-c2", "-n500", "--warmup=0", "--timeout=50s"]);
        let mut command = python("refuse_option.py");
        command.args([SO_TIMESTAMPING, error]).arg(bench.get_program()).args(bench.get_args());
        let ended = run(command);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        let document = document(&ended);
        assert_eq!(count(&document, "/messages/received"), 500);
        assert_eq!(
            (document["status"].as_str(), count(&document, "/split/samples")),
            (Some("ok"), 0)
        );
        let warnings = document["warnings"].as_array().unwrap();
        let warning = warnings[0].as_str().unwrap();
        assert_eq!(warnings.len(), 1);
        let expected = "--timestamps without effect: the kernel has no timestamps (";
        assert!(warning.starts_with(expected), "{warning}");
    }
}

/// With a peer that has Multipath TCP, and with one that has not.
#[test]
fn over_multipath_tcp_the_run_goes_on_with_a_warning() {
    if !has_multipath_tcp() {
        return;
    }
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    for endpoint in [&[][..], &[daemon.endpoints[0].as_str()]] {
        let load = ["--timestamps", "--mptcp", "-c2", "-n500", "--warmup=0", "--timeout=50s"];
        let document = good_json(&[&load, endpoint].concat());
        assert_eq!(count(&document, "/messages/received"), 500);
        assert_eq!(count(&document, "/split/samples"), 0);
        let warnings = document["warnings"].to_string();
        let expected = "--timestamps without effect: the kernel gives no timestamps of sent \
                        packets over Multipath TCP";
        assert!(warnings.contains(expected), "{warnings}");
    }
}

/// A timestamp in the error queue ends no flow, and hides no error of the socket.
#[test]
fn a_reset_and_a_refusal_are_counted_as_without_timestamps() {
    for flags in [&[][..], &["--timestamps"]] {
        let common = ["-n400", "--warmup=0", "--timeout=5s"];
        let judge = Judge::start("tcp://127.0.0.1:0", &["reset:0:100"]);
        let (_, document) = bench_json(&[&common[..], flags, &["-c2", &judge.endpoint]].concat());
        let flows = &document["flows"];
        let found = ["opened", "reset", "closed"].map(|name| flows[name].as_u64().unwrap());
        assert_eq!(found, [2, 1, 0], "{flags:?} {document:#}");
        assert_eq!(count(&document, "/losses/disconnected"), 1, "{document:#}");
        let judge = Judge::start("udp://127.0.0.1:0", &["end:0:100"]);
        let (_, document) = bench_json(&[&common[..], flags, &["-c1", &judge.endpoint]].concat());
        let received = count(&document, "/messages/received");
        assert_eq!((received, count(&document, "/flows/refused")), (100, 1), "{document:#}");
        assert!(count(&document, "/losses/refused") > 0, "{document:#}");
    }
}

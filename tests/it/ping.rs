//! `resound ping` with the daemon, and with servers that have known faults.

mod dashboards;
mod failures;
mod faults;
mod interop;
mod life;
mod targets;
#[cfg(target_os = "linux")]
mod timestamps;

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::schema::check_document;
use crate::support::{Daemon, Ended, Process, abstract_name, python, resound, run};

/// Longer than any answer takes on a busy machine.
const PATIENT: &str = "--timeout=50s";

fn ping(arguments: &[&str]) -> Command {
    let mut command = resound();
    command.arg("ping").args(arguments);
    command
}

/// Returns an endpoint of every kind, with files in `folder`.
fn every_endpoint(folder: &Path) -> [String; 6] {
    [
        "tcp://127.0.0.1:0".to_owned(),
        "udp://127.0.0.1:0".to_owned(),
        format!("unix:{}/stream", folder.display()),
        format!("unixgram:{}/datagram", folder.display()),
        format!("unix:{}", abstract_name("ping-stream")),
        format!("unixgram:{}", abstract_name("ping-datagram")),
    ]
}

fn is_stream(endpoint: &str) -> bool {
    endpoint.starts_with("tcp:") || endpoint.starts_with("unix:")
}

/// A server with known faults, for messages of 64 bytes.
struct Faulty {
    process: Process,
    endpoint: String,
}

impl Faulty {
    #[track_caller]
    fn start(endpoint: &str, faults: &[&str]) -> Faulty {
        let mut command = python("faulty.py");
        command.args([endpoint, "64"]).args(faults);
        let mut process = Process::start(command);
        let endpoint = process.wait_for_line("ready ");
        Faulty { process, endpoint }
    }
}

/// Parses and checks the single document on stdout.
#[track_caller]
fn document(ended: &Ended) -> Value {
    let text = ended.stdout_text();
    let document: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    let has_targets = document.get("targets").is_some();
    check_document(if has_targets { "pings" } else { "ping" }, &document);
    document
}

/// Returns a count of the document's messages.
#[track_caller]
fn count(document: &Value, name: &str) -> u64 {
    document["messages"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {document}"))
}

/// Asserts these counts, and that all others are 0.
#[track_caller]
fn assert_messages(document: &Value, expected: &[(&str, u64)]) {
    let messages = document["messages"].as_object().unwrap();
    assert_eq!(messages.len(), 8, "{document}");
    for (name, value) in messages {
        let expected = expected.iter().find(|(other, _)| other == name).map_or(0, |(_, n)| *n);
        assert_eq!(value.as_u64(), Some(expected), "{name}: {document}");
    }
    let latencies = document["latency_ns"]["count"].as_u64();
    assert_eq!(latencies, Some(count(document, "received")), "{document}");
}

/// Removes the time from a line.
fn without_time(line: &str) -> String {
    let Some((before, time)) = line.split_once("time=") else { return line.to_owned() };
    let mut words = time.split(' ');
    let (value, unit) = (words.next().unwrap(), words.next().unwrap());
    assert!(value.parse::<f64>().is_ok(), "{line}");
    assert!(["ns", "us", "ms", "s"].contains(&unit), "{line}");
    [vec![before.trim_end()], words.collect()].concat().join(" ")
}

#[test]
fn each_probe_has_its_line_on_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&every_endpoint(folder.path()));
    for endpoint in &daemon.endpoints {
        let ended = run(ping(&["-c", "3", "-i", "1ms", PATIENT, endpoint]));
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        let stdout = ended.stdout_text();
        let lines: Vec<_> = stdout.lines().collect();
        assert_eq!(lines.len(), 8, "{stdout}");
        assert_eq!(lines[0], format!("PING {endpoint}: 64 bytes"));
        let expected = [1, 2, 3].map(|number| format!("64 bytes from {endpoint}: seq={number}"));
        assert_eq!([1, 2, 3].map(|index| without_time(lines[index])), expected);
        assert_eq!(lines[4], "");
        assert_eq!(lines[5], format!("--- {endpoint} ping statistics ---"));
        let counts = "3 probes sent, 3 received, 0% loss, time ";
        assert!(lines[6].starts_with(counts), "{stdout}");
        let times = lines[7].strip_prefix("rtt min/avg/max/mdev = ").unwrap();
        let (values, _unit) = times.split_once(' ').unwrap();
        let values: Vec<f64> = values.split('/').map(|value| value.parse().unwrap()).collect();
        assert_eq!(values.len(), 4);
        assert!(values[0] <= values[1] && values[1] <= values[2], "{times}");
    }
}

#[test]
fn quiet_leaves_the_header_and_the_summary() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"]);
    for quiet in ["-q", "--quiet"] {
        let endpoint = &daemon.endpoints[0];
        let ended = run(ping(&[quiet, "-c3", "-i0", PATIENT, endpoint]));
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        let stdout = ended.stdout_text();
        assert_eq!(stdout.lines().count(), 5, "{stdout}");
        assert!(!stdout.contains("seq="), "{stdout}");
    }
}

#[test]
fn with_json_stdout_is_only_a_document_with_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&every_endpoint(folder.path()));
    for endpoint in &daemon.endpoints {
        for json in ["-J", "--json"] {
            let arguments = [json, "-c", "20", "-i", "2ms", "-l", "1k", PATIENT, endpoint];
            let ended = run(ping(&arguments));
            assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
            let document = document(&ended);
            assert_messages(&document, &[("sent", 20), ("received", 20)]);
            assert_eq!(document["version"], 1);
            assert!(document["program"].as_str().unwrap().starts_with("resound "));
            assert_eq!(document["status"], "ok");
            assert_eq!((&document["error"], &document["label"]), (&Value::Null, &Value::Null));
            assert_eq!(document["endpoint"], endpoint.as_str());
            assert_eq!(document["length"], 1024);
            assert_eq!(document["interval_ns"], 2_000_000);
            let elapsed_ns = document["elapsed_ns"].as_u64().unwrap();
            assert!(elapsed_ns >= 19 * 2_000_000, "{document}");
            let latency = &document["latency_ns"];
            let [min, mean, max] = ["min", "mean", "max"].map(|key| latency[key].as_u64().unwrap());
            assert!(0 < min && min <= mean && mean <= max, "{document}");
            // With twenty samples, ten lie beyond the median, and fewer beyond every higher
            // percentile.
            assert!(latency["percentiles"]["50"].as_u64().unwrap() >= min, "{document}");
            assert_eq!(latency["percentiles"]["90"], Value::Null, "{document}");
        }
    }
}

#[test]
fn a_percentile_is_printed_when_ten_samples_lie_beyond_it() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let endpoint = &daemon.endpoints[0];
    for (probes, percentiles) in [("19", None), ("20", Some("p50")), ("1k", Some("p50/p90/p99"))] {
        let ended = run(ping(&["-q", "-c", probes, "-i", "0", PATIENT, endpoint]));
        let stdout = ended.stdout_text();
        let line = stdout.lines().nth(5).map(|line| line.split(' ').nth(1).unwrap());
        assert_eq!(line, percentiles, "{stdout}");
    }
}

/// case S9: lengths near the sizes of reads and packets, and lengths shorter than a number.
#[test]
fn probes_of_every_length_come_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&every_endpoint(folder.path()));
    for endpoint in &daemon.endpoints {
        for length in ["1", "2", "7", "8", "9", "1472", "1473", "64KiB", "1MiB"] {
            let is_too_long = length == "1MiB" || length == "64KiB" && endpoint.starts_with("udp:");
            if is_too_long && !is_stream(endpoint) {
                continue;
            }
            let arguments = ["-J", "-c3", "-i0", PATIENT, "--size", length, endpoint];
            let document = document(&run(ping(&arguments)));
            assert_messages(&document, &[("sent", 3), ("received", 3)]);
        }
    }
}

/// More probes than one byte can number.
#[test]
fn probes_of_one_byte_are_told_apart_as_far_as_possible() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    for endpoint in &daemon.endpoints {
        let ended = run(ping(&["-J", "-c", "1k", "-i", "0", "-l", "1", PATIENT, endpoint]));
        assert_messages(&document(&ended), &[("sent", 1000), ("received", 1000)]);
    }
}

#[test]
fn without_a_count_it_continues_until_ctrl_c_and_prints_the_summary() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&every_endpoint(folder.path()));
    for endpoint in &daemon.endpoints {
        for signal in [Signal::INT, Signal::TERM] {
            let mut process = Process::start(ping(&["-i", "1ms", PATIENT, endpoint]));
            process.wait_for_line(&format!("64 bytes from {endpoint}: seq=3 "));
            process.signal(signal);
            let ended = process.wait();
            assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{signal:?}");
            let stdout = ended.stdout_text();
            assert!(stdout.contains(" ping statistics ---\n"), "{stdout}");
            assert!(stdout.contains(", 0% loss, time "), "{stdout}");
            assert!(stdout.ends_with('\n') && stdout.contains("rtt min/avg/max/mdev = "));
        }
    }
}

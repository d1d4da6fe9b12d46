//! `resound compare` in all its forms, against servers whose behaviour is known.

mod saved;
mod servers;

use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::schema::check_compare_document;
use crate::support::{Daemon, Ended, Process, UnservedPorts, python, resound, run, wait_until};

/// Runs that end by their count, however busy the machine is.
const SHORT: [&str; 4] = ["-n100", "-c2", "--warmup=0", "--timeout=30s"];

const NAMES: [&str; 6] = ["rate", "cpu_per_message", "p50", "p90", "p99", "p99.9"];

fn compare(arguments: &[&str]) -> Command {
    let mut command = resound();
    command.arg("compare").args(arguments);
    command
}

/// Runs `resound compare -J` to its end. Returns how it ended, and its document.
#[track_caller]
fn compare_json(arguments: &[&str]) -> (Ended, Value) {
    let ended = run(compare(&[&["-J"], arguments].concat()));
    let document = serde_json::from_slice(&ended.stdout);
    let document: Value = document.unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    check_compare_document(&document);
    (ended, document)
}

/// Returns the figure of this name.
#[track_caller]
fn metric<'a>(document: &'a Value, name: &str) -> &'a Value {
    let metrics = document["metrics"].as_array().unwrap();
    metrics.iter().find(|metric| metric["name"] == name).unwrap()
}

/// A server that takes a second for each reply.
fn start_slow() -> (Process, String) {
    let mut command = python("judge.py");
    command.args(["tcp://127.0.0.1:0", "64", "slow:1:0:1"]);
    let mut process = Process::start(command);
    let endpoint = process.wait_for_line("ready ");
    (process, endpoint)
}

#[test]
fn two_endpoints_are_compared_in_rounds_of_one_run_each() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "tcp://127.0.0.1:0"]);
    let [a, b] = [0, 1].map(|at| daemon.endpoints[at].as_str());
    let (ended, document) = compare_json(&[&[a, b, "--rounds=3"], &SHORT[..]].concat());
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{document:#}");
    assert_eq!((&document["kind"], &document["rounds"]), (&json!("compare"), &json!(3)));
    assert_eq!((&document["a"], &document["b"]), (&json!(a), &json!(b)));
    let names: Vec<_> = document["metrics"].as_array().unwrap().iter().collect();
    assert_eq!(names.iter().map(|metric| &metric["name"]).collect::<Vec<_>>(), NAMES);
    let p50 = metric(&document, "p50");
    assert_eq!((&p50["interval"], &p50["verdict"]), (&Value::Null, &json!("undecided")));
    assert!(p50["ratio"].as_f64() > Some(0.0) && p50["ratios"].as_array().unwrap().len() == 3);
    let warning = "no intervals, so every figure is undecided: an interval needs at least 6 rounds";
    assert!(document["warnings"].as_array().unwrap().contains(&json!(warning)), "{document:#}");
    for (at, pair) in document["pairs"].as_array().unwrap().iter().enumerate() {
        assert_eq!(pair["round"], json!(at + 1));
        let mut order = pair["order"].as_array().unwrap().clone();
        order.sort_by_key(ToString::to_string);
        assert_eq!(order, [json!("a"), json!("b")]);
        assert_eq!((&pair["a"]["endpoint"], &pair["b"]["endpoint"]), (&json!(a), &json!(b)));
        assert_eq!(pair["a"]["messages"]["received"], json!(100));
        assert_eq!(pair["a"]["connections"], json!(2));
    }
}

#[test]
fn two_sets_of_flags_replace_those_of_both_sides() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let sides = ["--a", "-d 1 -c 3", "--b", "--depth=4 --label 'four deep'"];
    let arguments = [&[&*daemon.endpoints[0], "--rounds=1"], &sides[..], &SHORT[..]].concat();
    let (ended, document) = compare_json(&arguments);
    assert_eq!(ended.code(), 0, "{ended:?}");
    let pair = &document["pairs"][0];
    assert_eq!((&pair["a"]["depth"], &pair["a"]["connections"]), (&json!(1), &json!(3)));
    assert_eq!((&pair["b"]["depth"], &pair["b"]["connections"]), (&json!(4), &json!(2)));
    assert_eq!(pair["b"]["label"], json!("four deep"));
}

#[test]
fn the_environment_gives_the_runs_of_a_comparison_no_flags_of_bench() {
    let sides = ["-J", "--a", "-d1", "--b", "-d2", "--rounds=1"];
    let mut command = compare(&[&sides[..], &SHORT[..]].concat());
    command.env("RESOUND_BENCH_DEPTH", "9").env("RESOUND_BENCH_LENGTH", "1200");
    command.env("RESOUND_BENCH_ASSERT", "received<1").env("RESOUND_BENCH_RATE", "nonsense");
    let ended = run(command);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{ended:?}");
    let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
    for (side, depth) in [("a", 1), ("b", 2)] {
        let run = &document["pairs"][0][side];
        assert_eq!((&run["depth"], &run["length"]), (&json!(depth), &json!(64)), "{document:#}");
        assert_eq!(run["asserts"], json!([]));
    }
}

#[test]
fn without_an_endpoint_each_run_has_its_own_server() {
    let sides = ["--a", "--transport tcp", "--b", "--transport unix", "--rounds=1"];
    let (ended, document) = compare_json(&[&sides[..], &SHORT[..]].concat());
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(document["pairs"][0]["b"]["embedded_server"], json!(true));
}

/// The slow side takes so much longer that no busy machine hides it.
#[test]
fn a_side_that_is_certainly_worse_fails_max_regression() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let (_judge, slow) = start_slow();
    let load = ["-n20", "-c20", "--warmup=0", "--timeout=30s", "--rounds=6", "--max-regression=10"];
    let (ended, document) = compare_json(&[&[&*daemon.endpoints[0], &slow], &load[..]].concat());
    assert_eq!(ended.code(), 99, "{document:#}");
    let p50 = metric(&document, "p50");
    assert_eq!(p50["verdict"], "differs", "{p50}");
    assert!(p50["interval"][0].as_f64() > Some(1.1), "{p50}");
    let are_worse = |document: &Value| {
        let worse = document["regression"]["worse"].as_array().unwrap();
        ["rate", "p50"].map(|name| worse.contains(&json!(name)))
    };
    assert_eq!(are_worse(&document), [true, true], "{document:#}");
    let text = document["conclusion"].as_str().unwrap();
    assert!(text.starts_with("B differs from A: rate is "), "{text}");
    // The other way round, B is better.
    let (_, document) = compare_json(&[&[&slow, &*daemon.endpoints[0]], &load[..]].concat());
    assert_eq!(are_worse(&document), [false, false], "{document:#}");
}

#[test]
fn the_control_compares_a_with_itself_in_the_same_rounds() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let endpoint = daemon.endpoints[0].as_str();
    let flags = [endpoint, endpoint, "--rounds=2", "--control"];
    let (ended, document) = compare_json(&[&flags[..], &SHORT[..]].concat());
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(document["control"].as_array().unwrap().len(), NAMES.len());
    assert_eq!(document["pairs"][1]["order"].as_array().unwrap().len(), 3);
    let text = run(compare(&[&flags[..], &SHORT[..]].concat())).stdout_text();
    assert!(text.contains("\ncontrol       A against A, in the same rounds\n"), "{text}");
}

#[test]
fn the_text_has_a_line_per_figure_and_ends_with_the_result() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let endpoint = daemon.endpoints[0].as_str();
    let ended = run(compare(&[&[endpoint, endpoint, "--rounds=2"], &SHORT[..]].concat()));
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let text = ended.stdout_text();
    assert!(text.starts_with(&format!("A             {endpoint}\nB             {endpoint}\n")));
    for label in ["rate ", "CPU/message ", "p50 ", "p90 ", "p99 ", "p99.9 "] {
        assert!(text.lines().any(|line| line.starts_with(label)), "{label}: {text}");
    }
    assert!(text.contains("\nRESULT        undecided after 2 rounds: "), "{text}");
    assert!(text.contains("rate (an interval needs 4 more)"), "{text}");
    let rate = text.lines().find(|line| line.starts_with("rate ")).unwrap();
    assert!(rate.ends_with("-  undecided: an interval needs 4 more"), "{rate}");
}

#[test]
fn a_server_that_is_not_there_is_named_with_its_side() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let ports = UnservedPorts::new();
    let dead = format!("tcp://{}", ports.tcp);
    let arguments = [&[&*daemon.endpoints[0], &*dead, "--rounds=6"], &SHORT[..]].concat();
    let (ended, document) = compare_json(&arguments);
    assert_eq!((ended.code(), &document["status"]), (1, &json!("error")));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("resound: round 2, B: cannot connect to "), "{ended:?}");
    assert_eq!(document["left_out"][0]["side"], json!("b"));
}

#[test]
fn a_side_that_corrupts_echoes_is_left_out_and_named() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let mut command = python("judge.py");
    // Only the first run has more than 50 messages before the server inverts a byte.
    command.args(["tcp://127.0.0.1:0", "64", "flip:0:50:3"]);
    let mut judge = Process::start(command);
    let wrong = judge.wait_for_line("ready ");
    let (ended, document) =
        compare_json(&[&[&*daemon.endpoints[0], &*wrong, "--rounds=2"], &SHORT[..]].concat());
    assert_eq!((ended.code(), &document["rounds"]), (3, &json!(2)), "{document:#}");
    assert_eq!(
        (&document["status"], &document["pairs"][2]["round"]),
        (&json!("partial"), &json!(3))
    );
    let reason = "1 echo differs from what was sent";
    assert_eq!(document["left_out"], json!([{"round": 1, "side": "b", "reason": reason}]));
}

/// case B5
#[test]
fn ctrl_c_ends_the_series_with_a_report_of_its_rounds() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let endpoint = daemon.endpoints[0].as_str();
    let arguments = [&["-J", endpoint, endpoint, "--rounds=1000"], &SHORT[..]].concat();
    for signal in [Signal::INT, Signal::TERM] {
        let before = daemon.counters().get("accepted");
        let run = Process::start(compare(&arguments));
        // A run opens two connections, so a round is complete.
        wait_until("a round", || daemon.counters().get("accepted") > before + 5);
        run.signal(signal);
        let ended = run.wait();
        let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
        check_compare_document(&document);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, "resound: interrupted\n"));
        assert_eq!(
            (&document["status"], &document["error"]),
            (&json!("partial"), &json!("interrupted"))
        );
        assert!(document["rounds"].as_u64() >= Some(1), "{document:#}");
    }
}

#[test]
fn files_hold_the_document_and_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let [json, csv] = ["all.json", "all.csv"].map(|name| folder.path().join(name));
    let outputs = ["-o", json.to_str().unwrap(), "-o", csv.to_str().unwrap()];
    let sides = ["--a", "-d1", "--b", "-d2", "--rounds=1"];
    let (ended, document) = compare_json(&[&outputs[..], &sides[..], &SHORT[..]].concat());
    assert_eq!(ended.code(), 0, "{ended:?}");
    let written: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(written, document);
    let table = std::fs::read_to_string(csv).unwrap();
    let names: Vec<_> = table.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(names[0], "name");
    assert_eq!(names[1..], NAMES);
}

/// case B12
#[test]
fn impossible_comparisons_are_refused_in_one_line() {
    let two = ["tcp://127.0.0.1:7", "tcp://127.0.0.1:8"];
    for (arguments, part) in [
        (&[][..], "nothing to compare"),
        (&[two[0]], "nothing to compare"),
        (&[two[0], two[1], "x"], "'x'"),
        (&["nonsense", two[1]], "'nonsense'"),
        (&[two[0], two[1], "--rounds=0"], "'--rounds <N>'"),
        (&[two[0], two[1], "--rounds=1001"], "'--rounds <N>'"),
        (&[two[0], two[1], "--noise=-1"], "'--noise <PCT>'"),
        (&[two[0], two[1], "--noise=much"], "'--noise <PCT>'"),
        (&[two[0], two[1], "-c0"], "'--connections <N>'"),
        (&[two[0], two[1], "-o", "a.hgrm"], "'a.hgrm'"),
        (&[two[0], two[1], "--rounds=5", "--max-regression=5"], "at least 6 rounds"),
        (&[two[0], "--a=-d1", "--b=-d x"], "--b: invalid value 'x'"),
        (&[two[0], "--a=--json"], "--a: unexpected argument '--json'"),
        (&[two[0], "--a='", "--b=-d2"], "--a: a quote is open"),
        (&[two[0], "--a=-d1", "--b=--assert p99<1ms"], "--b: --assert judges one run"),
        (&[two[0], two[1], "--part=1/2"], "'resound bench --rate 10k --part 1/2'"),
        (&[two[0], two[1], "--start-at=1900000000"], "--start-at sets the time of one run"),
        (&["old.json", "new.json", "--trace", "x.json"], "--trace shows the turns of one run"),
        (&[two[0], "--a=tcp://127.0.0.1:9", "--b=-d2"], "is no flag"),
        (&[two[0], "--serve-a=true"], "--serve-b"),
        (&["--serve-a=true", "--serve-b=true"], "endpoint"),
        (&[two[0], two[1], "--serve-a=true", "--serve-b=true"], "one endpoint"),
        (&["old.json", two[1]], "two documents"),
        (&["old.json", "new.json", "-c5"], "--connections"),
        (&["old.json", "new.json", "--control"], "--control"),
        (&["--a=missing/*.json", "--b=missing/*.json"], "names no file"),
        (&["tcp://127.0.0.1:0", two[1], "--rounds=1"], "port 0"),
        (&["udp://127.0.0.1:7", two[1], "-l65508"], "'65508' for '--length <SIZE>': expected at"),
        (&[two[0], "udp://[::1]:7", "-l65528"], "at most 65527 bytes for a UDP datagram"),
        (&["--a=-l64", "--b=-l64KiB", "--transport=udp"], "--b: invalid value '65536'"),
        (&["udp://127.0.0.1:7", "--a=-d1", "--b=--mode=connect"], "--b: --mode connect needs"),
    ] {
        let ended = run(compare(arguments));
        let line = ended.stderr.as_str();
        assert_eq!((ended.code(), line.lines().count()), (2, 1), "{arguments:?}: {line}");
        assert!(line.contains(part), "{arguments:?}: {line}");
        assert!(line.ends_with("; try 'resound compare --help'\n"), "{arguments:?}: {line}");
        assert_eq!(ended.stdout_text(), "", "{arguments:?}");
    }
    for (flag, part) in [("--rounds=0", "'--rounds <N>'"), ("--json-stream", "such as --json;")] {
        let (ended, document) = compare_json(&[two[0], two[1], flag]);
        assert_eq!((ended.code(), &document["status"]), (2, &json!("error")));
        assert!(document["error"].as_str().is_some_and(|error| error.contains(part)));
    }
}

//! `resound merge`: one result from parts that ran as processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::support::schema::{check_bench_document, check_document};
use crate::support::{Daemon, Ended, Process, resound, run};

/// Runs all parts of a load, and returns the files of their documents. `None` if a part was too
/// late for its start.
fn run_parts(folder: &Path, parts: u64, load: &[&str]) -> Option<Vec<PathBuf>> {
    let file = |part: u64| folder.join(format!("part-{part}.json"));
    let start = |part: u64| {
        let mut command = resound();
        command.args(["bench", "--part", &format!("{part}/{parts}"), "-o"]).arg(file(part));
        Process::start({
            command.args(load);
            command
        })
    };
    let processes: Vec<_> = (1..=parts).map(start).collect();
    for ended in processes.into_iter().map(Process::wait) {
        if ended.code() == 2 && ended.stderr.contains("too late") {
            return None;
        }
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }
    Some((1..=parts).map(file).collect())
}

/// Runs the parts of a load against a server of their own. They start together, later on a machine
/// that is too busy to start them soon.
fn run_together(folder: &Path, parts: u64) -> (Daemon, Vec<PathBuf>) {
    let attempt = |ahead_s: u64| {
        let daemon = Daemon::start(&["udp://127.0.0.1:0"]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let start = (now.as_secs() + ahead_s).to_string();
        let load = ["--start-at", &start, daemon.endpoints[0].as_str()];
        let files = run_parts(folder, parts, &[&LOAD[..], &load].concat());
        files.map(|files| (daemon, files))
    };
    [2, 10, 40].into_iter().find_map(attempt).expect("the parts start within 40 s")
}

fn merge<S: AsRef<std::ffi::OsStr>>(arguments: &[&str], files: &[S]) -> Ended {
    let mut command = resound();
    command.arg("merge").args(arguments).args(files);
    run(command)
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn edited(path: &Path, pointer: &str, value: Value) {
    let mut document = read(path);
    *document.pointer_mut(pointer).unwrap() = value;
    fs::write(path, document.to_string()).unwrap();
}

fn count(document: &Value, pointer: &str) -> u64 {
    document.pointer(pointer).and_then(Value::as_u64).unwrap()
}

#[track_caller]
fn refused(files: &[PathBuf], expected: &str) {
    let ended = merge(&["-J"], files);
    assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 1), "{}", ended.stderr);
    assert!(ended.stderr.contains(expected), "{:?} lacks {expected:?}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout_text()).unwrap();
    check_bench_document(&document);
    assert_eq!(document["status"], "error");
}

/// case B17
#[test]
fn each_file_with_a_fault_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let (_daemon, files) = run_together(folder.path(), 2);
    edited(&files[1], "/messages/corrupted", json!(1));
    let difference = json!({"flow": 0, "message": 7, "offset": 3, "sent": 1, "received": 2});
    edited(&files[1], "/first_difference", difference);
    let ended = merge(&[], &files);
    assert_eq!((ended.code(), ended.stderr.lines().count()), (3, 1), "{ended:?}");
    let line = format!("resound: {}: an echo differed from what was sent: ", files[1].display());
    assert!(ended.stderr.starts_with(&line), "{ended:?}");
    edited(&files[1], "/run/measured_from", Value::Null);
    refused(&files, "has messages, but no time in which they were measured");
    fs::write(&files[0], "{").unwrap();
    fs::remove_file(&files[1]).unwrap();
    let ended = merge(&["-J"], &files);
    assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 2), "{ended:?}");
    for (line, file) in ended.stderr.lines().zip(&files) {
        assert!(line.starts_with(&format!("resound: cannot read {}: ", file.display())), "{line}");
    }
    let document: Value = serde_json::from_str(&ended.stdout_text()).unwrap();
    assert_eq!(document["error"].as_str().unwrap().matches("cannot read ").count(), 2);
}

/// With this timeout no message is lost, even on a busy machine.
const LOAD: [&str; 6] = ["-c6", "-r300", "-t1s", "--warmup=0", "--timeout=50s", "--spin=0"];

/// case B17
#[test]
fn the_counts_of_a_merged_result_are_those_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, files) = run_together(folder.path(), 3);
    let out = folder.path().join("all.json");
    let flags = ["-J", "--assert=received>1", "--label=three", "-o", out.to_str().unwrap()];
    let ended = merge(&flags, &files);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout_text()).unwrap();
    check_bench_document(&document);
    check_document("merged", &document);
    assert_eq!(document, read(&out));
    let sent = count(&document, "/messages/sent");
    assert_eq!(sent, files.iter().map(|file| count(&read(file), "/messages/sent")).sum::<u64>());
    assert_eq!(daemon.counters().get("udp_messages_in"), sent);
    assert_eq!(daemon.counters().get("udp_messages_out"), count(&document, "/messages/received"));
    assert_eq!(count(&document, "/latency_ns/count"), count(&document, "/messages/received"));
    assert_eq!((count(&document, "/connections"), &document["label"]), (6, &json!("three")));
    assert_eq!(document["rate"]["asked"], 300.0);
    let from = &document["run"]["measured_from"];
    let has_started_then = |file: &PathBuf| read(file)["run"]["measured_from"] == *from;
    assert!(files.iter().all(has_started_then), "all parts started together");
    assert_eq!(document["asserts"][0]["held"], true);
    let parts = document["parts"].as_array().unwrap();
    let names: Vec<_> = parts.iter().map(|part| part["run"]["part"].as_str().unwrap()).collect();
    assert_eq!(names, ["1/3", "2/3", "3/3"]);

    let text = merge(&["--assert=lost>0"], &files);
    assert_eq!(text.code(), 99, "{}", text.stderr);
    let shown = text.stdout_text();
    assert!(shown.contains("parts") && shown.contains("2/3 on "), "{shown}");
    for name in ["all.csv", "all.hgrm", "all.hlog"] {
        let path = folder.path().join(name);
        let ended = merge(&["-o", path.to_str().unwrap()], &files);
        assert_eq!(ended.code(), 0, "{name}: {}", ended.stderr);
        assert!(fs::read_to_string(path).unwrap().lines().count() >= 2, "{name}");
    }

    refused(&files[..2], "cannot merge: part 3/3 is missing");
    refused(&[&files[..], &files[..1]].concat(), "are both part 1/3");
    edited(&files[1], "/options/meant/rate", json!(301));
    refused(&files, "part-1.json and ");
    refused(&files, "are parts of different loads: rate is 300 and 301");
    edited(&files[1], "/options/meant/rate", json!(300));
    edited(&files[2], "/run/measured_from", json!("2026-01-01T00:00:00Z"));
    edited(&files[2], "/run/measured_to", json!("2026-01-01T00:00:03Z"));
    refused(&files, "did not measure at the same time");
    edited(&files[2], "/histograms/latency", json!("AAAA"));
    refused(&files, "part-3.json: histograms.latency is not a histogram of this program");
}

/// case B17
#[test]
fn a_part_that_failed_is_named_and_the_exit_code_is_1() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let folder = tempfile::tempdir().unwrap();
    let load = ["-c2", "-n20", "--warmup=0", "--timeout=50s", daemon.endpoints[0].as_str()];
    let mut files = run_parts(folder.path(), 1, &load).unwrap();
    edited(&files[0], "/run/part", json!("1/2"));
    edited(&files[0], "/options/meant/part", json!("1/2"));
    let failed = folder.path().join("failed.json");
    let mut command = resound();
    command.args(["bench", "--part=2/2", "-c2", "-n20", "--warmup=0", "--timeout=50s", "-o"]);
    let ended = run({
        command.arg(&failed).arg("tcp://127.0.0.1:1");
        command
    });
    assert_eq!(ended.code(), 1);
    edited(&failed, "/options/meant/endpoint", json!(daemon.endpoints[0]));
    files.push(failed);
    let ended = merge(&["-J"], &files);
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("part 2/2 (") && ended.stderr.contains("failed.json)"));
    let document: Value = serde_json::from_str(&ended.stdout_text()).unwrap();
    assert_eq!(document["status"], "partial");
    assert_eq!(document["parts"][1]["status"], "error");
}

#[test]
fn what_is_not_a_part_is_refused_by_the_name_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    refused(std::slice::from_ref(&path), "x.json: no such file or directory");
    fs::write(&path, "not JSON").unwrap();
    refused(std::slice::from_ref(&path), "x.json: it is not a JSON document");
    fs::write(&path, json!({"version": 2}).to_string()).unwrap();
    refused(std::slice::from_ref(&path), "x.json: it is of version 2: expected version 1");
    let ended = merge::<&str>(&[], &[]);
    assert_eq!((ended.code(), ended.stderr.lines().count()), (2, 1), "{}", ended.stderr);
    let mut command = resound();
    command.args(["merge", "-", "-J"]);
    let ended = Process::start_with_input(command, b"{}").wait();
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr.contains("cannot read stdin: it is not the document"), "{}", ended.stderr);
}

//! `resound bench` against servers whose behaviour is known and that keep their own record.

mod agreement;
mod away;
mod datagrams;
mod failures;
mod flags;
mod interop;
mod interrupts;
mod lengths;
mod limits;
mod loops;
mod outputs;
mod parts;
mod reach;
mod results;
mod starved;
mod streams;
#[cfg(target_os = "linux")]
pub mod timestamps;
#[cfg(target_os = "linux")]
mod trains;
mod truth;
mod verdicts;

use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::schema::check_bench_document;
use crate::support::{Ended, Process, abstract_name, python, resound, run};

/// A Python server that misbehaves by rules. It runs until it is dropped.
struct Judge {
    process: Process,
    endpoint: String,
}

impl Judge {
    /// Starts the server for messages of 64 bytes.
    #[track_caller]
    fn start(endpoint: &str, rules: &[&str]) -> Judge {
        Judge::start_for(64, endpoint, rules)
    }

    #[track_caller]
    fn start_for(length: usize, endpoint: &str, rules: &[&str]) -> Judge {
        let mut command = python("judge.py");
        command.args([endpoint, &length.to_string()]).args(rules);
        let mut process = Process::start(command);
        let endpoint = process.wait_for_line("ready ");
        Judge { process, endpoint }
    }

    /// Ends the server and returns its record.
    #[track_caller]
    fn record(self) -> Value {
        self.process.signal(Signal::INT);
        let ended = self.process.wait();
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        serde_json::from_str(ended.stdout_text().lines().last().unwrap()).unwrap()
    }
}

/// Returns a command for `resound bench` with these arguments.
fn bench(arguments: &[&str]) -> Command {
    let mut command = resound();
    command.arg("bench").args(arguments);
    command
}

/// Runs `resound bench` to its end.
#[track_caller]
fn run_bench(arguments: &[&str]) -> Ended {
    run(bench(arguments))
}

/// Parses and checks the document on stdout.
#[track_caller]
fn document(ended: &Ended) -> Value {
    let document = serde_json::from_slice(&ended.stdout);
    let document: Value =
        document.unwrap_or_else(|error| panic!("{error}: {:?} {ended:?}", ended.stdout_text()));
    check_bench_document(&document);
    document
}

/// Runs `resound bench -J` to its end. Returns how it ended, and its document.
#[track_caller]
fn bench_json(arguments: &[&str]) -> (Ended, Value) {
    let ended = run_bench(&[&["-J"], arguments].concat());
    let document = document(&ended);
    (ended, document)
}

/// Like [`bench_json`], and asserts that the run succeeds.
#[track_caller]
fn good_json(arguments: &[&str]) -> Value {
    let (ended, document) = bench_json(arguments);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{document:#}");
    assert_eq!(document["status"], "ok");
    document
}

/// Returns the document's count at this path, such as `/messages/lost`.
#[track_caller]
fn count(document: &Value, path: &str) -> u64 {
    let value = document.pointer(path).unwrap_or_else(|| panic!("no {path}"));
    value.as_u64().unwrap_or_else(|| panic!("{path} is {value}"))
}

/// Asserts the counts of messages in the order sent, received, lost, late, duplicated, reordered,
/// corrupted, and that nothing is in flight at the end.
#[track_caller]
fn assert_messages(document: &Value, expected: [u64; 7]) {
    let names = ["sent", "received", "lost", "late", "duplicated", "reordered", "corrupted"];
    let found = names.map(|name| count(document, &format!("/messages/{name}")));
    assert_eq!(found, expected, "{names:?}: {document:#}");
    assert_eq!(count(document, "/messages/in_flight_at_end"), 0);
}

/// Returns an endpoint of every transport, with Unix names that no other test uses.
fn every_endpoint(tag: &str) -> [String; 4] {
    [
        "tcp://127.0.0.1:0".to_owned(),
        "udp://127.0.0.1:0".to_owned(),
        format!("unix:{}", abstract_name(tag)),
        format!("unixgram:{}", abstract_name(tag)),
    ]
}

/// Runs all cases at the same time, because they mostly wait.
fn at_once<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| run(case));
        }
    });
}

fn is_stream(endpoint: &str) -> bool {
    endpoint.starts_with("tcp:") || endpoint.starts_with("unix:")
}

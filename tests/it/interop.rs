//! `resound serve` with clients from Python, socat and OpenBSD nc.

mod ip;
mod textbook;
mod tools;
mod unix;

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Process, abstract_name, python, run, wait_until};

/// Returns an endpoint of every kind, with files in `folder`.
fn every_endpoint(folder: &Path) -> [String; 6] {
    [
        "tcp://127.0.0.1:0".to_owned(),
        "udp://127.0.0.1:0".to_owned(),
        format!("unix:{}/stream", folder.display()),
        format!("unixgram:{}/datagram", folder.display()),
        format!("unix:{}", abstract_name("stream")),
        format!("unixgram:{}", abstract_name("datagram")),
    ]
}

/// Returns the name to which a client must bind to get an answer: a path for Unix datagrams,
/// otherwise `None`.
fn own_name(endpoint: &str, folder: &Path) -> Option<String> {
    endpoint.starts_with("unixgram:").then(|| {
        let count = std::fs::read_dir(folder).unwrap().count();
        format!("{}/client-{count}", folder.display())
    })
}

/// Runs a script, asserts that it succeeds, and returns its output.
#[track_caller]
fn python_prints<S: AsRef<OsStr>>(script: &str, arguments: &[S]) -> String {
    let mut command = python(script);
    command.args(arguments);
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{script}: {}", ended.stderr);
    ended.stdout_text()
}

/// Returns the answer that the textbook client gets.
#[track_caller]
fn ask(endpoint: &str, message: &str, folder: &Path) -> String {
    let mut arguments = vec![endpoint.to_owned(), message.to_owned()];
    arguments.extend(own_name(endpoint, folder));
    python_prints("client.py", &arguments)
}

/// Writes to a program that keeps running, and waits until it has printed the answer.
#[track_caller]
fn converse(command: Command, message: &[u8], answer: &[u8]) {
    let mut process = Process::start_with_stdin(command, Stdio::piped());
    process.stdin_mut().write_all(message).unwrap();
    wait_until("the answer", || {
        assert!(process.is_running(), "it ended: {}", process.stderr_text());
        process.stdout_bytes().len() >= answer.len()
    });
    assert_eq!(process.stdout_text(), String::from_utf8_lossy(answer));
}

//! `resound send` with Python servers.

mod echoes;
mod failures;
mod streams;

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::support::{Ended, Process, abstract_name, python, resound, wait_until};

/// The answer of the servers that answer with a fixed line.
const LINE: &str = "Are you talking to me?\n";

/// A Python server. It runs until it is dropped.
struct Server {
    process: Process,
    endpoint: String,
}

impl Server {
    #[track_caller]
    fn start(endpoint: &str, behaviour: &str) -> Server {
        let mut command = python("server.py");
        command.args([endpoint, behaviour]);
        let mut process = Process::start(command);
        let endpoint = process.wait_for_line("ready ");
        Server { process, endpoint }
    }

    /// Sends SIGINT, and returns the lines that the server printed after `ready`.
    #[track_caller]
    fn stop(self) -> Vec<String> {
        self.process.signal(Signal::INT);
        let ended = self.process.wait();
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        ended.stdout_text().lines().skip(1).map(str::to_owned).collect()
    }
}

/// Returns an endpoint of every kind, with files in `folder`.
fn every_endpoint(folder: &Path) -> [String; 6] {
    [
        "tcp://127.0.0.1:0".to_owned(),
        "udp://127.0.0.1:0".to_owned(),
        format!("unix:{}/stream", folder.display()),
        format!("unixgram:{}/datagram", folder.display()),
        format!("unix:{}", abstract_name("send-stream")),
        format!("unixgram:{}", abstract_name("send-datagram")),
    ]
}

fn send(arguments: &[&str]) -> Command {
    let mut command = resound();
    command.arg("send").args(arguments);
    command
}

/// Runs `send` to its end. Without a timeout in the arguments, uses one that is long enough for a
/// busy machine.
#[track_caller]
fn run_send(arguments: &[&str], input: &[u8]) -> Ended {
    let patient = ["--timeout=50s"];
    let before: &[&str] = if arguments.contains(&"--timeout") { &[] } else { &patient };
    let command = send(&[before, arguments].concat());
    Process::start_with_input(command, input).wait()
}

/// Asserts success, this text on stdout, and nothing on stderr.
#[track_caller]
fn assert_answered(ended: &Ended, answer: &str) {
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    assert_eq!(ended.stdout_text(), answer);
}

#[test]
fn an_echo_comes_back_exactly_on_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        let server = Server::start(&endpoint, "echo");
        for message in ["hello", "grüß\n\u{1b}[2J", ""] {
            let ended = run_send(&[&server.endpoint, message], b"");
            assert_answered(&ended, message);
        }
        // A word that begins with a hyphen is a flag, even a mistyped one, unless `--` precedes it.
        let ended = run_send(&[&server.endpoint, "--", "-x"], b"");
        assert_answered(&ended, "-x");
        let ended = run_send(&[&server.endpoint], b"from stdin");
        assert_answered(&ended, "from stdin");
    }
}

#[test]
fn a_fixed_line_comes_back_on_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        let server = Server::start(&endpoint, "line");
        assert_answered(&run_send(&[&server.endpoint, "hello"], b""), LINE);
        assert_answered(&run_send(&[&server.endpoint], b"hello"), LINE);
    }
}

#[test]
fn verbose_names_the_peer_on_stderr() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        let server = Server::start(&endpoint, "echo");
        let ended = run_send(&["-v", &server.endpoint, "hello"], b"");
        assert_eq!((ended.code(), ended.stdout_text().as_str()), (0, "hello"));
        let (_, address) = server.endpoint.split_once(':').unwrap();
        let peer = address.trim_start_matches("//");
        assert_eq!(ended.stderr, format!("resound: peer {peer}\n"));
    }
}

#[test]
fn stdin_is_sent_as_one_datagram_per_line_and_answered_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()).iter().filter(|e| !is_stream(e)) {
        let lines = b"one\ntwo\n\n\xff\x00three\nno end";
        let server = Server::start(endpoint, "echo");
        let ended = run_send(&[&server.endpoint], lines);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        assert_eq!(ended.stdout, b"onetwo\xff\x00threeno end");
        server.stop();

        let receiver = Server::start(endpoint, "print");
        assert_answered(&run_send(&["--no-reply", &receiver.endpoint], lines), "");
        assert_answered(&run_send(&["--no-reply", &receiver.endpoint, "by word"], b""), "");
        wait_until("the datagrams", || receiver.process.stdout_text().lines().count() == 7);
        let expected =
            ["b'one'", "b'two'", "b''", r"b'\xff\x00three'", "b'no end'", "b'by word'", "stopped"];
        assert_eq!(receiver.stop(), expected);
    }
}

fn is_stream(endpoint: &str) -> bool {
    endpoint.starts_with("tcp:") || endpoint.starts_with("unix:")
}

/// The receiver of many textbooks: it replaces the file of an earlier one, prints what it receives,
/// and removes its file at Ctrl-C.
#[test]
fn a_unix_receiver_that_only_prints_works_again_after_it_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("receiver");
    let endpoint = format!("unixgram:{}", path.display());
    let killed = Server::start(&endpoint, "print");
    killed.process.signal(Signal::KILL);
    killed.process.wait();
    assert!(path.exists(), "it is stale now");

    let ended = run_send(&["--no-reply", &endpoint, "anybody?"], b"");
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr.contains("refused"), "{}", ended.stderr);

    let receiver = Server::start(&endpoint, "print");
    assert_answered(&run_send(&["--no-reply", &endpoint, "anybody?"], b""), "");
    wait_until("the message", || receiver.process.stdout_text().contains("anybody?"));
    assert_eq!(receiver.stop(), ["b'anybody?'", "stopped"]);
    assert!(!path.exists());
}

/// A missing answer is reported at the end; the lines after it are still sent.
#[test]
fn a_datagram_without_an_answer_does_not_stop_the_next() {
    let receiver = Server::start("udp://127.0.0.1:0", "print");
    let ended = run_send(&["--timeout", "50ms", &receiver.endpoint], b"one\ntwo\n");
    assert_eq!(ended.code(), 1);
    let expected = format!("resound: cannot get an answer from {}: timed out\n", receiver.endpoint);
    assert_eq!(ended.stderr, expected);
    wait_until("both", || receiver.process.stdout_text().lines().count() == 3);
    assert_eq!(receiver.stop(), ["b'one'", "b'two'", "stopped"]);
}

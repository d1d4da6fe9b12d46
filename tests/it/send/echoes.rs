//! Answers that are not an echo, or only a part of one: the default warnings, and `--expect-echo`.

use std::process::Stdio;

use crate::send::{LINE, Server, assert_answered, every_endpoint, is_stream, run_send, send};
use crate::support::{Daemon, Process};

/// A script that reads only stdout would otherwise take the beginning of an answer for all of it.
#[test]
fn an_answer_cut_by_a_reset_is_an_error_and_the_received_part_is_printed() {
    let server = Server::start("tcp://127.0.0.1:0", "part-and-reset");
    for arguments in [&[server.endpoint.as_str()][..], &["--expect-echo", &server.endpoint]] {
        for _ in 0..20 {
            let ended = run_send(arguments, b"abcdef");
            assert_eq!((ended.code(), ended.stdout_text().as_str()), (1, "abc"));
            let reason = "reset (after 3 bytes, which may be a part of it)";
            let expected = format!("cannot get an answer from {}: {reason}", server.endpoint);
            assert_eq!(ended.stderr, format!("resound: {expected}\n"));
        }
    }
}

/// The reset comes while the client sends its input. Either its writer or its reader gets the error
/// first.
#[test]
fn a_reset_while_input_is_being_sent_is_an_error_for_writer_and_reader() {
    let server = Server::start("tcp://127.0.0.1:0", "reset");
    let input = vec![b'x'; 8 << 20];
    for _ in 0..20 {
        let ended = run_send(&[&server.endpoint], &input);
        assert_eq!((ended.code(), ended.stdout.len()), (1, 0), "{}", ended.stderr);
        assert!(ended.stderr.ends_with(": reset\n"), "{}", ended.stderr);
    }
}

#[test]
fn an_echo_that_ends_early_is_reported_without_a_flag() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()).iter().filter(|e| is_stream(e)) {
        for (behaviour, ended_how) in
            [("part", "closed the connection"), ("part-and-silence", "fell silent")]
        {
            let server = Server::start(endpoint, behaviour);
            let ended = run_send(&["--timeout", "2s", &server.endpoint], b"abcdef");
            assert_eq!((ended.code(), ended.stdout_text().as_str()), (0, "abc"));
            let expected = format!("{} {ended_how} after 3 of 6 bytes sent", server.endpoint);
            assert_eq!(ended.stderr, format!("resound: {expected}\n"));
        }
        let server = Server::start(endpoint, "print");
        let ended = run_send(&[&server.endpoint, "abcdef"], b"");
        assert_eq!((ended.code(), ended.stdout.len()), (0, 0));
        let expected = format!("{} closed the connection without an answer", server.endpoint);
        assert_eq!(ended.stderr, format!("resound: {expected}\n"));
    }
}

/// An answer that begins differently from the message was not meant as an echo.
#[test]
fn an_answer_that_is_not_an_echo_causes_no_warning() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()).iter().filter(|e| is_stream(e)) {
        let server = Server::start(endpoint, "line");
        assert_answered(&run_send(&[&server.endpoint], &[b'x'; 1000]), LINE);
    }
}

#[test]
fn with_expect_echo_an_echo_is_a_success_on_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&every_endpoint(folder.path()));
    for endpoint in &daemon.endpoints {
        for message in ["hello", ""] {
            assert_answered(&run_send(&["--expect-echo", endpoint, message], b""), message);
        }
        let lines: String = (0..50).map(|number| format!("line {number}\n")).collect();
        let expected = if is_stream(endpoint) { lines.clone() } else { lines.replace('\n', "") };
        assert_answered(&run_send(&["--expect-echo", endpoint], lines.as_bytes()), &expected);
    }
    // Much more than the buffers of both ends hold, so that sending and comparing overlap.
    let input: Vec<u8> = (0..8_u32 << 20).map(|at| (at % 251) as u8).collect();
    for endpoint in daemon.endpoints.iter().filter(|e| is_stream(e)) {
        let ended = run_send(&["--expect-echo", endpoint], &input);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        assert!(ended.stdout == input, "{endpoint}: {} bytes", ended.stdout.len());
    }
}

#[test]
fn with_expect_echo_the_first_difference_is_named_and_the_answer_still_printed() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        for (behaviour, answer, difference) in [
            ("part", "abc", "missing at the end: 3 of 6 bytes"),
            ("changed", "abcXef", "byte 3: sent 0x64, received 0x58"),
            ("longer", "abcdef!", "byte 6: sent nothing there, received 0x21"),
        ] {
            let server = Server::start(&endpoint, behaviour);
            let expected =
                format!("resound: cannot get an echo from {}: {difference}\n", server.endpoint);
            for (message, input) in [(Some("abcdef"), ""), (None, "abcdef")] {
                let arguments: Vec<&str> =
                    ["--expect-echo", &server.endpoint].into_iter().chain(message).collect();
                let ended = run_send(&arguments, input.as_bytes());
                assert_eq!((ended.code(), ended.stdout_text().as_str()), (1, answer));
                let number =
                    if is_stream(&endpoint) || message.is_some() { "" } else { " (datagram 1)" };
                assert_eq!(ended.stderr, expected.replace('\n', &format!("{number}\n")));
            }
        }
    }
}

#[test]
fn with_expect_echo_every_datagram_is_compared_and_the_first_that_differs_is_named() {
    let server = Server::start("udp://127.0.0.1:0", "changed");
    let ended = run_send(&["--expect-echo", &server.endpoint], b"abcX\nabcd\nabce\n");
    assert_eq!((ended.code(), ended.stdout_text().as_str()), (1, "abcXabcXabcX"));
    let difference = "byte 3: sent 0x64, received 0x58 (datagram 2)";
    let expected = format!("resound: cannot get an echo from {}: {difference}\n", server.endpoint);
    assert_eq!(ended.stderr, expected);
}

#[test]
fn with_expect_echo_a_peer_that_closes_without_an_answer_is_an_error() {
    let server = Server::start("tcp://127.0.0.1:0", "print");
    let ended = run_send(&["--expect-echo", &server.endpoint, "abc"], b"");
    let difference = "missing at the end: 3 of 3 bytes";
    let expected = format!("resound: cannot get an echo from {}: {difference}\n", server.endpoint);
    assert_eq!((ended.code(), ended.stderr), (1, expected));
}

#[test]
fn expecting_an_echo_and_waiting_for_no_reply_is_a_wrong_command_line() {
    let command = send(&["--expect-echo", "--no-reply", "tcp://127.0.0.1:1", "x"]);
    let ended = Process::start_with_stdin(command, Stdio::null()).wait();
    assert_eq!((ended.code(), ended.stderr.lines().count()), (2, 1), "{}", ended.stderr);
}

//! Streams: the end of input, the rest of the answer, early closes.

use std::io::Write;
use std::process::Stdio;

use crate::send::{LINE, Server, assert_answered, every_endpoint, is_stream, run_send, send};
use crate::support::{Daemon, Process, wait_until};

fn every_stream(folder: &std::path::Path) -> Vec<String> {
    let mut endpoints = every_endpoint(folder).to_vec();
    endpoints.retain(|endpoint| is_stream(endpoint));
    endpoints
}

/// Returns bytes without an obvious pattern.
fn bytes_of(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    (0..count.div_ceil(4)).flat_map(|_| next()).take(count).collect()
}

/// case B11
#[test]
fn eight_megabytes_of_stdin_come_back_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let input = bytes_of(8 << 20);
    for endpoint in every_stream(folder.path()) {
        let server = Server::start(&endpoint, "echo");
        let ended = run_send(&[&server.endpoint], &input);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        assert!(ended.stdout == input, "{endpoint}: {} bytes", ended.stdout.len());
    }
}

/// cases B11, S3: with the program at both ends.
#[test]
fn eight_megabytes_of_stdin_come_back_from_resound_serve() {
    let folder = tempfile::tempdir().unwrap();
    let input = bytes_of(8 << 20);
    let daemon = Daemon::start(&every_stream(folder.path()));
    for endpoint in &daemon.endpoints {
        let ended = run_send(&[endpoint], &input);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        assert!(ended.stdout == input, "{endpoint}: {} bytes", ended.stdout.len());
    }
}

/// case B11: the answer begins when the input has ended.
#[test]
fn an_answer_after_the_end_of_the_input_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_stream(folder.path()) {
        let server = Server::start(&endpoint, "digest");
        let ended = run_send(&[&server.endpoint], b"abc");
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_answered(&ended, sha256);
        let ended = run_send(&[&server.endpoint, "abc"], b"");
        assert_answered(&ended, sha256);
    }
}

/// Input that comes in parts is answered in parts.
#[test]
fn an_answer_is_printed_while_stdin_is_still_open() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_stream(folder.path()) {
        let server = Server::start(&endpoint, "echo");
        let mut client = Process::start_with_stdin(send(&[&server.endpoint]), Stdio::piped());
        let mut stdin = client.stdin();
        for piece in ["one", "two", "three"] {
            stdin.write_all(format!("{piece}\n").as_bytes()).unwrap();
            client.wait_for_line(piece);
        }
        drop(stdin);
        assert_answered(&client.wait(), "one\ntwo\nthree\n");
    }
}

/// If the peer closes, the client ends, although its stdin never ends.
#[test]
fn a_peer_that_closes_ends_a_client_whose_stdin_is_open() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_stream(folder.path()) {
        let server = Server::start(&endpoint, "early-line");
        // The client also waits this long for input, as for an answer.
        let command = send(&["--timeout", "2s", &server.endpoint]);
        let client = Process::start_with_stdin(command, Stdio::piped());
        assert_answered(&client.wait(), LINE);
    }
}

/// The end of the answer does not end the other direction. The test runs many times, because the
/// end of the answer may come before or after the first byte is sent.
#[test]
fn a_server_that_ends_its_answer_first_still_gets_the_message() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_stream(folder.path()) {
        let server = Server::start(&endpoint, "half-close");
        for _ in 0..50 {
            assert_answered(&run_send(&[&server.endpoint, "MESSAGE"], b""), LINE);
        }
        wait_until("the messages", || server.process.stdout_text().lines().count() == 51);
        let received = server.stop();
        assert_eq!(received[..50], vec!["b'MESSAGE'"; 50]);
    }
}

#[test]
fn input_that_comes_after_the_end_of_the_answer_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_stream(folder.path()) {
        let server = Server::start(&endpoint, "half-close");
        let command = send(&["--timeout=50s", &server.endpoint]);
        let mut client = Process::start_with_stdin(command, Stdio::piped());
        let mut stdin = client.stdin();
        client.wait_for_line(LINE.trim_end());
        stdin.write_all(b"late").unwrap();
        drop(stdin);
        assert_answered(&client.wait(), LINE);

        let input = vec![b'x'; 8 << 20];
        assert_answered(&run_send(&[&server.endpoint], &input), LINE);
        // The last line is long, and the server prints it in parts.
        wait_until("the inputs", || {
            let printed = server.process.stdout_text();
            printed.lines().count() == 3 && printed.ends_with("'\n")
        });
        let received = server.stop();
        assert_eq!(received[0], "b'late'");
        assert_eq!(received[1].len(), input.len() + "b''".len());
    }
}

/// The server closes with the message unread, so the kernel sends a reset after its answer. The
/// client prints all that it received, and cannot tell whether that is the whole answer.
#[test]
fn a_reset_after_the_answer_of_a_server_that_never_reads_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_stream(folder.path()) {
        let server = Server::start(&endpoint, "unread-line");
        // The test runs many times, because the reset may come before or after the end of the
        // writing.
        for _ in 0..20 {
            for (message, input) in [(Some("hello"), ""), (None, "hello")] {
                let arguments: Vec<&str> =
                    [Some(server.endpoint.as_str()), message].into_iter().flatten().collect();
                let ended = run_send(&arguments, input.as_bytes());
                assert_eq!((ended.code(), ended.stdout_text().as_str()), (1, LINE));
                let reason = "reset (after 23 bytes, which may be a part of it)";
                let expected = format!("cannot get an answer from {}: {reason}", server.endpoint);
                assert_eq!(ended.stderr, format!("resound: {expected}\n"));
            }
        }
    }
}

#[test]
fn without_shutdown_the_peer_does_not_see_an_end() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_stream(folder.path()) {
        let line = Server::start(&endpoint, "line");
        assert_answered(&run_send(&["--no-shutdown", &line.endpoint, "hello"], b""), LINE);
        line.stop();

        // The server answers only at the end of the stream, which it does not see.
        let digest = Server::start(&endpoint, "digest");
        let ended =
            run_send(&["--no-shutdown", "--timeout", "200ms", &digest.endpoint, "hello"], b"");
        assert_eq!((ended.code(), ended.stdout.len()), (1, 0));
        assert!(ended.stderr.ends_with(": timed out\n"), "{}", ended.stderr);
    }
}

#[test]
fn with_no_reply_all_is_sent_without_waiting_for_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_stream(folder.path()) {
        let server = Server::start(&endpoint, "print");
        assert_answered(&run_send(&["--no-reply", &server.endpoint], b"one\ntwo\n"), "");
        wait_until("the message", || server.process.stdout_text().lines().count() == 2);
        assert_eq!(server.stop(), [r"b'one\ntwo\n'", "stopped"]);
    }
}

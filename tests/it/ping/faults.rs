//! Echoes that are late, duplicated, out of order, damaged or missing.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::ping::{Faulty, PATIENT, assert_messages, count, document, every_endpoint, is_stream};
use crate::ping::{ping, without_time};
use crate::support::{Process, run};

/// Short, so that faults take little time. On a busy machine other probes may time out as well, and
/// the tests allow that.
const SHORT: &str = "--timeout=300ms";

/// Probes a server with these faults four times on every endpoint. Returns the documents.
#[track_caller]
fn documents(faults: &[&str], arguments: &[&str], folder: &Path) -> Vec<(String, Value)> {
    let with_server = |endpoint: String| {
        let server = Faulty::start(&endpoint, faults);
        let arguments = [&["-J", "-c", "4"], arguments, &[server.endpoint.as_str()]].concat();
        let ended = run(ping(&arguments));
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{endpoint} {faults:?}");
        (endpoint, document(&ended))
    };
    every_endpoint(folder).map(with_server).into()
}

/// Returns the endpoint and the lines about probes, without times.
#[track_caller]
fn lines(faults: &[&str], endpoint: &str, arguments: &[&str]) -> (String, Vec<String>) {
    let server = Faulty::start(endpoint, faults);
    let ended = run(ping(&[arguments, &[server.endpoint.as_str()]].concat()));
    let stdout = ended.stdout_text();
    let lines = stdout.lines().skip(1).take_while(|line| !line.is_empty());
    (server.endpoint, lines.map(without_time).collect())
}

/// case B3
#[test]
fn a_duplicate_is_shown_and_counted_separately() {
    let folder = tempfile::tempdir().unwrap();
    let paced = ["-i", "1ms", PATIENT];
    for (endpoint, document) in documents(&["duplicate:2"], &paced, folder.path()) {
        let expected = [("sent", 4), ("received", 4), ("duplicated", 1)];
        println!("{endpoint}");
        assert_messages(&document, &expected);
        assert_eq!(document["status"], "ok");
    }
    for endpoint in ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"] {
        let (endpoint, lines) = lines(&["duplicate:1"], endpoint, &["-c2", "-i1ms", PATIENT]);
        let duplicate = format!("64 bytes from {endpoint}: seq=1 (DUP!)");
        assert!(lines.contains(&duplicate), "{lines:?}");
    }
}

/// case B3
#[test]
fn an_echo_after_that_of_the_next_probe_is_shown_and_counted_as_out_of_order() {
    let folder = tempfile::tempdir().unwrap();
    let paced = ["-i", "1ms", PATIENT];
    for (endpoint, document) in documents(&["swap:2"], &paced, folder.path()) {
        let expected = [("sent", 4), ("received", 4), ("reordered", 1)];
        println!("{endpoint}");
        assert_messages(&document, &expected);
    }
    for endpoint in ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"] {
        let (endpoint, lines) = lines(&["swap:1"], endpoint, &["-c2", "-i1ms", PATIENT]);
        let expected = ["seq=2", "seq=1 (out of order)"]
            .map(|line| format!("64 bytes from {endpoint}: {line}"));
        assert_eq!(lines, expected);
    }
}

/// case B7: for `ping`: whichever byte is wrong, also in the number, the probe of the echo is
/// found, and the echo counts as received.
#[test]
fn a_damaged_echo_is_shown_with_the_offset_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    for index in [0, 7, 8, 63] {
        let fault = format!("corrupt:2:{index}");
        let paced = ["-i", "1ms", PATIENT];
        for (endpoint, document) in documents(&[&fault], &paced, folder.path()) {
            let expected = [("sent", 4), ("received", 4), ("corrupted", 1)];
            println!("{endpoint}");
            assert_messages(&document, &expected);
        }
    }
    for endpoint in ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"] {
        let (endpoint, lines) = lines(&["corrupt:1:9"], endpoint, &["-c1", PATIENT]);
        let expected = format!("64 bytes from {endpoint}: seq=1 (corrupted at byte 9)");
        assert_eq!(lines, [expected]);
    }
}

#[test]
fn a_datagram_too_short_or_too_long_is_damaged() {
    for (fault, length, place) in [("shorten:1", 63, 63), ("lengthen:1", 65, 64)] {
        let (endpoint, lines) = lines(&[fault], "udp://127.0.0.1:0", &["-c1", PATIENT]);
        let expected = format!("{length} bytes from {endpoint}: seq=1 (corrupted at byte {place})");
        assert_eq!(lines, [expected]);
    }
}

/// The later echoes in the stream are shifted, so without a new connection all would count as
/// damaged.
#[test]
fn a_stream_that_lost_a_byte_is_replaced_by_a_new_connection() {
    let server = Faulty::start("tcp://127.0.0.1:0", &["shorten:1"]);
    let mut process = Process::start(ping(&["-i", "400ms", SHORT, &server.endpoint]));
    process.wait_for_line(&format!("{}: out of step", server.endpoint));
    // No later echo is damaged. The first may be slow, and then the test waits for the next.
    let is_whole = |line: &str| line.contains("time=") && !line.contains('(');
    crate::support::wait_until("a whole echo", || {
        let stdout = process.stdout_text();
        stdout.split_once("out of step").unwrap().1.lines().any(is_whole)
    });
    process.signal(Signal::INT);
    assert_eq!(process.wait().code(), 0);
}

/// case B9
#[test]
fn an_echo_in_pieces_is_one_echo() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()).iter().filter(|e| is_stream(e)) {
        let server = Faulty::start(endpoint, &["pieces"]);
        let ended = run(ping(&["-J", "-c4", "-i1ms", PATIENT, &server.endpoint]));
        assert_messages(&document(&ended), &[("sent", 4), ("received", 4)]);
    }
}

#[test]
fn a_probe_without_its_echo_is_shown_as_lost_and_delays_no_other() {
    let folder = tempfile::tempdir().unwrap();
    // All run at once, because each takes five seconds.
    let started = every_endpoint(folder.path()).map(|endpoint| {
        let server = Faulty::start(&endpoint, &["drop:2"]);
        let command = ping(&["-c", "4", "-i", "1ms", "-W", "5s", &server.endpoint]);
        (server, Process::start(command))
    });
    for (server, process) in started {
        let ended = process.wait();
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        let stdout = ended.stdout_text();
        let lines: Vec<_> = stdout.lines().collect();
        let expected = [1, 3, 4].map(|n| format!("64 bytes from {}: seq={n}", server.endpoint));
        assert_eq!([1, 2, 3].map(|index| without_time(lines[index])), expected, "{stdout}");
        assert_eq!(lines[4], "seq=2 no answer within 5s");
        assert!(stdout.contains("\n4 probes sent, 3 received, 25% loss, time "), "{stdout}");
        assert!(stdout.contains("\nlost: 1 no answer\n"), "{stdout}");
    }
}

/// case B3: the probe is lost by then and stays lost. The server sends the echo after `ping` has
/// printed the loss.
#[test]
fn a_late_echo_is_shown_as_late_and_does_not_answer_a_newer_probe() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        let server = Faulty::start(&endpoint, &["hold:1"]);
        let endpoint = &server.endpoint;
        let mut process = Process::start(ping(&["-i", "100ms", SHORT, endpoint]));
        process.wait_for_line("seq=1 no answer within 300ms");
        server.process.signal(Signal::USR1);
        let late = process.wait_for_line(&format!("64 bytes from {endpoint}: seq=1 time="));
        assert!(late.ends_with(" (late)"), "{late}");
        process.signal(Signal::INT);
        let ended = process.wait();
        assert_eq!(ended.code(), 0);
        let stdout = ended.stdout_text();
        assert!(stdout.contains(" late, "), "{stdout}");
    }
}

/// case B10: for `ping`
#[test]
fn a_run_without_any_answer_ends_in_time() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        let server = Faulty::start(&endpoint, &["mute"]);
        let ended = run(ping(&["-c3", "-i", "10ms", "-W", "100ms", &server.endpoint]));
        assert_eq!((ended.code(), ended.stderr.as_str()), (1, ""));
        let stdout = ended.stdout_text();
        for number in 1..=3 {
            let line = format!("\nseq={number} no answer within 100ms\n");
            assert!(stdout.contains(&line), "{stdout}");
        }
        assert!(stdout.contains("\n3 probes sent, 0 received, 100% loss, time "), "{stdout}");

        let ended = run(ping(&["-J", "-c1", "-W", "100ms", &server.endpoint]));
        assert_eq!((ended.code(), ended.stderr.as_str()), (1, ""));
        let document = document(&ended);
        assert_messages(&document, &[("sent", 1), ("lost", 1)]);
        assert_eq!(document["status"], "error");
        let error = document["error"].as_str().unwrap();
        assert!(error.starts_with("nothing came back: no "), "{error}");
    }
}

/// Some system calls round such a short timeout down to 0, which means no timeout.
#[test]
fn runs_with_the_shortest_timeouts_end() {
    let server = Faulty::start("udp://127.0.0.1:0", &["mute"]);
    for time in ["1ns", "1us", "100us"] {
        let ended = run(ping(&["-J", "-c3", "-i", time, "-W", time, &server.endpoint]));
        assert_messages(&document(&ended), &[("sent", 3), ("lost", 3)]);
    }
}

/// case B4: for `ping`
#[test]
fn a_connection_that_ends_is_reported_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()).iter().filter(|e| is_stream(e)) {
        // Servers of Unix sockets in Python cannot reset.
        let faults = [("close:2", "closed by the peer"), ("reset:2", "reset")];
        for (fault, reason) in &faults[..if endpoint.starts_with("tcp:") { 2 } else { 1 }] {
            let (endpoint, lines) = lines(&[fault], endpoint, &["-c4", "-i0", PATIENT]);
            let answer = |number: u64| format!("64 bytes from {endpoint}: seq={number}");
            let expected = [answer(1), format!("seq=2 {reason}"), answer(3), answer(4)];
            assert_eq!(lines, expected);
        }
    }
}

/// The server is not an echo server: the run ends in time, and answers that are not echoes are not
/// a success.
#[test]
fn a_greeting_or_a_fixed_answer_is_not_an_echo() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        let server = Faulty::start(&endpoint, &["line"]);
        let ended = run(ping(&["-J", "-c4", "-i", "10ms", SHORT, &server.endpoint]));
        assert_eq!((ended.code(), ended.stderr.as_str()), (1, ""));
        let document = document(&ended);
        assert_eq!(count(&document, "sent"), 4);
        let corrupted = count(&document, "corrupted");
        assert!(corrupted > 0, "{document}");
        assert_eq!(document["status"], "error");
        let expected = format!("no echo: each answer ({corrupted}) differed from what was sent");
        assert_eq!(document["error"], expected);
        drop(server);
        if is_stream(&endpoint) {
            let server = Faulty::start(&endpoint, &["greet"]);
            let ended = run(ping(&["-c2", "-i", "10ms", PATIENT, &server.endpoint]));
            // The second echo may be intact, because the stream is in step after the greeting.
            assert_eq!(ended.stderr, "");
            assert!(ended.stdout_text().contains("corrupted"), "{}", ended.stdout_text());
        }
    }
}

/// case B7: for `ping`: the exit code must not report success to a script.
#[test]
fn a_run_with_only_damaged_answers_fails_and_one_intact_echo_makes_it_a_success() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        for (probes, code) in [("1", 1), ("2", 0)] {
            let server = Faulty::start(&endpoint, &["corrupt:1:20"]);
            let ended = run(ping(&["-c", probes, "-i1ms", PATIENT, &server.endpoint]));
            assert_eq!((ended.code(), ended.stderr.as_str()), (code, ""));
            let expected = "\nno echo: each answer (1) differed from what was sent\n";
            assert_eq!(
                ended.stdout_text().contains(expected),
                code == 1,
                "{}",
                ended.stdout_text()
            );
        }
    }
}

#[test]
fn a_peer_that_never_stops_sending_floods_neither_the_run_nor_the_screen() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        let server = Faulty::start(&endpoint, &["babble"]);
        let ended = run(ping(&["-c4", "-i", "10ms", SHORT, &server.endpoint]));
        assert_eq!(ended.stderr, "");
        let stdout = ended.stdout_text();
        // Lines for the result of each probe, for bytes that belong to no probe, for a connection
        // that is given up, and the header and the summary.
        assert!(stdout.lines().count() <= 4 * 4 + 6, "{stdout}");
        assert!(stdout.contains("\n4 probes sent, "), "{stdout}");
    }
}

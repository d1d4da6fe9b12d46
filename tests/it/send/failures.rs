//! Errors, each reported with its cause on one line, and events that are not errors.

use std::fs::File;
use std::io;
use std::process::Stdio;

use crate::send::{Server, every_endpoint, is_stream, run_send, send};
use crate::support::{Ended, Process, UnservedPorts, run};

/// Asserts exit code 1, and one line that names the endpoint and ends with the reason.
#[track_caller]
fn assert_failed(ended: &Ended, endpoint: &str, reason: &str) {
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("resound: cannot "), "{}", ended.stderr);
    let line = ended.stderr.trim_end();
    assert!(line.contains(&format!(" {endpoint}: {reason}")), "{line:?} lacks {reason:?}");
}

/// case U8: over UDP, the kernel reports it by the ICMP error.
#[test]
fn an_unserved_port_is_refused() {
    let unserved = UnservedPorts::new();
    let UnservedPorts { tcp, udp, .. } = &unserved;
    for endpoint in [format!("tcp://{tcp}"), format!("udp://{udp}")] {
        let ended = run_send(&[&endpoint, "x"], b"");
        assert_failed(&ended, &endpoint, "refused (nothing listens there)");
    }
}

#[test]
fn a_unix_socket_that_is_stale_missing_or_of_the_other_kind_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    for scheme in ["unix", "unixgram"] {
        let endpoint = format!("{scheme}:{}", path.display());
        let missing = "no such file or directory (no such socket)";
        assert_failed(&run_send(&[&endpoint, "x"], b""), &endpoint, missing);
    }
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    for scheme in ["unix", "unixgram"] {
        let endpoint = format!("{scheme}:{}", path.display());
        assert_failed(&run_send(&[&endpoint, "x"], b""), &endpoint, "refused");
    }
    let unserved = "unix:@resound-test-unserved";
    assert_failed(&run_send(&[unserved, "x"], b""), unserved, "refused");

    for (served, asked) in [("unix", "unixgram"), ("unixgram", "unix")] {
        let path = folder.path().join(served);
        let _server = Server::start(&format!("{served}:{}", path.display()), "hang");
        let endpoint = format!("{asked}:{}", path.display());
        let ended = run_send(&[&endpoint, "x"], b"");
        assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 1));
        assert!(ended.stderr.contains("is of the other kind"), "{}", ended.stderr);
    }
}

/// The top-level domain `.invalid` has no names (RFC 2606).
#[test]
fn a_host_that_does_not_exist_is_named() {
    for endpoint in ["tcp://no-such-host.invalid:1", "udp://no-such-host.invalid:1"] {
        assert_failed(&run_send(&[endpoint, "x"], b""), endpoint, "no such host");
    }
}

#[test]
fn a_reset_is_named() {
    let server = Server::start("tcp://127.0.0.1:0", "reset");
    for _ in 0..20 {
        assert_failed(&run_send(&[&server.endpoint, "x"], b""), &server.endpoint, "reset");
    }
}

/// case B10: for `send`; the peer receives the message and sends nothing.
#[test]
fn a_peer_that_hangs_is_given_up_on_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        let server = Server::start(&endpoint, "hang");
        for (arguments, input) in [(vec!["x"], &b""[..]), (vec![], b"x\n")] {
            let arguments =
                [vec!["--timeout", "100ms", server.endpoint.as_str()], arguments].concat();
            let ended = run_send(&arguments, input);
            assert_failed(&ended, &server.endpoint, "timed out");
            assert_eq!(ended.stdout.len(), 0);
        }
    }
}

/// The sockets' buffers fill, then no byte moves in either direction.
#[test]
fn a_peer_that_never_reads_a_large_input_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let input = vec![b'x'; 64 << 20];
    for endpoint in every_endpoint(folder.path()).iter().filter(|e| is_stream(e)) {
        let server = Server::start(endpoint, "hang");
        let ended = run_send(&["--timeout", "300ms", &server.endpoint], &input);
        assert_failed(&ended, &server.endpoint, "timed out");
        let ended = run_send(&["--no-reply", "--timeout", "300ms", &server.endpoint], &input);
        assert_failed(&ended, &server.endpoint, "timed out");
    }
}

/// case P4
#[test]
fn a_closed_stdout_is_a_quiet_end() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        let server = Server::start(&endpoint, "echo");
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let command = send(&[&server.endpoint, "hello"]);
        let ended = Process::start_with(command, Stdio::null(), writer.into()).wait();
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{endpoint}");
    }
}

/// case P4: the reader closes after a first part, as `| head` does.
#[test]
fn an_answer_read_in_part_is_a_quiet_end() {
    let server = Server::start("tcp://127.0.0.1:0", "echo");
    let (mut reader, writer) = io::pipe().unwrap();
    let command = send(&[&server.endpoint]);
    let mut client = Process::start_with(command, Stdio::piped(), writer.into());
    let mut stdin = client.stdin();
    let pump = std::thread::spawn(move || {
        let piece = [b'x'; 65_536];
        // The server sends until the client is gone.
        while io::Write::write_all(&mut stdin, &piece).is_ok() {}
    });
    io::Read::read_exact(&mut reader, &mut [0; 1]).unwrap();
    drop(reader);
    let ended = client.wait();
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    pump.join().unwrap();
}

#[test]
fn a_full_device_as_stdout_is_an_error_of_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        let server = Server::start(&endpoint, "echo");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let command = send(&[&server.endpoint, "hello"]);
        let ended = Process::start_with(command, Stdio::null(), full.into()).wait();
        assert_eq!(ended.code(), 1, "{endpoint}");
        assert_eq!(ended.stderr, "resound: cannot write to stdout: no space left on device\n");
    }
}

#[test]
fn a_stdin_that_cannot_be_read_is_an_error_of_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        let server = Server::start(&endpoint, "echo");
        // A folder can be opened but not read.
        let stdin = File::open(folder.path()).unwrap();
        let command = send(&["--timeout", "1s", &server.endpoint]);
        let ended = Process::start_with_stdin(command, stdin.into()).wait();
        assert_eq!(ended.code(), 1, "{endpoint}");
        assert_eq!(ended.stderr, "resound: cannot read stdin: is a directory\n", "{endpoint}");
    }
}

/// case B12: for `send`: a timeout that is too short is refused, and does not become an unlimited
/// wait.
#[test]
fn a_timeout_of_nearly_zero_is_refused() {
    for time in ["0", "100ns"] {
        let ended = run(send(&["--timeout", time, "tcp://127.0.0.1:1", "x"]));
        assert_eq!((ended.code(), ended.stderr.lines().count()), (2, 1), "{}", ended.stderr);
    }
}

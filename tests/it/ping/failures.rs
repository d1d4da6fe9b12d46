//! Errors that later probes would meet as well, and wrong command lines. `ping` prints one line,
//! and with `-J` also the document.

use crate::ping::{PATIENT, assert_messages, document, every_endpoint, ping};
use crate::support::{Daemon, UnservedPorts, resound, run};

/// case U8: for `ping`, which reports it and continues.
#[test]
fn an_unserved_port_refuses_each_probe() {
    let unserved = UnservedPorts::new();
    let UnservedPorts { tcp, udp, .. } = &unserved;
    for endpoint in [format!("tcp://{tcp}"), format!("udp://{udp}")] {
        for interval in ["0", "1ms"] {
            let ended = run(ping(&["-c3", "-i", interval, PATIENT, &endpoint]));
            assert_eq!((ended.code(), ended.stderr.as_str()), (1, ""));
            let stdout = ended.stdout_text();
            let lines: Vec<_> = stdout.lines().collect();
            assert_eq!(lines[1..4], ["seq=1 refused", "seq=2 refused", "seq=3 refused"]);
            let counts = "3 probes sent, 0 received, 100% loss, time ";
            assert!(lines[6].starts_with(counts), "{stdout}");
            assert_eq!(lines[7..], ["lost: 3 refused"]);
        }
        let ended = run(ping(&["-J", "-c3", "-i0", PATIENT, &endpoint]));
        assert_eq!((ended.code(), ended.stderr.as_str()), (1, ""));
        let document = document(&ended);
        assert_messages(&document, &[("sent", 3), ("lost", 3)]);
        assert_eq!(document["status"], "error");
        assert_eq!(document["error"], "nothing came back: refused");
        assert_eq!(document["losses"]["refused"], 3);
    }
}

#[test]
fn a_unix_socket_that_is_stale_or_missing_is_named_with_each_probe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    for reason in ["no such file or directory", "refused"] {
        for scheme in ["unix", "unixgram"] {
            let endpoint = format!("{scheme}:{}", path.display());
            let ended = run(ping(&["-c2", "-i0", PATIENT, &endpoint]));
            assert_eq!((ended.code(), ended.stderr.as_str()), (1, ""));
            let expected = format!("\nseq=1 {reason}\nseq=2 {reason}\n");
            assert!(ended.stdout_text().contains(&expected), "{}", ended.stdout_text());
        }
        if !path.exists() {
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        }
    }
}

/// Asserts an immediate exit with code 1, no probe, and one line that ends with the reason. With
/// `-J` the document contains the same.
#[track_caller]
fn assert_ends_at_once(arguments: &[&str], endpoint: &str, reason: &str) {
    let ended = run(ping(&[arguments, &[endpoint]].concat()));
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    assert!(!ended.stdout_text().contains("seq="), "{}", ended.stdout_text());
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    let line = ended.stderr.strip_prefix("resound: ").unwrap().trim_end();
    assert!(line.starts_with("cannot ") && line.ends_with(reason), "{line}");

    let ended = run(ping(&[arguments, &["-J", endpoint]].concat()));
    assert_eq!((ended.code(), ended.stderr.as_str()), (1, format!("resound: {line}\n").as_str()));
    let document = document(&ended);
    assert_eq!(document["status"], "error");
    assert_eq!(document["error"], line);
    assert_eq!(document["endpoint"], endpoint);
}

/// The top-level domain `.invalid` has no names (RFC 2606).
#[test]
fn a_host_that_does_not_exist_ends_it_at_once() {
    for endpoint in ["tcp://no-such-host.invalid:1", "udp://no-such-host.invalid:1"] {
        assert_ends_at_once(&[PATIENT], endpoint, &format!("{endpoint}: no such host"));
    }
}

#[test]
fn a_socket_of_the_other_kind_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&every_endpoint(folder.path()));
    for endpoint in daemon.endpoints.iter().filter(|endpoint| endpoint.starts_with("unix")) {
        let (scheme, name) = endpoint.split_once(':').unwrap();
        // An abstract name belongs to one kind of socket; the same name of the other kind is free.
        if name.starts_with('@') {
            continue;
        }
        let other = if scheme == "unix" { "unixgram" } else { "unix" };
        let reason = "(the socket there is of the other kind, stream or datagram)";
        assert_ends_at_once(&[PATIENT], &format!("{other}:{name}"), reason);
    }
}

/// One rule for one endpoint and for several: the target ends, and the others go on.
#[test]
fn a_host_that_does_not_exist_ends_its_own_target_among_others() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"]);
    let (good, bad) = (&daemon.endpoints[0], "udp://no-such-host.invalid:1");
    let line = format!("resound: cannot connect to {bad}: no such host\n");
    let ended = run(ping(&["-c2", "-i1ms", PATIENT, bad, good]));
    assert_eq!((ended.code(), &ended.stderr), (0, &line), "the other answered");
    assert!(ended.stdout_text().contains("2 probes sent, 2 received"), "{}", ended.stdout_text());
    let ended = run(ping(&["-c2", PATIENT, bad, "tcp://no-such-host.invalid:1"]));
    assert_eq!((ended.code(), ended.stderr.matches("no such host").count()), (1, 2));
    // A monitor waits for the name.
    let monitor = ["-c1", "--timeout=20ms", "--metrics=127.0.0.1:0", bad];
    let ended = run(ping(&monitor));
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    assert!(ended.stdout_text().contains("1 probe sent"), "{}", ended.stdout_text());
}

/// case X5: the size that a Unix datagram may have depends on the system.
#[test]
fn a_probe_longer_than_a_unix_datagram_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&every_endpoint(folder.path()));
    for endpoint in daemon.endpoints.iter().filter(|endpoint| endpoint.starts_with("unixgram")) {
        let reason = "message too long (1048576 bytes are too long for one datagram)";
        assert_ends_at_once(&["-l", "1MiB", PATIENT], endpoint, reason);
    }
}

/// case X5: for UDP, and for every command that takes a length or a message.
#[test]
fn a_message_longer_than_any_datagram_of_the_transport_is_a_wrong_command_line() {
    let message = "x".repeat(70_000);
    for (arguments, most) in [
        (&["ping", "udp://127.0.0.1:1", "-l70000"][..], "65507"),
        (&["ping", "udp://[::1]:1", "-l70000"], "65527"),
        (&["ping", "udp://[::1]:1", "udp://127.0.0.1:1", "-l65520"], "65507"),
        (&["ping", "unixgram:@missing", "-l5MiB"], "4194304"),
        (&["bench", "udp://127.0.0.1:1", "-l70000"], "65507"),
        (&["bench", "--transport", "unixgram", "-l5MiB"], "4194304"),
        (&["send", "udp://127.0.0.1:1", &message], "65507"),
    ] {
        let mut command = resound();
        command.args(arguments);
        let ended = run(command);
        assert_eq!((ended.code(), ended.stdout.len()), (2, 0), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        let expected = format!("expected at most {most} bytes");
        assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
        assert!(ended.stderr.contains("such as "), "{}", ended.stderr);
    }
}

#[test]
fn a_temporary_folder_that_holds_no_socket_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("unixgram:{}/datagram", folder.path().display());
    let _daemon = Daemon::start(&[&endpoint]);
    let mut command = ping(&[PATIENT, &endpoint]);
    command.env("TMPDIR", folder.path().join("missing"));
    let ended = run(command);
    assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 1));
    assert!(ended.stderr.contains("set TMPDIR to another folder"), "{}", ended.stderr);
}

/// case B12: for `ping`
#[test]
fn a_wrong_command_line_is_one_line_and_with_json_also_a_document() {
    let endpoint = "tcp://127.0.0.1:1";
    let huge = "9".repeat(30);
    for (arguments, parts) in [
        (&[][..], &["<ENDPOINT>"][..]),
        (&["7007"], &["'7007' has no scheme and no port"]),
        (&[endpoint, "hello"], &["'hello'"]),
        (&["--frobnicate", endpoint], &["'--frobnicate'"]),
        (&["-l", "0", endpoint], &["--length", "a size from 1 to 16MiB", "such as 64"]),
        (&["--size", "0", endpoint], &["--length", "a size from 1 to 16MiB"]),
        (&["-l", "17MiB", endpoint], &["--length", "a size from 1 to 16MiB"]),
        (&["-l", "x", endpoint], &["--length", "expected a size such as 512"]),
        (&["-l", &huge, endpoint], &["--length", "expected a size such as 512"]),
        (&["-l", "-1", endpoint], &["'-1'", "--length"]),
        (&["-c", "0", endpoint], &["--count", "a count of at least 1"]),
        (&["-c", "many", endpoint], &["--count", "expected a count such as 250"]),
        (&["-c", &huge, endpoint], &["--count", "expected a count such as 250"]),
        (&["-c", "-1", endpoint], &["'-1'", "--count"]),
        (&["-i", "soon", endpoint], &["--interval", "expected a time such as 200us"]),
        (&["-i", "-1", endpoint], &["'-1'", "--interval"]),
        (&["-W", "0", endpoint], &["--timeout", "expected a time above 0"]),
        (&["-W", &huge, endpoint], &["--timeout", "expected a time such as 200us"]),
        (&["-c", "1", "-c", "2", endpoint], &["--count", "multiple"]),
    ] {
        let ended = run(ping(arguments));
        assert_eq!((ended.code(), ended.stdout.len()), (2, 0), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("try 'resound ping --help'"), "{}", ended.stderr);
        for part in parts {
            assert!(ended.stderr.contains(part), "{:?} lacks {part:?}", ended.stderr);
        }
        for json in ["-J", "--json", "-qJ"] {
            let with_json = run(ping(&[&[json], arguments].concat()));
            assert_eq!(with_json.code(), 2, "{}", with_json.stderr);
            assert_eq!(with_json.stderr, ended.stderr);
            let document = document(&with_json);
            assert_eq!((&document["version"], &document["status"]), (&1.into(), &"error".into()));
            let error = document["error"].as_str().unwrap();
            assert_eq!(format!("resound: {error}\n"), ended.stderr);
            assert_messages(&document, &[]);
        }
    }
}

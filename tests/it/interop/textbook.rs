//! The clients and servers of introductions to socket programming.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use crate::interop::{ask, every_endpoint, own_name, python_prints};
use crate::support::{Daemon, Process, python, wait_until};

#[test]
fn clients_get_their_own_message_on_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&every_endpoint(folder.path()));
    for endpoint in &daemon.endpoints {
        let clients = tempfile::tempdir().unwrap();
        assert_eq!(ask(endpoint, "grüß dich", clients.path()), "grüß dich", "{endpoint}");
    }
    assert_eq!(daemon.stop().code(), 0);
}

#[test]
fn clients_get_the_configured_reply_on_every_transport() {
    for reply in ["Hello from server!", "Are you talking to me?"] {
        let folder = tempfile::tempdir().unwrap();
        let mut arguments = vec!["--reply".to_owned(), reply.to_owned()];
        arguments.extend(every_endpoint(folder.path()));
        let daemon = Daemon::start(&arguments);
        for endpoint in &daemon.endpoints {
            let clients = tempfile::tempdir().unwrap();
            // The test asks twice, because every client gets the reply, not only the first.
            for message in ["hello", "hello again"] {
                assert_eq!(ask(endpoint, message, clients.path()), reply, "{endpoint}");
            }
        }
    }
}

/// Waits for the line that `--print` prints, checks its time, and returns the rest.
#[track_caller]
fn printed(daemon: &Daemon, transport: &str, peer: &str) -> String {
    let mut text = None;
    let prefix = format!("{transport} {peer} ");
    wait_until("a printed message", || {
        let stdout = daemon.process.stdout_text();
        let whole = stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let Some((time, rest)) = line.split_once(' ') else { continue };
            if let Some(rest) = rest.strip_prefix(&prefix) {
                let shape: String =
                    time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
                assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
                text = Some(rest.to_owned());
            }
        }
        text.is_some()
    });
    text.expect("it was waited for")
}

/// case X1: includes senders without a name.
#[test]
fn with_print_and_discard_messages_are_printed_and_not_answered() {
    let messages: [(&str, &[u8], &str); 5] = [
        ("plain", b"Are you talking to me?", "Are you talking to me?"),
        ("a line end", b"line\n", r"line\n"),
        ("control bytes", b"\x1b[2J\x07 \\", r"\x1b[2J\x07 \\"),
        ("no UTF-8", b"\xff\xfe", r"\xff\xfe"),
        ("UTF-8", "grüß 東京".as_bytes(), "grüß 東京"),
    ];
    for (what, message, expected) in messages {
        let folder = tempfile::tempdir().unwrap();
        let mut arguments = vec!["--discard".to_owned(), "--print".to_owned()];
        arguments.extend(every_endpoint(folder.path()));
        let daemon = Daemon::start(&arguments);
        let hex: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
        for endpoint in &daemon.endpoints[..5] {
            let mut sender = vec![endpoint.clone(), hex.clone()];
            let name = own_name(endpoint, folder.path());
            sender.extend(name);
            let peer = python_prints("sender.py", &sender);
            let (transport, _) = endpoint.split_once(':').unwrap();
            let text = printed(&daemon, transport, peer.trim_end());
            assert_eq!(text, expected, "{what} to {endpoint}");
        }
        // The last message is from a sender without a name.
        python_prints("sender.py", &[daemon.endpoints[5].as_str(), &hex]);
        assert_eq!(printed(&daemon, "unixgram", "unnamed"), expected, "{what}");

        let counters = daemon.counters();
        for transport in ["tcp", "udp", "unix", "unixgram"] {
            assert_eq!(counters.get(&format!("{transport}_messages_out")), 0, "{transport}");
        }
        let ended = daemon.stop();
        let is_raw = |byte: &u8| byte.is_ascii_control() && *byte != b'\n';
        assert!(!ended.stdout.iter().any(is_raw), "{:?}", ended.stdout_text());
        assert!(!ended.stderr.bytes().any(|byte| is_raw(&byte)), "{:?}", ended.stderr);
    }
}

#[test]
fn a_one_off_server_ends_well_after_one_client_on_every_transport() {
    for number in 0..6 {
        let folder = tempfile::tempdir().unwrap();
        let clients = tempfile::tempdir().unwrap();
        let endpoint = every_endpoint(folder.path())[number].clone();
        for flag in ["--one-off", "-1"] {
            let daemon = Daemon::start(&[flag, &endpoint]);
            let bound = daemon.endpoints[0].clone();
            assert_eq!(ask(&bound, "once", clients.path()), "once");
            let ended = daemon.process.wait();
            assert_eq!(ended.code(), 0, "{bound}: {}", ended.stderr);
            assert_eq!(ended.stdout_text(), format!("listening {bound}\n"));
            let left = std::fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(left, 0, "{bound}: its socket file is gone");
        }
    }
}

/// case S3: the client's FIN does not end its answer.
#[test]
fn a_client_that_has_sent_fin_gets_all_of_its_echo() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&every_endpoint(folder.path()));
    for index in [0, 2, 4] {
        let endpoint = daemon.endpoints[index].as_str();
        for bytes in ["0", "1", "65536", "3000000"] {
            let printed = python_prints("half_close.py", &[endpoint, bytes]);
            assert_eq!(printed, "all came back\n", "{endpoint} {bytes}");
        }
    }
    let counters = daemon.counters();
    assert_eq!(counters.get("finished"), 12);
    assert_eq!(counters.get("reset"), 0);
}

/// case S12: checks that every byte comes back separately, not how fast.
#[test]
fn two_hundred_single_bytes_come_back_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&every_endpoint(folder.path()));
    for index in [0, 2, 4] {
        let endpoint = daemon.endpoints[index].as_str();
        assert_eq!(python_prints("ping_pong.py", &[endpoint, "200"]), "200 rounds\n");
    }
    assert_eq!(daemon.counters().get("tcp_messages_in"), 200);
}

/// case S13: the loop sleeps again with the out-of-band byte unread.
#[test]
fn an_out_of_band_byte_neither_stops_the_stream_nor_keeps_the_loop_awake() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let mut command = python("urgent.py");
    command.arg(&daemon.endpoints[0]);
    let mut client = Process::start_with_stdin(command, Stdio::piped());
    client.wait_for_line("marked");
    // A spinning loop polls without sleeping, so it is never seen in state S.
    wait_for_state(&daemon, 'S');
    // All these bytes cause one event, and one read stops short at the mark.
    daemon.process.signal(Signal::STOP);
    wait_for_state(&daemon, 'T');
    client.stdin_mut().write_all(b"\n").unwrap();
    client.wait_for_line("queued");
    daemon.process.signal(Signal::CONT);
    let ended = client.wait();
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    assert_eq!(ended.stdout_text(), "marked\nqueued\ndone\n");
}

/// Waits for a state of the process, as a letter of proc_pid_stat(5).
#[track_caller]
fn wait_for_state(daemon: &Daemon, state: char) {
    let stat = format!("/proc/{}/stat", daemon.process.pid().as_raw_nonzero());
    if Path::new("/proc/self/stat").exists() {
        wait_until(&format!("state {state}"), || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with(state)
        });
    }
}

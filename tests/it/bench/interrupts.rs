//! Ctrl-C ends the run, and `bench` reports what it has measured.

use std::net::{SocketAddr, TcpListener};

use rustix::net::{AddressFamily, SocketType};
use rustix::process::Signal;

use crate::bench::{Judge, bench, count, document, every_endpoint};
use crate::support::{Daemon, Process, wait_until};

/// Much longer than any of these runs takes.
const LONG: [&str; 3] = ["-t10m", "--warmup=0", "--timeout=50s"];

/// Waits until the server has received many more messages than these bytes.
#[track_caller]
fn wait_for_messages(daemon: &Daemon, transport: &str, before: u64) {
    wait_until("messages", || bytes_in(daemon, transport) > before + 64 * 100);
}

fn bytes_in(daemon: &Daemon, transport: &str) -> u64 {
    daemon.counters().get(&format!("{transport}_bytes_in"))
}

/// case B5
#[test]
fn ctrl_c_ends_a_run_with_a_partial_report() {
    for endpoint in every_endpoint("partial") {
        let daemon = Daemon::start(&[&endpoint]);
        let transport = endpoint.split(':').next().unwrap();
        let target = daemon.endpoints[0].as_str();
        for load in [&["-c4"][..], &["-c4", "-r2k"]] {
            let arguments = [&LONG[..], load, &[target]].concat();
            let before = bytes_in(&daemon, transport);
            let run = Process::start(bench(&[&["-J"], &arguments[..]].concat()));
            wait_for_messages(&daemon, transport, before);
            run.signal(Signal::INT);
            let ended = run.wait();
            let document = document(&ended);
            assert_eq!((ended.code(), &document["status"]), (0, &"partial".into()));
            assert_eq!(document["error"], "interrupted");
            assert_eq!(ended.stderr, "resound: interrupted\n");
            assert!(count(&document, "/messages/received") > 50, "{document:#}");
            assert!(count(&document, "/latency_ns/count") > 50, "{document:#}");
        }
    }
}

/// case B5: by SIGTERM, which `timeout` and service managers send.
#[test]
fn the_text_of_a_terminated_run_says_that_it_is_partial() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    for signal in [Signal::INT, Signal::TERM] {
        let before = bytes_in(&daemon, "tcp");
        let run = Process::start(bench(&[&LONG[..], &["-c4", &daemon.endpoints[0]]].concat()));
        wait_for_messages(&daemon, "tcp", before);
        run.signal(signal);
        let ended = run.wait();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let text = ended.stdout_text();
        assert!(text.contains("PARTIAL       interrupted"), "{text}");
        assert!(text.contains("round trip"), "{text}");
    }
}

/// case B5: after the first signal the run waits briefly for missing echoes. After the second it
/// does not. Two signals may arrive as one.
#[test]
fn a_second_ctrl_c_ends_the_run_at_once_with_a_report() {
    for endpoint in ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"] {
        let judge = Judge::start(endpoint, &["drop:1:200"]);
        let arguments = ["-J", "-c1", "-d8", "--interval=10ms", &judge.endpoint];
        let run = Process::start(bench(&[&arguments[..], &LONG[..]].concat()));
        // Interval lines go to stderr, because stdout is for the document.
        wait_until("some intervals", || run.stderr_text().lines().count() > 30);
        run.signal(Signal::INT);
        run.signal(Signal::INT);
        let ended = run.wait();
        let document = document(&ended);
        assert_eq!((ended.code(), &document["status"]), (0, &"partial".into()));
        assert!(count(&document, "/messages/in_flight_at_end") >= 1, "{document:#}");
        assert_eq!(count(&document, "/messages/lost"), 0);
    }
}

/// case B5: nothing was measured, because the peer does not accept the connection.
#[test]
fn ctrl_c_before_the_first_echo_is_an_error() {
    // A backlog of 0 holds one or two connections. Later clients wait.
    let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let listener = TcpListener::from(listener);
    listener.set_nonblocking(true).unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let run = Process::start(bench(&[&["-J", "-c10", &endpoint], &LONG[..]].concat()));
    // The program connects after it has installed its signal handlers.
    let mut accepted = None;
    wait_until("a connection", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    run.signal(Signal::INT);
    let ended = run.wait();
    drop(accepted);
    let document = document(&ended);
    assert_eq!((ended.code(), &document["status"]), (1, &"error".into()), "{document:#}");
    assert_eq!(document["error"], "interrupted before an echo was measured");
}

/// case B5: the messages of the warm-up are reported and do not count.
#[test]
fn ctrl_c_during_the_warm_up_is_an_error() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let arguments = ["-J", "-c4", "--warmup=10m", &daemon.endpoints[0]];
    let run = Process::start(bench(&arguments));
    wait_for_messages(&daemon, "tcp", 0);
    run.signal(Signal::INT);
    let ended = run.wait();
    let document = document(&ended);
    assert_eq!((ended.code(), &document["status"]), (1, &"error".into()), "{document:#}");
    assert_eq!(document["error"], "interrupted before an echo was measured");
    assert!(count(&document, "/warmup_messages/received") > 50, "{document:#}");
    assert_eq!(count(&document, "/messages/sent"), 0);
}

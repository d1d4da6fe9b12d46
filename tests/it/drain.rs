//! A drain under load: every peer gets all of its echo.

use std::io::Read;
use std::net::{TcpStream, UdpSocket};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Counters, Daemon, Process, WAIT_MAX, echo, resound, wait_until};

/// case P1: no datagram is lost between the signal and the end of the drain.
#[test]
fn datagrams_are_answered_while_a_stream_drains() {
    let flags = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "--drain-timeout", "10m"];
    let daemon = Daemon::start(&flags);
    let mut peer = TcpStream::connect(daemon.addr(0)).unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    echo(&mut peer);
    let prober = UdpSocket::bind("127.0.0.1:0").unwrap();
    prober.set_read_timeout(Some(WAIT_MAX)).unwrap();
    prober.connect(daemon.addr(1)).unwrap();
    daemon.process.signal(Signal::TERM);
    wait_until("the drain", || daemon.process.stderr_text().contains("draining: "));
    for number in 0..200_u8 {
        prober.send(&[number]).unwrap();
        let mut buf = [0; 2];
        assert_eq!((prober.recv(&mut buf).unwrap(), buf[0]), (1, number));
    }
    echo(&mut peer);
    drop(peer);
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let counters = Counters::last_of(&ended.stderr);
    assert_eq!((counters.get("udp_messages_out"), counters.get("finished")), (200, 1));
}

/// case P1: also if the peer of the stream never finishes.
#[test]
fn datagrams_are_answered_until_a_drain_times_out() {
    let flags = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "--drain-timeout", "500ms"];
    let daemon = Daemon::start(&flags);
    let mut peer = TcpStream::connect(daemon.addr(0)).unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    echo(&mut peer);
    let prober = UdpSocket::bind("127.0.0.1:0").unwrap();
    prober.connect(daemon.addr(1)).unwrap();
    prober.set_read_timeout(Some(WAIT_MAX)).unwrap();
    daemon.process.signal(Signal::TERM);
    // The server sends FIN shortly before the deadline.
    peer.set_nonblocking(true).unwrap();
    let mut answers = 0;
    while peer.read(&mut [0]).is_err() {
        prober.send(b"ping").unwrap();
        assert_eq!(prober.recv(&mut [0; 8]).unwrap(), 4);
        answers += 1;
    }
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let counters = Counters::last_of(&ended.stderr);
    assert_eq!((counters.get("udp_messages_out"), counters.get("drain_cut")), (answers, 1));
}

/// case P1: without streams the server waits for nothing.
#[test]
fn a_drain_with_only_datagram_sockets_ends_at_once() {
    let flags = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0", "--drain-timeout", "10m"];
    for threads in ["1", "2"] {
        let daemon = Daemon::start(&[&flags[..], &["--threads", threads]].concat());
        let ended = daemon.stop();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }
}

/// case P1: the peers never finish by themselves, so the server ends them shortly before the
/// deadline.
#[test]
fn no_echo_is_lost_when_a_server_is_terminated_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", folder.path().join("echo").display());
    for (endpoint, transport) in [("tcp://127.0.0.1:0", "tcp"), (unix.as_str(), "unix")] {
        let daemon = Daemon::start(&[endpoint, "--drain-timeout", "2s"]);
        let mut command = resound();
        let load = ["-J", "-c20", "-d8", "-l256", "-t10m", "--warmup=0", "--timeout=50s"];
        command.arg("bench").args(load).arg(&daemon.endpoints[0]);
        let bench = Process::start(command);
        let messages_in = format!("{transport}_messages_in");
        wait_until("load", || daemon.counters().get(&messages_in) > 5_000);
        daemon.process.signal(Signal::TERM);
        let ended = daemon.process.wait();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let counters = Counters::last_of(&ended.stderr);
        let count = |name: &str| counters.get(&format!("{transport}_{name}"));
        let document: Value = serde_json::from_slice(&bench.wait().stdout).unwrap();
        let received = document["bytes"]["received"].as_u64().unwrap();
        assert_eq!(document["messages"]["corrupted"], 0, "{document:#}");
        // On a very busy machine a peer may not end within its half second, and is cut.
        if counters.get("drain_cut") == 0 {
            assert_eq!(count("bytes_out"), count("bytes_in"), "all that was read: {counters:?}");
            assert_eq!(received, count("bytes_out"), "all of it has arrived: {document:#}");
            assert_eq!(
                (document["flows"]["closed"].as_u64(), counters.get("finished")),
                (Some(20), 20)
            );
        }
    }
}

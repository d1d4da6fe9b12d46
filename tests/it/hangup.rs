//! SIGHUP: closing the terminal ends a program cleanly, unless nohup(1) started it.

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Counters, Daemon, Process, WAIT_MAX, echo, resound, wait_until};

/// Returns a command that starts the program as nohup(1) does.
fn under_nohup(arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP && exec \"$@\"", "sh"]);
    command.arg(resound().get_program()).args(arguments).env_remove("RUST_LOG");
    command
}

/// case P1
#[test]
fn a_sighup_that_was_ignored_at_the_start_does_not_drain_a_server() {
    let daemon = Daemon::start_command(under_nohup(&["serve", "tcp://127.0.0.1:0"]));
    let connect = || {
        let mut peer = TcpStream::connect(daemon.addr(0)).unwrap();
        peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
        echo(&mut peer);
        peer
    };
    let mut peer = connect();
    daemon.process.signal(Signal::HUP);
    // When the counters are printed, the server has handled every earlier signal.
    assert_eq!(daemon.counters().get("connections_open"), 1);
    assert!(!daemon.process.stderr_text().contains("draining"));
    let other = connect();
    daemon.process.signal(Signal::TERM);
    wait_until("the drain", || daemon.process.stderr_text().contains("draining"));
    daemon.process.signal(Signal::HUP);
    echo(&mut peer);
    drop((peer, other));
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("second signal"), "{}", ended.stderr);
}

#[test]
fn sigusr1_prints_the_counters_in_a_drain() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--drain-timeout", "10m"]);
    let mut peer = TcpStream::connect(daemon.addr(0)).unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    echo(&mut peer);
    daemon.process.signal(Signal::HUP);
    wait_until("the drain", || daemon.process.stderr_text().contains("draining"));
    assert_eq!(daemon.counters().get("tcp_messages_in"), 1);
    echo(&mut peer);
    assert_eq!(daemon.counters().get("tcp_messages_in"), 2, "the drain continues");
    drop(peer);
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(Counters::last_of(&ended.stderr).get("finished"), 1);
}

#[test]
fn a_bench_under_nohup_runs_to_its_end() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let endpoint = daemon.endpoints[0].clone();
    let run = ["bench", "-J", "-c1", "-n100k", "--warmup=0", endpoint.as_str()];
    let bench = Process::start(under_nohup(&run));
    wait_until("load", || daemon.counters().get("tcp_messages_in") > 100);
    bench.signal(Signal::HUP);
    let ended = bench.wait();
    let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(document["messages"]["received"], 100_000, "{}", ended.stderr);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

#[test]
fn sighup_ends_a_ping_cleanly_but_not_under_nohup() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let endpoint = daemon.endpoints[0].clone();
    let mut command = resound();
    command.args(["ping", "-i", "10ms", &endpoint]);
    let mut plain = Process::start(command);
    plain.wait_for_line("64 bytes from ");
    plain.signal(Signal::HUP);
    let ended = plain.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stdout_text().contains("ping statistics"), "{}", ended.stdout_text());

    let mut kept = Process::start(under_nohup(&["ping", "-c", "20", "-i", "10ms", &endpoint]));
    kept.wait_for_line("64 bytes from ");
    kept.signal(Signal::HUP);
    let ended = kept.wait();
    assert_eq!(ended.stdout_text().matches("seq=").count(), 20);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

/// case X9: SIGHUP also removes the client's socket file, unless the program ignores the signal.
#[test]
fn a_send_under_nohup_waits_for_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let server = UnixDatagram::bind(&path).unwrap();
    server.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let endpoint = format!("unixgram:{}", path.display());
    let client = Process::start(under_nohup(&["send", "--timeout=60s", &endpoint, "message"]));
    let mut buf = [0; 16];
    let (length, peer) = server.recv_from(&mut buf).unwrap();
    client.signal(Signal::HUP);
    server.send_to(&buf[..length], peer.as_pathname().unwrap()).unwrap();
    let ended = client.wait();
    assert_eq!((ended.code(), ended.stdout_text().as_str()), (0, "message"), "{}", ended.stderr);
    assert!(!peer.as_pathname().unwrap().exists());
}

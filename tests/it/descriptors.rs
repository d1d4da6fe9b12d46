//! Descriptors sent with the bytes of a stream, which end a read early on Linux, and the number of
//! descriptors that the server keeps open.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Daemon, Process, python, wait_until};

/// cases S4, S9: the read after the descriptors is short although more bytes are queued.
#[test]
fn bytes_after_descriptors_come_back_without_another_event() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&[format!("unix:{}/echo", folder.path().display())]);
    let mut client = python("send_descriptors.py");
    client.arg(folder.path().join("echo"));
    let mut client = Process::start_with_stdin(client, Stdio::piped());
    client.wait_for_line("connected");
    // Both messages are queued before the server reads, so there are one event and two reads.
    daemon.process.signal(Signal::STOP);
    let mut stdin = client.stdin();
    stdin.write_all(b"send\n").unwrap();
    client.wait_for_line("sent");
    daemon.process.signal(Signal::CONT);
    let ended = client.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

/// Returns the number of open descriptors of a server after all its peers are gone.
fn open_descriptors(daemon: &Daemon) -> usize {
    wait_until("the last peer's end", || daemon.counters().get("connections_open") == 0);
    let pid = daemon.process.pid().as_raw_nonzero();
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// cases S16, S2: more peers than pipes. The peers send and do not read.
#[test]
fn after_bulk_only_the_descriptors_of_the_free_pipes_stay_open() {
    const PEERS: usize = 12;
    const PIPE_DESCRIPTORS_MAX: usize = 16;

    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let before = open_descriptors(&daemon);
    let mut spliced = 0;
    for _ in 0..3 {
        let mut peers = Vec::new();
        for _ in 0..PEERS {
            let mut peer = TcpStream::connect(daemon.addr(0)).unwrap();
            // A write that blocks this long is blocked at both ends.
            peer.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
            let is_stuck = (0..1_000).any(|_| peer.write(&[7; 1 << 20]).is_err());
            assert!(is_stuck, "a peer that does not read is served without limit");
            peers.push(peer);
        }
        // A write that blocked before the server ran may have ended too early for bulk.
        wait_until("bulk", || {
            peers.iter_mut().for_each(|peer| drop(peer.write(&[7; 1 << 20])));
            daemon.counters().get("tcp_bytes_spliced") > spliced
        });
        spliced = daemon.counters().get("tcp_bytes_spliced");
        drop(peers);
        let after = open_descriptors(&daemon);
        assert!(after <= before + PIPE_DESCRIPTORS_MAX, "{before}, then {after}");
    }
}

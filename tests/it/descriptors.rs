//! Descriptors sent along with a stream's bytes: they end a read early on Linux.

use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Daemon, Process, python};

/// cases S4, S9: the read behind the descriptors is short, and more is queued.
#[test]
fn bytes_behind_descriptors_come_back_without_another_event() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&[format!("unix:{}/echo", folder.path().display())]);
    let mut client = python("send_descriptors.py");
    client.arg(folder.path().join("echo"));
    let mut client = Process::start_with_stdin(client, Stdio::piped());
    client.wait_for_line("connected");
    // Both messages are queued before the server reads: one event, and two reads.
    daemon.process.signal(Signal::STOP);
    let mut stdin = client.stdin();
    std::io::Write::write_all(&mut stdin, b"send\n").unwrap();
    client.wait_for_line("sent");
    daemon.process.signal(Signal::CONT);
    let ended = client.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

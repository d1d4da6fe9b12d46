//! Resident memory, counted by the kernel: the figure of the README.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Daemon, WAIT_MAX};

const CONNECTIONS: usize = 8_000;
const BYTES_PER_CONNECTION_MAX: usize = 256;

fn resident_bytes(daemon: &Daemon) -> usize {
    let pid = daemon.process.pid().as_raw_nonzero();
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    // All that is resident: whether a page of the program counts as private depends on who else
    // runs it.
    let resident = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).expect("this line");
    let kib: usize = resident.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

fn echo(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    stream.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

/// case S14
#[test]
fn an_idle_connection_costs_a_slot_and_no_buffer() {
    let daemon = Daemon::start(&["-q", "tcp://127.0.0.1:0"]);
    // The code and the shared buffers of an echo are there from the first one on.
    echo(&mut TcpStream::connect(daemon.addr(0)).unwrap());
    let empty = resident_bytes(&daemon);
    let mut connections: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(daemon.addr(0)).unwrap()).collect();
    // The last one's echo tells that all before it are accepted; each has had its own, so that
    // what an echo might leave behind is counted too.
    connections.iter_mut().for_each(echo);
    let full = resident_bytes(&daemon);
    assert_eq!(daemon.counters().get("connections_open"), CONNECTIONS as u64);
    let each = full.saturating_sub(empty) / CONNECTIONS;
    println!(
        "{CONNECTIONS} idle connections: {empty} bytes resident before, {full} after: {each} each"
    );
    assert!(each <= BYTES_PER_CONNECTION_MAX, "{each} bytes each");
}

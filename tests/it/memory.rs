//! Resident memory as the kernel counts it: a figure of the README.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixDatagram;

use rustix::process::{Resource, Rlimit, prlimit};

use crate::support::{Counters, Daemon, WAIT_MAX, resound, wait_until};

const CONNECTIONS: usize = 8_000;
const BYTES_PER_CONNECTION_MAX: usize = 256;

fn resident_bytes(daemon: &Daemon) -> usize {
    let pid = daemon.process.pid().as_raw_nonzero();
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    // This counts all resident pages, because whether a page of the program is private depends on
    // the other processes that run it.
    let resident =
        rollup.lines().find_map(|line| line.strip_prefix("Rss:")).expect("the line exists");
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
fn an_idle_connection_takes_a_slot_and_no_buffer() {
    let daemon = Daemon::start(&["-q", "tcp://127.0.0.1:0"]);
    // The first echo loads its code and allocates the shared buffers.
    echo(&mut TcpStream::connect(daemon.addr(0)).unwrap());
    let empty = resident_bytes(&daemon);
    let mut connections: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(daemon.addr(0)).unwrap()).collect();
    // The last connection's echo shows that all earlier ones are accepted. Each connection had an
    // echo, so that memory an echo might keep counts too.
    connections.iter_mut().for_each(echo);
    let full = resident_bytes(&daemon);
    assert_eq!(daemon.counters().get("connections_open"), CONNECTIONS as u64);
    let each = full.saturating_sub(empty) / CONNECTIONS;
    println!(
        "{CONNECTIONS} idle connections: {empty} bytes resident before, {full} after: {each} each"
    );
    assert!(each <= BYTES_PER_CONNECTION_MAX, "{each} bytes each");
}

/// Starts a server that may allocate only this many bytes more than it has when idle (setrlimit(2),
/// RLIMIT_AS).
fn short_of_memory(arguments: &[&str], bytes_more: u64) -> Daemon {
    let mut command = resound();
    // With one arena, the C library reserves no memory for threads.
    command.arg("serve").args(arguments).env("MALLOC_ARENA_MAX", "1");
    let daemon = Daemon::start_command(command);
    echo(&mut TcpStream::connect(daemon.addr(0)).unwrap());
    let _ = daemon.counters();
    let pid = daemon.process.pid();
    // A thread that has yet to begin needs memory for its signal stack, and aborts without it.
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    wait_until("all threads to sleep", || {
        fs::read_dir(&tasks).unwrap().all(|task| {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            status.contains("State:\tS")
        })
    });
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let size =
        status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("the line exists");
    let kib: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
    let bytes = Some(kib * 1024 + bytes_more);
    prlimit(Some(pid), Resource::As, Rlimit { current: bytes, maximum: bytes }).unwrap();
    daemon
}

/// case S2
#[test]
fn without_memory_a_peer_whose_echo_cannot_be_kept_is_closed_and_the_others_are_served() {
    const PEERS: usize = 300;
    let flags = ["tcp://127.0.0.1:0", "--sndbuf", "4608", "--stall-timeout", "10m"];
    let daemon = short_of_memory(&flags, 8 << 20);
    let mut other = TcpStream::connect(daemon.addr(0)).unwrap();
    echo(&mut other);
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        let mut peer = TcpStream::connect(daemon.addr(0)).unwrap();
        peer.set_nonblocking(true).unwrap();
        while peer.write(&[7; 64 << 10]).is_ok() {}
        peers.push(peer);
    }
    wait_until("a peer without memory", || daemon.counters().get("no_memory") > 0);
    echo(&mut other);
    echo(&mut TcpStream::connect(daemon.addr(0)).unwrap());
    drop(peers);
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

/// case S2: Unix datagram peers that leave their echoes unread.
#[test]
fn without_memory_an_answer_that_cannot_be_kept_is_dropped_and_the_others_are_served() {
    const PEERS: usize = 40;
    const MESSAGES_PER_PEER: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let server = folder.path().join("server");
    let endpoint = format!("unixgram:{}", server.display());
    // Less than the bound for the held replies of all peers.
    let daemon = short_of_memory(&["tcp://127.0.0.1:0", &endpoint], 4 << 20);
    let mut peers = Vec::new();
    for number in 0..PEERS {
        let peer = UnixDatagram::bind(folder.path().join(number.to_string())).unwrap();
        for _ in 0..MESSAGES_PER_PEER {
            peer.send_to(&[7; 100_000], &server).unwrap();
        }
        peers.push(peer);
    }
    wait_until("an answer without memory", || daemon.counters().get("answer_no_memory") > 0);
    echo(&mut TcpStream::connect(daemon.addr(0)).unwrap());
    drop(peers);
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

/// case A7: the table of connections cannot grow.
#[test]
fn without_memory_for_more_connections_they_are_closed_and_the_others_are_served() {
    let daemon = short_of_memory(&["tcp://127.0.0.1:0"], 64 << 10);
    let mut kept = Vec::new();
    let mut closed = 0;
    while closed < 100 {
        let mut client = TcpStream::connect(daemon.addr(0)).unwrap();
        client.set_read_timeout(Some(WAIT_MAX)).unwrap();
        // A client that is closed at once gets the error from its write or its read.
        let _ = client.write_all(b"ping");
        match client.read(&mut [0; 4]) {
            Ok(4) => kept.push(client),
            Ok(0) => closed += 1,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => closed += 1,
            other => panic!("{other:?}"),
        }
        assert!(kept.len() < 20_000, "the memory sufficed for all of them");
    }
    kept.iter_mut().for_each(echo);
    for client in &kept {
        client.shutdown(Shutdown::Both).unwrap();
    }
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(Counters::last_of(&ended.stderr).get("unregistered"), closed);
}

//! System calls per echo, counted by strace: figures of `benches/RESULTS.md`.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Counters, Daemon, WAIT_MAX, resound, tool, wait_until};

const PEERS: usize = 64;
const ROUNDS: usize = 600;
const MESSAGE_BYTES: usize = 64;

/// Exchanges one message per peer and round: all peers send, then all receive.
fn ping_pong<P>(rounds: usize, peers: &mut [P], send: impl Fn(&mut P), receive: impl Fn(&mut P)) {
    for _ in 0..rounds {
        peers.iter_mut().for_each(&send);
        peers.iter_mut().for_each(&receive);
    }
}

fn ping_pong_streams<S: Read + Write>(rounds: usize, peers: &mut [S]) {
    let send = |peer: &mut S| peer.write_all(&[7; MESSAGE_BYTES]).unwrap();
    ping_pong(rounds, peers, send, |peer| peer.read_exact(&mut [0; MESSAGE_BYTES]).unwrap());
}

/// Counts the system calls of two servers over their lifetime. The peers of one only connect and
/// disconnect; the peers of the other also exchange messages. The difference, divided by the
/// echoes, is the cost of one echo.
fn calls_per_echo(endpoint: &str, client: impl Fn(&Daemon, usize)) -> Option<f64> {
    let strace = tool("strace")?;
    let idle = calls(&strace, endpoint, |daemon| client(daemon, 0));
    let busy = calls(&strace, endpoint, |daemon| client(daemon, ROUNDS));
    let calls_per_echo = (busy - idle) / (PEERS * ROUNDS) as f64;
    println!("{endpoint}: {calls_per_echo:.3} system calls per echo");
    Some(calls_per_echo)
}

/// Stops the server that strace started.
pub(crate) fn terminate_traced(daemon: &Daemon) {
    let tracer = daemon.process.pid().as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).unwrap();
    let server = children.split_whitespace().next().expect("strace has started the server");
    let server = Pid::from_raw(server.parse().unwrap()).expect("a process");
    kill_process(server, Signal::TERM).unwrap();
}

/// Counts all system calls of a server over its lifetime.
fn calls(strace: &Path, endpoint: &str, client: impl FnOnce(&Daemon)) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary");
    let mut command = Command::new(strace);
    let program = resound();
    // This traces only the loop's thread, because the log's thread writes at irregular times.
    command.args(["-c", "-o"]).arg(&summary).arg(program.get_program());
    command.args(["serve", "-q", endpoint]);
    let daemon = Daemon::start_command(command);
    client(&daemon);
    terminate_traced(&daemon);
    assert_eq!(daemon.process.wait().code(), 0);

    let summary = fs::read_to_string(summary).unwrap();
    let total = summary.lines().last().expect("a summary");
    // "100.00    0.123456           1     12345       678 total"
    assert!(total.ends_with("total"), "{summary}");
    total.split_whitespace().nth(3).expect("calls").parse().unwrap()
}

/// Counts the splice calls of a server. Its only peer sends until the socket is full, and only then
/// reads, until the counter of this name has reached this number of bytes.
fn splices(strace: &Path, options: &[&str], (name, bytes): (&str, u64)) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut command = Command::new(strace);
    let program = resound();
    command.args(["-f", "-e", "trace=splice", "-o"]).arg(&trace).arg(program.get_program());
    command.args(["serve", "-q", "--stats", "20ms", "tcp://127.0.0.1:0"]).args(options);
    let daemon = Daemon::start_command(command);
    let mut peer = TcpStream::connect(daemon.addr(0)).unwrap();
    peer.set_nonblocking(true).unwrap();
    let (message, mut buf) = (vec![7; 1 << 20], vec![0; 1 << 18]);
    let counted = format!("{name}=");
    wait_until("bulk", || {
        if peer.write(&message).is_err() {
            let _ = peer.read(&mut buf);
        }
        let log = daemon.process.stderr_text();
        // The last line may be incomplete.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.contains(&counted) && Counters::last_of(whole).get(name) >= bytes
    });
    drop(peer);
    terminate_traced(&daemon);
    assert_eq!(daemon.process.wait().code(), 0);
    fs::read_to_string(trace).unwrap().matches("splice(").count()
}

/// case S16
#[test]
fn bulk_is_spliced_unless_the_flag_forbids_it() {
    let Some(strace) = tool("strace") else { return };
    assert!(splices(&strace, &[], ("tcp_bytes_spliced", 1)) > 0);
    assert_eq!(splices(&strace, &["--no-splice"], ("tcp_bytes_out", 8 << 20)), 0);
}

#[test]
fn a_tcp_echo_at_64_connections_takes_two_calls_and_a_share_of_a_poll() {
    let calls = calls_per_echo("tcp://127.0.0.1:0", |daemon, rounds| {
        let connect = || TcpStream::connect(daemon.addr(0)).unwrap();
        let mut peers: Vec<_> = (0..PEERS).map(|_| connect()).collect();
        peers.iter().for_each(|peer| {
            peer.set_nodelay(true).unwrap();
            peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
        });
        ping_pong_streams(rounds, &mut peers);
    });
    assert!(calls.is_none_or(|calls| calls <= 2.1), "{calls:?}");
}

#[test]
fn a_unix_stream_echo_at_64_connections_takes_two_calls_and_a_share_of_a_poll() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let calls = calls_per_echo(&format!("unix:{}", path.display()), |_, rounds| {
        let mut peers: Vec<_> = (0..PEERS).map(|_| UnixStream::connect(&path).unwrap()).collect();
        peers.iter().for_each(|peer| peer.set_read_timeout(Some(WAIT_MAX)).unwrap());
        ping_pong_streams(rounds, &mut peers);
    });
    assert!(calls.is_none_or(|calls| calls <= 2.1), "{calls:?}");
}

#[test]
fn a_udp_echo_shares_its_calls_with_the_others_of_its_batch() {
    let calls = calls_per_echo("udp://127.0.0.1:0", |daemon, rounds| {
        let connect = || {
            let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            peer.connect(daemon.addr(0)).unwrap();
            peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
            peer
        };
        let mut peers: Vec<_> = (0..PEERS).map(|_| connect()).collect();
        let send = |peer: &mut UdpSocket| {
            peer.send(&[7; MESSAGE_BYTES]).unwrap();
        };
        ping_pong(rounds, &mut peers, send, |peer| {
            peer.recv(&mut [0; MESSAGE_BYTES]).unwrap();
        });
    });
    assert!(calls.is_none_or(|calls| calls <= 1.0), "{calls:?}");
}

#[test]
fn a_unix_datagram_echo_shares_its_calls_with_the_others_of_its_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let calls = calls_per_echo(&format!("unixgram:{}", path.display()), |_, rounds| {
        let connect = |number| {
            // The peers of each server have their own names.
            let name = folder.path().join(format!("{rounds}-{number}"));
            let peer = UnixDatagram::bind(name).unwrap();
            peer.connect(&path).unwrap();
            peer.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            peer
        };
        let mut peers: Vec<_> = (0..PEERS).map(connect).collect();
        let send = |peer: &mut UnixDatagram| {
            peer.send(&[7; MESSAGE_BYTES]).unwrap();
        };
        ping_pong(rounds, &mut peers, send, |peer| {
            peer.recv(&mut [0; MESSAGE_BYTES]).unwrap();
        });
    });
    // The server's queue holds about 10 of them (net.unix.max_dgram_qlen), so a batch holds no
    // more.
    assert!(calls.is_none_or(|calls| calls <= 2.1), "{calls:?}");
}

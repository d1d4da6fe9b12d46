//! A server that is halted for longer than its timeouts (by SIGSTOP, as in a paused virtual
//! machine), and peers that do not read what the kernel holds for them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::{Domain, SockRef, Socket, Type};

use crate::support::{Counters, Daemon, WAIT_MAX, abstract_name, echo, wait_until};

/// A non-blocking stream, TCP or Unix.
trait Peer: Read + Write {}

impl Peer for TcpStream {}
impl Peer for UnixStream {}

fn tcp_peer(daemon: &Daemon, receive_buf_bytes: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(receive_buf_bytes).unwrap();
    socket.connect(&daemon.addr(0).into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

fn unix_peer(name: &str) -> UnixStream {
    let addr = SocketAddr::from_abstract_name(&name[1..]).unwrap();
    let peer = UnixStream::connect_addr(&addr).unwrap();
    peer.set_nonblocking(true).unwrap();
    peer
}

/// Sends up to `bytes_max` bytes, until the socket takes no more and the server moves no byte. When
/// a server prints its counters, it has completed a turn since it printed the previous ones.
fn send_until_stuck(daemon: &Daemon, peer: &mut impl Peer, bytes_max: usize) -> usize {
    let chunk = [7; 16 << 10];
    let (mut sent, mut before) = (0, None);
    wait_until("the connection to be stuck", || {
        let sent_before = sent;
        while sent < bytes_max {
            match peer.write(&chunk[..chunk.len().min(bytes_max - sent)]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        if sent == bytes_max {
            return true;
        }
        let counters = daemon.counters();
        let names = ["tcp_bytes_in", "tcp_bytes_out", "unix_bytes_in", "unix_bytes_out"];
        let moved = Some(names.map(|name| counters.get(name)));
        sent == sent_before && moved == std::mem::replace(&mut before, moved)
    });
    sent
}

/// Reads the available bytes, up to `bytes_max`. Returns `None` if the connection has ended.
fn take(peer: &mut impl Peer, bytes_max: usize) -> Option<usize> {
    let mut buf = [0; 16 << 10];
    let mut taken = 0;
    while taken < bytes_max {
        let length = buf.len().min(bytes_max - taken);
        match peer.read(&mut buf[..length]) {
            Ok(0) => return None,
            Ok(count) => taken += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return None,
        }
    }
    Some(taken)
}

/// Reads exactly `bytes` bytes.
fn take_all(peer: &mut impl Peer, bytes: usize) {
    let mut taken = 0;
    wait_until("the whole echo", || {
        taken += take(peer, bytes - taken).expect("the server continues to send");
        taken == bytes
    });
}

fn halt(daemon: &Daemon, time: Duration, mut meanwhile: impl FnMut()) {
    daemon.process.signal(Signal::STOP);
    let begun = Instant::now();
    while begun.elapsed() < time {
        meanwhile();
        thread::sleep(Duration::from_millis(20));
    }
    daemon.process.signal(Signal::CONT);
}

const TIMEOUT: Duration = Duration::from_secs(2);
const HALT: Duration = Duration::from_secs(3);
const FLAGS: [&str; 6] = ["--stall-timeout", "2s", "--sndbuf", "256KiB", "--rcvbuf", "16KiB"];

/// cases S17, S18: the bytes that the peer reads do not make the server's socket writable, and the
/// server has never checked the kernel's queue before the halt.
#[test]
fn a_tcp_peer_that_reads_some_of_its_echo_during_a_halt_is_not_stalled() {
    let daemon = Daemon::start(&[&["tcp://127.0.0.1:0"][..], &FLAGS].concat());
    let mut peer = tcp_peer(&daemon, 64 << 10);
    let sent = send_until_stuck(&daemon, &mut peer, usize::MAX);
    let mut taken = 0;
    halt(&daemon, HALT, || taken += take(&mut peer, 1024).unwrap());
    assert!(taken < sent, "too few bytes were pending");
    take_all(&mut peer, sent - taken);
    assert_eq!(daemon.counters().get("stalled"), 0);
}

/// cases S17, S18: the same as over TCP.
#[test]
fn a_unix_peer_that_reads_some_of_its_echo_during_a_halt_is_not_stalled() {
    let name = abstract_name("halt");
    let endpoint = format!("unix:{name}");
    let daemon = Daemon::start(&[&[endpoint.as_str()][..], &FLAGS].concat());
    let mut peer = unix_peer(&name);
    let sent = send_until_stuck(&daemon, &mut peer, usize::MAX);
    let mut taken = 0;
    halt(&daemon, HALT, || taken += take(&mut peer, 1024).unwrap());
    assert!(taken < sent, "too few bytes were pending");
    take_all(&mut peer, sent - taken);
    assert_eq!(daemon.counters().get("stalled"), 0);
}

/// case S17: more peers than one poll reports.
#[test]
fn thousands_of_peers_that_read_during_a_halt_all_get_their_echo() {
    const PEERS: usize = 1_300;
    const BYTES: usize = 60_000;
    let small = ["--stall-timeout", "2s", "--sndbuf", "4096", "--rcvbuf", "4096"];
    let daemon = Daemon::start(&[&["tcp://127.0.0.1:0"][..], &small].concat());
    rustix::process::setrlimit(rustix::process::Resource::Nofile, {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        rustix::process::Rlimit { current: limit.maximum, ..limit }
    })
    .unwrap();
    let mut peers: Vec<_> = (0..PEERS).map(|_| (tcp_peer(&daemon, 2048), 0, 0)).collect();
    let chunk = [7; BYTES];
    let send = |(peer, sent, _): &mut (TcpStream, usize, usize)| {
        while let Ok(count @ 1..) = peer.write(&chunk[*sent..]) {
            *sent += count;
        }
    };
    wait_until("an echo for each, and room for no more", || {
        let sent = |peers: &[(TcpStream, usize, usize)]| peers.iter().map(|peer| peer.1).sum();
        let before: usize = sent(&peers);
        peers.iter_mut().for_each(send);
        let is_answered = |peer: &TcpStream| peer.peek(&mut [0]).is_ok_and(|count| count > 0);
        before == sent(&peers) && peers.iter().all(|(peer, ..)| is_answered(peer))
    });
    halt(&daemon, HALT, || {
        for (peer, _, taken) in &mut peers {
            *taken += take(peer, usize::MAX).unwrap();
        }
    });
    wait_until("the echo of all", || {
        peers.iter_mut().for_each(send);
        for (peer, _, taken) in &mut peers {
            *taken += take(peer, usize::MAX).expect("no peer is cut off");
        }
        peers.iter().all(|(_, _, taken)| *taken == BYTES)
    });
    assert_eq!(daemon.counters().get("stalled"), 0);
}

/// case S17: the message arrives during the halt, which may stop the server at any point of a turn.
#[test]
fn a_peer_that_sends_during_a_halt_is_not_idle() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--idle-timeout", "2s"]);
    let mut peer = TcpStream::connect(daemon.addr(0)).unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    peer.set_nodelay(true).unwrap();
    for round in 0..3_u8 {
        echo(&mut peer);
        // The peer is quiet for at most 3/4 of the idle timeout before its message. The halt
        // then exceeds the timeout.
        thread::sleep(TIMEOUT / 4 * u32::from(round));
        daemon.process.signal(Signal::STOP);
        thread::sleep(TIMEOUT / 4);
        peer.write_all(&[round]).unwrap();
        thread::sleep(HALT - TIMEOUT / 4);
        daemon.process.signal(Signal::CONT);
        let mut answer = [0];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [round]);
    }
    assert_eq!(daemon.counters().get("idle"), 0);
}

/// cases S17, P1: the halt is longer than the drain timeout.
#[test]
fn a_halt_in_a_drain_does_not_use_up_the_time_of_its_peers() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--drain-timeout", "4s"]);
    let mut peer = TcpStream::connect(daemon.addr(0)).unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    echo(&mut peer);
    daemon.process.signal(Signal::TERM);
    wait_until("the drain", || daemon.process.stderr_text().contains("draining"));
    halt(&daemon, Duration::from_secs(6), || {});
    echo(&mut peer);
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let counters = Counters::last_of(&ended.stderr);
    assert_eq!((counters.get("finished"), counters.get("drain_cut")), (1, 0));
}

/// case S2: the server has passed all bytes to the kernel.
#[test]
fn peers_whose_whole_echo_the_kernel_holds_are_closed_at_the_stall_timeout() {
    let name = abstract_name("kernel");
    let endpoints = ["tcp://127.0.0.1:0".to_owned(), format!("unix:{name}")];
    let flags = ["--stall-timeout".to_owned(), "1s".to_owned()];
    let daemon = Daemon::start(&[&endpoints[..], &flags].concat());
    let mut other = TcpStream::connect(daemon.addr(0)).unwrap();
    echo(&mut other);
    let mut tcp: Vec<_> = (0..5).map(|_| tcp_peer(&daemon, 64 << 10)).collect();
    let mut unix: Vec<_> = (0..5).map(|_| unix_peer(&name)).collect();
    let (mut tcp_sent, mut unix_sent) = (0, 0);
    tcp.iter_mut().for_each(|peer| tcp_sent += send_until_stuck(&daemon, peer, 512 << 10));
    unix.iter_mut().for_each(|peer| unix_sent += send_until_stuck(&daemon, peer, 16 << 10));
    wait_until("the kernel to take all", || {
        let counters = daemon.counters();
        let taken = (counters.get("tcp_bytes_out"), counters.get("unix_bytes_out"));
        taken == (4 + tcp_sent as u64, unix_sent as u64)
    });
    wait_until("the stalls", || daemon.counters().get("stalled") == 10);
    echo(&mut other);
    assert_eq!(daemon.counters().get("connections_open"), 1);
}

/// case S2: sending does not count as reading.
#[test]
fn a_peer_that_sends_now_and_then_and_never_reads_is_closed_at_the_stall_timeout() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--stall-timeout", "1s"]);
    let mut peer = tcp_peer(&daemon, 4096);
    send_until_stuck(&daemon, &mut peer, 256 << 10);
    wait_until("the stall", || {
        let _ = peer.write(&[7]);
        daemon.counters().get("stalled") == 1
    });
}

/// case S2: the server closes a stalled connection with a reset, so the kernel keeps nothing for
/// it.
#[test]
fn a_stalled_peer_sees_a_reset() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--stall-timeout", "500ms"]);
    let mut peer = tcp_peer(&daemon, 4096);
    send_until_stuck(&daemon, &mut peer, 256 << 10);
    wait_until("the stall", || daemon.counters().get("stalled") == 1);
    let mut reason = None;
    wait_until("the reset", || {
        reason = SockRef::from(&peer).take_error().unwrap();
        reason.is_some()
    });
    assert_eq!(reason.unwrap().kind(), ErrorKind::ConnectionReset);
}

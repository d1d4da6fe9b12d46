//! Thousands of peers that send and never read: their memory, and the latency of other peers.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::{Domain, SockRef, Socket, Type};

use crate::support::{Counters, Daemon, wait_until};
use crate::watch::{PING_INTERVAL, Pings, SILENCE_MAX};
use crate::world::{raise_own_limit, resident_kib};

const PEERS: usize = 5_000;

/// One read of the server, all of which may be unsent, and the connection itself, with the heap's
/// overhead for its buffer (`memory.rs` measures less without it).
const BYTES_PER_PEER_MAX: usize = (64 << 10) + 512;

/// The memory apart from connections: 64 KiB of scratch buffer, the batches, and the heap's
/// overhead.
const BYTES_FOR_ALL_MAX: usize = 4 << 20;

/// For how long the well-behaved peer is measured.
const PLATEAU: Duration = Duration::from_secs(5);

/// Connects a peer with the smallest possible receive buffer, so that the kernel's memory is not
/// the limit of the test.
fn connect(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_send_buffer_size(16 << 10).unwrap();
    socket.connect(&addr.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

/// Sends on all connections until none takes any more.
fn send_until_stuck(peers: &mut [TcpStream]) {
    let chunk = [7; 16 << 10];
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < Duration::from_millis(500) {
        for peer in peers.iter_mut() {
            loop {
                match peer.write(&chunk) {
                    Ok(_) => quiet_since = Instant::now(),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn ping(stream: &mut TcpStream, is_over: impl Fn() -> bool) -> Pings {
    let mut pings = Pings::default();
    stream.set_read_timeout(Some(SILENCE_MAX)).unwrap();
    while !is_over() {
        let begun = Instant::now();
        stream.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping");
        pings.note(begun.elapsed());
        thread::sleep(PING_INTERVAL);
    }
    pings
}

/// The measured values, in KiB.
#[derive(Debug)]
struct Wave {
    pending: u64,
    plateau: u64,
    after: u64,
}

fn pending_kib(counters: &Counters) -> u64 {
    (counters.get("tcp_bytes_in") - counters.get("tcp_bytes_out")) / 1024
}

/// Connects all peers and sends from them. If `is_halted`, the server is halted in between, so that
/// each peer has more queued than one read takes when it continues.
fn wave(daemon: &Daemon, other: &mut TcpStream, is_halted: bool) -> Wave {
    let pid = daemon.process.pid();
    // Bytes that are pending for closed peers.
    let pending_before = pending_kib(&daemon.counters());
    let mut peers: Vec<_> = (0..PEERS).map(|_| connect(daemon.addr(0))).collect();
    let open = PEERS as u64 + 1;
    wait_until("all to be accepted", || daemon.counters().get("connections_open") == open);
    if is_halted {
        daemon.process.signal(Signal::STOP);
        send_until_stuck(&mut peers);
        daemon.process.signal(Signal::CONT);
    }
    let is_stuck = AtomicBool::new(false);
    let mut filling = thread::scope(|scope| {
        let filling = scope.spawn(|| ping(other, || is_stuck.load(Ordering::Relaxed)));
        send_until_stuck(&mut peers);
        is_stuck.store(true, Ordering::Relaxed);
        filling.join().unwrap()
    });
    let begun = Instant::now();
    let mut while_stuck = ping(other, || begun.elapsed() >= PLATEAU);
    let plateau = resident_kib(pid);
    let counters = daemon.counters();
    let pending = pending_kib(&counters) - pending_before;
    assert_eq!((counters.get("connections_open"), counters.get("stalled")), (open, 0));
    drop(peers);
    wait_until("all to be gone", || daemon.counters().get("connections_open") == 1);
    let wave = Wave { pending, plateau, after: resident_kib(pid) };
    let Wave { pending, plateau, after } = wave;
    println!("  {plateau} KiB resident with {pending} KiB pending, {after} KiB when all are gone");
    println!("  another peer, while they send: {}", filling.summary());
    println!("  another peer, when all are stuck: {}", while_stuck.summary());
    wave
}

/// cases S2 L6. The figures exclude the kernel's memory for these sockets, which is not part of the
/// process.
#[test]
#[ignore = "takes half a minute, 5,000 connections and a GiB of the kernel's socket memory"]
fn peers_that_never_read_cost_one_buffer_each_and_delay_no_other_peer() {
    raise_own_limit();
    // The buffers stay small. With the default sizes, the kernel's memory for TCP (`tcp_mem`) runs
    // short before all peers have sent, and then it drops segments of any peer.
    let buffers = ["--rcvbuf", "64k", "--sndbuf", "16k"];
    let flags = ["tcp://127.0.0.1:0", "--stall-timeout", "10m"];
    let daemon = Daemon::start(&[&flags[..], &buffers].concat());
    let mut other = TcpStream::connect(daemon.addr(0)).unwrap();
    SockRef::from(&other).set_tcp_nodelay(true).unwrap();
    let begun = Instant::now();
    let mut first = ping(&mut other, || begun.elapsed() >= PLATEAU);
    let before = resident_kib(daemon.process.pid());
    println!("{PEERS} peers that send and do not read; {before} KiB resident before");
    println!("  alone: {}", first.summary());
    let bound = (PEERS * BYTES_PER_PEER_MAX + BYTES_FOR_ALL_MAX) as u64 / 1024 + before;
    println!("  bound: {bound} KiB");
    let waves = [true, false, true].map(|is_halted| wave(&daemon, &mut other, is_halted));
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    println!("  {}", ended.stderr.lines().last().unwrap_or_default());
    for wave in &waves {
        assert!(wave.plateau <= bound, "{wave:?}");
        // Enough bytes are pending to make the bound meaningful.
        assert!(wave.pending > PEERS as u64, "{wave:?}");
    }
    let (once, again) = (waves[0].plateau, waves[2].plateau);
    assert!(again <= once + once / 20, "a second wave takes more: {once}, then {again} KiB");
}

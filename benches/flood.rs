//! Measures what one flooding peer costs the others: the round trips of 63 ping-pong connections,
//! alone and beside a peer that sends as fast as it receives its echo. Run it with
//! `cargo bench --bench flood`.
//!
//! It does not use criterion, which does not report high percentiles of single round trips.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use resound::echo::{Options, Server, Service};

const PING_PONG_PEERS: usize = 63;
const ROUND_TRIPS: usize = 200_000;
/// The number for a smoke test (`cargo test --benches`).
const ROUND_TRIPS_SMOKE: usize = 1_000;
const MESSAGE_BYTES: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(10);

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Measures one round trip after the other, on all connections in turn, in nanoseconds.
fn round_trips_ns(addr: SocketAddr, count: usize) -> Vec<u64> {
    let mut peers: Vec<TcpStream> = (0..PING_PONG_PEERS).map(|_| connect(addr)).collect();
    let mut buf = [7; MESSAGE_BYTES];
    let mut round_trips = Vec::with_capacity(count);
    for number in 0..count {
        let peer = &mut peers[number % PING_PONG_PEERS];
        let started_at = Instant::now();
        peer.write_all(&buf).unwrap();
        peer.read_exact(&mut buf).unwrap();
        round_trips.push(u64::try_from(started_at.elapsed().as_nanos()).unwrap());
    }
    round_trips
}

/// Sends without waiting and receives the echo, on two threads, until `stopped` is set.
fn flood(addr: SocketAddr, stopped: &AtomicBool, bytes_echoed: &AtomicU64) {
    let stream = connect(addr);
    thread::scope(|scope| {
        let mut sender = stream.try_clone().unwrap();
        scope.spawn(move || {
            let chunk = vec![7; 64 << 10];
            while !stopped.load(Ordering::Relaxed) {
                sender.write_all(&chunk).unwrap();
            }
            sender.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut buf = vec![0; 256 << 10];
        loop {
            match (&stream).read(&mut buf) {
                Ok(0) => return,
                Ok(count) => bytes_echoed.fetch_add(count as u64, Ordering::Relaxed),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("{error}"),
            };
        }
    });
}

fn report(name: &str, mut round_trips: Vec<u64>) {
    round_trips.sort_unstable();
    let us = |permille: usize| {
        let rank = (round_trips.len() * permille).div_ceil(1000).max(1);
        round_trips[rank - 1] as f64 / 1000.0
    };
    let (p50, p99, p999, max) = (us(500), us(990), us(999), us(1000));
    println!(
        "{name:<22} p50 {p50:>7.1} us  p99 {p99:>7.1} us  p99.9 {p999:>7.1} us  max {max:>8.1} us"
    );
}

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--test");
    let count = if smoke { ROUND_TRIPS_SMOKE } else { ROUND_TRIPS };

    let server = Server::new(Options::default());
    let service = Service::start(server, &["tcp://127.0.0.1:0".parse().unwrap()]).unwrap();
    let addr = service.bound()[0].addrs[0];

    report("alone", round_trips_ns(addr, count));
    let (stopped, bytes_echoed) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let started_at = Instant::now();
        scope.spawn(|| flood(addr, &stopped, &bytes_echoed));
        report("beside a flooding peer", round_trips_ns(addr, count));
        let rate = bytes_echoed.load(Ordering::Relaxed) as f64 / started_at.elapsed().as_secs_f64();
        println!("the flood's echo       {:.0} MB/s", rate / 1e6);
        stopped.store(true, Ordering::Relaxed);
    });
    service.stop().unwrap();
}

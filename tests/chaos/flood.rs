//! A flood of UDP datagrams with forged sources from a raw socket: which are answered, which are
//! not and why, counted exactly; the memory; and the latency of another client.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};

use crate::support::{Counters, Daemon, Process, unshare_network, wait_until};
use crate::watch::{PING_INTERVAL, Pings, SILENCE_MAX};
use crate::world::allocated_kib;

/// A number that suits the time of `cargo test`.
const DATAGRAMS_DEFAULT: u64 = 100_000;

/// Sent before the first measurement of memory, so that every place in the server's tables has been
/// used.
const WARM_UP_DATAGRAMS: u64 = 20_000;

/// The answers per second that one source may get. One source sends far more.
const RATE_LIMIT: u64 = 1_000;

/// Datagrams sent between two checks of the server's queue, which holds about 270 of them. None may
/// be lost there, because the counts must be exact.
const BURST: u64 = 64;
const QUEUE_BYTES_MAX: u64 = 64 << 10;

const HEADER_BYTES: usize = 28;
const PAYLOAD: &[u8] = b"forged";

/// The number of sent datagrams of each kind.
#[derive(Debug, Default)]
struct Sent {
    of_services: u64,
    of_own_port: u64,
    of_others: u64,
    of_the_busy_source: u64,
}

impl Sent {
    fn total(&self) -> u64 {
        self.of_services + self.of_own_port + self.of_others + self.of_the_busy_source
    }
}

/// A sender of datagrams with forged source addresses.
struct Forger {
    raw: Socket,
    target: SocketAddrV4,
    rng: fastrand::Rng,
    sent: Sent,
}

impl Forger {
    fn new(target: SocketAddr, seed: u64) -> Forger {
        let SocketAddr::V4(target) = target else { panic!("an IPv4 server") };
        // The datagram includes its own IP header (IPPROTO_RAW, raw(7)).
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        Forger { raw, target, rng: fastrand::Rng::with_seed(seed), sent: Sent::default() }
    }

    /// Returns a loopback address without any socket, and a port of some kind.
    fn source(&mut self) -> SocketAddrV4 {
        let any = Ipv4Addr::new(127, self.rng.u8(16..=254), self.rng.u8(..), self.rng.u8(..));
        // No service that the guard knows has a port in this range.
        let port = self.rng.u16(40_000..60_000);
        let port = if port == self.target.port() { port - 1 } else { port };
        match self.rng.u8(0..8) {
            0 | 1 => {
                self.sent.of_services += 1;
                SocketAddrV4::new(any, self.rng.u16(0..1024))
            }
            2 => {
                self.sent.of_own_port += 1;
                SocketAddrV4::new(any, self.target.port())
            }
            3 | 4 => {
                self.sent.of_the_busy_source += 1;
                SocketAddrV4::new(Ipv4Addr::new(127, 9, 9, 9), port)
            }
            _ => {
                self.sent.of_others += 1;
                SocketAddrV4::new(any, port)
            }
        }
    }

    fn send(&mut self) {
        let source = self.source();
        let mut packet = [0; HEADER_BYTES + PAYLOAD.len()];
        // IPv4 without options, UDP without a checksum. The kernel fills in the other fields
        // (raw(7)).
        packet[0] = 0x45;
        packet[8] = 64;
        packet[9] = 17;
        packet[12..16].copy_from_slice(&source.ip().octets());
        packet[16..20].copy_from_slice(&self.target.ip().octets());
        packet[20..22].copy_from_slice(&source.port().to_be_bytes());
        packet[22..24].copy_from_slice(&self.target.port().to_be_bytes());
        let length = u16::try_from(packet.len() - 20).unwrap();
        packet[24..26].copy_from_slice(&length.to_be_bytes());
        packet[HEADER_BYTES..].copy_from_slice(PAYLOAD);
        let target = SocketAddrV4::new(*self.target.ip(), 0);
        assert_eq!(self.raw.send_to(&packet, &target.into()).unwrap(), packet.len());
    }

    /// Sends as fast as the server receives.
    fn flood(&mut self, datagrams: u64) {
        for number in 0..datagrams {
            if number % BURST == 0 {
                wait_until("room in the server's queue", || {
                    queued_bytes(self.target.port()) <= QUEUE_BYTES_MAX
                });
            }
            self.send();
        }
    }
}

/// Returns the bytes that wait for the server, from the kernel's list of sockets.
fn queued_bytes(port: u16) -> u64 {
    // The list of this thread's network namespace, which differs from that of the other threads.
    let table = fs::read_to_string("/proc/thread-self/net/udp").unwrap();
    let local = format!("0100007F:{port:04X}");
    let line = table.lines().find(|line| line.split_whitespace().nth(1) == Some(&local));
    let queues = line.and_then(|line| line.split_whitespace().nth(4)).expect("the server's socket");
    u64::from_str_radix(queues.split_once(':').unwrap().1, 16).unwrap()
}

/// Plays a well-behaved client until the flood ends.
fn ping(addr: SocketAddr, is_over: &AtomicBool) -> (Pings, u64) {
    let (mut pings, mut count) = (Pings::default(), 0);
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.connect(addr).unwrap();
    client.set_read_timeout(Some(SILENCE_MAX)).unwrap();
    while !is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        client.send(b"ping").unwrap();
        assert_eq!(client.recv(&mut [0; 16]).expect("answered within the bound"), 4);
        pings.note(begun.elapsed());
        count += 1;
        thread::sleep(PING_INTERVAL);
    }
    (pings, count)
}

fn assert_counted(counters: &Counters, sent: &Sent, pings: u64, elapsed: Duration) {
    let of = |name| counters.get(name);
    assert_eq!(of("udp_messages_in"), sent.total() + pings, "{sent:?}: none is lost");
    assert_eq!((of("loop_port"), of("loop_own_port")), (sent.of_services, sent.of_own_port));
    assert_eq!((of("loop_source"), of("loop_group"), of("overflowed")), (0, 0, 0));
    // At most the answers of one second at once, and those that the time adds. No other source
    // comes near the limit.
    let allowed = RATE_LIMIT * (elapsed.as_secs() + 2);
    let limited = of("rate_limited");
    let least = sent.of_the_busy_source.saturating_sub(allowed);
    assert!((least..=sent.of_the_busy_source).contains(&limited), "{limited} of {sent:?}");
    let answered = sent.of_others + sent.of_the_busy_source - limited + pings;
    assert_eq!(of("udp_messages_out"), answered);
}

/// Moves this thread, and all processes that it starts, to its own network namespace. The answers
/// go to arbitrary ports, and another echo server there would answer them. Returns false if rights
/// or tools are missing.
fn move_to_own_host() -> bool {
    let Some(unshare) = unshare_network() else { return false };
    let mut command = Command::new(unshare);
    command.args(["-n", "sh", "-c", "ip link set lo up && echo up && exec cat"]);
    let mut first = Process::start_with_stdin(command, Stdio::piped());
    first.wait_for_line("up");
    let host = File::open(format!("/proc/{}/ns/net", first.pid().as_raw_nonzero())).unwrap();
    move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    true
}

/// cases U11 L6: `RESOUND_FLOOD_DATAGRAMS` sets the number.
#[test]
fn a_flood_of_forged_sources_is_counted_takes_no_memory_and_delays_no_client() {
    if !move_to_own_host() {
        return;
    }
    let asked = std::env::var("RESOUND_FLOOD_DATAGRAMS").ok();
    let datagrams = asked.map_or(DATAGRAMS_DEFAULT, |count| count.parse().expect("a count"));
    let limit = format!("--rate-limit-per-ip={RATE_LIMIT}");
    let daemon = Daemon::start(&["udp://127.0.0.1:0", &limit]);
    let (addr, pid) = (daemon.addr(0), daemon.process.pid());
    let mut forger = Forger::new(addr, 7007);
    let started_at = Instant::now();
    forger.flood(WARM_UP_DATAGRAMS);
    wait_until("the warm-up", || daemon.counters().get("udp_messages_in") == forger.sent.total());
    let before = allocated_kib(pid);
    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    let (mut pings, count) = thread::scope(|scope| {
        let pinging = scope.spawn(|| ping(addr, &is_over));
        forger.flood(datagrams);
        is_over.store(true, Ordering::Relaxed);
        pinging.join().unwrap()
    });
    let total = forger.sent.total() + count;
    wait_until("all of it", || daemon.counters().get("udp_messages_in") == total);
    let (elapsed, after) = (begun.elapsed(), allocated_kib(pid));
    let counters = daemon.counters();
    println!("{datagrams} forged datagrams in {:.1} s", elapsed.as_secs_f64());
    println!("  {before} KiB allocated and resident before, {after} KiB after");
    println!("  another client: {}", pings.summary());
    println!("  {counters:?}");
    assert_counted(&counters, &forger.sent, count, started_at.elapsed());
    assert!(after <= before + 64, "{before} KiB, then {after} KiB");
    assert_eq!(daemon.stop().code(), 0);
}

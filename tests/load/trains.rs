//! UDP datagrams that go and come in trains, over real sockets: those of a server that knows
//! nothing of trains, and those of one that answers each by one.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use allocation_counter::measure;
use resound::measured::{Messages, RunResult, Trains};
use resound::reactor::Spin;
use resound::socket::{Datagram, SocketOptions};
use socket2::{SockAddr, SockRef};

use super::*;

const LENGTH_BYTES: usize = 64;

/// Answers the trains of one peer by trains, when it is told to look.
struct TrainServer {
    socket: Datagram,
    has_peer: bool,
    buf: Box<[u8]>,
}

impl TrainServer {
    fn new() -> TrainServer {
        let addr = "127.0.0.1:0".parse().unwrap();
        let socket = Datagram::udp(addr, &SocketOptions::default()).unwrap();
        TrainServer { socket, has_peer: false, buf: vec![0; 1 << 16].into() }
    }

    fn target(&self) -> ResolvedEndpoint {
        ResolvedEndpoint::Udp(self.socket.local_addr().unwrap())
    }

    /// Answers what is there, and returns how many bytes that were.
    fn answer(&mut self) -> usize {
        let mut bytes = 0;
        if !self.has_peer {
            // The first comes alone: trains are not asked for yet.
            let Ok((count, peer)) = self.socket.receive_from(&mut self.buf) else { return 0 };
            self.socket.send_to(&self.buf[..count], &peer).unwrap();
            self.join(&peer);
            bytes += count;
        }
        while let Ok((count, segment_bytes)) = self.socket.receive_train(&mut self.buf) {
            let answer = &self.buf[..count];
            match count > segment_bytes {
                true => {
                    let segment_bytes = u16::try_from(segment_bytes).unwrap();
                    self.socket.send_train(answer, segment_bytes).unwrap();
                }
                false => self.socket.send(answer).unwrap(),
            }
            bytes += count;
        }
        bytes
    }

    fn join(&mut self, peer: &SockAddr) {
        SockRef::from(&self.socket).connect(peer).unwrap();
        self.socket.receive_trains(true).unwrap();
        self.has_peer = true;
    }
}

/// A load on one socket.
fn to(target: ResolvedEndpoint, count: u64, depth: usize) -> Options {
    Options {
        count: Some(count),
        in_flight_max: depth,
        length_bytes: LENGTH_BYTES,
        // A busy machine is no reason to lose a message.
        timeout: Duration::from_secs(30),
        ..Options::closed_loop(target, 1)
    }
}

/// Runs a load on a server that answers trains by trains.
fn run_on_trains(change: impl FnOnce(Options) -> Options, count: u64, depth: usize) -> RunResult {
    let mut server = TrainServer::new();
    let options = change(to(server.target(), count, depth));
    let is_over = Arc::new(AtomicBool::new(false));
    let watch = Arc::clone(&is_over);
    let serving = std::thread::spawn(move || {
        while !watch.load(Ordering::Relaxed) {
            if server.answer() == 0 {
                std::thread::yield_now();
            }
        }
    });
    let findings = run(options);
    is_over.store(true, Ordering::Relaxed);
    serving.join().unwrap();
    findings
}

#[track_caller]
fn all_of(findings: &RunResult, count: u64) -> Trains {
    let expected = Messages { sent: count, received: count, ..Messages::default() };
    assert_eq!((findings.messages, findings.first_difference.as_ref()), (expected, None));
    let trains = findings.trains.unwrap();
    assert_eq!((trains.sent, trains.received), (count, count));
    trains
}

/// case U13
#[test]
fn trains_that_are_answered_by_trains_come_back_whole() {
    const COUNT: u64 = 20_000;
    let trains = all_of(&run_on_trains(|options| options, COUNT, 32), COUNT);
    assert!(trains.asked && !trains.refused);
    assert!(trains.sends <= COUNT / 8 && trains.receives <= COUNT / 8, "{trains:?}");
    // Beyond what one train can carry, of datagrams and of bytes.
    all_of(&run_on_trains(|options| options, COUNT, 200), COUNT);
    let long = |options| Options { length_bytes: 1_400, ..options };
    all_of(&run_on_trains(long, 5_000, 60), 5_000);
}

#[test]
fn an_open_loop_goes_in_trains_where_it_is_behind_and_keeps_its_counts() {
    const COUNT: u64 = 20_000;
    let open = |options| Options { rate: Some(1_000_000_000), ..options };
    let findings = run_on_trains(open, COUNT, 32);
    let trains = all_of(&findings, COUNT);
    assert!(trains.sends <= COUNT / 4, "{trains:?}");
    assert_eq!(findings.generator.schedule_lag_ns.unwrap().summary.count, COUNT);
    assert_eq!(findings.service_time_ns.unwrap().summary.count, COUNT);
    let poisson = |options| Options {
        rate: Some(200_000),
        spacing: resound::load::Spacing::Poisson,
        ..options
    };
    all_of(&run_on_trains(poisson, 5_000, 100), 5_000);
}

/// A server that was never told of trains finds datagrams, and its answers come one by one.
#[test]
fn a_server_that_knows_of_no_trains_finds_single_datagrams() {
    const COUNT: u64 = 5_000;
    for offload in [true, false] {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = ResolvedEndpoint::Udp(server.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            let mut buf = [0; 2 * LENGTH_BYTES];
            for _ in 0..COUNT {
                let (count, peer) = server.recv_from(&mut buf).unwrap();
                assert_eq!(count, LENGTH_BYTES);
                server.send_to(&buf[..count], peer).unwrap();
            }
        });
        let options = Options { offload, connections: 3, ..to(target, COUNT, 16) };
        let trains = all_of(&run(options), COUNT);
        answering.join().unwrap();
        assert_eq!((trains.asked, trains.refused), (offload, false));
        assert_eq!(trains.receives, COUNT);
        assert!(offload || trains.sends == COUNT, "{trains:?}");
    }
}

#[test]
fn messages_of_which_one_fills_a_datagram_go_alone() {
    let findings = run_on_trains(|options| Options { length_bytes: 40_000, ..options }, 50, 2);
    let trains = all_of(&findings, 50);
    assert_eq!((trains.sends, trains.refused), (50, false));
}

#[test]
fn what_is_no_udp_has_no_trains() {
    for transport in [Transport::Tcp, Transport::Unix, Transport::Unixgram] {
        let service = Service::start(transport);
        let findings = run(Options { in_flight_max: 8, ..service.options(100, 2) });
        assert_eq!((findings.messages.received, findings.trains), (100, None));
    }
}

#[test]
fn trains_allocate_nothing_a_message() {
    const MESSAGES: usize = 50_000;
    for rate in [None, Some(1_000_000_000)] {
        let mut server = TrainServer::new();
        let options = Options { count: None, rate, ..to(server.target(), 0, 32) };
        let mut generator = Generator::new(options);
        let mut reactor = Reactor::new().unwrap();
        reactor.set_spin(Spin::Always);
        let mut turn_until_answered = |messages: usize| {
            let mut bytes = 0;
            while bytes < messages * LENGTH_BYTES {
                reactor.turn(&mut generator).unwrap();
                bytes += server.answer();
            }
        };
        // Until the connection is made and lists have grown.
        turn_until_answered(5_000);
        let allocations = measure(|| turn_until_answered(MESSAGES)).count_total;
        assert_eq!(allocations, 0, "{rate:?}");
        let trains = generator.finish().trains.unwrap();
        assert!(trains.sends < trains.sent / 8 && trains.receives < trains.received / 8);
    }
}

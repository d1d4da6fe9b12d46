//! Tests of UDP trains over real sockets, with a server without trains and with a server that
//! answers each train with a train.

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

/// A server that answers the trains of one peer with trains. The test calls it.
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

    /// Answers all queued datagrams, and returns their bytes.
    fn answer(&mut self) -> usize {
        let mut bytes = 0;
        if !self.has_peer {
            // The first datagram comes alone, because UDP_GRO is not yet on.
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

/// Returns the options of a load on one socket.
fn to(target: ResolvedEndpoint, count: u64, depth: usize) -> Options {
    Options {
        count: Some(count),
        in_flight_max: depth,
        lengths: LENGTH_BYTES.into(),
        // Long enough that no message is lost on a busy machine.
        timeout: Duration::from_secs(30),
        ..Options::closed_loop(target, 1)
    }
}

/// Runs a load on a server that answers trains with trains.
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
    let result = run(options);
    is_over.store(true, Ordering::Relaxed);
    serving.join().unwrap();
    result
}

#[track_caller]
fn all_of(result: &RunResult, count: u64) -> Trains {
    let expected = Messages { sent: count, received: count, ..Messages::default() };
    assert_eq!((result.messages, result.first_difference.as_ref()), (expected, None));
    let trains = result.trains.unwrap();
    assert_eq!((trains.sent, trains.received), (count, count));
    trains
}

/// case U13
#[test]
fn trains_that_are_answered_with_trains_come_back_whole() {
    const COUNT: u64 = 20_000;
    let trains = all_of(&run_on_trains(|options| options, COUNT, 32), COUNT);
    assert!(trains.asked && !trains.refused);
    assert!(trains.sends <= COUNT / 8 && trains.receives <= COUNT / 8, "{trains:?}");
    // These windows exceed the datagrams and the bytes that one train can hold.
    all_of(&run_on_trains(|options| options, COUNT, 200), COUNT);
    let long = |options| Options { lengths: 1_400.into(), ..options };
    all_of(&run_on_trains(long, 5_000, 60), 5_000);
}

#[test]
fn an_open_loop_that_is_behind_sends_trains_and_keeps_its_counts() {
    const COUNT: u64 = 20_000;
    let open = |options| Options { rate: Some(1_000_000_000), ..options };
    let result = run_on_trains(open, COUNT, 32);
    let trains = all_of(&result, COUNT);
    assert!(trains.sends <= COUNT / 4, "{trains:?}");
    assert_eq!(result.generator.schedule_lag_ns.unwrap().summary.count, COUNT);
    assert_eq!(result.service_time_ns.unwrap().summary.count, COUNT);
    let poisson = |options| Options {
        rate: Some(200_000),
        spacing: resound::load::Spacing::Poisson,
        ..options
    };
    all_of(&run_on_trains(poisson, 5_000, 100), 5_000);
}

/// A server without UDP_GRO receives single datagrams, and its answers come back one by one.
#[test]
fn a_server_without_trains_receives_single_datagrams() {
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
fn messages_too_long_for_a_train_of_two_are_sent_alone() {
    let result = run_on_trains(|options| Options { lengths: 40_000.into(), ..options }, 50, 2);
    let trains = all_of(&result, 50);
    assert_eq!((trains.sends, trains.refused), (50, false));
}

#[test]
fn transports_other_than_udp_have_no_trains() {
    for transport in [Transport::Tcp, Transport::Unix, Transport::Unixgram] {
        let service = Service::start(transport);
        let result = run(Options { in_flight_max: 8, ..service.options(100, 2) });
        assert_eq!((result.messages.received, result.trains), (100, None));
    }
}

#[test]
fn trains_do_not_allocate_per_message() {
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
        // The connection is then open, and the lists have their capacity.
        turn_until_answered(5_000);
        let allocations = measure(|| turn_until_answered(MESSAGES)).count_total;
        assert_eq!(allocations, 0, "{rate:?}");
        let trains = generator.finish().trains.unwrap();
        assert!(trains.sends < trains.sent / 8 && trains.receives < trains.received / 8);
    }
}

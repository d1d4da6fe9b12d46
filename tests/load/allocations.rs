//! Tests that the generator does not allocate per message in the steady state, on each transport.
//! They count allocations and measure no time.

use std::time::{Duration, Instant};

use allocation_counter::measure;
use resound::load::{Command, Lengths, Source};
use resound::measured::Distribution;
use resound::reactor::Spin;

use super::*;

/// Messages before counting begins. The flows then have their connections and the lists their
/// capacity.
const WARM_UP_MESSAGES: u64 = 1_000;
const MESSAGES: u64 = 20_000;
const ONE_LENGTH: &str = "64";

/// A server and a generator, each with its loop. The test turns both loops on its own thread, whose
/// allocations it counts. Neither loop sleeps.
struct Pair {
    serving: Reactor<echo::Source, echo::Request>,
    server: Server,
    reactor: Reactor<Source, Command>,
    generator: Generator,
    transport: Transport,
    length_mean: u64,
    _folder: tempfile::TempDir,
}

impl Pair {
    fn new(transport: Transport, lengths: &str, depth: usize, rate: Option<u64>) -> Pair {
        let folder = tempfile::tempdir().unwrap();
        let (mut serving, server, target) = server(transport, folder.path());
        let mut reactor = Reactor::new().unwrap();
        serving.set_spin(Spin::Always);
        reactor.set_spin(Spin::Always);
        let lengths: Lengths = lengths.parse().unwrap();
        let length_mean = lengths.mean();
        let options = Options {
            lengths,
            in_flight_max: depth,
            rate,
            timeout: Duration::from_secs(60),
            folder: Some(folder.path().to_owned()),
            ..Options::closed_loop(target, 3)
        };
        let generator = Generator::new(options);
        Pair { serving, server, reactor, generator, transport, length_mean, _folder: folder }
    }

    /// Turns both loops until the server has answered about `messages` messages in total: of mixed
    /// lengths, the bytes of so many.
    fn turn_until_answered(&mut self, messages: u64) {
        let bytes = messages * self.length_mean;
        while self.server.counters()[self.transport].traffic.bytes_out < bytes {
            self.serving.turn(&mut self.server).unwrap();
            self.reactor.turn(&mut self.generator).unwrap();
        }
    }

    /// Turns first the generator and then the server alone, so that each flow reaches its most
    /// messages in flight and every list its greatest length.
    fn stall(&mut self) {
        // At the rates below, some hundred messages are due in this time.
        const STALL: Duration = Duration::from_millis(20);
        let until = Instant::now() + STALL;
        while Instant::now() < until {
            self.reactor.turn(&mut self.generator).unwrap();
        }
        for _ in 0..100 {
            self.serving.turn(&mut self.server).unwrap();
        }
    }

    /// Returns the allocations from message [`WARM_UP_MESSAGES`] to message [`MESSAGES`].
    fn allocations(&mut self) -> u64 {
        self.stall();
        self.stall();
        self.turn_until_answered(WARM_UP_MESSAGES);
        measure(|| self.turn_until_answered(MESSAGES)).count_total
    }
}

#[test]
fn a_closed_loop_does_not_allocate_per_message_at_any_depth() {
    for transport in Transport::ALL {
        for depth in [1, 16] {
            let allocations = Pair::new(transport, ONE_LENGTH, depth, None).allocations();
            assert_eq!(allocations, 0, "{transport:?}, depth {depth}");
        }
    }
}

#[test]
fn mixed_lengths_do_not_allocate_per_message() {
    for transport in Transport::ALL {
        for lengths in ["64:70%,1200:30%", "16..1KiB"] {
            for rate in [None, Some(1_000_000_000)] {
                let allocations = Pair::new(transport, lengths, 16, rate).allocations();
                assert_eq!(allocations, 0, "{transport:?}, {lengths}, {rate:?}");
            }
        }
    }
}

/// The rate is higher than any machine reaches, so every flow always has a message due.
#[test]
fn an_open_loop_that_is_behind_does_not_allocate_per_message() {
    for transport in Transport::ALL {
        let allocations = Pair::new(transport, ONE_LENGTH, 16, Some(1_000_000_000)).allocations();
        assert_eq!(allocations, 0, "{transport:?}");
    }
}

/// The machine reaches this rate, so flows wait for the due times of their messages. The number in
/// flight depends on the clock, so the depth is at most the first capacity of a list.
#[test]
fn an_open_loop_that_keeps_its_rate_does_not_allocate_per_message() {
    for transport in Transport::ALL {
        let allocations = Pair::new(transport, ONE_LENGTH, 4, Some(30_000)).allocations();
        assert_eq!(allocations, 0, "{transport:?}");
    }
}

#[test]
fn recording_a_latency_does_not_allocate() {
    let mut distribution = Distribution::new();
    let recorded = measure(|| {
        for power in 0..64 {
            distribution.record(1 << power);
            distribution.record(u64::MAX >> power);
        }
    });
    assert_eq!((recorded.count_total, distribution.count()), (0, 128));
}

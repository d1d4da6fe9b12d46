//! No allocation per message in steady state, on each transport: counted, not timed.

use std::time::{Duration, Instant};

use allocation_counter::measure;
use resound::load::Source;
use resound::measured::Distribution;
use resound::reactor::Spin;

use super::*;

/// Before counting: connections are made, lists have grown.
const WARM_UP_MESSAGES: u64 = 1_000;
const MESSAGES: u64 = 20_000;
const LENGTH_BYTES: usize = 64;

/// A server and a generator, each with its loop, turned by hand in turn: they share this thread, on
/// which allocations are counted. Neither ever sleeps.
struct Pair {
    serving: Reactor<echo::Source, echo::Request>,
    server: Server,
    reactor: Reactor<Source>,
    generator: Generator,
    transport: Transport,
    _folder: tempfile::TempDir,
}

impl Pair {
    fn new(transport: Transport, depth: usize, rate: Option<u64>) -> Pair {
        let folder = tempfile::tempdir().unwrap();
        let (mut serving, server, target) = server(transport, folder.path());
        let mut reactor = Reactor::new().unwrap();
        serving.set_spin(Spin::Always);
        reactor.set_spin(Spin::Always);
        let options = Options {
            length_bytes: LENGTH_BYTES,
            in_flight_max: depth,
            rate,
            timeout: Duration::from_secs(60),
            folder: Some(folder.path().to_owned()),
            ..Options::closed_loop(target, 3)
        };
        let generator = Generator::new(options);
        Pair { serving, server, reactor, generator, transport, _folder: folder }
    }

    /// Turns both until the server has answered so many messages in all.
    fn turn_until_answered(&mut self, messages: u64) {
        let bytes = messages * LENGTH_BYTES as u64;
        while self.server.counters()[self.transport].traffic.bytes_out < bytes {
            self.serving.turn(&mut self.server).unwrap();
            self.reactor.turn(&mut self.generator).unwrap();
        }
    }

    /// Turns either alone for a while, so that each flow has as many in flight as it ever may, and
    /// every list the length it ever has.
    fn stall(&mut self) {
        // At the rates below, some hundred messages are due in that time.
        const STALL: Duration = Duration::from_millis(20);
        let until = Instant::now() + STALL;
        while Instant::now() < until {
            self.reactor.turn(&mut self.generator).unwrap();
        }
        for _ in 0..100 {
            self.serving.turn(&mut self.server).unwrap();
        }
    }

    /// Allocations from the message [`WARM_UP_MESSAGES`] to the message [`MESSAGES`].
    fn allocations(&mut self) -> u64 {
        self.stall();
        self.stall();
        self.turn_until_answered(WARM_UP_MESSAGES);
        measure(|| self.turn_until_answered(MESSAGES)).count_total
    }
}

#[test]
fn a_closed_loop_allocates_nothing_a_message_one_at_a_time_or_many() {
    for transport in Transport::ALL {
        for depth in [1, 16] {
            let allocations = Pair::new(transport, depth, None).allocations();
            assert_eq!(allocations, 0, "{transport:?}, depth {depth}");
        }
    }
}

/// More than the machine can do: a flow always has something due.
#[test]
fn an_open_loop_that_is_behind_allocates_nothing_a_message() {
    for transport in Transport::ALL {
        let allocations = Pair::new(transport, 16, Some(1_000_000_000)).allocations();
        assert_eq!(allocations, 0, "{transport:?}");
    }
}

/// Less than the machine can do: flows wait in line for their time. How many are in flight hangs on
/// the clock, so there may be no more than a list has room for from its first message on.
#[test]
fn an_open_loop_that_keeps_its_rate_allocates_nothing_a_message() {
    for transport in Transport::ALL {
        let allocations = Pair::new(transport, 4, Some(30_000)).allocations();
        assert_eq!(allocations, 0, "{transport:?}");
    }
}

#[test]
fn to_record_a_latency_allocates_nothing() {
    let mut distribution = Distribution::new();
    let recorded = measure(|| {
        for power in 0..64 {
            distribution.record(1 << power);
            distribution.record(u64::MAX >> power);
        }
    });
    assert_eq!((recorded.count_total, distribution.count()), (0, 128));
}

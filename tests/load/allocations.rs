//! Tests that the generator does not allocate per message in the steady state, on each transport.
//! They count allocations and measure no time.

use std::time::{Duration, Instant};

use allocation_counter::measure;
use resound::load::{Command, Share, Source, Spacing, Team};
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
        let lengths = lengths.parse().unwrap();
        Pair::with(transport, |load| Options { lengths, in_flight_max: depth, rate, ..load })
    }

    /// Creates a pair of three flows whose load has these changes.
    fn with(transport: Transport, change: impl FnOnce(Options) -> Options) -> Pair {
        let folder = tempfile::tempdir().unwrap();
        let (mut serving, server, target) = server(transport, folder.path());
        let mut reactor = Reactor::new().unwrap();
        serving.set_spin(Spin::Always);
        reactor.set_spin(Spin::Always);
        let options = change(Options {
            timeout: Duration::from_secs(60),
            folder: Some(folder.path().to_owned()),
            ..Options::closed_loop(target, 3)
        });
        let length_mean = options.lengths.mean();
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
fn bursts_do_not_allocate_per_message() {
    let spacing: Spacing = "burst:8".parse().unwrap();
    for transport in Transport::ALL {
        for rate in [30_000, 1_000_000_000] {
            let change = |load| Options { rate: Some(rate), spacing, in_flight_max: 4, ..load };
            let allocations = Pair::with(transport, change).allocations();
            assert_eq!(allocations, 0, "{transport:?}, {rate}");
        }
    }
}

/// One message in 32 is a sample, so some hundred of the counted messages are.
#[test]
fn timestamps_do_not_allocate_per_message() {
    for transport in [Transport::Tcp, Transport::Udp] {
        for (in_flight_max, rate) in [(1, None), (16, None), (4, Some(30_000))] {
            let change = |load| Options { timestamps: true, in_flight_max, rate, ..load };
            let allocations = Pair::with(transport, change).allocations();
            assert_eq!(allocations, 0, "{transport:?}, depth {in_flight_max}, {rate:?}");
        }
    }
}

/// A loop of several makes a share of the load; see also
/// `the_loops_of_a_team_allocate_as_much_in_a_long_run_as_in_a_short_one`.
#[test]
fn a_loop_that_makes_a_share_of_the_load_does_not_allocate_per_message() {
    for transport in Transport::ALL {
        for rate in [None, Some(90_000), Some(1_000_000_000)] {
            let share = Share::WHOLE.split(1, 3);
            let change = |load| Options { share, connections: 9, in_flight_max: 4, rate, ..load };
            let allocations = Pair::with(transport, change).allocations();
            assert_eq!(allocations, 0, "{transport:?}, {rate:?}");
        }
    }
}

/// Returns the allocations of the first loop of a team of two, which runs on this thread, from its
/// start to its end.
fn allocations_of_team(service: &Service, count: u64) -> u64 {
    // A run leaves its socket files behind.
    let folder = tempfile::tempdir().unwrap();
    let options = service.options(count, 4);
    let options = Options { folder: Some(folder.path().into()), timestamps: true, ..options };
    let team = Team::new(2, Spin::Never, &[]).unwrap();
    let mut received = 0;
    let counted = measure(|| received = team.run(&options, |_| ()).unwrap().messages.received);
    assert_eq!(received, count);
    counted.count_total
}

/// A loop allocates at its start and at its end, when it makes its result. The turns of the loop
/// and its samples vary by some, also between runs of the same length.
#[test]
fn the_loops_of_a_team_allocate_as_much_in_a_long_run_as_in_a_short_one() {
    const VARIATION_MAX: u64 = 100;
    for transport in Transport::ALL {
        let service = Service::start(transport);
        let short = allocations_of_team(&service, 2_000);
        let long = allocations_of_team(&service, 40_000);
        assert!(long <= short + VARIATION_MAX, "{transport:?}: {short}, then {long}");
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

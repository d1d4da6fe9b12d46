//! Tests of runs without failures.

use std::time::Duration;

use resound::measured::{Interval, Messages, Mode, Status};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::*;

fn all_received(count: u64) -> Messages {
    Messages { sent: count, received: count, ..Messages::default() }
}

#[test]
fn a_count_of_messages_comes_back_on_every_transport() {
    for transport in Transport::ALL {
        let service = Service::start(transport);
        let options = Options { in_flight_max: 3, ..service.options(2_000, 5) };
        let result = run(options);
        assert_eq!(result.messages, all_received(2_000), "{transport:?}");
        assert_eq!((result.status, result.flows.opened), (Status::Ok, 5));
        assert_eq!((result.bytes.sent, result.bytes.received), (128_000, 128_000));
        assert!(result.service_time_ns.is_none() && result.generator.schedule_lag_ns.is_none());
        assert_eq!(result.warmup_messages, Messages::default());
    }
}

#[test]
fn the_messages_of_an_open_loop_come_back_on_every_transport() {
    for transport in Transport::ALL {
        let service = Service::start(transport);
        // A UDP receive buffer holds all messages in flight, even if the server is delayed.
        let options =
            Options { rate: Some(20_000), in_flight_max: 20, ..service.options(1_000, 7) };
        let result = run(options);
        assert_eq!(result.messages, all_received(1_000), "{transport:?}");
        assert_eq!(result.service_time_ns.unwrap().summary.count, 1_000);
        assert_eq!(result.generator.schedule_lag_ns.unwrap().summary.count, 1_000);
        assert!(result.generator.held_back <= 1_000);
        assert_eq!(result.rate.asked, Some(20_000.0));
    }
}

/// case B12: the generator sends exactly the count, although more flows are open.
#[test]
fn a_count_smaller_than_the_number_of_flows_is_sent_exactly() {
    for transport in Transport::ALL {
        for rate in [None, Some(1_000_000)] {
            let service = Service::start(transport);
            let result = run(Options { rate, ..service.options(3, 10) });
            assert_eq!(result.messages, all_received(3), "{transport:?} {rate:?}");
            assert_eq!(result.flows.opened, 10);
        }
    }
}

#[test]
fn messages_of_any_length_come_back_unchanged() {
    let lengths = |transport| match transport {
        Transport::Tcp | Transport::Unix => [1, 65_536, 1_000_000],
        // All messages in flight fit a receive buffer of the default size.
        Transport::Udp => [1, 12, 10_000],
        Transport::Unixgram => [1, 12, 100_000],
    };
    for transport in Transport::ALL {
        for length_bytes in lengths(transport) {
            let service = Service::start(transport);
            let options = Options {
                lengths: length_bytes.into(),
                in_flight_max: 2,
                ..service.options(60, 2)
            };
            let result = run(options);
            assert_eq!(result.messages, all_received(60), "{transport:?} {length_bytes}");
        }
    }
}

#[test]
fn in_connect_mode_each_message_has_its_own_connection() {
    for transport in [Transport::Tcp, Transport::Unix] {
        for rate in [None, Some(50_000)] {
            let service = Service::start(transport);
            let options = Options { mode: Mode::Connect, rate, ..service.options(300, 4) };
            let result = run(options);
            assert_eq!(result.messages, all_received(300), "{transport:?}");
            assert_eq!((result.flows.opened, result.flows.closed), (300, 0));
        }
    }
}

#[test]
fn a_thousand_flows_are_opened_and_send_their_messages() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    for transport in Transport::ALL {
        let service = Service::start(transport);
        let mut options = service.options(3_000, 1_000);
        // A UDP receive buffer holds fewer than a thousand datagrams and drops the rest.
        let drops = transport == Transport::Udp;
        if drops {
            options.timeout = Duration::from_millis(500);
        }
        let result = run(options);
        assert_eq!((result.flows.opened, result.messages.sent), (1_000, 3_000));
        assert!(drops || result.messages == all_received(3_000), "{:?}", result.messages);
    }
}

#[test]
fn the_warm_up_is_counted_separately() {
    for transport in Transport::ALL {
        for rate in [None, Some(10_000)] {
            let service = Service::start(transport);
            // Long enough that a busy machine lets the generator send in it.
            let warmup = Duration::from_millis(300);
            let result = run(Options { warmup, rate, ..service.options(200, 3) });
            assert_eq!(result.messages, all_received(200), "{transport:?} {rate:?}");
            let before = result.warmup_messages;
            assert!(before.sent > 0);
            assert_eq!((before.received, before.lost), (before.sent, 0));
            assert_eq!(result.warmup_ns, 300_000_000);
        }
    }
}

/// An observer that keeps all intervals.
#[derive(Default)]
struct Intervals(Vec<Interval>);

impl Observer for Intervals {
    fn interval(&mut self, interval: Interval) {
        self.0.push(interval);
    }
}

#[test]
fn the_intervals_of_a_run_add_up_to_its_totals() {
    for (transport, rate) in Transport::ALL.into_iter().zip([None, Some(5_000), Some(9_000), None])
    {
        let service = Service::start(transport);
        let options = Options {
            warmup: Duration::from_millis(20),
            duration: Some(Duration::from_millis(60)),
            interval: Some(Duration::from_millis(10)),
            rate,
            ..service.endless(3)
        };
        let (result, intervals) = run_observed(options, Intervals::default());
        let measured = || intervals.0.iter().filter(|interval| !interval.is_warmup);
        let sum = |count: fn(&Messages) -> u64| -> u64 {
            measured().map(|interval| count(&interval.messages)).sum()
        };
        assert_eq!(sum(|all| all.sent), result.messages.sent, "{transport:?}");
        assert_eq!(sum(|all| all.received), result.messages.received, "{transport:?}");
        let latencies: u64 = measured().map(|interval| interval.latency.count()).sum();
        assert_eq!(latencies, result.latency_ns.summary.count);
        // The generator leaves out a very short drain in which nothing happened.
        let drains = measured().filter(|interval| interval.is_drain).count();
        assert!(drains <= 1, "{transport:?}: {drains}");
        assert!(intervals.0.windows(2).all(|pair| pair[0].end_ns == pair[1].start_ns));
        assert!(result.elapsed_ns >= 60_000_000);
    }
}

#[test]
fn a_run_without_duration_and_count_ends_when_every_connection_is_gone() {
    let service = Service::start(Transport::Tcp);
    let mut reactor = Reactor::new().unwrap();
    let mut generator = Generator::new(service.endless(2));
    for _ in 0..1_000 {
        reactor.turn(&mut generator).unwrap();
    }
    drop(service);
    reactor.run(&mut generator).unwrap();
    let result = generator.finish();
    assert_eq!(result.status, Status::Partial);
    assert_eq!(result.flows.closed + result.flows.reset, 2);
    assert_eq!(result.messages.sent, result.messages.received + result.messages.lost);
}

//! Runs that go well.

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
        let findings = run(options);
        assert_eq!(findings.messages, all_received(2_000), "{transport:?}");
        assert_eq!((findings.status, findings.flows.opened), (Status::Ok, 5));
        assert_eq!((findings.bytes.sent, findings.bytes.received), (128_000, 128_000));
        assert!(findings.service_time_ns.is_none() && findings.generator.schedule_lag_ns.is_none());
        assert_eq!(findings.warmup_messages, Messages::default());
    }
}

#[test]
fn an_open_loop_comes_back_on_every_transport() {
    for transport in Transport::ALL {
        let service = Service::start(transport);
        // No more in flight than a UDP receive buffer holds, should the server be held up.
        let options =
            Options { rate: Some(20_000), in_flight_max: 20, ..service.options(1_000, 7) };
        let findings = run(options);
        assert_eq!(findings.messages, all_received(1_000), "{transport:?}");
        assert_eq!(findings.service_time_ns.unwrap().summary.count, 1_000);
        assert_eq!(findings.generator.schedule_lag_ns.unwrap().summary.count, 1_000);
        assert!(findings.generator.held_back <= 1_000);
        assert_eq!(findings.rate.asked, Some(20_000.0));
    }
}

/// case B12: none is sent beyond the count, whoever is there to send it.
#[test]
fn a_count_smaller_than_the_number_of_flows_is_kept() {
    for transport in Transport::ALL {
        for rate in [None, Some(1_000_000)] {
            let service = Service::start(transport);
            let findings = run(Options { rate, ..service.options(3, 10) });
            assert_eq!(findings.messages, all_received(3), "{transport:?} {rate:?}");
            assert_eq!(findings.flows.opened, 10);
        }
    }
}

#[test]
fn messages_of_any_length_come_back_as_they_went() {
    let lengths = |transport| match transport {
        Transport::Tcp | Transport::Unix => [1, 65_536, 1_000_000],
        // What is in flight at once fits a receive buffer of the usual size.
        Transport::Udp => [1, 12, 10_000],
        Transport::Unixgram => [1, 12, 100_000],
    };
    for transport in Transport::ALL {
        for length_bytes in lengths(transport) {
            let service = Service::start(transport);
            let options = Options { length_bytes, in_flight_max: 2, ..service.options(60, 2) };
            let findings = run(options);
            assert_eq!(findings.messages, all_received(60), "{transport:?} {length_bytes}");
        }
    }
}

#[test]
fn in_connect_mode_each_message_has_a_connection_of_its_own() {
    for transport in [Transport::Tcp, Transport::Unix] {
        for rate in [None, Some(50_000)] {
            let service = Service::start(transport);
            let options = Options { mode: Mode::Connect, rate, ..service.options(300, 4) };
            let findings = run(options);
            assert_eq!(findings.messages, all_received(300), "{transport:?}");
            assert_eq!((findings.flows.opened, findings.flows.closed), (300, 0));
        }
    }
}

#[test]
fn a_thousand_flows_are_opened_and_each_has_its_turn() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    for transport in Transport::ALL {
        let service = Service::start(transport);
        let mut options = service.options(3_000, 1_000);
        // A UDP receive buffer holds less than a thousand datagrams at once, and drops the rest.
        let drops = transport == Transport::Udp;
        if drops {
            options.timeout = Duration::from_millis(500);
        }
        let findings = run(options);
        assert_eq!((findings.flows.opened, findings.messages.sent), (1_000, 3_000));
        assert!(drops || findings.messages == all_received(3_000), "{:?}", findings.messages);
    }
}

#[test]
fn the_warm_up_is_counted_apart() {
    for transport in Transport::ALL {
        for rate in [None, Some(10_000)] {
            let service = Service::start(transport);
            let warmup = Duration::from_millis(30);
            let findings = run(Options { warmup, rate, ..service.options(200, 3) });
            assert_eq!(findings.messages, all_received(200), "{transport:?} {rate:?}");
            let before = findings.warmup_messages;
            assert!(before.sent > 0);
            assert_eq!((before.received, before.lost), (before.sent, 0));
            assert_eq!(findings.warmup_ns, 30_000_000);
        }
    }
}

/// Keeps all intervals.
#[derive(Default)]
struct Notes(Vec<Interval>);

impl Observer for Notes {
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
        let (findings, notes) = run_observed(options, Notes::default());
        let measured = || notes.0.iter().filter(|interval| !interval.is_warmup);
        let sum = |count: fn(&Messages) -> u64| -> u64 {
            measured().map(|interval| count(&interval.messages)).sum()
        };
        assert_eq!(sum(|all| all.sent), findings.messages.sent, "{transport:?}");
        assert_eq!(sum(|all| all.received), findings.messages.received, "{transport:?}");
        let latencies: u64 = measured().map(|interval| interval.latency.count()).sum();
        assert_eq!(latencies, findings.latency_ns.summary.count);
        // One of next to no time in which nothing happened is not told.
        let drains = measured().filter(|interval| interval.is_drain).count();
        assert!(drains <= 1, "{transport:?}: {drains}");
        assert!(notes.0.windows(2).all(|pair| pair[0].end_ns == pair[1].start_ns));
        assert!(findings.elapsed_ns >= 60_000_000);
    }
}

#[test]
fn no_duration_and_no_count_means_until_every_connection_is_gone() {
    let service = Service::start(Transport::Tcp);
    let mut reactor = Reactor::new().unwrap();
    let mut generator = Generator::new(service.endless(2));
    for _ in 0..1_000 {
        reactor.turn(&mut generator).unwrap();
    }
    drop(service);
    reactor.run(&mut generator).unwrap();
    let findings = generator.finish();
    assert_eq!(findings.status, Status::Partial);
    assert_eq!(findings.flows.closed + findings.flows.reset, 2);
    assert_eq!(findings.messages.sent, findings.messages.received + findings.messages.lost);
}

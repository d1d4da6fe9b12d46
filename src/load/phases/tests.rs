//! The phases of a run: how it starts, when it sleeps, and how it ends.

use std::io::{Read, Write};

use super::*;
use crate::endpoint::{ResolvedEndpoint, UnixName};
use crate::load::tests::messages;
use crate::load::tests::rig::{Rig, tcp, udp};
use crate::measured::{Interval, Status};
use crate::reactor::{Handler, LoopState};

const MILLISECOND: Duration = Duration::from_millis(1);

fn of_count(count: u64, options: Options) -> Options {
    Options { count: Some(count), ..options }
}

fn with_timeout(timeout: Duration, options: Options) -> Options {
    Options { timeout, ..options }
}

/// case B10: the run waits for the message's timeout, and the message is then lost.
#[test]
fn a_message_that_is_never_answered_is_lost_when_the_drain_ends() {
    let (_deaf, options) = udp(3);
    let rig = Rig::new(with_timeout(300 * MILLISECOND, of_count(3, options)));
    let (result, _) = rig.finish();
    assert_eq!(result.messages, messages(3, 0, 3));
    assert_eq!((result.status, result.flows.opened), (Status::Error, 3));
}

/// case B10: the same for a stream.
#[test]
fn a_stream_that_never_answers_loses_its_messages_when_the_drain_ends() {
    let (deaf, options) = tcp(2);
    let options = Options { in_flight_max: 4, ..of_count(7, options) };
    let (result, _) = Rig::new(with_timeout(50 * MILLISECOND, options)).finish();
    assert_eq!(result.messages, messages(7, 0, 7));
    drop(deaf);
}

/// Repeated polls that return at once would cost a processor.
#[test]
fn no_poll_returns_at_once_while_nothing_is_due() {
    let (_deaf, options) = udp(2);
    let mut rig = Rig::new(with_timeout(400 * MILLISECOND, of_count(2, options)));
    rig.turn_until("both are sent", |rig| rig.generator().run.recorder.in_flight() == 2);
    while rig.turn() == LoopState::Running {
        let phase = rig.generator().phases.phase;
        let is_last = matches!(phase, Phase::Draining { is_last_turn: true, .. });
        assert!(is_last || rig.sleep() > Duration::ZERO, "{:?}", rig.generator().phases);
    }
}

/// A sleep that ends for a sweep or an interval shortly before a due time must not outlast it: a
/// poll sleeps whole milliseconds.
#[test]
fn no_sleep_of_an_open_loop_ends_within_the_last_millisecond_before_a_message_is_due() {
    let (_deaf, options) = udp(1);
    let options = Options {
        rate: Some(100),
        interval: Some(9_870 * MILLISECOND / 1_000),
        in_flight_max: 1_000,
        duration: Some(200 * MILLISECOND),
        ..options
    };
    let mut rig = Rig::new(with_timeout(20 * MILLISECOND, options));
    rig.turn_until("it sends", |rig| rig.generator().run.recorder.measured.sent > 0);
    while rig.generator().run.recorder.measured.sent < 10 {
        rig.turn();
        let generator = rig.generator();
        let Some(due_ns) = generator.due_queue.first_due_ns() else { continue };
        let sleep = rig.sleep();
        let left_ns = due_ns.saturating_sub(generator.phases.usage.last_turn_ns());
        assert!(sleep.is_zero() || duration_ns(sleep + MILLISECOND) < left_ns, "{sleep:?}");
    }
}

#[test]
fn the_run_waits_for_the_echo_of_its_last_datagram_before_it_ends() {
    let (server, options) = udp(1);
    let mut rig = Rig::new(of_count(1, options));
    rig.turn_until("it is sent", |rig| rig.generator().run.recorder.in_flight() == 1);
    let mut buf = [0; 64];
    let (length, from) = server.recv_from(&mut buf).unwrap();
    server.send_to(&buf[..length], from).unwrap();
    let (result, _) = rig.finish();
    assert_eq!(result.messages, messages(1, 1, 0));
}

/// case B4: a server may close as soon as it has answered.
#[test]
fn a_connection_closed_directly_after_its_echo_counts_as_answered() {
    let (listener, options) = tcp(1);
    listener.set_nonblocking(true).unwrap();
    let options = of_count(5, Options { mode: Mode::Connect, ..options });
    let mut rig = Rig::new(options);
    for answered in 0..5 {
        let mut accepted = None;
        rig.turn_until("it connects", |_| {
            accepted = listener.accept().ok();
            accepted.is_some()
        });
        let (mut stream, _) = accepted.unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut buf = [0; 64];
        rig.turn_until("it sends", |_| stream.read(&mut buf).is_ok());
        // The echo and the end both arrive before the next turn.
        stream.write_all(&buf).unwrap();
        drop(stream);
        let is_answered =
            |rig: &mut Rig| rig.generator().run.recorder.measured.received == answered + 1;
        rig.turn_until("it hears the echo", is_answered);
    }
    let (result, _) = rig.finish();
    assert_eq!((result.messages, result.flows.closed), (messages(5, 5, 0), 0));
    assert_eq!(result.flows.opened, 5);
}

/// The turn that starts the measurement reports the warm-up, and may report a measured interval.
#[test]
fn intervals_add_up_to_the_totals_even_if_one_ends_with_the_warm_up() {
    let (server, options) = udp(4);
    server.set_nonblocking(true).unwrap();
    let options = Options {
        warmup: 20 * MILLISECOND,
        interval: Some(5 * MILLISECOND),
        duration: Some(500 * MILLISECOND),
        ..options
    };
    let mut rig = Rig::new(options);
    let mut buf = [0; 64];
    while rig.turn() == LoopState::Running {
        while let Ok((length, from)) = server.recv_from(&mut buf) {
            server.send_to(&buf[..length], from).unwrap();
        }
    }
    let (result, intervals) = rig.finish();
    let of = |is_warmup| intervals.iter().filter(move |interval| interval.is_warmup == is_warmup);
    let sum = |count: fn(&Interval) -> u64| of(false).map(count).sum::<u64>();
    assert!(of(true).count() > 0 && of(false).count() > 1);
    assert_eq!(sum(|interval| interval.messages.sent), result.messages.sent);
    assert_eq!(sum(|interval| interval.messages.received), result.messages.received);
    assert_eq!(sum(|interval| interval.latency.count()), result.latency_ns.summary.count);
    assert!(intervals.windows(2).all(|pair| pair[0].end_ns == pair[1].start_ns));
}

/// Two turns, and so two intervals, can have the same time.
#[test]
fn an_interval_of_no_length_loses_no_count() {
    let (_deaf, options) = udp(1);
    let mut generator = Rig::new(Options { interval: Some(MILLISECOND), ..options }).handler.inner;
    generator.phases.phase = Phase::Sending;
    generator.run.recorder.measured.sent = 3;
    generator.report_interval(0, false);
    generator.report_interval(1_000, false);
    let sent: u64 = generator.observer.0.iter().map(|told| told.messages.sent).sum();
    assert_eq!(sent, 3);
}

/// case B5
#[test]
fn an_interrupted_run_is_partial_and_reports_what_it_has() {
    let (server, options) = udp(1);
    let mut rig = Rig::new(options);
    rig.turn_until("it sends", |rig| rig.generator().run.recorder.in_flight() == 1);
    let mut buf = [0; 64];
    let (length, from) = server.recv_from(&mut buf).unwrap();
    server.send_to(&buf[..length], from).unwrap();
    rig.turn_until("it hears", |rig| rig.generator().run.recorder.measured.received == 1);
    rig.signal();
    let (result, _) = rig.finish();
    assert_eq!((result.status, result.error.as_deref()), (Status::Partial, Some("interrupted")));
    assert_eq!((result.messages.received, result.messages.sent), (1, 2));
    assert_eq!(result.messages.in_flight_at_end, 1, "it had no time to be lost");
}

/// case B5
#[test]
fn a_second_signal_waits_for_nothing_and_a_signal_may_arrive_in_any_phase() {
    for turns in 0..6 {
        let (_deaf, options) = udp(1);
        let mut rig = Rig::new(Options { interval: Some(MILLISECOND), ..options });
        for _ in 0..turns {
            rig.turn();
        }
        rig.request(|generator, sources, context| {
            generator.signalled(2, sources, context);
            generator.signalled(2, sources, context);
        });
        let (result, intervals) = rig.finish();
        assert_eq!((result.status, result.messages.received), (Status::Error, 0));
        assert!(intervals.iter().all(|interval| interval.end_ns > interval.start_ns));
    }
}

/// case B10: the backlog of a Unix listener is full, and the server does not accept.
#[cfg(target_os = "linux")]
#[test]
fn a_unix_listener_that_never_accepts_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let target = ResolvedEndpoint::Unix(UnixName::Path(path));
    let options = of_count(10, Options::closed_loop(target, 3));
    let mut rig = Rig::new(with_timeout(MILLISECOND, options));
    rig.handler.inner.opener.connect_timeout_ns = 20_000_000;
    let (result, _) = rig.finish();
    assert_eq!((result.flows.opened, result.flows.timed_out), (1, 2));
    let all = result.messages;
    assert_eq!((all.received, all.sent), (0, all.lost));
}

#[test]
fn an_interval_after_a_halt_is_no_shorter_than_half_of_one() {
    const INTERVAL_NS: u64 = 200;
    for (now_ns, expected_ns) in [(1_000, 1_200), (1_099, 1_200), (1_101, 1_400), (1_250, 1_400)] {
        assert_eq!(next_interval_ns(1_000, INTERVAL_NS, now_ns), expected_ns, "{now_ns}");
    }
    for now_ns in 1_000..5_000 {
        let length_ns = next_interval_ns(1_000, INTERVAL_NS, now_ns) - now_ns;
        assert!((100..=300).contains(&length_ns), "{now_ns}: {length_ns}");
    }
    assert!(next_interval_ns(u64::MAX - 1, u64::MAX, 7) > 7);
}

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::endpoint::Transport;
use crate::load::tests::options_without_target;

fn closed_loop(depth: usize) -> Options {
    options_without_target(Transport::Tcp, 8, depth)
}

fn open_loop(rate: u64, depth: usize) -> Options {
    Options { rate: Some(rate), ..closed_loop(depth) }
}

/// Creates a run that is not started.
fn new(options: &Options) -> Run {
    Run::new(options, Clock::stopped_at(0), 1_000)
}

fn started(options: &Options, measure_from_ns: u64, open: &[u32], flows: u32) -> Run {
    let mut run = new(options);
    run.start(0, measure_from_ns, open, flows);
    run
}

/// Begins a message if one may be begun, and counts it. Returns false otherwise.
fn begin(run: &mut Run, flow: u32, now_ns: u64) -> bool {
    let Admission::Begin(intended_ns) = run.admission(flow, 0, now_ns) else { return false };
    let message = run.begin(flow, intended_ns, now_ns);
    run.recorder.sent(message.intended_ns);
    true
}

#[test]
fn no_message_is_begun_before_the_start() {
    let mut run = new(&closed_loop(1));
    assert_eq!(run.admission(0, 0, 5), Admission::Closed);
    run.start(7, 7, &[0], 1);
    assert_eq!(run.admission(0, 0, 9), Admission::Begin(9), "due at the time of the call");
}

#[test]
fn no_more_messages_are_in_flight_than_the_depth() {
    let mut run = started(&closed_loop(3), 0, &[0], 1);
    assert_eq!(run.admission(0, 2, 5), Admission::Begin(5));
    assert_eq!(run.admission(0, 3, 5), Admission::Closed);
    assert_eq!(run.admission(0, usize::MAX, 5), Admission::Closed);
}

#[test]
fn exactly_the_requested_count_is_begun_on_any_number_of_flows() {
    let flows: Vec<u32> = (0..10).collect();
    for count in [0, 1, 9, 10, 11, 100] {
        let options = Options { count: Some(count), ..closed_loop(1) };
        let mut run = started(&options, 0, &flows, 10);
        let begun = (0..200).filter(|turn| begin(&mut run, turn % 10, 5)).count();
        assert_eq!((begun as u64, run.is_count_reached()), (count, true));
    }
}

#[test]
fn the_count_covers_measured_messages_only() {
    let options = Options { count: Some(3), ..closed_loop(1) };
    let mut run = started(&options, 100, &[0], 1);
    assert_eq!((0..50).filter(|now_ns| begin(&mut run, 0, *now_ns)).count(), 50);
    assert!(!run.is_count_reached());
    assert_eq!((100..150).filter(|now_ns| begin(&mut run, 0, *now_ns)).count(), 3);
    assert_eq!((run.recorder.warmup.sent, run.recorder.measured.sent), (50, 3));
}

/// The due time decides whether a message belongs to the warm-up, not the time of its send.
#[test]
fn a_message_due_in_the_warm_up_belongs_to_it_even_if_it_is_sent_later() {
    let options = Options { count: Some(2), ..open_loop(1_000_000, 9) };
    let mut run = started(&options, 5_000, &[0], 1);
    assert_eq!((0..20).filter(|_| begin(&mut run, 0, 50_000)).count(), 7);
    assert_eq!((run.recorder.warmup.sent, run.recorder.measured.sent), (5, 2));
    assert_eq!(run.recorder.schedule_lag.count(), 2);
}

#[test]
fn no_message_due_from_the_end_on_is_begun() {
    let mut run = started(&closed_loop(1), 0, &[0], 1);
    run.end_at(1_000);
    assert_eq!(run.admission(0, 0, 999), Admission::Begin(999));
    assert_eq!(run.admission(0, 0, 1_000), Admission::Closed);
    run.end_at(5_000);
    assert_eq!(run.end_ns(), 1_000, "the end does not move to a later time");
    run.end_at(3);
    assert_eq!(run.end_ns(), 3);
}

#[test]
fn in_an_open_loop_the_end_applies_to_due_times_and_not_to_the_clock() {
    let mut run = started(&open_loop(1_000_000, 9), 0, &[0], 1);
    run.end_at(2_500);
    assert!(run.has_backlog());
    assert!((0..3).all(|_| begin(&mut run, 0, 1_000_000)), "due at 0, 1,000 and 2,000");
    assert_eq!(run.admission(0, 0, 1_000_000), Admission::Closed);
    assert!(!run.has_backlog());
    assert_eq!(run.not_before_ns, None);
}

#[test]
fn a_flow_whose_message_is_not_due_yet_reports_its_due_time() {
    let mut run = started(&open_loop(1_000, 9), 0, &[0, 1], 2);
    assert_eq!(run.admission(1, 0, 999_999), Admission::NotBefore(1_000_000));
    assert_eq!(run.not_before_ns, Some(1_000_000));
    assert_eq!(run.admission(1, 0, 1_000_000), Admission::Begin(1_000_000));
}

#[test]
fn the_open_flows_share_the_schedule() {
    let mut run = started(&open_loop(1_000, 9), 0, &[1, 3], 4);
    assert_eq!(run.admission(0, 0, u64::MAX - 1), Admission::Closed, "it was never opened");
    let dues = |run: &mut Run, flow| {
        let Admission::Begin(due_ns) = run.admission(flow, 0, u64::MAX - 1) else { panic!() };
        run.begin(flow, due_ns, due_ns);
        due_ns
    };
    let all = [1, 3, 1, 3].map(|flow| dues(&mut run, flow));
    assert_eq!(all, [0, 1_000_000, 2_000_000, 3_000_000]);
}

#[test]
fn a_retired_flow_has_no_backlog_and_begins_no_message() {
    let mut run = started(&open_loop(1_000, 9), 0, &[0, 1], 2);
    run.end_at(1_000_000_000);
    run.retire(0, 0);
    assert_eq!(run.admission(0, 0, 5), Admission::Closed);
    assert!(run.has_backlog(), "the backlog of the other flow");
    run.retire(1, 0);
    assert!(!run.has_backlog());
    run.retire(1, 0);
    run.retire(99, 0);
    run.note_free(99, 5);
}

/// case B12
#[test]
fn at_an_unlimited_rate_the_backlog_ends_when_the_count_is_begun() {
    let options = Options { count: Some(5), ..open_loop(u64::MAX, 9) };
    let mut run = started(&options, 0, &[0], 1);
    assert!(run.has_backlog());
    assert_eq!((0..50).filter(|_| begin(&mut run, 0, 1)).count(), 5);
    assert!(!run.has_backlog());
}

#[test]
fn only_messages_due_before_the_flow_was_free_are_held_back() {
    let mut run = started(&open_loop(1_000_000, 1), 0, &[0], 1);
    begin(&mut run, 0, 0);
    run.note_free(0, 3_000);
    (0..4).for_each(|_| assert!(begin(&mut run, 0, 10_000)));
    assert_eq!(run.recorder.held_back, 2, "due at 1,000 and 2,000");
    let lag = run.recorder.schedule_lag.histogram();
    assert_eq!((lag.len(), lag.max() / 10), (5, 700), "the flow was free at 3,000");
}

/// case B2: the generator oversleeps ten due times. No late message excuses the next.
#[test]
fn a_late_message_does_not_excuse_those_behind_it() {
    let mut run = started(&open_loop(1_000_000, 1), 0, &[0], 1);
    let mut now_ns = 10_000;
    for number in 0..8 {
        let Admission::Begin(due_ns) = run.admission(0, 0, now_ns) else { panic!("{number}") };
        let message = run.begin(0, due_ns, now_ns);
        now_ns += 10;
        run.note_free_after(0, message, now_ns);
    }
    assert_eq!(run.recorder.held_back, 0, "each is answered before the next is due");
    let lag = run.recorder.schedule_lag.histogram();
    assert!(lag.len() == 8 && lag.min() >= 3_000, "at least 10,070 - 7,000: {}", lag.min());
}

/// case B1: the server stalls for ten due times. The generator is late for none of them.
#[test]
fn a_late_echo_does_not_make_the_generator_late() {
    let mut run = started(&open_loop(1_000_000, 1), 0, &[0], 1);
    let first = run.begin(0, 0, 0);
    let mut now_ns = 10_000;
    run.note_free_after(0, first, now_ns);
    for number in 1..8 {
        let Admission::Begin(due_ns) = run.admission(0, 0, now_ns) else { panic!("{number}") };
        let message = run.begin(0, due_ns, now_ns);
        now_ns += 10;
        run.note_free_after(0, message, now_ns);
    }
    assert_eq!(run.recorder.held_back, 7);
    assert!(run.recorder.schedule_lag.histogram().max() <= 1);
}

#[test]
fn a_message_is_overdue_at_its_timeout_and_not_before() {
    let run = new(&closed_loop(1));
    let message = InFlight { intended_ns: 0, sent_ns: 500, ideal_ns: 500, is_scheduled: false };
    assert!(!run.is_overdue(message, 1_499) && run.is_overdue(message, 1_500));
    assert!(!run.is_overdue(message, 0), "the clock was read before the send");
}

#[test]
fn a_datagram_is_received_whole_with_room_to_detect_a_longer_one() {
    let of = |transport, length| new(&options_without_target(transport, length, 1)).scratch.len();
    assert_eq!(of(Transport::Udp, 65_507), (64 << 10) + 1);
    assert_eq!(of(Transport::Unixgram, 200_000), 200_001);
    assert_eq!(of(Transport::Tcp, 10_000_000), 64 << 10);
}

#[test]
fn the_longest_timeout_never_expires() {
    let options = Options { timeout: Duration::MAX, ..closed_loop(1) };
    let run = crate::load::tests::run_of(&options);
    let message = InFlight { intended_ns: 0, sent_ns: 0, ideal_ns: 0, is_scheduled: false };
    assert!(!run.is_overdue(message, u64::MAX - 1));
}

proptest! {
    #[test]
    fn exactly_the_count_is_begun_for_any_order_and_times_of_requests(
        asks in prop::collection::vec((0_u32..5, 0_u64..200), 0..300),
        count in 0_u64..50,
        warmup_ns in 0_u64..2_000,
        rate in prop::option::of(1_u64..100_000_000),
    ) {
        let options = Options { count: Some(count), rate, ..closed_loop(1) };
        let mut run = started(&options, warmup_ns, &[0, 1, 2, 3, 4], 5);
        let mut now_ns = 0;
        for (flow, step_ns) in asks {
            now_ns += step_ns;
            begin(&mut run, flow, now_ns);
        }
        prop_assert!(run.recorder.measured.sent <= count);
        prop_assert_eq!(run.is_count_reached(), run.recorder.measured.sent == count);
        // The rest is begun once it is due, and then no more.
        while (0..5).any(|flow| begin(&mut run, flow, u64::MAX - 1)) {}
        prop_assert_eq!(run.recorder.measured.sent, count);
        prop_assert!(run.is_count_reached());
    }
}

proptest! {
    /// A train must contain exactly the messages that would be sent one by one.
    #[test]
    fn admissible_counts_the_messages_that_admission_allows_one_by_one(
        rate in prop::option::of(prop_oneof![1_u64..5_000_000, Just(u64::MAX)]),
        spacing in prop_oneof![
            Just(Spacing::Fixed),
            Just(Spacing::Poisson),
            (1_u32..50).prop_map(Spacing::Burst),
        ],
        count in prop::option::of(0_u64..40),
        depth in 1_usize..100,
        in_flight in 0_usize..100,
        measure_from_ns in 0_u64..60_000,
        times in prop::collection::vec(0_u64..30_000, 1..8),
        end_ns in prop::option::of(0_u64..120_000),
        most in 0_usize..70,
    ) {
        let options = Options { rate, spacing, count, ..closed_loop(depth) };
        let mut run = started(&options, measure_from_ns, &[0, 1], 2);
        run.end_at(end_ns.unwrap_or(u64::MAX));
        let mut now_ns = 0;
        for step_ns in times {
            now_ns += step_ns;
            let admissible = run.admissible(1, in_flight, now_ns, most);
            let mut begun = 0;
            while begun < most
                && let Admission::Begin(due_ns) = run.admission(1, in_flight + begun, now_ns)
            {
                let message = run.begin_next(1, now_ns);
                prop_assert_eq!(message.intended_ns, due_ns);
                begun += 1;
            }
            prop_assert_eq!(admissible, begun);
        }
    }
}

#[test]
fn a_counted_open_loop_takes_count_divided_by_rate() {
    let end_ns = |rate, count| {
        let options = Options { count: Some(count), ..open_loop(rate, 1) };
        started(&options, 1_000, &[0], 1).counted_end_ns()
    };
    assert_eq!(end_ns(10, 1), Some(100_001_000));
    assert_eq!(end_ns(3, 1), Some(333_333_334 + 1_000));
    assert_eq!(end_ns(u64::MAX, u64::MAX), Some(1_000_001_000));
    assert_eq!(end_ns(1, u64::MAX), Some(u64::MAX));
    let closed = Options { count: Some(5), ..closed_loop(1) };
    assert_eq!(started(&closed, 0, &[0], 1).counted_end_ns(), None);
}

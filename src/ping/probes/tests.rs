use proptest::prelude::*;

use super::*;

// Written as a number, so that a changed bound fails a test.
const REMEMBERED_MAX: u64 = 65_536;

const TIMEOUT: Duration = Duration::from_secs(1);

fn probes() -> Probes {
    Probes::new(TIMEOUT, Duration::ZERO, u64::MAX)
}

/// Makes and sends this many probes.
fn sent(probes: &mut Probes, count: u64, at: Instant) {
    for _ in 0..count {
        probes.make(at);
        probes.sent(at);
    }
}

fn after(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

/// case B3
#[test]
fn a_late_echo_is_counted_separately_and_does_not_answer_a_newer_probe() {
    let start = Instant::now();
    let mut probes = probes();
    sent(&mut probes, 1, start);
    sent(&mut probes, 1, after(start, 900));
    let at = after(start, 1100);
    assert_eq!(probes.expire(at), Some((1, Fate::InFlight)));
    assert_eq!(probes.expire(at), None);
    assert_eq!(probes.answer(1, at), EchoKind::Late { time: Duration::from_millis(1100) });
    assert_eq!(probes.unsettled(), 1, "the second probe is in flight");
    let time = Duration::from_millis(200);
    assert_eq!(probes.answer(2, at), EchoKind::InTime { time, is_reordered: false });
    let Figures { messages, latency } = probes.end();
    let expected = Messages { sent: 2, received: 1, lost: 1, late: 1, ..Messages::default() };
    assert_eq!((messages, latency.count()), (expected, 1));
}

/// case B3
#[test]
fn a_second_echo_is_a_duplicate_and_so_is_a_second_late_one() {
    let start = Instant::now();
    let mut probes = probes();
    sent(&mut probes, 2, start);
    let time = Duration::ZERO;
    assert_eq!(probes.answer(1, start), EchoKind::InTime { time, is_reordered: false });
    assert_eq!(probes.answer(1, start), EchoKind::Duplicate { time });
    assert!(probes.expire(after(start, 1000)).is_some());
    assert_eq!(probes.answer(2, start), EchoKind::Late { time });
    assert_eq!(probes.answer(2, start), EchoKind::Duplicate { time });
    assert_eq!(probes.end().messages.duplicated, 2);
}

/// case B3
#[test]
fn an_echo_after_that_of_a_later_probe_is_reordered() {
    let start = Instant::now();
    let mut probes = probes();
    sent(&mut probes, 3, start);
    let order = [1, 3, 2].map(|number| match probes.answer(number, start) {
        EchoKind::InTime { is_reordered, .. } => is_reordered,
        other => panic!("{other:?}"),
    });
    assert_eq!(order, [false, false, true]);
    assert_eq!(probes.end().messages.reordered, 1);
}

#[test]
fn the_timeout_of_a_waiting_probe_runs_from_its_due_time() {
    let start = Instant::now();
    let mut probes = probes();
    probes.make(start);
    probes.make(after(start, 500));
    assert_eq!(probes.next_expiry(), Some(after(start, 1000)));
    assert_eq!(probes.expire(after(start, 999)), None);
    assert_eq!(probes.expire(after(start, 1000)), Some((1, Fate::Waiting)));
    assert_eq!(probes.next_waiting(), Some(2));
    probes.sent(after(start, 1400));
    assert_eq!(probes.next_expiry(), Some(after(start, 2400)), "the timeout runs from the sending");
    let time = Duration::from_millis(100);
    let verdict = probes.answer(2, after(start, 1500));
    assert_eq!(verdict, EchoKind::InTime { time, is_reordered: false });
    assert_eq!(probes.next_expiry(), None);
}

#[test]
fn probes_in_flight_can_be_sent_again_in_order() {
    let start = Instant::now();
    let mut probes = probes();
    sent(&mut probes, 3, start);
    probes.answer(2, start);
    probes.make(start);
    probes.send_again();
    let mut order = Vec::new();
    while let Some(number) = probes.next_waiting() {
        order.push(number);
        probes.sent(after(start, 10));
    }
    assert_eq!(order, [1, 3, 4]);
    assert_eq!(probes.end().messages.in_flight_at_end, 3);
}

#[test]
fn a_truncated_number_means_the_last_probe_that_it_fits() {
    let start = Instant::now();
    let numbers = 256;
    let mut probes = Probes::new(TIMEOUT, Duration::ZERO, numbers);
    let mut held_back = 0;
    for number in 1..=600 {
        held_back += u64::from(!probes.has_room());
        sent(&mut probes, 1, start);
        probes.answer(number, start);
    }
    assert_eq!(held_back, 0, "every probe is settled");
    for number in 345..=600 {
        assert_eq!(probes.last_with(number % numbers, numbers), Some(number));
    }
    sent(&mut probes, 128, start);
    assert!(!probes.has_room(), "two probes with the same payload would be in flight");
}

#[test]
fn a_number_that_was_never_sent_belongs_to_no_probe() {
    let start = Instant::now();
    let mut probes = probes();
    assert_eq!(probes.last_with(0, u64::MAX), None);
    sent(&mut probes, 1, start);
    probes.make(start);
    for number in [0, 2, 3, u64::MAX, 1 << 56] {
        assert_eq!(probes.last_with(number, u64::MAX), None, "{number}");
    }
    assert_eq!(probes.last_with(1, u64::MAX), Some(1));
    assert_eq!(probes.last_sent(10).collect::<Vec<_>>(), [1]);
}

#[test]
fn an_old_probe_is_forgotten_and_its_echo_counts_as_late() {
    let start = Instant::now();
    let mut probes = probes();
    for number in 1..=REMEMBERED_MAX + 1 {
        sent(&mut probes, 1, start);
        probes.answer(number, start);
    }
    assert_eq!(probes.remembered.len() as u64, REMEMBERED_MAX);
    assert_eq!(probes.answer(1, start), EchoKind::Forgotten);
    assert_eq!(probes.answer(2, start), EchoKind::Duplicate { time: Duration::ZERO });
    assert_eq!(probes.end().messages.late, 1);
}

#[test]
fn probes_are_made_only_while_all_can_be_remembered() {
    let start = Instant::now();
    let mut probes = probes();
    while probes.has_room() {
        sent(&mut probes, 1, start);
    }
    assert_eq!(probes.made(), REMEMBERED_MAX);
    probes.answer(1, start);
    assert!(probes.has_room());
}

proptest! {
    /// Each probe is counted once, whatever happens in any order.
    #[test]
    fn sent_is_received_lost_and_in_flight(
        steps in prop::collection::vec((0_u8..7, 0_u64..40, 0_u64..400), 0..200),
    ) {
        let mut now = Instant::now();
        let mut probes = probes();
        for (step, number, ms) in steps {
            now += Duration::from_millis(ms);
            match step {
                0 | 1 if probes.has_room() => probes.make(now),
                2 => probes.sent(now),
                3 => while probes.expire(now).is_some() {},
                4 => drop(probes.lose_in_flight()),
                5 => probes.send_again(),
                _ => {
                    if let Some(number) = probes.last_with(number, u64::MAX) {
                        probes.answer(number, now);
                    }
                }
            }
            let waiting = probes.waiting.len();
            prop_assert!(probes.unsettled() >= waiting as u64);
        }
        let Figures { messages, latency } = probes.end();
        let Messages { sent, received, lost, in_flight_at_end, .. } = messages;
        prop_assert_eq!(sent, received + lost + in_flight_at_end);
        prop_assert_eq!(latency.count(), received);
    }
}

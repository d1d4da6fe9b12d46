//! The due times of every spacing.

use proptest::prelude::*;

use super::*;

fn dues(mut schedule: Schedule, count: usize) -> Vec<u64> {
    let mut take = || {
        let due_ns = schedule.due_ns();
        schedule.take();
        due_ns
    };
    (0..count).map(|_| take()).collect()
}

fn schedule(rate: u64, spacing: Spacing, place: u64, flows: u64) -> Schedule {
    Schedule::new(rate, spacing, (place, flows), 1_000)
}

#[test]
fn fixed_due_times_are_whole_intervals_after_the_start() {
    assert_eq!(dues(schedule(1_000, Spacing::Fixed, 0, 1), 3), [1_000, 1_001_000, 2_001_000]);
    // Message k of the run is message k / 3 of flow k mod 3.
    assert_eq!(dues(schedule(1_000, Spacing::Fixed, 2, 3), 2), [2_001_000, 5_001_000]);
}

#[test]
fn an_interval_of_fractional_nanoseconds_accumulates_no_error() {
    let mut schedule = schedule(3, Spacing::Fixed, 0, 1);
    (0..3_000_000).for_each(|_| schedule.take());
    assert_eq!(schedule.due_ns(), 1_000 + 1_000_000 * 1_000_000_000);
}

/// case B12
#[test]
fn at_a_rate_finer_than_the_clock_every_message_is_due_at_once() {
    assert_eq!(dues(schedule(u64::MAX, Spacing::Fixed, 0, 1), 3), [1_000; 3]);
    assert_eq!(dues(schedule(u64::MAX, Spacing::Poisson, 0, 1), 3), [1_000; 3]);
}

#[test]
fn poisson_gaps_have_the_mean_and_the_deviation_of_an_exponential_distribution() {
    const COUNT: usize = 100_000;
    let dues = dues(schedule(10_000, Spacing::Poisson, 4, 10), COUNT);
    let gaps: Vec<f64> = dues.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    // 10,000 per second on 10 flows: 1 ms on average between two messages of one flow.
    assert!((mean / 1e6 - 1.0).abs() < 0.02, "mean {mean}");
    assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "deviation equals mean");
}

#[test]
fn skipping_drops_earlier_messages_and_keeps_later_due_times() {
    for (place, flows) in [(0, 1), (2, 3)] {
        let mut skipped = schedule(3_000, Spacing::Fixed, place, flows);
        let mut taken = schedule(3_000, Spacing::Fixed, place, flows);
        skipped.skip_to(2_000_000);
        while taken.due_ns() < 2_000_000 {
            taken.take();
        }
        assert_eq!(dues(skipped, 5), dues(taken, 5));
    }
    let mut poisson = schedule(1_000, Spacing::Poisson, 0, 1);
    poisson.skip_to(1_000_000_000);
    assert!(poisson.due_ns() >= 1_000_000_000);
    let mut absurd = schedule(u64::MAX, Spacing::Poisson, 0, 1);
    absurd.skip_to(1_000_000_000);
    assert!(absurd.due_ns() >= 999_999_999);
}

#[test]
fn the_messages_of_a_burst_are_due_together_every_so_many_over_the_rate() {
    let of_flow = |place| dues(schedule(1_000, Spacing::Burst(3), place, 2), 4);
    // Messages 0, 2, 4, 6 and 1, 3, 5, 7: bursts of three, every 3 ms.
    assert_eq!(of_flow(0), [1_000, 1_000, 3_001_000, 6_001_000]);
    assert_eq!(of_flow(1), [1_000, 3_001_000, 3_001_000, 6_001_000]);
}

#[test]
fn skipping_to_the_middle_of_the_run_drops_whole_bursts() {
    let mut skipped = schedule(1_000, Spacing::Burst(4), 0, 1);
    skipped.take();
    assert_eq!(skipped.due_between(0, 4_001_000), 3, "one of four is taken");
    skipped.skip_to(4_001_000);
    assert_eq!(dues(skipped, 5), [4_001_000, 4_001_000, 4_001_000, 4_001_000, 8_001_000]);
}

#[test]
fn a_spacing_is_parsed_from_what_it_prints() {
    for spacing in [Spacing::Fixed, Spacing::Poisson, Spacing::Burst(1), Spacing::Burst(2_500)] {
        assert_eq!(spacing.to_string().parse(), Ok(spacing));
    }
    assert_eq!("burst:2.5k".parse(), Ok(Spacing::Burst(2_500)));
    for text in ["", "burst", "burst:", "burst:0", "burst:-1", "burst:5g", "Fixed", "bursts:3"] {
        let error = text.parse::<Spacing>().unwrap_err();
        assert!(error.contains("such as burst:100") && !error.contains('\n'), "{text}");
    }
}

#[test]
fn no_sleep_is_granted_within_the_margin_before_a_due_time() {
    assert_eq!(sleep_for(500, 1_000), None, "overdue");
    assert_eq!(sleep_for(SLEEP_MARGIN_NS, 0), None);
    assert_eq!(sleep_for(SLEEP_MARGIN_NS + 5, 0), Some(Duration::from_nanos(5)));
}

proptest! {
    #[test]
    fn due_between_counts_the_messages_of_a_period_without_taking_them(
        rate in 1_u64..3_000_000,
        burst in 0_u32..50,
        (place, flows) in (0_u64..20).prop_flat_map(|place| (Just(place), place + 1..40)),
        taken in 0_usize..20,
        from_ns in 0_u64..1_000_000,
        length_ns in 0_u64..3_000_000,
    ) {
        let spacing = if burst == 0 { Spacing::Fixed } else { Spacing::Burst(burst) };
        let mut schedule = schedule(rate, spacing, place, flows);
        (0..taken).for_each(|_| schedule.take());
        let until_ns = from_ns + length_ns;
        let counted = schedule.due_between(from_ns, until_ns);
        let mut expected = 0;
        while schedule.due_ns() < until_ns {
            expected += u64::from(schedule.due_ns() >= from_ns);
            schedule.take();
        }
        prop_assert_eq!(counted, expected);
    }

    /// The number must be exact, because these messages may be sent together.
    #[test]
    fn due_before_counts_exactly_the_messages_that_can_be_taken(
        rate in prop_oneof![1_u64..3_000_000, Just(5_000_000_000), Just(u64::MAX)],
        spacing in prop_oneof![
            Just(Spacing::Fixed),
            Just(Spacing::Poisson),
            (1_u32..50).prop_map(Spacing::Burst),
        ],
        (place, flows) in (0_u64..20).prop_flat_map(|place| (Just(place), place + 1..40)),
        taken in 0_usize..20,
        skipped_ns in prop::option::of(0_u64..2_000_000),
        until_ns in 0_u64..3_000_000,
        most in 0_u64..100,
    ) {
        let mut schedule = schedule(rate, spacing, place, flows);
        (0..taken).for_each(|_| schedule.take());
        schedule.skip_to(skipped_ns.unwrap_or(0));
        let counted = schedule.due_before(until_ns, most);
        let mut expected = 0;
        while expected < most && schedule.due_ns() < until_ns {
            schedule.take();
            expected += 1;
        }
        prop_assert_eq!(counted, expected);
    }

    #[test]
    fn all_flows_together_keep_the_fixed_rate(
        rate in 1_u64..2_000_000,
        flows in 1_u64..50,
        each in 1_usize..50,
    ) {
        let of_flow = |place| dues(schedule(rate, Spacing::Fixed, place, flows), each);
        let mut all: Vec<u64> = (0..flows).flat_map(of_flow).collect();
        all.sort_unstable();
        let expected = (0..all.len() as u128)
            .map(|k| 1_000 + u64::try_from(k * SECOND_NS / u128::from(rate)).unwrap());
        prop_assert!(all.into_iter().eq(expected));
    }

    /// The flows take the messages of a burst in turn, and all of them are due together. Over
    /// any number of whole bursts, the rate is the one asked for.
    #[test]
    fn all_flows_together_send_whole_bursts_at_the_rate(
        rate in 1_u64..2_000_000,
        burst in 1_u32..100,
        flows in 1_u64..50,
        bursts in 1_u64..20,
    ) {
        let until = |burst: u64, all: u128| {
            u64::try_from(u128::from(burst) * all * SECOND_NS / u128::from(rate)).unwrap()
        };
        let messages = bursts * u64::from(burst);
        let mut due = Vec::new();
        for place in 0..flows {
            let own = usize::try_from(messages.saturating_sub(place).div_ceil(flows)).unwrap();
            let schedule = schedule(rate, Spacing::Burst(burst), place, flows);
            let counted = schedule.due_before(1_000 + until(bursts, burst.into()), u64::MAX);
            prop_assert_eq!(counted, own as u64, "as many as leave in that time");
            due.extend((place..).step_by(usize::try_from(flows).unwrap()).zip(dues(schedule, own)));
        }
        due.sort_unstable();
        let expected = (0..messages)
            .map(|k| (k, 1_000 + until(k / u64::from(burst), burst.into())));
        prop_assert!(due.into_iter().eq(expected));
    }

    /// So a measured time of whole periods has as many messages as the rate says, whatever the
    /// warm-up.
    #[test]
    fn a_burst_is_due_when_the_measurement_starts(
        rate in 1_u64..2_000_000,
        burst in 1_u32..1_000,
        start_ns in 0_u64..1_000,
        warmup_ns in 0_u64..10_000_000_000,
        periods in 1_u64..10,
    ) {
        let spacing = Spacing::Burst(burst);
        let measure_from_ns = start_ns + warmup_ns;
        let first_ns = spacing.first_due_ns(rate, start_ns, measure_from_ns);
        prop_assert!(first_ns >= start_ns);
        let period_ns = u128::from(burst) * SECOND_NS / u128::from(rate);
        prop_assert!(u128::from(first_ns - start_ns) <= period_ns + 1, "no burst is left out");
        let mut schedule = Schedule::new(rate, spacing, (0, 1), first_ns);
        schedule.skip_to(measure_from_ns);
        prop_assert_eq!(schedule.due_ns(), measure_from_ns);
        let messages = periods * u64::from(burst);
        let time_ns = u128::from(messages) * SECOND_NS / u128::from(rate);
        let until_ns = measure_from_ns + u64::try_from(time_ns).unwrap();
        let measured = schedule.due_between(measure_from_ns, until_ns);
        // Due times are rounded down to a nanosecond.
        let is_early = !(u128::from(messages) * SECOND_NS).is_multiple_of(u128::from(rate));
        let next = if is_early { u64::from(burst) } else { 0 };
        prop_assert!(measured == messages || measured == messages + next, "{}", measured);
    }
}

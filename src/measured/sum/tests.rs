//! The sum of parts is the result of all their samples.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::measured::{
    BindUse, Difference, Distribution, LossCause, Messages, PercentileList, SplitValues, Stretches,
    Trains, Udp, Verdict, samples,
};

/// What happened to one message.
#[derive(Clone, Debug)]
struct Sample {
    part: usize,
    latency_ns: u64,
    wait_ns: u64,
    third: usize,
    is_lost: bool,
    is_measured: bool,
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let times = (0_u64..20_000_000_000, 0_u64..1_000_000);
    (0..4_usize, times, 0..3_usize, prop::bool::weighted(0.1), prop::bool::weighted(0.9)).prop_map(
        |(part, (latency_ns, wait_ns), third, is_lost, is_measured)| Sample {
            part,
            latency_ns,
            wait_ns,
            third,
            is_lost,
            is_measured,
        },
    )
}

const ELAPSED_NS: u64 = 3_000_000_000;

/// Returns the result of a load over `connections` without messages.
fn empty(connections: u64) -> RunResult {
    let from = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_236_133);
    RunResult {
        connections,
        elapsed_ns: ELAPSED_NS,
        planned_ns: Some(ELAPSED_NS),
        load_made: 1.0,
        load_loop: LoadLoop::Open,
        run: RunStamp {
            id: "one".to_owned(),
            started_at: Some(from),
            measured_from: Some(from),
            measured_to: Some(from + Duration::from_nanos(ELAPSED_NS)),
            ..RunStamp::default()
        },
        ..RunResult::default()
    }
}

/// Returns the result of a load of which these are the messages, over `connections` of 40 in all.
fn result_of(messages: &[&Sample], connections: u64) -> RunResult {
    let mut result = empty(connections);
    let [mut latency, mut service, mut lag] = [(); 3].map(|()| Distribution::new());
    let mut thirds = [(); 3].map(|()| Distribution::new());
    let mut rtts = Distribution::new();
    let mut split = SplitValues::default();
    for message in messages {
        let of_phase = match message.is_measured {
            true => &mut result.messages,
            false => &mut result.warmup_messages,
        };
        of_phase.sent += 1;
        match message.is_lost {
            true => of_phase.lost += 1,
            false => of_phase.received += 1,
        }
        if !message.is_measured {
            continue;
        }
        result.bytes.sent += 64;
        lag.record(message.wait_ns);
        if message.is_lost {
            *result.losses.of_mut(LossCause::TimedOut) += 1;
            continue;
        }
        result.bytes.received += 64;
        rtts.record(message.latency_ns / 2);
        let part_ns = message.latency_ns / 3;
        split.record(Stretches { send_ns: 7, away_ns: part_ns, wake_ns: part_ns });
        latency.record(message.latency_ns + message.wait_ns);
        service.record(message.latency_ns);
        thirds[message.third].record(message.latency_ns + message.wait_ns);
    }
    let list: PercentileList = "50,99,99.9".parse().unwrap();
    let asked = 100.0 * connections as f64;
    let achieved = (result.messages.received as f64 * 1e9 / ELAPSED_NS as f64).min(asked);
    result.rate = Rate { asked: Some(asked), achieved, over_planned: achieved };
    result.flows.opened = connections;
    result.status = match result.messages.received {
        0 => Status::Error,
        _ => Status::Ok,
    };
    result.tcp = Some(Tcp {
        connections,
        retransmits: result.messages.lost,
        rtt_ns: Rtt::of(&rtts),
        cwnd: 10,
        mss: 1_448,
        rtts,
        ..Tcp::default()
    });
    result.udp = Some(Udp { receive_drops: result.messages.lost });
    let cause = if connections.is_multiple_of(2) { "overflowed" } else { "answer_refused" };
    result.server_drops = Some([(cause.to_owned(), result.messages.lost)].into());
    result.trains = Some(Trains { sends: result.messages.sent, ..Trains::default() });
    result.latency_ns = Times::of(latency, &list);
    result.service_time_ns = Some(Times::of(service, &list));
    result.generator.schedule_lag_ns = Some(Times::of(lag, &list));
    result.split = Some(split.split(&list));
    result.drift = Drift::of(&thirds);
    result.thirds = Some(thirds);
    result.histograms = Histograms::of(&result);
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// case B16
    #[test]
    fn the_sum_of_parts_is_the_result_of_all_samples(
        samples in prop::collection::vec(any_sample(), 0..400),
    ) {
        let part = |number| {
            let own: Vec<&Sample> =
                samples.iter().filter(|sample| sample.part == number).collect();
            result_of(&own, 10)
        };
        let all = result_of(&samples.iter().collect::<Vec<_>>(), 40);
        let mut sum = RunResult::sum((0..4).map(part)).unwrap();
        // A part without an echo makes the whole partial, if the others have some.
        if sum.status == Status::Partial {
            sum.status = Status::Ok;
        }
        let json = |result: &RunResult| serde_json::to_value(result).unwrap();
        prop_assert_eq!(json(&sum), json(&all));
        // The same parts, read back from their documents.
        let read = |number| RunResult::from_json(&part(number).to_json()).unwrap();
        let read = RunResult::sum((0..4).map(read)).unwrap();
        prop_assert_eq!(&read.histograms, &all.histograms);
        prop_assert_eq!((read.rate, read.messages), (all.rate, all.messages));
    }

    #[test]
    fn the_sum_of_intervals_has_all_their_echoes(
        times in prop::collection::vec((0..3_usize, 0_u64..10_000_000), 0..100),
    ) {
        let interval = |own: &dyn Fn(usize) -> bool| {
            let mut latency = Distribution::new();
            let mut messages = Messages::default();
            for (_, time_ns) in times.iter().filter(|(loop_number, _)| own(*loop_number)) {
                latency.record(*time_ns);
                messages.received += 1;
            }
            Interval {
                start_ns: 5,
                end_ns: 9,
                is_warmup: false,
                is_drain: false,
                messages,
                latency,
                flows_open: 0,
            }
        };
        let mut sum = interval(&|loop_number| loop_number == 0);
        (1..3).for_each(|number| sum.add(&interval(&|loop_number| loop_number == number)));
        let all = interval(&|_| true);
        prop_assert_eq!(sum.messages, all.messages);
        prop_assert_eq!(sum.latency, all.latency);
    }
}

#[test]
fn a_sum_has_the_worst_verdict_and_the_waits_of_the_worst_part() {
    let mut parts = [(); 3].map(|()| samples::closed_run());
    let verdicts = [Verdict::Ok, Verdict::Saturated, Verdict::Ok];
    for ((part, verdict), cpu_share) in parts.iter_mut().zip(verdicts).zip([0.3, 0.96, 0.2]) {
        (part.generator.verdict, part.generator.cpu_share) = (Some(verdict), cpu_share);
    }
    parts[2].hiccups.longest_ns = 7;
    parts[2].generator.wait_ns_mean = Some(1_000_000);
    let sum = RunResult::sum(parts).unwrap();
    assert_eq!(sum.generator.verdict, Some(Verdict::Saturated));
    assert_eq!(sum.generator.cpu_share, 0.96);
    assert_eq!((sum.hiccups.longest_ns, sum.generator.wait_ns_mean), (7, Some(1_000_000)));
    assert_eq!((sum.connections, sum.messages.received), (150, 3_000));
    // Equal run ids: one process, whose CPU time each part reports.
    assert_eq!(sum.generator.cpu_ns_process, 12_340_000_000);
}

/// case B15: a halt of a process stops all of its loops.
#[test]
fn a_halt_of_a_process_counts_once_however_many_loops_it_stopped() {
    let halts = |lost| Hiccups {
        count: 1,
        longest_ns: 1_000,
        total_ns: 1_000,
        lost,
        throttled_ns: Some(400),
    };
    let other = Hiccups { count: 3, longest_ns: 500, total_ns: 900, ..Hiccups::default() };
    let part = |hiccups, id: &str| {
        let mut part = samples::closed_run();
        (part.hiccups, part.run.id) = (hiccups, id.to_owned());
        part
    };
    let of_process = |id| {
        let loops = [halts(2), halts(3), other].map(|hiccups| part(hiccups, id));
        RunResult::sum(loops).unwrap()
    };
    let (first, second) = (of_process("a"), of_process("b"));
    assert_eq!(first.hiccups, Hiccups { count: 3, ..halts(5) });
    // Two processes: each halt is one of its own.
    let all = RunResult::sum([first, second]).unwrap().hiccups;
    let throttled_ns = Some(800);
    assert_eq!(all, Hiccups { count: 6, total_ns: 2_000, lost: 10, throttled_ns, ..halts(0) });
}

#[test]
fn the_time_reaches_from_the_first_begin_to_the_last_end() {
    let from = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_236_133);
    let mut parts = [0, 1].map(|second| {
        let mut part = samples::closed_run();
        part.run = RunStamp::new(from, from + Duration::from_secs(second), Duration::from_secs(10));
        part
    });
    parts[1].messages.received = 500;
    parts[1].rate.achieved = 50.0;
    let sum = RunResult::sum(parts.clone()).unwrap();
    assert_eq!(sum.elapsed_ns, 11_000_000_000);
    assert!((sum.rate.achieved - 1_500.0 / 11.0).abs() < 1e-9, "{:?}", sum.rate);
    assert_eq!(sum.run.measured_to, parts[1].run.measured_to);
    // Two processes.
    assert_eq!(sum.generator.cpu_ns_process, 2 * 12_340_000_000);
}

/// case B16
#[test]
fn a_part_that_failed_makes_the_sum_partial_and_names_its_error() {
    let part = samples::closed_run();
    let failed = RunResult::failed(Vec::new(), "cannot connect: refused");
    let sum = RunResult::sum([part.clone(), failed.clone()]).unwrap();
    assert_eq!((sum.status, sum.error.as_deref()), (Status::Partial, failed.error.as_deref()));
    assert_eq!(sum.messages, part.messages);
    let sum = RunResult::sum([failed.clone(), failed]).unwrap();
    assert_eq!(sum.status, Status::Error);
}

#[test]
fn what_differs_between_parts_is_kept_once() {
    let warning = |text: &str| Warning(text.to_owned());
    let used = |address: &str, opened| BindUse { address: address.to_owned(), opened };
    let mut parts = [samples::closed_run(), samples::closed_run()];
    parts[0].warnings = vec![warning("a"), warning("b")];
    parts[1].warnings = vec![warning("b"), warning("c")];
    parts[1].environment.cpus_allowed = vec![1, 3];
    let difference =
        Difference { flow: 1, message: None, offset: 0, sent: None, received: Some(7) };
    parts[1].first_difference = Some(difference.clone());
    let sockets = |bind| Some(Sockets { bind, ..Sockets::default() });
    parts[0].sockets = sockets(vec![used("10.0.0.1", 3), used("10.0.0.2", 2)]);
    parts[1].sockets = sockets(vec![used("10.0.0.2", 4)]);
    let sum = RunResult::sum(parts).unwrap();
    assert_eq!(sum.warnings, ["a", "b", "c"].map(warning));
    assert_eq!(sum.environment.cpus_allowed, [0, 1, 3]);
    assert_eq!(sum.first_difference, Some(difference));
    assert_eq!(sum.sockets.unwrap().bind, [used("10.0.0.1", 3), used("10.0.0.2", 6)]);
    assert!(sum.asserts.is_empty());
    assert!(RunResult::sum([]).is_none());
}

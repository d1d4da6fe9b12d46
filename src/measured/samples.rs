//! Results of runs for tests.

use super::*;

/// Returns an open loop that went well, with a service time.
pub(crate) fn open_run() -> RunResult {
    let mut result = closed_run();
    result.load_loop = LoadLoop::Open;
    result.arrival = Some("fixed".to_owned());
    result.embedded_server = false;
    result.rate = Rate { asked: Some(100_000.0), achieved: 99_990.0, over_planned: 99_990.0 };
    result.latency_ns = times(70_000);
    result.service_time_ns = Some(times(60_000));
    result.generator.schedule_lag_ns = Some(times(2_000));
    let [send_ns, away_ns, wake_ns] = [3_000, 45_000, 12_000].map(times);
    let samples = send_ns.summary.count;
    result.split = Some(Split { send_ns, away_ns, wake_ns, samples });
    result.generator.pacing = Pacing::Hybrid;
    result
}

/// Returns a closed loop of ten seconds with an embedded server.
pub(crate) fn closed_run() -> RunResult {
    let messages =
        Messages { sent: 1_050, received: 1_000, in_flight_at_end: 50, ..Messages::default() };
    let mut distribution = Distribution::new();
    (0..1_000).for_each(|index| distribution.record(60_000 + 50 * index));
    RunResult {
        status: Status::Ok,
        error: None,
        endpoint: "tcp://127.0.0.1:40001".to_owned(),
        embedded_server: true,
        depth: 1,
        connections: 50,
        length: 64,
        environment: Environment {
            host: "lab-7".to_owned(),
            kernel: "Linux 6.18.5".to_owned(),
            cpu_model: Some("Intel(R) Xeon(R) CPU @ 2.50GHz".to_owned()),
            cpus_online: Some(2),
            cpus_allowed: vec![0, 1],
            governor: None,
            clock_source: Some("tsc".to_owned()),
            loopback: true,
            shared_cpus: true,
        },
        elapsed_ns: 10_000_000_000,
        planned_ns: Some(10_000_000_000),
        load_made: 1.0,
        warmup_ns: 1_000_000_000,
        drain_ns: 1_200_000,
        rate: Rate { asked: None, achieved: 100.0, over_planned: 100.0 },
        messages,
        warmup_messages: Messages { sent: 123, received: 123, ..Messages::default() },
        flows: Flows { opened: 50, ..Flows::default() },
        bytes: Bytes { sent: 67_200, received: 64_000 },
        trains: None,
        latency_ns: Times::of(distribution, &PercentileList::default()),
        generator: GeneratorHealth {
            verdict: Some(Verdict::Ok),
            unsent: 0,
            cpu_share: 0.61,
            wait_share: Some(0.02),
            wait_ns_mean: Some(12_000),
            cpu_ns_per_message: 3_900,
            cpu_ns_process: 12_340_000_000,
            ..GeneratorHealth::default()
        },
        asserts: vec![Outcome {
            expression: "p99<200us".to_owned(),
            value: Some(110_000.0),
            held: true,
        }],
        ..RunResult::default()
    }
}

/// Returns times around this median, with too few samples for the last percentile.
fn times(p50: u64) -> Times {
    let mut values = Distribution::new();
    let steps = [(5_000, 0), (4_000, 20_000), (900, 40_000), (90, 50_000), (10, 60_000)];
    steps.iter().for_each(|(count, step)| values.record_many(p50 + step, *count));
    let mut times = Times::of(values, &PercentileList::default());
    // Exact values instead of the ends of the histogram's buckets.
    let steps = [Some(0), Some(20_000), Some(40_000), Some(50_000), None];
    for ((_, value), step) in times.summary.percentiles.iter_mut().zip(steps) {
        *value = step.map(|step| p50 + step);
    }
    times
}

//! The knee of a sweep: up to which load the server kept up.

use crate::measured::{
    ACHIEVED_SHARE_MIN, Knee, Limit, LoadLoop, Percentile, RunResult, SweptFlag,
};

/// A run of a sweep, as far as the knee needs it.
#[derive(Clone, Copy, Debug)]
struct Load {
    value: u64,
    /// A limit of the client's side distorts the figures. It makes no wrong echoes.
    is_unproven: bool,
    /// The generator itself was not well.
    is_generator_limit: bool,
    /// An echo differed from its message, so the server did not keep up.
    is_corrupted: bool,
    /// The share of the rate asked for that the server answered.
    achieved_share: f64,
    /// The rate over the median response time.
    power: f64,
}

impl Load {
    fn of(value: u64, run: &RunResult) -> Load {
        let p50 = run.latency_ns.values.percentile(Percentile::P50);
        let power = |p50: u64| run.rate.over_planned / p50.max(1) as f64;
        Load {
            value,
            is_unproven: run.client_limit().is_some() && !run.is_corrupted(),
            is_generator_limit: run.generator.was_limit() && !run.is_corrupted(),
            is_corrupted: run.is_corrupted(),
            achieved_share: run.achieved_share().unwrap_or(0.0),
            power: p50.map_or(0.0, power),
        }
    }
}

/// Finds the knee of a sweep from its runs, each with its value. A run in which a limit of the
/// client's side distorts the figures proves nothing, so it is left out. At a value with a wrong
/// echo the server did not keep up. Returns `None` if the runs do not say: lengths and threads are
/// no load, and neither are connections at a fixed rate.
pub fn knee(flag: SweptFlag, points: &[(u64, &RunResult)]) -> Option<Knee> {
    let mut loads: Vec<Load> = points.iter().map(|(value, run)| Load::of(*value, run)).collect();
    loads.sort_by_key(|load| load.value);
    let is_closed = points.iter().all(|(_, run)| run.load_loop == LoadLoop::Closed);
    match flag {
        SweptFlag::Rate => knee_of_rates(&loads),
        SweptFlag::Connections | SweptFlag::Depth if is_closed => knee_of_power(&loads),
        SweptFlag::Connections | SweptFlag::Depth | SweptFlag::Length | SweptFlag::Threads => None,
    }
}

fn knee_of_rates(loads: &[Load]) -> Option<Knee> {
    let mut proven = loads.iter().filter(|load| !load.is_unproven).peekable();
    let is_sustained =
        |load: &&Load| load.achieved_share >= ACHIEVED_SHARE_MIN && !load.is_corrupted;
    let mut last = None;
    while let Some(load) = proven.next_if(is_sustained) {
        last = Some(load);
    }
    knee_at(last?, proven.next(), loads)
}

fn knee_of_power(loads: &[Load]) -> Option<Knee> {
    // A generator that is saturated keeps the rate from growing, as a server does. It is also the
    // limit of every value above, even where it is just below the share of a CPU that tells. What
    // else spoils a run, such as a dropped reply, says nothing about the values above.
    let below = loads.iter().take_while(|load| !load.is_generator_limit);
    let mut proven = below.filter(|load| !load.is_unproven);
    let sustained = proven.clone().take_while(|load| !load.is_corrupted);
    let greatest = sustained.max_by(|a, b| a.power.total_cmp(&b.power))?;
    knee_at(greatest, proven.find(|load| load.value > greatest.value), loads)
}

/// Returns the knee at a load. `next`: the next load at which the server was measured.
fn knee_at(load: &Load, next: Option<&Load>, loads: &[Load]) -> Option<Knee> {
    let is_unproven = |other: &Load| other.value > load.value && other.is_unproven;
    let limit = match next {
        Some(_) => Limit::Server,
        None if loads.iter().any(is_unproven) => Limit::Generator,
        None => Limit::None,
    };
    let next = next.map(|next| next.value);
    Some(Knee { value: load.value, next, at_least: limit != Limit::Server, limit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{PercentileList, Times, Udp, Verdict, samples};

    /// Returns an open loop of a server that answers at most `capacity` messages per second.
    fn open(asked: u64, capacity: u64, verdict: Verdict) -> (u64, RunResult) {
        let mut run = samples::open_run();
        run.rate.asked = Some(asked as f64);
        run.rate.over_planned = asked.min(capacity) as f64;
        run.generator.verdict = Some(verdict);
        (asked, run)
    }

    /// Returns a closed loop of a server with four workers of 10 us.
    fn closed(connections: u64, verdict: Verdict) -> (u64, RunResult) {
        let mut run = samples::closed_run();
        let busy = connections.min(4);
        run.rate.over_planned = busy as f64 * 1e5;
        let mut values = crate::measured::Distribution::new();
        values.record_many(10_000 * connections.div_ceil(4), 1_000);
        run.latency_ns = Times::of(values, &PercentileList::default());
        run.generator.verdict = Some(verdict);
        (connections, run)
    }

    fn knee_of(flag: SweptFlag, points: &[(u64, RunResult)]) -> Option<Knee> {
        let points: Vec<_> = points.iter().map(|(value, run)| (*value, run)).collect();
        knee(flag, &points)
    }

    #[test]
    fn the_knee_is_the_last_rate_that_the_server_answered() {
        let points = [8_000, 1_000, 32_000, 16_000].map(|rate| open(rate, 20_000, Verdict::Ok));
        let expected =
            Knee { value: 16_000, next: Some(32_000), at_least: false, limit: Limit::Server };
        assert_eq!(knee_of(SweptFlag::Rate, &points), Some(expected));
    }

    #[test]
    fn a_value_with_a_wrong_echo_is_beyond_the_knee() {
        for verdict in [Verdict::Ok, Verdict::Starved] {
            let mut points =
                [1_000, 2_000, 4_000, 8_000].map(|rate| open(rate, 20_000, Verdict::Ok));
            points[2].1.messages.corrupted = 1;
            points[2].1.generator.verdict = Some(verdict);
            let expected =
                Knee { value: 2_000, next: Some(4_000), at_least: false, limit: Limit::Server };
            assert_eq!(knee_of(SweptFlag::Rate, &points), Some(expected), "{verdict:?}");
            points[0].1.warmup_messages.corrupted = 1;
            assert_eq!(knee_of(SweptFlag::Rate, &points), None, "{verdict:?}");
        }
        let mut points = [1, 2, 4].map(|connections| closed(connections, Verdict::Ok));
        points[2].1.messages.corrupted = 1;
        let expected = Knee { value: 2, next: Some(4), at_least: false, limit: Limit::Server };
        assert_eq!(knee_of(SweptFlag::Connections, &points), Some(expected));
    }

    #[test]
    fn a_server_that_answers_every_rate_has_at_least_the_highest() {
        let points = [1_000, 2_000].map(|rate| open(rate, 20_000, Verdict::Ok));
        let expected = Knee { value: 2_000, next: None, at_least: true, limit: Limit::None };
        assert_eq!(knee_of(SweptFlag::Rate, &points), Some(expected));
        let points = [30_000, 60_000].map(|rate| open(rate, 20_000, Verdict::Ok));
        assert_eq!(knee_of(SweptFlag::Rate, &points), None, "the knee is below the range");
    }

    /// case B19
    #[test]
    fn a_rate_that_the_generator_did_not_make_is_not_the_servers_knee() {
        for verdict in [Verdict::Starved, Verdict::Saturated, Verdict::Behind] {
            let mut points: Vec<_> =
                [1_000, 16_000].map(|rate| open(rate, 1_000_000, Verdict::Ok)).into();
            points.extend([32_000, 64_000].map(|rate| open(rate, 20_000, verdict)));
            let expected =
                Knee { value: 16_000, next: None, at_least: true, limit: Limit::Generator };
            assert_eq!(knee_of(SweptFlag::Rate, &points), Some(expected), "{verdict:?}");
            let nothing = [open(1_000, 20_000, verdict), open(32_000, 20_000, verdict)];
            assert_eq!(knee_of(SweptFlag::Rate, &nothing), None, "{verdict:?}");
        }
    }

    /// cases B6 and B19
    #[test]
    fn a_value_at_which_connections_failed_on_this_host_is_not_beyond_the_servers_knee() {
        let mut points =
            [1_000, 16_000, 32_000, 64_000].map(|rate| open(rate, 20_000, Verdict::Ok));
        points[2..].iter_mut().for_each(|(_, run)| run.flows.failed_locally = 1);
        let expected = Knee { value: 16_000, next: None, at_least: true, limit: Limit::Generator };
        assert_eq!(knee_of(SweptFlag::Rate, &points), Some(expected));
        let mut points = [1, 2, 4, 8].map(|connections| closed(connections, Verdict::Ok));
        points[2..].iter_mut().for_each(|(_, run)| run.flows.failed_locally = 1);
        let expected = Knee { value: 2, next: None, at_least: true, limit: Limit::Generator };
        assert_eq!(knee_of(SweptFlag::Connections, &points), Some(expected));
    }

    /// case B19
    #[test]
    fn a_rate_whose_echoes_the_own_receive_buffer_dropped_is_not_beyond_the_servers_knee() {
        let mut points = [1_000, 16_000, 32_000].map(|rate| open(rate, 20_000, Verdict::Ok));
        let run = &mut points[2].1;
        run.messages.lost = 120_000; // 12,000 per second
        for (receive_drops, next, limit) in
            [(120_000, None, Limit::Generator), (60_000, Some(32_000), Limit::Server)]
        {
            points[2].1.udp = Some(Udp { receive_drops });
            let expected = Knee { value: 16_000, next, at_least: limit == Limit::Generator, limit };
            assert_eq!(knee_of(SweptFlag::Rate, &points), Some(expected), "{receive_drops}");
        }
    }

    /// case B19
    #[test]
    fn one_run_spoiled_by_the_generator_hides_no_knee_above_it() {
        let points = [
            open(1_000, 20_000, Verdict::Ok),
            open(4_000, 3_000, Verdict::Starved),
            open(16_000, 20_000, Verdict::Ok),
            open(64_000, 20_000, Verdict::Ok),
        ];
        let knee = knee_of(SweptFlag::Rate, &points).unwrap();
        assert_eq!((knee.value, knee.next, knee.at_least), (16_000, Some(64_000), false));
    }

    /// case B19
    #[test]
    fn one_dropped_echo_hides_no_knee_of_a_closed_loop_above_it() {
        for spoiled in [1, 2, 64] {
            let points = [1, 2, 4, 8, 64].map(|connections| {
                let (connections, mut run) = closed(connections, Verdict::Ok);
                run.udp = Some(Udp { receive_drops: u64::from(connections == spoiled) });
                (connections, run)
            });
            let expected = Knee { value: 4, next: Some(8), at_least: false, limit: Limit::Server };
            assert_eq!(knee_of(SweptFlag::Depth, &points), Some(expected), "{spoiled}");
        }
        let mut points = [1, 2, 4].map(|connections| closed(connections, Verdict::Ok));
        points[2].1.udp = Some(Udp { receive_drops: 1 });
        let expected = Knee { value: 2, next: None, at_least: true, limit: Limit::Generator };
        assert_eq!(knee_of(SweptFlag::Depth, &points), Some(expected));
    }

    #[test]
    fn the_knee_of_a_closed_loop_is_where_the_response_time_begins_to_grow() {
        let points = [1, 2, 4, 8, 64].map(|connections| closed(connections, Verdict::Ok));
        let expected = Knee { value: 4, next: Some(8), at_least: false, limit: Limit::Server };
        assert_eq!(knee_of(SweptFlag::Connections, &points), Some(expected));
        assert_eq!(knee_of(SweptFlag::Length, &points), None, "a length is no load");
        let fixed = [1, 2].map(|connections| (connections, open(1, 1, Verdict::Ok).1));
        assert_eq!(knee_of(SweptFlag::Connections, &fixed), None, "the load does not differ");
    }

    /// case B19
    #[test]
    fn a_closed_loop_whose_generator_is_saturated_has_at_least_the_last_value_before() {
        // At 8 it is saturated too, but waits a little more than the verdict on it allows.
        let verdict = |connections| if connections == 4 { Verdict::Saturated } else { Verdict::Ok };
        let points = [1, 2, 4, 8].map(|connections| closed(connections, verdict(connections)));
        let expected = Knee { value: 2, next: None, at_least: true, limit: Limit::Generator };
        assert_eq!(knee_of(SweptFlag::Depth, &points), Some(expected));
    }
}

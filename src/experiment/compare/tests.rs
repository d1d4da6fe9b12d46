use super::*;
use crate::measured::{Change, Times, Udp, samples};

fn plan(rounds: u64, seed: u64) -> Plan {
    let (a, b) = ("first".to_owned(), "second".to_owned());
    Plan { rounds, noise: 0.02, max_regression: None, control: false, seed, a, b }
}

/// A server whose service time is known. Runs vary as on a real machine: each round has its own
/// speed, which both sides share, and each message its own time.
struct ScriptedServer {
    rng: Rng,
    result: RunResult,
}

impl ScriptedServer {
    /// Returns a number of a normal distribution, by the method of Box and Muller.
    fn normal(&mut self) -> f64 {
        let (first, second) = (1.0 - self.rng.f64(), self.rng.f64());
        (-2.0 * first.ln()).sqrt() * (std::f64::consts::TAU * second).cos()
    }

    /// Makes a run of a thousand messages whose service takes `factor` times as long.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times are above 0 and far below the greatest"
    )]
    fn run(&mut self, factor: f64) -> &RunResult {
        const MESSAGES: u64 = 1_000;
        const SERVICE_NS: f64 = 50_000.0;
        self.result.latency_ns.values.clear();
        let mut sum_ns = 0.0;
        for _ in 0..MESSAGES {
            let time_ns = SERVICE_NS * factor * (0.2 * self.normal()).exp();
            sum_ns += time_ns;
            self.result.latency_ns.values.record(time_ns as u64);
        }
        self.result.rate.achieved = MESSAGES as f64 * 1e9 / sum_ns;
        let cpu_ns = 5_000.0 * (0.01 * self.normal()).exp();
        self.result.generator.cpu_ns_per_message = cpu_ns as u64;
        &self.result
    }
}

/// Compares two scripted servers, of which B takes `factor` times as long.
fn compared(plan: Plan, factor: f64) -> Comparison {
    let seed = plan.seed;
    let mut comparison = Rounds::new(plan);
    let mut server =
        ScriptedServer { rng: Rng::with_seed(seed ^ 0x5eed), result: samples::closed_run() };
    let (mut round, mut speed) = (0, 1.0);
    while let Some(turn) = comparison.next_turn() {
        if turn.round > round {
            round = turn.round;
            speed = (0.05 * server.normal()).exp();
        }
        let factor = if turn.side == Side::B { factor } else { 1.0 };
        comparison.tell(server.run(speed * factor));
    }
    comparison.end(None)
}

fn verdict(metrics: &[Metric], name: &str) -> Change {
    metrics.iter().find(|metric| metric.name == name).unwrap().verdict
}

/// The seeds are not chosen: each of the first five hundreds of seeds passes, with at most 2.
///
/// case B18
#[test]
fn a_server_compared_with_itself_a_hundred_times_differs_at_most_five_times() {
    for rounds in [11, 15] {
        let mut differ = 0;
        for seed in 0..100 {
            let comparison = compared(plan(rounds, seed), 1.0);
            let is_different = |metric: &Metric| metric.verdict == Change::Differs;
            differ += usize::from(comparison.metrics.iter().any(is_different));
        }
        assert!(differ <= 5, "{differ} of 100 with {rounds} rounds");
    }
}

/// The seeds are not chosen: all of the first 500 differ in each of the figures.
///
/// case B18
#[test]
fn five_percent_more_service_time_differ_at_fifteen_rounds() {
    let mut differ = [0; 3];
    let mut controls = 0;
    for seed in 0..100 {
        let comparison = compared(Plan { control: true, ..plan(15, seed) }, 1.05);
        for (count, name) in differ.iter_mut().zip(["rate", "p50", "p90"]) {
            *count += usize::from(verdict(&comparison.metrics, name) == Change::Differs);
        }
        let control = comparison.control.unwrap();
        controls += usize::from(verdict(&control, "p50") == Change::Differs);
    }
    assert!(differ.iter().all(|count| *count >= 95), "rate, p50, p90: {differ:?} of 100");
    assert!(controls <= 5, "A differs from itself {controls} times");
}

#[test]
fn each_round_has_every_side_once_in_random_order() {
    let mut orders = Vec::new();
    for control in [false, true] {
        let mut rounds = Rounds::new(Plan { control, ..plan(40, 7) });
        let mut found: Vec<Vec<&str>> = vec![Vec::new(); 40];
        while let Some(turn) = rounds.next_turn() {
            assert_eq!(rounds.next_turn(), Some(turn), "it is the same until it is told");
            found[usize::try_from(turn.round).unwrap() - 1].push(turn.side.name());
            rounds.tell(&samples::closed_run());
        }
        for order in &found {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, if control { vec!["a", "b", "control"] } else { vec!["a", "b"] });
        }
        let comparison = rounds.end(None);
        let told: Vec<_> = comparison.pairs.iter().map(|pair| pair.order.clone()).collect();
        assert_eq!(told, found);
        let first = found.iter().filter(|order| order[0] == "a").count();
        assert!((5..=30).contains(&first), "A is first in {first} of 40 rounds");
        orders.push(comparison);
    }
    assert!(orders[0].control.is_none() && orders[1].control.is_some());
}

/// Runs a comparison in which `spoil` changes the result of round 2, side B.
fn spoiled(spoil: impl Fn(&mut RunResult)) -> Comparison {
    let mut rounds = Rounds::new(plan(7, 1));
    while let Some(turn) = rounds.next_turn() {
        let mut result = samples::closed_run();
        if turn == (Turn { round: 2, side: Side::B }) {
            spoil(&mut result);
        }
        rounds.tell(&result);
    }
    rounds.end(None)
}

#[test]
fn a_corrupted_or_partial_run_is_named_and_its_round_is_not_used() {
    let corrupted = spoiled(|result| result.messages.corrupted = 2);
    assert_eq!((corrupted.rounds, corrupted.status), (7, Status::Partial));
    let LeftOut { round, side, reason } = &corrupted.left_out[0];
    assert_eq!((*round, side.as_str()), (2, "b"));
    assert_eq!(reason, "2 echoes differ from what was sent");
    assert_eq!(corrupted.pairs.len(), 8, "its document is kept, and a round replaces it");
    let partial = spoiled(|result| {
        result.status = Status::Partial;
        result.error = Some("the server closed all connections".to_owned());
    });
    assert_eq!(partial.left_out[0].reason, "the server closed all connections");
}

#[test]
fn a_run_of_a_generator_that_was_not_well_is_used_and_named() {
    let starved = crate::measured::Verdict::Starved;
    let starved = spoiled(|result| result.generator.verdict = Some(starved));
    assert_eq!((starved.rounds, starved.left_out.len()), (7, 0));
    let text = "B: the generator was kept from running in 1 of 7 rounds, which are used";
    assert!(starved.warnings.iter().any(|warning| warning.0 == text), "{:?}", starved.warnings);
}

/// case B6
#[test]
fn a_run_with_failures_on_this_host_is_used_and_named() {
    let failed = spoiled(|result| result.flows.failed_locally = 1);
    assert_eq!((failed.rounds, failed.left_out.len()), (7, 0));
    let text = "B: connections failed on this host in 1 of 7 rounds, which are used";
    assert!(failed.warnings.iter().any(|warning| warning.0 == text), "{:?}", failed.warnings);
    let dropped = spoiled(|result| result.udp = Some(Udp { receive_drops: 1 }));
    let text = "B: the generator's own receive buffer dropped replies in 1 of 7 rounds, which are \
                used";
    assert!(dropped.warnings.iter().any(|warning| warning.0 == text), "{:?}", dropped.warnings);
}

#[test]
fn a_warning_that_every_run_of_a_side_has_is_named_and_others_are_not() {
    let warning = |text: &str| Warning(text.to_owned());
    let mut rounds = Rounds::new(plan(7, 3));
    while let Some(turn) = rounds.next_turn() {
        let mut result = samples::closed_run();
        result.warnings.clear();
        if turn.side == Side::B {
            result.warnings = vec![warning("--mss has no effect"), warning("of one run")];
            if turn.round == 4 {
                result.warnings.pop();
            }
        }
        rounds.tell(&result);
    }
    assert_eq!(rounds.end(None).warnings, [warning("B: --mss has no effect")]);
}

#[test]
fn a_run_of_a_round_that_the_other_side_spoiled_changes_no_warning() {
    let mut rounds = Rounds::new(plan(7, 3));
    while let Some(turn) = rounds.next_turn() {
        let mut result = samples::closed_run();
        match (turn.side, turn.round) {
            (Side::A, 2) => result.messages.corrupted = 1,
            (Side::B, 2) => result.generator.verdict = Some(crate::measured::Verdict::Starved),
            (Side::B, _) => result.warnings = vec![Warning("--mss has no effect".to_owned())],
            _ => {}
        }
        rounds.tell(&result);
    }
    let comparison = rounds.end(None);
    assert_eq!((comparison.rounds, comparison.left_out.len()), (7, 1));
    assert_eq!(comparison.warnings, [Warning("B: --mss has no effect".to_owned())]);
}

#[test]
fn an_interrupted_comparison_judges_the_complete_rounds() {
    let mut rounds = Rounds::new(plan(11, 3));
    for _ in 0..5 {
        rounds.next_turn().unwrap();
        rounds.tell(&samples::closed_run());
    }
    rounds.next_turn().unwrap();
    let comparison = rounds.end(Some("interrupted".to_owned()));
    assert_eq!((comparison.rounds, comparison.status), (2, Status::Partial));
    assert!(comparison.metrics.iter().all(|metric| metric.interval.is_none()));
    let text = "no intervals, so every figure is undecided: an interval needs at least 6 rounds";
    assert!(comparison.warnings.iter().any(|warning| warning.0 == text));
    let mut failing = Rounds::new(plan(2, 3));
    while failing.next_turn().is_some() {
        failing.tell_failure("refused");
    }
    let failing = failing.end(None);
    assert_eq!((failing.status, failing.left_out.len()), (Status::Error, 8));
    assert!(failing.error.is_some_and(|error| error.ends_with(": refused")));
    let nothing = Rounds::new(plan(11, 3)).end(Some("refused".to_owned()));
    assert_eq!((nothing.status, nothing.rounds), (Status::Error, 0));
}

#[test]
fn a_regression_needs_the_whole_interval_beyond_the_accepted_change() {
    let metric = |name: &str, interval| Metric {
        name: name.to_owned(),
        ratio: Some(1.0),
        interval,
        ..Metric::default()
    };
    let worse = |name: &str, interval| {
        regression(0.1, &[metric(name, interval)]).is_some_and(|found| !found.worse.is_empty())
    };
    assert!(worse("p99", Some([1.11, 1.5])));
    assert!(!worse("p99", Some([1.09, 1.5])));
    assert!(!worse("p99", Some([0.5, 0.6])), "lower is better");
    assert!(worse("rate", Some([0.5, 0.89])));
    assert!(!worse("rate", Some([0.5, 0.91])));
    assert!(!worse("rate", Some([1.5, 1.6])), "higher is better");
    assert_eq!(regression(0.1, &[metric("p99", None)]), None, "nothing is certain");
}

/// Runs a comparison with `--max-regression` in which B has no echo in some of the rounds.
fn silent(rounds: u64, is_silent: impl Fn(u64) -> bool) -> Comparison {
    let mut comparison = Rounds::new(Plan { max_regression: Some(0.05), ..plan(rounds, 1) });
    while let Some(turn) = comparison.next_turn() {
        let mut result = samples::closed_run();
        if turn.side == Side::B && is_silent(turn.round) {
            result.rate.achieved = 0.0;
        }
        comparison.tell(&result);
    }
    comparison.end(None)
}

#[test]
fn a_further_round_replaces_each_one_without_an_echo() {
    let mended = silent(6, |round| round < 3);
    assert_eq!((mended.rounds, mended.pairs.len(), mended.left_out.len()), (6, 8, 2));
    assert!(mended.metrics[0].interval.is_some());
    assert_eq!((mended.error, mended.regression.unwrap().worse), (None, Vec::new()));
}

#[test]
fn an_accepted_change_that_no_interval_judges_is_an_error() {
    let few = silent(6, |round| round > 4);
    assert_eq!((few.rounds, few.pairs.len(), few.status), (4, 12, Status::Partial));
    assert_eq!(few.regression, None);
    let reason = "--max-regression has no interval to judge: it needs 6 rounds, and 4 of 12 can be \
                  used (round 5, side b: no echo came while it measured)";
    assert_eq!(few.error.as_deref(), Some(reason));
    let mut interrupted = Rounds::new(Plan { max_regression: Some(0.05), ..plan(6, 1) });
    for _ in 0..2 {
        interrupted.next_turn().unwrap();
        interrupted.tell(&samples::closed_run());
    }
    let error = interrupted.end(Some("interrupted".to_owned())).error.unwrap();
    assert!(error.ends_with("1 of 1 can be used (interrupted)"), "{error}");
}

#[test]
fn a_percentile_that_a_run_lacks_is_not_compared_in_its_round() {
    let comparison = spoiled(|result| result.latency_ns = Times::default());
    let ratios = |at: usize| comparison.metrics[at].ratios.len();
    assert_eq!((ratios(0), ratios(2)), (7, 6), "the percentiles are those of the other rounds");
    assert_eq!(comparison.metrics[5].ratio, None, "no run has enough samples for it");
}

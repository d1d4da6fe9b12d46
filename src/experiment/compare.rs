//! Is B different from A? A pure state machine: it says which run comes next, is told its result,
//! and judges the figures of both sides.
//!
//! The unit is the round, not the message: messages of one run share its luck, so millions of them
//! say nothing about the next run. The sides of a round run directly one after the other, in random
//! order, so what changes slowly changes both, and only the ratio within a round counts.

mod conclusion;
mod figures;
mod saved;
mod verdict;

#[cfg(test)]
mod tests;

use fastrand::Rng;

use self::conclusion::conclusion;
use self::figures::{FIGURES, Figures, common_warnings, fault, weakness};
pub use self::saved::compare_runs;
use self::verdict::of_pairs;
use crate::measured::{
    Comparison, LeftOut, Method, Metric, Pair, Regression, RunResult, Status, Warning,
};
use crate::stats::INTERVAL_SAMPLES_MIN;

/// The greatest number of rounds: a document holds all their runs, some 20 KiB each.
/// Replacements of rounds that are left out at most double it.
pub const ROUNDS_MAX: u64 = 1_000;

/// The fewest rounds with an interval.
pub const ROUNDS_MIN: u64 = INTERVAL_SAMPLES_MIN as u64;

/// Why `--max-regression` has no result.
const NO_INTERVAL: &str = "--max-regression has no interval to judge";

/// What is asked of a comparison.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many rounds to run.
    pub rounds: u64,
    /// The greatest change that counts as none, as a share.
    pub noise: f64,
    /// The greatest change to the worse that is accepted, as a share.
    pub max_regression: Option<f64>,
    /// Whether each round runs A a second time.
    pub control: bool,
    /// The seed of the random order.
    pub seed: u64,
    /// What A is.
    pub a: String,
    /// What B is.
    pub b: String,
}

/// What a run belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A.
    A,
    /// B.
    B,
    /// A again, which is compared with A.
    Control,
}

impl Side {
    /// Returns its name in the document.
    pub fn name(self) -> &'static str {
        match self {
            Side::A => "a",
            Side::B => "b",
            Side::Control => "control",
        }
    }

    /// Returns its name in a sentence.
    pub fn title(self) -> &'static str {
        match self {
            Side::A => "A",
            Side::B => "B",
            Side::Control => "A again",
        }
    }
}

/// The run that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The round, from 1.
    pub round: u64,
    /// Whose run it is.
    pub side: Side,
}

/// A comparison that is under way.
#[derive(Debug)]
pub struct Rounds {
    plan: Plan,
    rng: Rng,
    /// The runs that this round still needs, the next one last.
    left: Vec<Side>,
    rounds: Vec<Round>,
    left_out: Vec<LeftOut>,
}

#[derive(Debug, Default)]
struct Round {
    pair: Pair,
    a: Option<Figures>,
    b: Option<Figures>,
    control: Option<Figures>,
    /// Runs whose generator was not well, by side and weakness.
    weak: Vec<(Side, &'static str)>,
    /// The warnings of each run.
    warned: Vec<(Side, Vec<Warning>)>,
    is_left_out: bool,
}

impl Round {
    fn is_used(&self) -> bool {
        !self.is_left_out && self.a.is_some() && self.b.is_some()
    }
}

impl Rounds {
    /// Starts a comparison.
    pub fn new(plan: Plan) -> Rounds {
        let rng = Rng::with_seed(plan.seed);
        let (left, rounds, left_out) = (Vec::new(), Vec::new(), Vec::new());
        Rounds { plan, rng, left, rounds, left_out }
    }

    /// Returns the run that comes next; `None` after the last round. The same run comes again until
    /// its result is told.
    ///
    /// A further round replaces each one that is left out, as long as there are at most as many of
    /// them as the plan has rounds: a server may never work.
    pub fn next_turn(&mut self) -> Option<Turn> {
        if self.left.is_empty() {
            let made = self.rounds.len() as u64;
            let used = self.rounds.iter().filter(|round| !round.is_left_out).count() as u64;
            if used >= self.plan.rounds || made >= 2 * self.plan.rounds {
                return None;
            }
            self.left = vec![Side::A, Side::B];
            if self.plan.control {
                self.left.push(Side::Control);
            }
            self.rng.shuffle(&mut self.left);
            let pair = Pair { round: made + 1, ..Pair::default() };
            self.rounds.push(Round { pair, ..Round::default() });
        }
        self.left.last().map(|side| Turn { round: self.rounds.len() as u64, side: *side })
    }

    /// Takes the result of the run that [`Rounds::next_turn`] named.
    ///
    /// # Panics
    ///
    /// No run is under way.
    pub fn tell(&mut self, result: &RunResult) {
        let side = self.left.last().copied().expect("a run is under way");
        if let Some(reason) = fault(result) {
            self.tell_failure(&reason);
        } else {
            self.finish_run(side);
        }
        let round = self.rounds.last_mut().expect("a run belongs to a round");
        round.weak.extend(weakness(result).map(|weakness| (side, weakness)));
        round.warned.push((side, result.warnings.clone()));
        let (figures, document) = match side {
            Side::A => (&mut round.a, &mut round.pair.a),
            Side::B => (&mut round.b, &mut round.pair.b),
            Side::Control => (&mut round.control, &mut round.pair.control),
        };
        *figures = Some(Figures::of(result));
        *document = serde_json::to_value(result).ok();
    }

    /// Takes the reason why the run that [`Rounds::next_turn`] named has no figures, or none that
    /// can be used. Its round is left out.
    ///
    /// # Panics
    ///
    /// No run is under way.
    pub fn tell_failure(&mut self, reason: &str) {
        let side = self.left.last().copied().expect("a run is under way");
        let (round, side_name) = (self.rounds.len() as u64, side.name().to_owned());
        self.left_out.push(LeftOut { round, side: side_name, reason: reason.to_owned() });
        self.finish_run(side);
        if let Some(round) = self.rounds.last_mut() {
            round.is_left_out = true;
        }
    }

    fn finish_run(&mut self, side: Side) {
        self.left.pop();
        if let Some(round) = self.rounds.last_mut() {
            round.pair.order.push(side.name().to_owned());
        }
    }

    /// Ends the comparison, also before its last round, and judges the rounds that are complete.
    /// `error`: why the rest did not take place. Without an interval there is an error as well if
    /// the plan has a greatest change to the worse, which then has no result.
    pub fn end(self, mut error: Option<String>) -> Comparison {
        let used: Vec<&Round> = self.rounds.iter().filter(|round| !round.is_left_out).collect();
        let pairs: Vec<_> = used.iter().filter_map(|round| Some((round.a?, round.b?))).collect();
        let controls = used.iter().filter_map(|round| Some((round.a?, round.control?)));
        let controls: Vec<_> = controls.collect();
        let metrics = self.judged(&pairs);
        let (rounds, asked) = (pairs.len() as u64, self.plan.rounds);
        let regression = self.plan.max_regression.and_then(|max| regression(max, &metrics));
        if rounds == 0 {
            let left_out = || Some(format!("no round can be used; {}", self.first_left_out()?));
            error = error.or_else(left_out);
        } else if self.plan.max_regression.is_some() && regression.is_none() {
            error = Some(self.no_interval(rounds, error));
        }
        let status = match (rounds, &error) {
            (0, _) => Status::Error,
            (rounds, None) if rounds == asked && self.left_out.is_empty() => Status::Ok,
            _ => Status::Partial,
        };
        let mut comparison = Comparison {
            status,
            error,
            method: Some(Method::Pairs),
            rounds,
            rounds_asked: asked,
            noise: self.plan.noise,
            seed: Some(self.plan.seed),
            regression,
            control: self.plan.control.then(|| self.judged(&controls)),
            metrics,
            warnings: self.warnings(rounds),
            a: self.plan.a,
            b: self.plan.b,
            left_out: self.left_out,
            pairs: self.rounds.into_iter().map(|round| round.pair).collect(),
            ..Comparison::default()
        };
        comparison.conclusion = conclusion(&comparison);
        comparison
    }

    fn judged(&self, pairs: &[(Figures, Figures)]) -> Vec<Metric> {
        let of = |(at, figure)| {
            // A run may have too few samples for a high percentile.
            let values = pairs.iter().filter_map(|(a, b)| Some((a.0[at]?, b.0[at]?)));
            of_pairs(figure, &values.collect::<Vec<_>>(), self.plan.noise)
        };
        FIGURES.iter().enumerate().map(of).collect()
    }

    fn first_left_out(&self) -> Option<String> {
        let LeftOut { round, side, reason } = self.left_out.first()?;
        Some(format!("round {round}, side {side}: {reason}"))
    }

    /// Returns why the accepted change cannot be judged. `error`: why the rounds ended early.
    fn no_interval(&self, rounds: u64, error: Option<String>) -> String {
        let made = self.rounds.len();
        let reason = match error.or_else(|| self.first_left_out()) {
            Some(reason) => format!(" ({reason})"),
            None => String::new(),
        };
        format!(
            "{NO_INTERVAL}: it needs {ROUNDS_MIN} rounds, and {rounds} of {made} can be \
             used{reason}"
        )
    }

    fn warnings(&self, rounds: u64) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if rounds > 0 && rounds < ROUNDS_MIN {
            warnings.push(Warning(format!(
                "no intervals, so every figure is undecided: an interval needs at least \
                 {ROUNDS_MIN} rounds"
            )));
        }
        let used = self.rounds.iter().filter(|round| round.is_used());
        for side in [Side::A, Side::B] {
            let warned = used.clone().flat_map(|round| &round.warned);
            let of_side = warned.filter(|(of, _)| *of == side).map(|(_, warned)| warned);
            warnings.extend(common_warnings(side.title(), of_side));
        }
        let mut weak: Vec<_> = used.flat_map(|round| round.weak.iter().copied()).collect();
        weak.sort_unstable_by_key(|(side, weakness)| (*weakness, side.name()));
        for same in weak.chunk_by(|first, second| first == second) {
            let (side, weakness) = (same[0].0.title(), same[0].1);
            warnings.push(Warning(format!(
                "{side}: {weakness} in {} of {} rounds, which are used",
                same.len(),
                self.rounds.len()
            )));
        }
        warnings
    }
}

/// Returns which figures are worse by more than `max`, with the whole of their interval; `None` if
/// no figure has an interval.
fn regression(max: f64, metrics: &[Metric]) -> Option<Regression> {
    let interval = |metric: &Metric| {
        let within_runs = metric.a_interval.zip(metric.b_interval);
        let of_runs =
            within_runs.map(|([a_low, a_high], [b_low, b_high])| [b_low / a_high, b_high / a_low]);
        metric.interval.or(of_runs)
    };
    let is_worse = |(metric, [lower, upper]): &(&Metric, [f64; 2])| {
        if is_better_high(&metric.name) { *upper < 1.0 - max } else { *lower > 1.0 + max }
    };
    let judged: Vec<_> =
        metrics.iter().filter_map(|metric| Some((metric, interval(metric)?))).collect();
    let worse = judged.iter().filter(|judged| is_worse(judged));
    let worse = worse.map(|(metric, _)| metric.name.clone()).collect();
    (!judged.is_empty()).then_some(Regression { max, worse })
}

/// Returns true for a figure of which more is better.
fn is_better_high(name: &str) -> bool {
    name == "rate"
}

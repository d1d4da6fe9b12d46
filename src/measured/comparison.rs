//! The facts of a comparison: what the runs of two sides say about their difference.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{PROGRAM, Status, VERSION, Warning};

/// The value of `kind` in the document of a comparison.
pub const COMPARE: &str = "compare";

/// The document of a comparison. Its fields, in their order, are the keys. Ratios are those of B to
/// A; an interval covers the true value in 95 % of all cases.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Comparison {
    /// [`VERSION`].
    pub version: u32,
    /// [`COMPARE`].
    pub kind: String,
    /// The program and its version.
    pub program: String,
    /// Whether all rounds took place.
    pub status: Status,
    /// Why they did not, on one line.
    pub error: Option<String>,
    /// The words after the program's name.
    pub typed: Vec<String>,
    /// Where the intervals come from; null if nothing was compared.
    pub method: Option<Method>,
    /// The rounds whose figures are used; of saved documents, those of the side that has fewer.
    pub rounds: u64,
    /// The rounds asked for; 0 of saved documents.
    pub rounds_asked: u64,
    /// The greatest change that counts as none, as a share: 0.02 for 2 %.
    pub noise: f64,
    /// The seed of the random order within the rounds; null of saved documents.
    pub seed: Option<u64>,
    /// What A is.
    pub a: String,
    /// What B is.
    pub b: String,
    /// Each figure of both sides.
    pub metrics: Vec<Metric>,
    /// The figures of A against A, in the same rounds (`--control`); null without.
    pub control: Option<Vec<Metric>>,
    /// The runs whose figures are not used, and why.
    pub left_out: Vec<LeftOut>,
    /// The result of `--max-regression`; null without.
    pub regression: Option<Regression>,
    /// The result as a sentence.
    pub conclusion: String,
    /// What the reader should know before quoting a figure.
    pub warnings: Vec<Warning>,
    /// The documents of all runs, by round; empty of saved documents.
    pub pairs: Vec<Pair>,
}

impl Comparison {
    /// Returns true if an echo of any run differed from what was sent.
    pub fn is_corrupted(&self) -> bool {
        let is_corrupted = |run: &Option<Value>| {
            let count = |key| run.as_ref().and_then(|run| run.pointer(key)?.as_u64()).unwrap_or(0);
            count("/messages/corrupted") + count("/warmup_messages/corrupted") > 0
        };
        let mut runs = self.pairs.iter().flat_map(|pair| [&pair.a, &pair.b, &pair.control]);
        runs.any(is_corrupted)
    }
}

impl Default for Comparison {
    /// Returns a comparison without runs.
    fn default() -> Comparison {
        Comparison {
            version: VERSION,
            kind: COMPARE.to_owned(),
            program: PROGRAM.to_owned(),
            status: Status::Error,
            error: None,
            typed: Vec::new(),
            method: None,
            rounds: 0,
            rounds_asked: 0,
            noise: 0.0,
            seed: None,
            a: String::new(),
            b: String::new(),
            metrics: Vec::new(),
            control: None,
            left_out: Vec::new(),
            regression: None,
            conclusion: String::new(),
            warnings: Vec::new(),
            pairs: Vec::new(),
        }
    }
}

/// Where the intervals of a comparison come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The ratios of pairs of runs, by the exact sign test.
    Pairs,
    /// Groups of runs that are not paired, by the Mann–Whitney test.
    Groups,
    /// One run of each side: its own intervals, and none of the ratio.
    Single,
}

/// One figure of both sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The figure: `rate`, `cpu_per_message`, `p50`, `p90`, `p99` or `p99.9`.
    pub name: String,
    /// The unit of `a` and `b`: `1/s` or `ns`.
    pub unit: String,
    /// The median of A's runs; null if a run does not have it.
    pub a: Option<f64>,
    /// The median of B's runs.
    pub b: Option<f64>,
    /// How B relates to A: the median of the pairs' ratios, or of all ratios between two groups.
    pub ratio: Option<f64>,
    /// The 95 % interval of the ratio; null if there are too few runs.
    pub interval: Option<[f64; 2]>,
    /// Whether the sides differ.
    pub verdict: Change,
    /// What the interval's farther end is away from 1, as a share, if the verdict is `same`.
    pub within: Option<f64>,
    /// About how many more rounds would decide; without an interval, how many more it needs. Null
    /// if it is decided, or if more than 1,000 would be needed.
    pub more_rounds: Option<u64>,
    /// The p of the Mann–Whitney test; null of pairs.
    pub p: Option<f64>,
    /// The 95 % interval within the only run of A; null of several runs.
    pub a_interval: Option<[f64; 2]>,
    /// The 95 % interval within the only run of B.
    pub b_interval: Option<[f64; 2]>,
    /// The ratio of each used pair, in the order of the rounds; empty without pairs.
    pub ratios: Vec<f64>,
}

/// What a comparison says about one figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The interval excludes 1, and the ratio is farther from it than the noise.
    Differs,
    /// The whole interval lies within the noise.
    Same,
    /// Neither.
    #[default]
    Undecided,
}

/// A run whose figures are not used, and with it those of its round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The round, from 1.
    pub round: u64,
    /// `a`, `b` or `control`.
    pub side: String,
    /// Why, on one line.
    pub reason: String,
}

/// The result of `--max-regression`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regression {
    /// The greatest change to the worse that is accepted, as a share.
    pub max: f64,
    /// The figures of B that are worse by more, with confidence.
    pub worse: Vec<String>,
}

/// The documents of one round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pair {
    /// The round, from 1.
    pub round: u64,
    /// The sides in the order in which they ran: `a`, `b`, `control`.
    pub order: Vec<String>,
    /// The document of A's run; null if there was none.
    pub a: Option<Value>,
    /// The document of B's run.
    pub b: Option<Value>,
    /// The document of the second run of A (`--control`).
    pub control: Option<Value>,
}

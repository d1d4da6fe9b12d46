//! The facts of a sweep: runs that differ in one flag, and what they say together.

use serde::Serialize;
use serde_json::Value;

use super::{CommandLine, PROGRAM, RunResult, Status, VERSION, Warning};

/// All facts of a sweep. Its fields, in their order, are the keys of the JSON document.
#[derive(Clone, Debug, Serialize)]
pub struct SweepResult {
    /// [`VERSION`].
    pub version: u32,
    /// `sweep`.
    pub kind: &'static str,
    /// The program and its version.
    pub program: &'static str,
    /// Whether all runs took place and reached their ends.
    pub status: Status,
    /// Why they did not, on one line.
    pub error: Option<String>,
    /// The command line.
    pub options: CommandLine,
    /// What differs between the runs.
    pub swept: Swept,
    /// The runs, in the order in which they took place.
    pub points: Vec<RunResult>,
    /// Up to which value the server kept up; null for a search, or if the runs do not say.
    pub knee: Option<Knee>,
    /// The answer of a search; null without one, or if it found nothing.
    pub found: Option<Found>,
    /// What kept a search from a higher rate; null without a search.
    pub limit: Option<Limit>,
    /// What the reader should know before quoting a figure.
    pub warnings: Vec<Warning>,
}

impl SweepResult {
    /// Creates the result of a sweep that has not begun.
    pub fn new(swept: Swept) -> SweepResult {
        SweepResult {
            version: VERSION,
            kind: "sweep",
            program: PROGRAM,
            status: Status::Error,
            error: None,
            options: CommandLine::default(),
            swept,
            points: Vec::new(),
            knee: None,
            found: None,
            limit: None,
            warnings: Vec::new(),
        }
    }

    /// Returns the place in `points` of the last run at the rate that was found, or at the knee:
    /// earlier ones did not decide it.
    pub fn answer(&self) -> Option<usize> {
        let knee = self.knee.map(|knee| knee.value);
        let value = self.found.map(|found| found.rate).or(knee)?;
        self.points.iter().rposition(|run| self.swept.flag.value_of(run) == value)
    }

    /// Returns the conditions of a search for which no run has a value.
    pub(crate) fn conditions_without_value(&self) -> Vec<&str> {
        let find = &self.swept.find;
        // They are the last of the asserts of each run.
        let value = |run: &RunResult, at: usize| {
            let before = run.asserts.len().checked_sub(find.len())?;
            run.asserts[before + at].value
        };
        let has_value = |at: usize| self.points.iter().any(|run| value(run, at).is_some());
        let without = find.iter().enumerate().filter(|(at, _)| !has_value(*at));
        without.map(|(_, condition)| condition.as_str()).collect()
    }
}

/// What differs between the runs of a sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// The flag with many values.
    pub flag: SweptFlag,
    /// The values, as asked for; of a search, the lowest and the highest rate.
    pub values: Vec<u64>,
    /// What a rate has to hold; empty unless this is a search.
    pub find: Vec<String>,
}

/// A flag that can have many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SweptFlag {
    /// `--rate`.
    Rate,
    /// `--connections`.
    Connections,
    /// `--length`.
    Length,
    /// `--depth`.
    Depth,
    /// `--threads`.
    Threads,
}

impl SweptFlag {
    /// Every flag that can have many values.
    pub const ALL: [SweptFlag; 5] = [
        SweptFlag::Rate,
        SweptFlag::Connections,
        SweptFlag::Length,
        SweptFlag::Depth,
        SweptFlag::Threads,
    ];

    /// Returns the name of the flag, without its dashes.
    pub fn name(self) -> &'static str {
        match self {
            SweptFlag::Rate => "rate",
            SweptFlag::Connections => "connections",
            SweptFlag::Length => "length",
            SweptFlag::Depth => "depth",
            SweptFlag::Threads => "threads",
        }
    }

    /// Returns what the flag counts.
    pub fn unit(self) -> &'static str {
        match self {
            SweptFlag::Rate => "messages per second",
            SweptFlag::Connections => "connections",
            SweptFlag::Length => "bytes per message",
            SweptFlag::Depth => "messages in flight per connection",
            SweptFlag::Threads => "threads",
        }
    }

    /// Returns the value of the flag in a run.
    pub fn value_of(self, run: &RunResult) -> u64 {
        run.options.meant.get(self.name()).and_then(Value::as_u64).unwrap_or(0)
    }
}

/// The value up to which a server kept up with its load.
///
/// If the rate is swept, it is the last at which the server answered 99 % of the messages. In a
/// closed loop it is the number of messages in flight with the greatest *power*, the rate over the
/// median response time: up to there the rate grows faster than the response time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Knee {
    /// The value.
    pub value: u64,
    /// The next value at which the server was measured; null if there is none.
    pub next: Option<u64>,
    /// Whether the knee may be at a higher value: nothing proves that it is here.
    pub at_least: bool,
    /// Whose limit lies beyond it.
    pub limit: Limit,
}

/// The answer of a search for the highest rate at which a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The highest rate at which the condition held, in messages per second.
    pub rate: u64,
    /// Whether it may hold at a higher rate too: nothing proves that the server fails there.
    pub at_least: bool,
    /// What kept the search from a higher rate.
    pub limit: Limit,
}

/// Whose limit a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// The server's: the generator was well.
    Server,
    /// The generator's, so nothing is known of the server beyond it.
    Generator,
    /// No limit within the range, or no value that could show one.
    None,
}

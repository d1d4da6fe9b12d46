//! Assertions on the result of a run: `p99<200us`, `rate>100k`, `loss<0.1%`.

mod facts;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::facts::Need;
use self::facts::{FACTS, Fact};
use super::{LoadLoop, Percentile, RunResult, Split, Times, Verdict, finite};
use crate::units::{parse_count, parse_time};

/// A comparison of a figure of a run with a bound: NAME OP VALUE. Spaces around OP are optional.
///
/// OP is one of `<` `<=` `>` `>=` `==` `!=`. VALUE has the unit of NAME:
///
/// - `p50`, `p99.9` or any other percentile, `min`, `mean`, `max`, `stddev`, of the response time;
///   after `service.` of the service time, after `lag.` of the schedule lag, after `send.`, `away.`
///   or `wake.` of that part of the round trip of sampled messages (`--timestamps`): a time with
///   its unit, `200us`;
/// - `rate`, the echoes per second of all the time asked for, so that a run which ended early does
///   not pass by its first part: `100k`, `99.5`;
/// - `loss`, the share of lost and unsent messages in all that were due until the planned end (in
///   a closed loop, load that was not made counts as lost), and `cpu_share`, the share of one CPU:
///   `0.1%`;
/// - `achieved`, the same rate in percent of the rate asked for: `99%`;
/// - `health`, the verdict on the generator, with `==` or `!=`: `ok`, `starved`, `saturated` or
///   `behind`;
/// - `wait_share`, the share of the time in which the generator waited for a CPU: `10%`;
/// - `hiccup.max` and `hiccup.total`, the longest time in which the generator could not run and the
///   sum of all; times of less than 10 ms are not counted; `hiccup.throttled`, how long its CPU
///   quota kept it from running; `cpu_per_message`, its CPU time; `tcp.rtt.p50`, `tcp.rtt.max` and
///   `tcp.min_rtt`, the kernel's round-trip times: `10ms`;
/// - every count by its keys in the document, `losses.refused`, `tcp.retransmits`: `0`, `10k`. Most
///   have a short name too, such as `lost`, `unsent`, `refused` (connections), `bytes_sent` or
///   `hiccup.count`. `server_drops` is the sum of all causes.
///
/// An assertion on a figure without a value does not hold, whatever the operator. These figures
/// have no value: a percentile with fewer than ten samples beyond it, any time if no echo came,
/// `service`, `lag` and `achieved` in a closed loop, `send`, `away` and `wake` without samples,
/// `loss` if nothing was sent, a figure of the kernel if it tells none, such as `tcp.retransmits`
/// over UDP. [`Assertion::need`] tells what a run must have.
///
/// ```
/// use resound::measured::{Assertion, RunResult};
///
/// let assertion: Assertion = "lost == 0".parse()?;
/// assert!(assertion.check(&RunResult::default()).held);
/// let no_bound = "p99<200".parse::<Assertion>().unwrap_err();
/// assert_eq!(no_bound, "expected a time with its unit after 'p99', such as p99<200us");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug)]
pub struct Assertion {
    expression: String,
    subject: Subject,
    operator: &'static Operator,
    bound: f64,
}

/// An `--assert` and the value that it compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The expression as typed.
    pub expression: String,
    /// The value of the left side in its unit (nanoseconds, a count, per second, percent; for
    /// `health` the place of the verdict in ok, starved, saturated, behind, from 0). Null if there
    /// is none; then the assertion does not hold.
    #[serde(serialize_with = "finite::finite_or_null")]
    pub value: Option<f64>,
    /// Whether the assertion holds.
    pub held: bool,
}

#[derive(Clone, Copy, Debug)]
enum Subject {
    Time(Series, Statistic),
    Fact(&'static Fact),
}

#[derive(Clone, Copy, Debug)]
enum Series {
    Response,
    Service,
    Lag,
    Stretch(fn(&Split) -> &Times),
}

#[derive(Clone, Copy, Debug)]
enum Statistic {
    Min,
    Mean,
    Max,
    Stddev,
    Percentile(Percentile),
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Time,
    Rate,
    Percent,
    Count,
    Verdict,
}

#[derive(Debug)]
struct Operator {
    sign: &'static str,
    holds: fn(&f64, &f64) -> bool,
}

/// `<=` must come before `<`, and `>=` before `>`, because the first sign that matches is taken.
const OPERATORS: &[Operator] = &[
    Operator { sign: "<=", holds: f64::le },
    Operator { sign: ">=", holds: f64::ge },
    Operator { sign: "==", holds: f64::eq },
    Operator { sign: "!=", holds: f64::ne },
    Operator { sign: "<", holds: f64::lt },
    Operator { sign: ">", holds: f64::gt },
];

/// The longest bound that a message repeats as an example. A longer one hides the rest.
const EXAMPLE_BYTES_MAX: usize = 20;

/// The verdicts by name. An assertion compares their places.
const VERDICTS: &[(&str, Verdict)] = &[
    ("ok", Verdict::Ok),
    ("starved", Verdict::Starved),
    ("saturated", Verdict::Saturated),
    ("behind", Verdict::Behind),
];

fn place_of(verdict: Verdict) -> f64 {
    let place = VERDICTS.iter().position(|(_, other)| *other == verdict);
    place.expect("every verdict has a name") as f64
}

impl Verdict {
    /// Returns the word for the verdict in documents and assertions.
    pub fn name(self) -> &'static str {
        let named = VERDICTS.iter().find(|(_, other)| *other == self);
        named.map_or("", |(name, _)| name)
    }
}

/// Returns the name of the verdict at a place.
pub(crate) fn verdict_name(place: usize) -> Option<&'static str> {
    VERDICTS.get(place).map(|(name, _)| *name)
}

/// Returns the share of the time asked for that was measured, from 0 to 1.
fn measured_share(result: &RunResult) -> f64 {
    let planned_ns = result.planned_ns.filter(|planned_ns| *planned_ns > result.elapsed_ns);
    planned_ns.map_or(1.0, |planned_ns| result.elapsed_ns as f64 / planned_ns as f64)
}

/// Returns the lost share of all that was asked for, in percent. In an open loop that is what was
/// due until the planned end. A closed loop has no due messages, so load that was not made counts
/// as lost.
fn loss_of_whole(result: &RunResult) -> Option<f64> {
    let sent = result.messages.sent as f64;
    let lost = result.messages.lost as f64;
    let unsent = result.generator.unsent as f64;
    if sent + unsent <= 0.0 {
        return None;
    }
    let share = (lost + unsent) * 100.0 / (sent + unsent);
    Some(match result.load_loop {
        LoadLoop::Closed if sent > 0.0 => {
            let not_made = (1.0 - result.load_made) * (sent - lost);
            share.max((lost + not_made) * 100.0 / sent)
        }
        LoadLoop::Open if measured_share(result) < 1.0 => {
            let planned_s = result.planned_ns.unwrap_or(0) as f64 / 1e9;
            let due = (result.rate.asked.unwrap_or(0.0) * planned_s).max(sent + unsent);
            (due - (sent - lost)) * 100.0 / due
        }
        _ => share,
    })
}

impl Assertion {
    /// Returns the expression as typed.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Compares the figure of a run with the bound.
    pub fn check(&self, result: &RunResult) -> Outcome {
        let value = match self.subject {
            Subject::Fact(fact) => (fact.value)(result),
            Subject::Time(series, statistic) => time_value(result, series, statistic),
        };
        let held = value.is_some_and(|value| (self.operator.holds)(&value, &self.bound));
        Outcome { expression: self.expression.clone(), value, held }
    }

    /// Returns what a run must have so that the figure has a value; `None` if any run may have one.
    pub fn need(&self) -> Option<Need> {
        match self.subject {
            Subject::Fact(fact) => fact.need,
            Subject::Time(Series::Response, _) => None,
            Subject::Time(Series::Service | Series::Lag, _) => Some(Need::Rate),
            Subject::Time(Series::Stretch(_), _) => Some(Need::Timestamps),
        }
    }

    /// Returns the unit of the left side.
    pub(crate) fn unit(&self) -> Unit {
        match self.subject {
            Subject::Time(..) => Unit::Time,
            Subject::Fact(fact) => fact.unit,
        }
    }
}

fn time_value(result: &RunResult, series: Series, statistic: Statistic) -> Option<f64> {
    let times = match series {
        Series::Response => Some(&result.latency_ns),
        Series::Service => result.service_time_ns.as_ref(),
        Series::Lag => result.generator.schedule_lag_ns.as_ref(),
        Series::Stretch(of) => result.split.as_ref().map(of),
    };
    let Times { summary, values } = times.filter(|times| times.summary.count > 0)?;
    let time_ns = match statistic {
        Statistic::Min => summary.min,
        Statistic::Mean => summary.mean,
        Statistic::Max => summary.max,
        Statistic::Stddev => summary.stddev,
        Statistic::Percentile(percentile) => values.percentile(percentile)?,
    };
    Some(time_ns as f64)
}

impl FromStr for Assertion {
    type Err = String;

    /// Parses an expression. The error is one sentence with an example.
    fn from_str(text: &str) -> Result<Assertion, String> {
        let expression = text.trim();
        let no_operator = || {
            "expected a name, one of < <= > >= == !=, and a value, such as p99<200us, rate>100k or \
             loss<0.1%"
                .to_owned()
        };
        let name_end = expression.find(['<', '>', '=', '!']).ok_or_else(no_operator)?;
        let (name, rest) = expression.split_at(name_end);
        let operator = OPERATORS.iter().find(|operator| rest.starts_with(operator.sign));
        let operator = operator.ok_or_else(no_operator)?;
        let (name, value) = (name.trim(), rest[operator.sign.len()..].trim());
        let subject = parse_subject(name)?;
        let mut assertion =
            Assertion { expression: expression.to_owned(), subject, operator, bound: 0.0 };
        let unit = assertion.unit();
        if matches!(unit, Unit::Verdict) && !matches!(operator.sign, "==" | "!=") {
            return Err(format!("expected == or != after '{name}', such as {name}==ok"));
        }
        assertion.bound = parse_bound(unit, value).ok_or_else(|| {
            let example = example(unit, name, value);
            format!(
                "expected {} after '{name}', such as {name}{}{example}",
                unit.expected(),
                operator.sign
            )
        })?;
        Ok(assertion)
    }
}

fn parse_subject(name: &str) -> Result<Subject, String> {
    if let Some(fact) = facts::named(name) {
        return Ok(Subject::Fact(fact));
    }
    let (series, statistic) = match name.split_once('.') {
        Some(("service", rest)) => (Series::Service, rest),
        Some(("lag", rest)) => (Series::Lag, rest),
        Some(("send", rest)) => (Series::Stretch(|split| &split.send_ns), rest),
        Some(("away", rest)) => (Series::Stretch(|split| &split.away_ns), rest),
        Some(("wake", rest)) => (Series::Stretch(|split| &split.wake_ns), rest),
        _ => (Series::Response, name),
    };
    let statistic = match statistic {
        "min" => Some(Statistic::Min),
        "mean" => Some(Statistic::Mean),
        "max" => Some(Statistic::Max),
        "stddev" => Some(Statistic::Stddev),
        _ => {
            let percentile = statistic.strip_prefix('p').and_then(|word| word.parse().ok());
            percentile.map(Statistic::Percentile)
        }
    };
    statistic.map(|statistic| Subject::Time(series, statistic)).ok_or_else(|| {
        // All names would be too many for a line.
        let group = name.split_once('.').map(|(group, _)| format!("{group}."));
        let facts = FACTS.iter().map(|fact| fact.name);
        let facts: Vec<&str> = facts
            .filter(|fact| group.as_ref().is_some_and(|group| fact.starts_with(group)))
            .collect();
        let others = match facts.is_empty() {
            true => "rate, achieved, loss, health, hiccup.max, or a count by its keys in the JSON \
                     document, such as lost, losses.refused or tcp.retransmits"
                .to_owned(),
            false => format!("one of {}", facts.join(", ")),
        };
        format!(
            "expected a percentile below 100, such as p99<200us or p99.9<1ms, or min, mean, max or \
             stddev, each also after 'service.', 'lag.', 'send.', 'away.' or 'wake.', or {others}"
        )
    })
}

impl Unit {
    /// Returns what a bound in this unit is.
    fn expected(self) -> &'static str {
        match self {
            Unit::Time => "a time with its unit",
            Unit::Rate => "a rate per second",
            Unit::Percent => "a percentage with its %",
            Unit::Count => "a whole count",
            Unit::Verdict => "ok, starved, saturated or behind",
        }
    }
}

fn parse_bound(unit: Unit, value: &str) -> Option<f64> {
    match unit {
        Unit::Time => {
            // A number without a unit would be seconds, which `p99<200` hardly means.
            let has_unit = value.ends_with(|c: char| c.is_alphabetic());
            let time = parse_time(value).ok().filter(|_| has_unit);
            time.map(|time| time.as_nanos() as f64)
        }
        Unit::Rate => {
            let rate = parse_count(value).ok().map(|count| count as f64);
            rate.or_else(|| parse_decimal(value))
        }
        Unit::Percent => value.strip_suffix('%').map(str::trim_end).and_then(parse_decimal),
        Unit::Count => parse_count(value).ok().map(|count| count as f64),
        Unit::Verdict => {
            let verdict = VERDICTS.iter().find(|(name, _)| *name == value);
            verdict.map(|(_, verdict)| place_of(*verdict))
        }
    }
}

/// Returns a bound that was probably meant by `value`, which is none: the same number with the
/// right unit, or a common bound.
fn example(unit: Unit, name: &str, value: &str) -> String {
    let without = value.trim_end_matches('%').trim_end();
    let meant = match unit {
        Unit::Percent => format!("{value}%"),
        Unit::Rate | Unit::Count => without.to_owned(),
        Unit::Time | Unit::Verdict => String::new(),
    };
    let common = match (unit, name) {
        (Unit::Time, _) => "200us",
        (Unit::Rate, _) => "100k",
        (Unit::Percent, "achieved") => "99%",
        (Unit::Percent, _) => "0.1%",
        (Unit::Count, _) => "0",
        (Unit::Verdict, _) => "ok",
    };
    let is_short = meant.len() <= EXAMPLE_BYTES_MAX;
    if is_short && parse_bound(unit, &meant).is_some() { meant } else { common.to_owned() }
}

fn parse_decimal(text: &str) -> Option<f64> {
    let is_plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let is_whole = text.starts_with(|c: char| c.is_ascii_digit()) && !text.ends_with('.');
    text.parse().ok().filter(|value: &f64| is_plain && is_whole && value.is_finite())
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

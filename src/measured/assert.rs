//! Assertions on the result of a run: `p99<200us`, `rate>100k`, `loss<0.1%`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
/// - `hiccup.max`, the longest time in which the generator could not run; times of less than 10 ms
///   are not counted: `10ms`;
/// - `sent`, `received`, `lost`, `late`, `duplicated`, `reordered`, `corrupted`,
///   `in_flight_at_end`, `held_back`, `unsent`, `opened`, `refused`, `reset`, `closed`,
///   `timed_out`, `failed_locally`, `unreachable`, `reconnected`: a count, `0`, `10k`;
/// - `tcp.retransmits`, `tcp.bytes_retransmitted`, `tcp.lost`, `tcp.reordering`,
///   `udp.receive_drops`: a count of the kernel.
///
/// An assertion on a figure without a value does not hold, whatever the operator. These figures
/// have no value: a percentile with fewer than ten samples beyond it, any time if no echo came,
/// `service`, `lag` and `achieved` in a closed loop, `send`, `away` and `wake` without samples,
/// `loss` if nothing was sent, a count of the kernel if it tells none, such as `tcp.retransmits`
/// over UDP.
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
struct Fact {
    name: &'static str,
    unit: Unit,
    value: fn(&RunResult) -> Option<f64>,
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

const FACTS: &[Fact] = &[
    Fact {
        name: "rate",
        unit: Unit::Rate,
        value: |result| (result.elapsed_ns > 0).then_some(result.rate.over_planned),
    },
    Fact {
        name: "achieved",
        unit: Unit::Percent,
        value: |result| Some(result.rate.over_planned * 100.0 / result.rate.asked?),
    },
    Fact {
        name: "health",
        unit: Unit::Verdict,
        value: |result| (result.elapsed_ns > 0).then(|| place_of(result.generator.verdict)),
    },
    Fact { name: "loss", unit: Unit::Percent, value: loss_of_whole },
    Fact {
        name: "cpu_share",
        unit: Unit::Percent,
        value: |result| (result.elapsed_ns > 0).then_some(result.generator.cpu_share * 100.0),
    },
    Fact {
        name: "hiccup.max",
        unit: Unit::Time,
        value: |result| (result.elapsed_ns > 0).then_some(result.hiccups.longest_ns as f64),
    },
    count("sent", |result| Some(result.messages.sent as f64)),
    count("received", |result| Some(result.messages.received as f64)),
    count("lost", |result| Some(result.messages.lost as f64)),
    count("late", |result| Some(result.messages.late as f64)),
    count("duplicated", |result| Some(result.messages.duplicated as f64)),
    count("reordered", |result| Some(result.messages.reordered as f64)),
    count("corrupted", |result| Some(result.messages.corrupted as f64)),
    count("in_flight_at_end", |result| Some(result.messages.in_flight_at_end as f64)),
    count("held_back", |result| Some(result.generator.held_back as f64)),
    count("unsent", |result| Some(result.generator.unsent as f64)),
    count("opened", |result| Some(result.flows.opened as f64)),
    count("refused", |result| Some(result.flows.refused as f64)),
    count("reset", |result| Some(result.flows.reset as f64)),
    count("closed", |result| Some(result.flows.closed as f64)),
    count("timed_out", |result| Some(result.flows.timed_out as f64)),
    count("failed_locally", |result| Some(result.flows.failed_locally as f64)),
    count("unreachable", |result| Some(result.flows.unreachable as f64)),
    count("reconnected", |result| Some(result.flows.reconnected as f64)),
    count("tcp.retransmits", |result| Some(result.tcp.as_ref()?.retransmits as f64)),
    count("tcp.bytes_retransmitted", |result| {
        Some(result.tcp.as_ref()?.bytes_retransmitted as f64)
    }),
    count("tcp.lost", |result| Some(result.tcp.as_ref()?.lost as f64)),
    count("tcp.reordering", |result| Some(result.tcp.as_ref()?.reordering as f64)),
    count("udp.receive_drops", |result| Some(result.udp.as_ref()?.receive_drops as f64)),
];

const fn count(name: &'static str, value: fn(&RunResult) -> Option<f64>) -> Fact {
    Fact { name, unit: Unit::Count, value }
}

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
        assertion.bound = parse_bound(assertion.unit(), name, value)?;
        if matches!(assertion.unit(), Unit::Verdict) && !matches!(operator.sign, "==" | "!=") {
            return Err(format!("expected == or != after '{name}', such as {name}==ok"));
        }
        Ok(assertion)
    }
}

fn parse_subject(name: &str) -> Result<Subject, String> {
    if let Some(fact) = FACTS.iter().find(|fact| fact.name == name) {
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
        let facts: Vec<&str> = FACTS.iter().map(|fact| fact.name).collect();
        format!(
            "expected a percentile below 100, such as p99<200us or p99.9<1ms, or min, mean, max or \
             stddev, each also after 'service.', 'lag.', 'send.', 'away.' or 'wake.', or one of {}",
            facts.join(", ")
        )
    })
}

fn parse_bound(unit: Unit, name: &str, value: &str) -> Result<f64, String> {
    let (bound, expected) = match unit {
        Unit::Time => {
            // A number without a unit would be seconds, which `p99<200` hardly means.
            let has_unit = value.ends_with(|c: char| c.is_alphabetic());
            let time = parse_time(value).ok().filter(|_| has_unit);
            (time.map(|time| time.as_nanos() as f64), ("a time with its unit", "200us"))
        }
        Unit::Rate => {
            let rate = parse_count(value).ok().map(|count| count as f64);
            (rate.or_else(|| parse_decimal(value)), ("a rate per second", "100k"))
        }
        Unit::Percent => {
            let percent = value.strip_suffix('%').map(str::trim_end).and_then(parse_decimal);
            (percent, ("a percentage with its %", "0.1%"))
        }
        Unit::Count => {
            (parse_count(value).ok().map(|count| count as f64), ("a whole count", "10k"))
        }
        Unit::Verdict => {
            let verdict = VERDICTS.iter().find(|(name, _)| *name == value);
            (
                verdict.map(|(_, verdict)| place_of(*verdict)),
                ("ok, starved, saturated or behind", "ok"),
            )
        }
    };
    let (what, example) = expected;
    let sign = if matches!(unit, Unit::Verdict) { "==" } else { "<" };
    bound.ok_or_else(|| format!("expected {what} after '{name}', such as {name}{sign}{example}"))
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

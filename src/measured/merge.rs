//! One result from parts of a load that ran as separate processes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Messages, Rate, RunResult, RunStamp, Status, Summary, Verdict, Warning, finite};
use crate::units::duration_ns;

/// Parts whose common window is a smaller share of the longest one made different loads most of the
/// time, so their sum describes none.
const COMMON_SHARE_MIN: f64 = 0.5;

/// Windows differ if the common one is a smaller share of the longest. The ends of runs that
/// started together differ by the last messages.
const SAME_SHARE_MIN: f64 = 0.99;

/// The greatest count in a document that is added, so that sums fit 64 bits.
const COUNT_MAX: u64 = 1 << 53;

/// Options that say how a part is run and not what it does to the server. They may differ.
const OPTIONS_OF_PART: &[&str] = &[
    "part",
    "start_at",
    "threads",
    "affinity",
    "spin",
    "bind",
    "interval_ns",
    "percentiles",
    "asserts",
    "timestamps",
    "trace",
];

/// A part of a merged result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// When and where it ran, and which part it is.
    pub run: RunStamp,
    /// The host of its generator.
    pub host: String,
    /// Whether it reached its end.
    pub status: Status,
    /// Why it did not.
    pub error: Option<String>,
    /// Its connections, or client sockets.
    pub connections: u64,
    /// Its messages per second.
    pub rate: Rate,
    /// What became of its measured messages.
    pub messages: Messages,
    /// Its response times.
    pub latency_ns: Summary,
    /// Whether a limit of its generator distorts its figures.
    pub verdict: Option<Verdict>,
    /// The share of one CPU that its generator used.
    #[serde(serialize_with = "finite::finite")]
    pub cpu_share: f64,
}

impl Part {
    fn of(result: &RunResult) -> Part {
        Part {
            run: result.run.clone(),
            host: result.environment.host.clone(),
            status: result.status,
            error: result.error.clone(),
            connections: result.connections,
            rate: result.rate,
            messages: result.messages,
            latency_ns: result.latency_ns.summary.clone(),
            verdict: result.generator.verdict,
            cpu_share: result.generator.cpu_share,
        }
    }
}

/// The result of a part, and the name of its file for messages.
type Named = (String, RunResult);

/// A time in which parts measured.
type Window = (SystemTime, SystemTime);

impl RunResult {
    /// Adds the results of all parts of one load (`--part I/N`). Each comes with the name of its
    /// file.
    ///
    /// Counts and histograms are added, over the whole time of each part. The measured time is the
    /// common window of the parts. The rate in that window is the sum of their rates, each over its
    /// own time; with windows that differ, it is not the quotient of the sum of the counts. A part
    /// that failed makes the result partial.
    ///
    /// # Errors
    ///
    /// Names what keeps the parts from being one load: a part is missing or repeated, the loads
    /// differ, or the parts did not measure at the same time.
    pub fn merge(parts: Vec<(String, RunResult)>) -> Result<RunResult, String> {
        parts.iter().try_for_each(check_mergeable)?;
        let mut placed: Vec<_> = check_places(&parts)?.into_iter().zip(parts).collect();
        placed.sort_by_key(|(place, _)| *place);
        let parts: Vec<Named> = placed.into_iter().map(|(_, part)| part).collect();
        check_loads(&parts)?;
        let (window, warning) = common_window(&parts)?;
        let warnings = [warning, endpoint_warning(&parts), clock_warning(&parts)];
        let warnings: Vec<Warning> = warnings.into_iter().flatten().map(Warning).collect();
        let rows: Vec<Part> = parts.iter().map(|(_, result)| Part::of(result)).collect();
        let error = failures(&parts);
        let hosts = hosts(&parts).join(", ");
        let results = parts.into_iter().map(|(_, result)| result);
        let mut merged = RunResult::sum(results).ok_or("expected the file of a part")?;
        merged.take_window(window, &rows);
        merged.error = error;
        merged.environment.host = hosts;
        merged.parts = rows;
        merged.warnings.extend(warnings);
        merged.options.meant.insert("part".to_owned(), Value::from("1/1"));
        Ok(merged)
    }

    /// Sets the measured time to the common window, and the rate to the sum of all rates.
    fn take_window(&mut self, window: Option<Window>, parts: &[Part]) {
        let sum = |rate: fn(&Rate) -> f64| parts.iter().map(|part| rate(&part.rate)).sum::<f64>();
        // The sum of the shares of a rate is the rate but for a rounding error.
        let meant = self.options.meant.get("rate").and_then(Value::as_f64);
        self.rate.asked = self.rate.asked.map(|asked| meant.unwrap_or(asked));
        self.rate.achieved = sum(|rate| rate.achieved);
        self.rate.over_planned = sum(|rate| rate.over_planned);
        if let Some(most) = self.rate.asked.filter(|_| parts.iter().all(is_within_asked)) {
            self.rate.achieved = self.rate.achieved.min(most);
            self.rate.over_planned = self.rate.over_planned.min(most);
        }
        let started_at = self.run.started_at;
        self.run = match window {
            Some((from, to)) => {
                let length = to.duration_since(from).unwrap_or_default();
                self.elapsed_ns = duration_ns(length);
                RunStamp { started_at, ..RunStamp::new(from, from, length) }
            }
            None => RunStamp { started_at, ..RunStamp::default() },
        };
    }
}

fn is_within_asked(part: &Part) -> bool {
    part.rate.asked.is_some_and(|asked| part.rate.achieved <= asked)
}

/// Checks that the document of a part has all that is added.
fn check_mergeable((name, result): &Named) -> Result<(), String> {
    if !result.parts.is_empty() {
        return Err(format!("{name} is a merged result: expected its parts"));
    }
    let has_window = result.run.measured_from < result.run.measured_to;
    if result.messages.sent > 0 && (result.run.measured_from.is_none() || !has_window) {
        return Err(format!(
            "{name} has messages, but no time in which they were measured: expected measured_from \
             before measured_to"
        ));
    }
    let summaries = [
        Some(&result.latency_ns),
        result.service_time_ns.as_ref(),
        result.generator.schedule_lag_ns.as_ref(),
    ];
    let of_lengths = result.lengths.iter().map(|class| &class.latency_ns);
    let mut all = summaries.into_iter().flatten().chain(of_lengths);
    if all.any(|times| times.summary.count != times.values.count()) {
        return Err(format!("{name} has no histograms: expected a document of this version"));
    }
    let fields = [
        serde_json::to_value((&result.messages, &result.warmup_messages, &result.losses)),
        serde_json::to_value((&result.flows, &result.bytes, &result.trains, &result.tcp)),
        serde_json::to_value((&result.udp, &result.server_drops, &result.sockets)),
        serde_json::to_value((&result.generator, &result.hiccups, &result.lengths)),
        serde_json::to_value(result.connections),
    ];
    let is_sane = fields.iter().flatten().all(is_within_bound);
    is_sane.then_some(()).ok_or_else(|| format!("{name} has a count that no run reaches"))
}

/// Returns true if no number in a value is beyond [`COUNT_MAX`]. An absurd rate leaves as many
/// messages unsent as 64 bits hold; these are added with a bound.
fn is_within_bound(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_u64().is_none_or(|count| count <= COUNT_MAX),
        Value::Array(values) => values.iter().all(is_within_bound),
        Value::Object(fields) => {
            fields.iter().all(|(key, value)| key == "unsent" || is_within_bound(value))
        }
        _ => true,
    }
}

/// Returns the place of each part, from 1, if each place has one part.
fn check_places(parts: &[Named]) -> Result<Vec<u64>, String> {
    let mut places = BTreeMap::new();
    let mut first: Option<(&str, u64)> = None;
    let mut found = Vec::new();
    for (name, result) in parts {
        let part = &result.run.part;
        let (place, all) = numbers(part)
            .ok_or_else(|| format!("{name} is part '{part}': expected I/N, such as 2/4"))?;
        let (other, others) = *first.get_or_insert((name, all));
        if all != others {
            return Err(format!("{name} is one of {all} parts, and {other} one of {others}"));
        }
        if let Some(same) = places.insert(place, name) {
            return Err(match all {
                1 => format!(
                    "{same} and {name} are each a whole load: expected the parts of one, such as \
                     those of 'resound bench --part 1/2' and 'resound bench --part 2/2'"
                ),
                _ => format!("{same} and {name} are both part {part}"),
            });
        }
        found.push(place);
    }
    let Some((_, all)) = first else { return Err("expected the file of a part".to_owned()) };
    match (1..=all).find(|place| !places.contains_key(place)) {
        Some(missing) => Err(format!("part {missing}/{all} is missing")),
        None => Ok(found),
    }
}

/// Returns I and N of `I/N`.
fn numbers(part: &str) -> Option<(u64, u64)> {
    let (place, all) = part.split_once('/')?;
    let (place, all) = (place.parse().ok()?, all.parse().ok()?);
    (1 <= place && place <= all).then_some((place, all))
}

/// Checks that all parts are of the same load. A part whose command line was wrong has none.
fn check_loads(parts: &[Named]) -> Result<(), String> {
    let loads: Vec<_> = parts
        .iter()
        .filter(|(_, result)| result.status != Status::Error || !result.options.meant.is_empty())
        .map(|(name, result)| (name, load_of(result)))
        .collect();
    let Some(((first, load), others)) = loads.split_first() else { return Ok(()) };
    for (name, other) in others {
        let keys = load.keys().chain(other.keys());
        if let Some(key) = keys.into_iter().find(|key| load.get(*key) != other.get(*key)) {
            let text = |load: &Map<String, Value>| match load.get(key) {
                Some(value) => value.to_string(),
                None => "none".to_owned(),
            };
            return Err(format!(
                "{first} and {name} are parts of different loads: {key} is {} and {}",
                text(load),
                text(other)
            ));
        }
    }
    Ok(())
}

/// Returns the options of the load, and what the result says of it.
fn load_of(result: &RunResult) -> Map<String, Value> {
    let options = result.options.meant.iter();
    let options = options.filter(|(key, _)| !OPTIONS_OF_PART.contains(&key.as_str()));
    let mut load: Map<_, _> = options.map(|(key, value)| (key.clone(), value.clone())).collect();
    // Hosts can reach one server by several names and addresses.
    let is_own = load.shift_remove("endpoint").is_none_or(|endpoint| endpoint.is_null());
    load.insert("a server in its own process".to_owned(), is_own.into());
    let as_json = |value| serde_json::to_value(value).unwrap_or_default();
    load.insert("mode".to_owned(), as_json(result.mode));
    load.insert("length of a message".to_owned(), result.length.into());
    load.insert("depth".to_owned(), result.depth.into());
    load
}

/// Returns the time in which all parts measured, of those that did, and a warning if it is shorter
/// than that of a part. `None` without a part that measured.
fn common_window(parts: &[Named]) -> Result<(Option<Window>, Option<String>), String> {
    let windows: Vec<_> = parts
        .iter()
        .filter(|(_, result)| result.messages.sent > 0)
        .filter_map(|(name, result)| {
            Some((name, (result.run.measured_from?, result.run.measured_to?)))
        })
        .collect();
    let latest = windows.iter().max_by_key(|(_, (from, _))| *from);
    let earliest = windows.iter().min_by_key(|(_, (_, to))| *to);
    let Some(((late, (from, _)), (early, (_, to)))) = latest.zip(earliest) else {
        return Ok((None, None));
    };
    let longest = windows.iter().filter_map(|(_, (from, to))| to.duration_since(*from).ok());
    let longest = longest.max().unwrap_or_default();
    let common = to.duration_since(*from).unwrap_or(Duration::ZERO);
    let share = match longest.is_zero() {
        true => 1.0,
        false => common.as_secs_f64() / longest.as_secs_f64(),
    };
    let times = || {
        format!(
            "{late} measured from {} on, and {early} to {}",
            humantime::format_rfc3339_millis(*from),
            humantime::format_rfc3339_millis(*to)
        )
    };
    if common.is_zero() {
        return Err(format!("the parts did not measure at the same time: {}", times()));
    }
    let lengths = format!("{:.1} s of {:.1} s", common.as_secs_f64(), longest.as_secs_f64());
    if share < COMMON_SHARE_MIN {
        return Err(format!("the parts have only {lengths} in common: {}", times()));
    }
    let warning = (share < SAME_SHARE_MIN).then(|| {
        format!(
            "the parts did not measure in the same window ({lengths} in common: {}): outside of \
             it the load was smaller; --start-at lets all start together",
            times()
        )
    });
    Ok((Some((*from, *to)), warning))
}

/// Returns the hosts of the parts, each once.
fn hosts(parts: &[Named]) -> Vec<String> {
    let mut hosts = Vec::new();
    for (_, result) in parts {
        let host = &result.environment.host;
        if !host.is_empty() && !hosts.contains(host) {
            hosts.push(host.clone());
        }
    }
    hosts
}

/// Warns if the parts reached their server by different endpoints, which may be different servers.
fn endpoint_warning(parts: &[Named]) -> Option<String> {
    let mut endpoints: Vec<&str> = Vec::new();
    let mut texts = Vec::new();
    for (name, result) in parts {
        let Some(Value::String(endpoint)) = result.options.meant.get("endpoint") else { continue };
        if !endpoints.contains(&endpoint.as_str()) {
            endpoints.push(endpoint);
            texts.push(format!("{endpoint} ({name})"));
        }
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    (texts.len() > 1).then(|| {
        format!(
            "the parts have different endpoints: {}; the figures are of one server only if all of \
             these lead to it",
            listed(&texts)
        )
    })
}

/// Warns if the windows of several hosts may differ because a clock is off.
fn clock_warning(parts: &[Named]) -> Option<String> {
    if hosts(parts).len() < 2 {
        return None; // one clock
    }
    let is_unsure =
        |result: &RunResult| result.run.clock_error.is_none_or(|error| !error.synchronized);
    let unsure = parts.iter().filter(|(_, result)| is_unsure(result));
    let unsure: Vec<_> = unsure.map(|(name, _)| name.as_str()).collect();
    (!unsure.is_empty()).then(|| {
        format!(
            "the clock was not known to be synchronized on the hosts of {}: the windows may differ \
             by more than they seem to",
            listed(&unsure)
        )
    })
}

/// Names the parts that are not complete, and why; `None` if all are.
fn failures(parts: &[Named]) -> Option<String> {
    let failed = parts.iter().filter(|(_, result)| result.status != Status::Ok);
    let failed: Vec<String> = failed
        .map(|(name, result)| {
            let reason = result.error.as_deref().unwrap_or("it ended early");
            format!("part {} ({name}): {reason}", result.run.part)
        })
        .collect();
    let failed: Vec<&str> = failed.iter().map(String::as_str).collect();
    (!failed.is_empty()).then(|| listed(&failed))
}

/// Joins texts. Only the first few are named: a thousand would hide everything else.
fn listed(texts: &[&str]) -> String {
    const NAMED_MAX: usize = 5;
    let mut list = texts[..texts.len().min(NAMED_MAX)].join("; ");
    if let Some(others) = texts.len().checked_sub(NAMED_MAX).filter(|others| *others > 0) {
        list.push_str(&format!("; and {others} more"));
    }
    list
}

#[cfg(test)]
mod tests;

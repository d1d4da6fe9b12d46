//! Compares saved documents: runs that were not made in pairs.

use serde_json::Value;

use super::figures::{FIGURES, Figure, Figures, fault, weakness};
use super::verdict::{named, of_groups};
use super::{Plan, conclusion, regression};
use crate::measured::{
    Comparison, LeftOut, Method, Metric, PercentileList, RunResult, Status, Warning,
};

/// The keys of a document that say what load was made. Different values are named.
const LOAD: [&str; 9] = [
    "/mode",
    "/loop",
    "/depth",
    "/connections",
    "/length",
    "/rate/asked",
    "/options/meant/transport",
    "/planned_ns",
    "/program",
];

/// Compares groups of runs, each with its name. Of the plan, only the sides and the thresholds
/// count.
pub fn compare_runs(
    plan: &Plan,
    a: &[(String, RunResult)],
    b: &[(String, RunResult)],
) -> Comparison {
    let mut left_out = Vec::new();
    let mut warnings = differences(a, b);
    let mut usable = |side: &str, runs: &[(String, RunResult)]| {
        let mut used = Vec::new();
        for (at, (name, run)) in runs.iter().enumerate() {
            if let Some(reason) = fault(run) {
                let (round, side) = (at as u64 + 1, side.to_owned());
                left_out.push(LeftOut { round, side, reason: format!("{name}: {reason}") });
                continue;
            }
            if let Some(weakness) = weakness(run) {
                warnings.push(Warning(format!("{name}: {weakness}; it is used")));
            }
            used.push(run.clone());
        }
        used
    };
    let (a, b) = (usable("a", a), usable("b", b));
    let is_single = a.len() == 1 && b.len() == 1;
    let metrics = metrics(&a, &b, plan.noise);
    let rounds = a.len().min(b.len()) as u64;
    if is_single {
        warnings.push(Warning(
            "one run of each side: the intervals do not include differences between runs"
                .to_owned(),
        ));
    } else if rounds > 0 && metrics.iter().all(|metric| metric.interval.is_none()) {
        warnings.push(Warning(
            "too few runs for an interval: it needs 4 of each side, for example".to_owned(),
        ));
    }
    let error = (rounds == 0).then(|| match left_out.first() {
        Some(LeftOut { side, reason, .. }) => {
            format!("no run of a side can be used; {side}: {reason}")
        }
        None => "a side has no run".to_owned(),
    });
    let mut comparison = Comparison {
        status: match (rounds, left_out.is_empty()) {
            (0, _) => Status::Error,
            (_, true) => Status::Ok,
            _ => Status::Partial,
        },
        error,
        method: Some(if is_single { Method::Single } else { Method::Groups }),
        rounds,
        noise: plan.noise,
        a: plan.a.clone(),
        b: plan.b.clone(),
        regression: plan.max_regression.map(|max| regression(max, &metrics)),
        metrics,
        left_out,
        warnings,
        ..Comparison::default()
    };
    comparison.conclusion = conclusion(&comparison);
    comparison
}

/// Judges each figure that all runs have.
fn metrics(a: &[RunResult], b: &[RunResult], noise: f64) -> Vec<Metric> {
    let of = |(at, figure): (usize, &Figure)| {
        let values = |runs: &[RunResult]| -> Option<Vec<f64>> {
            runs.iter().map(|run| Figures::of(run).0[at]).collect()
        };
        match (values(a), values(b), a, b) {
            (Some(values_a), Some(values_b), [a], [b]) => {
                single(figure, (a, values_a[0]), (b, values_b[0]))
            }
            (Some(a), Some(b), ..) => of_groups(figure, &a, &b, noise),
            _ => named(figure),
        }
    };
    FIGURES.iter().enumerate().map(of).collect()
}

/// Returns a figure of one run of each side, with the interval within each run.
fn single(figure: &Figure, a: (&RunResult, f64), b: (&RunResult, f64)) -> Metric {
    let interval = |run: &RunResult| -> Option<[f64; 2]> {
        let list: PercentileList = figure.name.strip_prefix('p')?.parse().ok()?;
        let summary = run.latency_ns.values.summary(&list);
        let (_, ends) = summary.intervals.first()?;
        ends.map(|ends| ends.map(|end| end as f64))
    };
    Metric {
        a: Some(a.1),
        b: Some(b.1),
        ratio: Some(b.1 / a.1),
        a_interval: interval(a.0),
        b_interval: interval(b.0),
        ..named(figure)
    }
}

/// Names what differs between the first run and the others in place and load.
fn differences(a: &[(String, RunResult)], b: &[(String, RunResult)]) -> Vec<Warning> {
    let documents: Vec<(&str, Value)> = a
        .iter()
        .chain(b)
        .filter_map(|(name, run)| Some((name.as_str(), serde_json::to_value(run).ok()?)))
        .collect();
    let Some(((first_name, first), others)) = documents.split_first() else { return Vec::new() };
    let environment = first["environment"].as_object().into_iter().flatten();
    let mut keys: Vec<String> = environment.map(|(key, _)| format!("/environment/{key}")).collect();
    keys.extend(LOAD.map(str::to_owned));
    let mut warnings = Vec::new();
    for key in keys {
        let value = |document: &Value| document.pointer(&key).cloned().unwrap_or_default();
        let expected = value(first);
        let Some((name, other)) = others.iter().find(|(_, other)| value(other) != expected) else {
            continue;
        };
        let place = key.strip_prefix("/environment");
        let kind = if place.is_some() { "environments" } else { "loads" };
        let name_of_key = place.unwrap_or(&key).trim_start_matches('/').replace('/', ".");
        warnings.push(Warning(format!(
            "different {kind}: {name_of_key} is {expected} in {first_name} and {} in {name}",
            value(other)
        )));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{Change, samples};

    fn plan(max_regression: Option<f64>) -> Plan {
        let (a, b) = ("old".to_owned(), "new".to_owned());
        Plan { rounds: 0, noise: 0.02, max_regression, control: false, seed: 0, a, b }
    }

    /// Returns a run of a thousand echoes, each of which takes about this long.
    fn run(name: &str, time_ns: u64) -> (String, RunResult) {
        let mut run = samples::closed_run();
        run.latency_ns.values.clear();
        (0..1_000).for_each(|at| run.latency_ns.values.record(time_ns + at));
        run.rate.achieved = 1e9 / time_ns as f64;
        run.generator.verdict = Some(crate::measured::Verdict::Ok);
        (name.to_owned(), run)
    }

    fn metric<'a>(comparison: &'a Comparison, name: &str) -> &'a Metric {
        comparison.metrics.iter().find(|metric| metric.name == name).unwrap()
    }

    fn texts(comparison: &Comparison) -> Vec<&str> {
        comparison.warnings.iter().map(|warning| warning.0.as_str()).collect()
    }

    #[test]
    fn one_run_of_each_side_has_its_own_intervals_and_no_verdict() {
        let (old, new) = ([run("old.json", 100_000)], [run("new.json", 200_000)]);
        let comparison = compare_runs(&plan(Some(0.1)), &old, &new);
        assert_eq!((comparison.method, comparison.rounds), (Some(Method::Single), 1));
        let p50 = metric(&comparison, "p50");
        assert_eq!((p50.interval, p50.verdict), (None, Change::Undecided));
        assert!(p50.a_interval.is_some_and(|[low, high]| low < high && high < 101_000.0));
        assert!(p50.b_interval.is_some_and(|[low, _]| low > 199_000.0));
        assert!(texts(&comparison)[0].contains("do not include differences between runs"));
        // The whole interval of B is worse than that of A; the rate has no interval.
        assert_eq!(comparison.regression.unwrap().worse, ["p50", "p90", "p99"]);
        let same = compare_runs(&plan(Some(0.1)), &old, &old);
        assert_eq!(same.regression.unwrap().worse, [""; 0]);
    }

    #[test]
    fn several_runs_of_each_side_are_compared_as_groups() {
        let group = |time_ns: u64| -> Vec<_> {
            (0..4).map(|at| run(&format!("{at}.json"), time_ns + 10 * at)).collect()
        };
        let comparison = compare_runs(&plan(Some(0.1)), &group(100_000), &group(150_000));
        assert_eq!((comparison.method, comparison.rounds), (Some(Method::Groups), 4));
        assert_eq!(metric(&comparison, "rate").verdict, Change::Differs);
        assert!(metric(&comparison, "p50").p.is_some_and(|p| p < 0.03));
        assert_eq!(comparison.regression.unwrap().worse, ["rate", "p50", "p90", "p99"]);
        let few = compare_runs(&plan(None), &group(100_000)[..2], &group(150_000)[..3]);
        assert!(texts(&few).iter().any(|text| text.contains("too few runs for an interval")));
        assert_eq!(metric(&few, "p50").more_rounds, Some(2));
    }

    #[test]
    fn different_environments_and_loads_are_named() {
        let (old, mut new) = ([run("old.json", 100_000)], [run("new.json", 100_000)]);
        new[0].1.environment.kernel = "Linux 7".to_owned();
        new[0].1.depth = 9;
        let comparison = compare_runs(&plan(None), &old, &new);
        let found = texts(&comparison).join("\n");
        assert!(found.contains("different environments: kernel is"), "{found}");
        assert!(found.contains(r#"and "Linux 7" in new.json"#), "{found}");
        assert!(found.contains("different loads: depth is"), "{found}");
        assert_eq!(comparison.warnings.len(), 3, "{found}");
    }

    #[test]
    fn a_run_that_cannot_be_used_is_named() {
        let (old, mut new) = ([run("old.json", 100_000)], [run("new.json", 100_000)]);
        new[0].1.messages.corrupted = 1;
        let comparison = compare_runs(&plan(None), &old, &new);
        assert_eq!((comparison.status, comparison.rounds), (Status::Error, 0));
        assert_eq!(comparison.left_out[0].reason, "new.json: 1 echo differs from what was sent");
    }
}

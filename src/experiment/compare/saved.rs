//! Compares saved documents: runs that were not made in pairs.

use serde_json::Value;

use super::conclusion::listed;
use super::figures::{
    FIGURES, Figure, Figures, common_warnings, fault, has_histogram, interval, lack, weakness,
};
use super::verdict::{named, of_groups};
use super::{NO_INTERVAL, Plan, conclusion, regression};
use crate::measured::{Comparison, LeftOut, Method, Metric, RunResult, Status, Warning};

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

const TOO_FEW_RUNS: &str = "too few runs for an interval: it needs 4 of each side, for example";

/// Compares groups of runs, each with its name. Of the plan, only the sides and the thresholds
/// count.
pub fn compare_runs(
    plan: &Plan,
    a: &[(String, RunResult)],
    b: &[(String, RunResult)],
) -> Comparison {
    let (mut left_out, mut warnings) = (Vec::new(), differences(a, b));
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
            warnings.extend(lack(run).map(|lack| Warning(format!("{name}: {lack}"))));
            used.push(run.clone());
        }
        used
    };
    let (a, b) = (usable("a", a), usable("b", b));
    warnings.extend(warnings_of_sides(&a, &b));
    let is_single = a.len() == 1 && b.len() == 1;
    let metrics = metrics(&a, &b, plan.noise);
    let rounds = a.len().min(b.len()) as u64;
    if is_single {
        warnings.push(Warning(
            "one run of each side: the intervals do not include differences between runs"
                .to_owned(),
        ));
        if plan.max_regression.is_some() {
            warnings.extend(not_judged(&metrics));
        }
    } else if rounds > 0 && metrics.iter().all(|metric| metric.interval.is_none()) {
        warnings.push(Warning(TOO_FEW_RUNS.to_owned()));
    }
    let regression = plan.max_regression.and_then(|max| regression(max, &metrics));
    let error = match left_out.first() {
        Some(LeftOut { side, reason, .. }) if rounds == 0 => {
            Some(format!("no run of a side can be used; {side}: {reason}"))
        }
        None if rounds == 0 => Some("a side has no run".to_owned()),
        _ if plan.max_regression.is_some() && regression.is_none() => {
            Some(no_interval(is_single, a.iter().chain(&b).all(has_histogram)))
        }
        _ => None,
    };
    let mut comparison = Comparison {
        status: match (rounds, left_out.is_empty() && error.is_none()) {
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
        regression,
        metrics,
        left_out,
        warnings,
        ..Comparison::default()
    };
    comparison.conclusion = conclusion(&comparison);
    comparison
}

fn warnings_of_sides(a: &[RunResult], b: &[RunResult]) -> Vec<Warning> {
    let of = |(side, runs): (_, &[RunResult])| {
        common_warnings(side, runs.iter().map(|run| &run.warnings))
    };
    [("A", a), ("B", b)].into_iter().flat_map(of).collect()
}

/// Returns why no figure has an interval.
fn no_interval(is_single: bool, have_histograms: bool) -> String {
    let reason = match (is_single, have_histograms) {
        (false, _) => TOO_FEW_RUNS,
        (true, true) => "the runs have too few samples for one",
        (true, false) => "a document has no histogram and no latency_ns.intervals",
    };
    format!("{NO_INTERVAL}: {reason}")
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
        let ends = interval(run, figure.name.strip_prefix('p')?)?;
        Some(ends.map(|end| end as f64))
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

/// Names the figures of two single runs that `--max-regression` does not judge.
fn not_judged(metrics: &[Metric]) -> Option<Warning> {
    let has_none = |metric: &&Metric| {
        metric.ratio.is_some() && (metric.a_interval.is_none() || metric.b_interval.is_none())
    };
    let figures = listed(&metrics.iter().filter(has_none).collect::<Vec<_>>());
    (!figures.is_empty()).then(|| {
        Warning(format!(
            "--max-regression does not judge figures without an interval within the run: {figures}"
        ))
    })
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
    use crate::measured::{Change, Times, samples};

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
        let text = "B is worse by more than 10 % in p50, p90, p99, by the intervals of these two \
                    runs, which do not include differences between runs";
        assert!(comparison.conclusion.starts_with(text), "{}", comparison.conclusion);
        let not_judged = "without an interval within the run: rate, CPU per message";
        let warnings = &comparison.warnings;
        assert!(warnings.iter().any(|warning| warning.0.ends_with(not_judged)), "{warnings:?}");
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
        assert_eq!((few.error, few.status), (None, Status::Ok));
        let few = compare_runs(&plan(Some(0.1)), &group(100_000)[..2], &group(150_000)[..3]);
        assert!(few.error.is_some_and(|error| error.contains("too few runs for an interval")));
    }

    /// Returns a run as it is read from a document without histograms.
    fn without_histogram(name: &str, time_ns: u64) -> (String, RunResult) {
        let (name, mut run) = run(name, time_ns);
        let list = "50,90,99,99.9".parse().unwrap();
        run.latency_ns = Times::of(run.latency_ns.values, &list);
        run.latency_ns.values.clear();
        (name, run)
    }

    #[test]
    fn a_document_without_a_histogram_has_the_percentiles_that_it_lists() {
        let of = |make: fn(&str, u64) -> (String, RunResult)| {
            compare_runs(&plan(Some(0.1)), &[make("old", 100_000)], &[make("new", 200_000)])
        };
        let (full, listed) = (of(run), of(without_histogram));
        assert_eq!(listed.metrics, full.metrics);
        assert_eq!(texts(&listed), texts(&full), "p99.9 has too few samples in both");
    }

    #[test]
    fn a_percentile_that_a_document_does_not_list_is_named() {
        let old = [run("old.json", 100_000)];
        let mut new = [without_histogram("new.json", 200_000)];
        new[0].1.latency_ns.summary.percentiles.truncate(2);
        new[0].1.latency_ns.summary.intervals.clear();
        let comparison = compare_runs(&plan(Some(0.1)), &old, &new);
        assert!(metric(&comparison, "p90").ratio.is_some());
        assert_eq!(metric(&comparison, "p99").ratio, None);
        let text = "new.json: it has no histogram, and latency_ns.percentiles lacks p99, p99.9";
        assert!(texts(&comparison).contains(&text), "{:?}", comparison.warnings);
        assert_eq!((comparison.status, comparison.regression), (Status::Partial, None));
        let error = "--max-regression has no interval to judge: a document has no histogram and no \
                     latency_ns.intervals";
        assert_eq!(comparison.error.as_deref(), Some(error));
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

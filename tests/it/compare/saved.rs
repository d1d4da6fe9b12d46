//! Saved documents of `bench`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{compare, compare_json, metric};
use crate::support::{resound, run};

/// Makes a document by a short run.
fn document() -> Value {
    let mut bench = resound();
    bench.args(["bench", "-J", "-n200", "-c2", "--warmup=0", "--timeout=30s"]);
    serde_json::from_slice(&run(bench).stdout).unwrap()
}

fn save(folder: &Path, name: &str, document: &Value) -> String {
    let path = folder.join(name);
    fs::write(&path, document.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn two_documents_have_their_own_intervals_and_a_plain_warning() {
    let folder = tempfile::tempdir().unwrap();
    let mut old = document();
    let old_path = save(folder.path(), "old.json", &old);
    old["environment"]["kernel"] = json!("Linux 99");
    let new_path = save(folder.path(), "new.json", &old);
    let (ended, document) = compare_json(&[&old_path, &new_path]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    assert_eq!((&document["method"], &document["rounds"]), (&json!("single"), &json!(1)));
    let p50 = metric(&document, "p50");
    assert_eq!((&p50["ratio"], &p50["interval"]), (&json!(1.0), &Value::Null));
    assert!(p50["a_interval"].is_array() && p50["a_interval"] == p50["b_interval"], "{p50}");
    let text = run(compare(&[&old_path, &new_path])).stdout_text();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("the intervals do not include differences between runs"), "{text}");
    assert!(text.contains("different environments: kernel is "), "{text}");
    assert!(text.contains("\"Linux 99\" in "), "{text}");
}

/// Makes a document whose response times are this many times as long, without histograms.
fn older_document(factor: u64) -> Value {
    let mut run = document();
    run.as_object_mut().unwrap().remove("histograms");
    let ends = [990 * factor, 1_010 * factor];
    run["latency_ns"]["percentiles"] = json!({"50": 1_000 * factor, "90": 1_000 * factor});
    run["latency_ns"]["intervals"] = json!({"50": ends, "90": ends});
    run
}

#[test]
fn documents_without_histograms_fail_max_regression_by_their_listed_intervals() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = [("old.json", 1), ("new.json", 2)]
        .map(|(name, factor)| save(folder.path(), name, &older_document(factor)));
    let (ended, document) = compare_json(&[&old, &new, "--max-regression=5"]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (99, ""), "{document:#}");
    assert_eq!(document["regression"]["worse"], json!(["p50", "p90"]));
    let text = document["conclusion"].as_str().unwrap();
    assert!(
        text.starts_with("B is worse by more than 5 % in p50, p90, by the intervals"),
        "{text}"
    );
    let warnings = document["warnings"].to_string();
    assert!(warnings.contains("it has no histogram, and latency_ns.percentiles lacks p99, p99.9"));
    assert!(warnings.contains("an interval within the run: rate, CPU per message"), "{warnings}");
}

#[test]
fn max_regression_without_any_interval_exits_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = older_document(1);
    run["latency_ns"].as_object_mut().unwrap().remove("intervals");
    let path = save(folder.path(), "old.json", &run);
    let (ended, document) = compare_json(&[&path, &path, "--max-regression=5"]);
    assert_eq!((ended.code(), &document["regression"]), (1, &Value::Null), "{document:#}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("no histogram and no latency_ns.intervals"), "{}", ended.stderr);
}

#[test]
fn several_documents_of_each_side_are_compared_by_mann_and_whitneys_test() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = document();
    for at in 0..4 {
        run["rate"]["achieved"] = json!(1_000 + at);
        save(folder.path(), &format!("old-{at}.json"), &run);
        run["rate"]["achieved"] = json!(500 + at);
        save(folder.path(), &format!("new-{at}.json"), &run);
    }
    let [a, b] = ["old-*.json", "new-*.json"].map(|glob| folder.path().join(glob));
    let sides = ["--a", a.to_str().unwrap(), "--b", b.to_str().unwrap(), "--max-regression=5%"];
    let (ended, document) = compare_json(&sides);
    assert_eq!((ended.code(), &document["method"]), (99, &json!("groups")), "{document:#}");
    let rate = metric(&document, "rate");
    assert_eq!((&rate["verdict"], &rate["a"]), (&json!("differs"), &json!(1001.5)));
    // scipy.stats.mannwhitneyu: the two extreme orders of 70.
    assert!(rate["p"].as_f64().is_some_and(|p| (p - 2.0 / 70.0).abs() < 1e-12), "{rate}");
    assert_eq!(document["regression"]["worse"], json!(["rate"]));
    assert_eq!(metric(&document, "p50")["verdict"], "same", "all runs have the same times");
}

#[test]
fn a_file_that_is_no_document_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = save(folder.path(), "good.json", &document());
    let wrong = save(folder.path(), "wrong.json", &json!({"kind": "compare"}));
    let missing = folder.path().join("missing.json");
    for bad in [wrong.as_str(), missing.to_str().unwrap()] {
        let (ended, document) = compare_json(&[&good, bad]);
        assert_eq!((ended.code(), &document["status"]), (1, &json!("error")));
        assert_eq!(ended.stderr.lines().count(), 1);
        assert!(ended.stderr.contains(bad), "{}", ended.stderr);
    }
}

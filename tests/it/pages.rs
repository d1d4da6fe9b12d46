//! `resound report` and `-o FILE.html`: the page, as Chromium shows it, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Ended, python, resound, run, tool};

/// Text that would run or load something if the page did not escape it.
const HOSTILE: &str = "</script><img src=http://192.0.2.1/ onerror=alert(1)><!--\"'&";

fn report(arguments: &[&str]) -> Ended {
    let mut command = resound();
    command.arg("report").args(arguments);
    run(command)
}

/// Runs a short open loop that writes its document to this file.
#[track_caller]
fn save_run(path: &Path, more: &[&str]) {
    let mut command = resound();
    command.args(["bench", "-t600ms", "--warmup=0", "-r2k", "-c4"]).args(more);
    command.arg("-o").arg(path);
    let ended = run(command);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
}

/// Writes a sweep of runs that have no echo, with hostile text.
fn save_sweep(folder: &TempDir, run: &Value) -> PathBuf {
    let point = |rate: u64| {
        let mut point = run.clone();
        point["options"]["meant"]["rate"] = json!(rate);
        point["generator"]["verdict"] = json!(if rate > 4_000 { "behind" } else { "ok" });
        point
    };
    let sweep = json!({
        "version": 1, "kind": "sweep", "program": HOSTILE, "status": "ok", "error": HOSTILE,
        "options": {"typed": ["sweep", HOSTILE]},
        "swept": {"flag": "rate", "values": [1_000, 8_000], "find": [HOSTILE]},
        "points": [point(1_000), point(2_000), point(4_000), point(8_000)],
        "found": {"rate": 4_000, "at_least": true, "limit": "generator"},
        "warnings": [HOSTILE],
    });
    let path = folder.path().join("sweep.json");
    fs::write(&path, sweep.to_string()).unwrap();
    path
}

/// Writes a comparison with such text.
fn save_comparison(folder: &TempDir, run: &Value) -> PathBuf {
    let metric = |name: &str, ratio: f64, verdict: &str| {
        let interval = [ratio * 0.98, ratio * 1.02];
        json!({"name": name, "unit": "ns", "a": 50_000, "b": 50_000.0 * ratio, "ratio": ratio,
               "interval": interval, "verdict": verdict})
    };
    let pair = |round: u64| json!({"round": round, "order": ["a", "b"], "a": run, "b": run});
    let comparison = json!({
        "version": 1, "kind": "compare", "program": HOSTILE, "typed": ["compare", HOSTILE],
        "rounds": 7, "noise": 0.02, "a": HOSTILE, "b": HOSTILE, "conclusion": HOSTILE,
        "metrics": [metric("p50", 1.2, "differs"), metric(HOSTILE, 1.0, HOSTILE)],
        "pairs": (1..=7).map(pair).collect::<Vec<_>>(),
        "left_out": [{"round": 8, "side": HOSTILE, "reason": HOSTILE}],
        "warnings": [HOSTILE],
    });
    let path = folder.path().join("comparison.json");
    fs::write(&path, comparison.to_string()).unwrap();
    path
}

/// Makes the page of these documents.
#[track_caller]
fn page_of(folder: &TempDir, documents: &[&Path]) -> PathBuf {
    let page = folder.path().join("page.html");
    let mut command = resound();
    command.arg("report").args(documents).arg("-o").arg(&page);
    let ended = run(command);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    assert_eq!(ended.stdout_text(), "");
    page
}

/// Returns what Chromium shows of a page, after checks that hold for every page.
#[track_caller]
fn look(chromium: &Path, page: &Path, width: u64, scheme: &str, scripts: &str) -> Value {
    let mut command = python("browser.py");
    command.arg(chromium).arg(page).args([&width.to_string(), scheme, scripts]);
    let ended = run(command);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let shown: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(shown["errors"], json!([]));
    assert_eq!(shown["requests"], json!([]), "nothing leaves the page");
    assert_eq!(shown["images"], 0);
    assert_eq!(shown["reached"], shown["figures"], "the keyboard reaches every figure");
    assert!(shown["widths"][0].as_u64() <= shown["widths"][1].as_u64(), "{}", shown["widths"]);
    let pictures = shown["pictures"].as_u64().unwrap() + shown["drawn"].as_u64().unwrap();
    assert_eq!(pictures, shown["figures"].as_array().unwrap().len() as u64, "none is empty");
    shown
}

fn has(shown: &Value, text: &str) -> bool {
    shown["text"].as_str().unwrap().contains(text)
}

#[test]
fn the_page_of_a_run_works_in_a_browser_with_and_without_scripts() {
    let Some(chromium) = tool("chromium") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.html");
    save_run(&path, &["--label", HOSTILE, "--percentiles=50,90"]);
    let light = look(&chromium, &path, 1100, "light", "on");
    assert_eq!(light["figures"], json!(["spectrum", "over-time", "rates"]));
    assert_eq!(light["drawn"], 3);
    assert!(has(&light, HOSTILE) && has(&light, "resound bench -t600ms"), "{}", light["text"]);
    let first = light["read"][0].as_str().unwrap();
    assert!(first.starts_with("0 %: response time "), "the arrow keys read values: {first}");
    let dark = look(&chromium, &path, 400, "dark", "on");
    assert_ne!(light["background"], dark["background"]);
    let plain = look(&chromium, &path, 800, "light", "off");
    assert_eq!((&plain["drawn"], &plain["pictures"]), (&json!(0), &json!(3)));
}

#[test]
fn the_pages_of_runs_sweeps_and_comparisons_work_in_a_browser() {
    let Some(chromium) = tool("chromium") else { return };
    let folder = tempfile::tempdir().unwrap();
    let [before, after] = ["before.json", "after.json"].map(|name| folder.path().join(name));
    save_run(&before, &[]);
    save_run(&after, &["-d4"]);
    let page = page_of(&folder, &[&before, &after]);
    let both = look(&chromium, &page, 1000, "light", "on");
    assert!(has(&both, "before: response time") && has(&both, "after: response time"));
    let document: Value = serde_json::from_slice(&fs::read(&before).unwrap()).unwrap();
    let page = page_of(&folder, &[&save_sweep(&folder, &document)]);
    let sweep = look(&chromium, &page, 400, "light", "on");
    assert_eq!(sweep["figures"], json!(["latency", "reached"]));
    assert!(has(&sweep, "at least 4,000") && has(&sweep, HOSTILE), "{}", sweep["text"]);
    let page = page_of(&folder, &[&save_comparison(&folder, &document)]);
    let comparison = look(&chromium, &page, 400, "dark", "off");
    assert!(comparison["figures"][0] == "forest-0", "{}", comparison["figures"]);
    assert!(has(&comparison, HOSTILE) && has(&comparison, "1.200"));
}

#[test]
fn a_page_holds_the_document_that_the_run_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    save_run(&path, &["--label", HOSTILE]);
    let page = fs::read_to_string(page_of(&folder, &[&path])).unwrap();
    assert!(page.len() <= 200 << 10, "{}", page.len());
    let (_, rest) = page.split_once("id=\"document-0\" type=\"application/json\">").unwrap();
    let held: Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
    let written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(held, written);
    assert!(!written["timeline"].as_array().unwrap().is_empty());
    assert!(page.contains("default-src 'none'") && !page.contains("<img"));
}

#[test]
fn what_is_no_document_is_refused_in_one_line_and_writes_no_page() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let page = path("page.html");
    for (name, text) in [
        ("no.json", "nonsense"),
        ("list.json", "[]"),
        ("two.json", "{\"version\":2}"),
        ("bare.json", r#"{"kind":"sweep","points":[]}"#),
        ("part.json", r#"{"kind":"sweep","version":1,"status":"ok","points":[]}"#),
    ] {
        fs::write(path(name), text).unwrap();
    }
    let [no, list, two, missing] = ["no.json", "list.json", "two.json", "missing.json"].map(path);
    let [bare, part] = ["bare.json", "part.json"].map(path);
    let in_folder = folder.path().display().to_string();
    for (arguments, code, expected) in [
        (&[&no, "-o", &page][..], 1, "it is not a JSON document"),
        (&[&list, "-o", &page], 1, "it is not a document of this program: expected what"),
        (&[&two, "-o", &page], 1, "it is of version 2: expected version 1"),
        (&[&missing, "-o", &page], 1, "no such file or directory"),
        (&[&in_folder, "-o", &page], 1, "is a directory"),
        (&[&bare, "-o", &page], 1, "it has no version: expected version 1"),
        (&[&part, "-o", &page], 1, "it has no 'swept': expected what 'resound sweep -J' prints"),
        (&["-o", &page], 2, "<FILE.json>"),
        (&[&no], 2, "--output <FILE.html>"),
        (&[&no, "-o", "page.txt"], 2, "expected a file that ends in .html, such as run.html"),
        (&[&no, "-o"], 2, "expected a file that ends in .html"),
    ] {
        let ended = report(arguments);
        assert_eq!((ended.code(), ended.stdout_text().as_str()), (code, ""), "{arguments:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{arguments:?}: {}", ended.stderr);
    }
    assert!(!Path::new(&page).exists());
}

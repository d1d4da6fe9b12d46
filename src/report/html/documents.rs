//! Which documents become which page.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Run, comparison, runs_page, sweep};
use crate::error::Error;
use crate::measured::{RunResult, VERSION};
use crate::report::input::read_text;

/// The longest document that is read. A sweep or a comparison holds the document of each run, of a
/// few hundred kilobytes.
const DOCUMENT_BYTES_MAX: usize = 64 << 20;

const EXPECTED: &str = "expected what 'resound bench -J', 'sweep -J' or 'compare -J' prints";

/// Reads the documents of runs, of sweeps or of comparisons, and returns their page.
///
/// # Errors
///
/// A file cannot be read, or (as [`ErrorKind::InvalidData`]) is not such a document; or the
/// documents are of different kinds. The error names the file.
pub fn read_page(paths: &[PathBuf]) -> Result<String, Error> {
    let mut documents = Vec::new();
    for path in paths {
        let text = read_text(path, DOCUMENT_BYTES_MAX)?;
        let document = parsed(&text).map_err(|reason| wrong(path, reason))?;
        documents.push((path, text, document));
    }
    let kind = |document: &Value| document["kind"].as_str().unwrap_or("bench").to_owned();
    let Some((first_path, _, first)) = documents.first() else {
        let error = io::Error::new(ErrorKind::InvalidData, "expected a file such as run.json");
        return Err(Error::new("read", "nothing", error));
    };
    let first_kind = kind(first);
    if let Some((path, ..)) = documents.iter().find(|(.., other)| kind(other) != first_kind) {
        let first = first_path.display();
        let reason = format!(
            "it is of another command than {first}: expected documents of one command, such as two \
             of 'resound bench'"
        );
        return Err(wrong(path, reason));
    }
    if first_kind == "bench" {
        let runs = documents.into_iter().map(|(path, text, document)| run(path, &text, document));
        let mut runs = runs.collect::<Result<Vec<_>, _>>()?;
        name_by_files(&mut runs, paths);
        return Ok(runs_page(&runs));
    }
    for (path, _, document) in &documents {
        check_points(document).map_err(|reason| wrong(path, reason))?;
    }
    let several = documents.len() > 1;
    let named = documents.into_iter().map(|(path, _, document)| {
        let name = if several { file_name(path) } else { String::new() };
        (name, document)
    });
    let named: Vec<_> = named.collect();
    match first_kind.as_str() {
        "sweep" => Ok(sweep::page(&named)),
        _ => Ok(comparison::page(&named)),
    }
}

fn run(path: &Path, text: &str, document: Value) -> Result<Run, Error> {
    let result = RunResult::from_json(text).map_err(|error| wrong(path, error.reason()))?;
    let name = result.label.clone().unwrap_or_else(|| result.endpoint.clone());
    Ok(Run { name, result, document })
}

/// Checks the runs of a sweep.
fn check_points(document: &Value) -> Result<(), String> {
    for (index, point) in document["points"].as_array().into_iter().flatten().enumerate() {
        RunResult::from_json(&point.to_string())
            .map_err(|error| format!("point {}: {}", index + 1, error.reason()))?;
    }
    Ok(())
}

/// Names runs by their files if their labels or endpoints do not tell them apart. The port of a
/// server in the same process says nothing.
fn name_by_files(runs: &mut [Run], paths: &[PathBuf]) {
    let is_twice = |run: &Run| runs.iter().filter(|other| other.name == run.name).count() > 1;
    let is_nameless = |run: &Run| run.result.embedded_server && run.result.label.is_none();
    if runs.len() > 1 && runs.iter().any(|run| is_twice(run) || is_nameless(run)) {
        runs.iter_mut().zip(paths).for_each(|(run, path)| run.name = file_name(path));
    }
}

fn file_name(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Returns the document if it is one of this program.
fn parsed(text: &str) -> Result<Value, String> {
    let document: Value = serde_json::from_str(text)
        .map_err(|error| format!("it is not a JSON document ({error}): {EXPECTED}"))?;
    let (kind, version) = (document.get("kind"), document.get("version"));
    let known = |kind: &Value| kind == "sweep" || kind == "compare";
    if kind.is_some_and(|kind| !known(kind)) || (kind.is_none() && version.is_none()) {
        return Err(format!("it is not a document of this program: {EXPECTED}"));
    }
    match version {
        None => Err(format!("it has no version: expected version {VERSION}")),
        Some(version) if version.as_u64() != Some(VERSION.into()) => {
            Err(format!("it is of version {version}: expected version {VERSION}"))
        }
        _ => check_keys(&document).map(|()| document),
    }
}

/// Checks that the document of a sweep or of a comparison has the keys of which its page is made.
fn check_keys(document: &Value) -> Result<(), String> {
    let (kind, keys) = match document["kind"].as_str() {
        Some("sweep") => {
            let is_swept = |value: &Value| value.is_object() || value.is_null();
            ("sweep", [("swept", is_swept as fn(&Value) -> bool), ("points", Value::is_array)])
        }
        Some("compare") => (
            "compare",
            [("metrics", Value::is_array as fn(&Value) -> bool), ("pairs", Value::is_array)],
        ),
        _ => return Ok(()), // every key of a run is read
    };
    for (key, is_right) in keys {
        let expected = format!("expected what 'resound {kind} -J' prints");
        match document.get(key) {
            None => return Err(format!("it has no '{key}': {expected}")),
            Some(value) if !is_right(value) => {
                return Err(format!("its '{key}' is of another type: {expected}"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::new("read", path.display(), io::Error::new(ErrorKind::InvalidData, reason))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::measured::{Histograms, samples};

    #[test]
    fn a_text_that_is_no_document_is_refused_in_one_line() {
        for (text, expected) in [
            ("", "it is not a JSON document (EOF"),
            ("[]", "it is not a document of this program: expected what 'resound bench -J'"),
            ("{}", "it is not a document of this program"),
            (r#"{"kind": "sermon", "version": 1}"#, "it is not a document of this program"),
            (r#"{"version": 2}"#, "it is of version 2: expected version 1"),
            (r#"{"kind": "sweep", "points": []}"#, "it has no version: expected version 1"),
            (r#"{"kind": "compare", "version": 1}"#, "it has no 'metrics': expected what 'resound"),
            (
                r#"{"kind": "sweep", "version": 1, "status": "ok", "swept": null, "points": {}}"#,
                "its 'points' is of another type: expected what 'resound sweep -J' prints",
            ),
            (r#"{"version": "<1>"}"#, "it is of version \"<1>\": expected version 1"),
        ] {
            let refused = parsed(text).unwrap_err();
            assert!(refused.starts_with(expected) && !refused.contains('\n'), "{refused}");
        }
    }

    /// Returns the document with one value replaced, for each value near its root.
    fn damaged(document: &Value) -> Vec<Value> {
        fn gather(place: &str, value: &Value, places: &mut Vec<String>) {
            let children: Vec<(String, &Value)> = match value {
                Value::Object(fields) => {
                    fields.iter().map(|(key, value)| (key.clone(), value)).collect()
                }
                Value::Array(values) => {
                    values.iter().take(1).map(|value| ("0".to_owned(), value)).collect()
                }
                _ => Vec::new(),
            };
            for (key, value) in children {
                let place = format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
                places.push(place.clone());
                if place.matches('/').count() < 4 {
                    gather(&place, value, places);
                }
            }
        }
        let mut places = Vec::new();
        gather("", document, &mut places);
        let wrong = [json!(null), json!([]), json!({}), json!("x"), json!(-1), json!(1e300)];
        let damage = |(index, place): (usize, &String)| {
            let mut damaged = document.clone();
            let (parent, key) = place.rsplit_once('/').unwrap();
            let parent = damaged.pointer_mut(parent).unwrap();
            match (parent, index % (wrong.len() + 1)) {
                (Value::Object(fields), 6) => _ = fields.remove(key),
                (Value::Array(values), 6) => values.clear(),
                _ => *damaged.pointer_mut(place).unwrap() = wrong[index % wrong.len()].clone(),
            }
            damaged
        };
        places.iter().enumerate().map(damage).collect()
    }

    #[test]
    fn a_damaged_document_has_a_page_or_is_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.json");
        let mut run = samples::open_run();
        run.histograms = Histograms::of(&run);
        run.run.part = "1/1".to_owned();
        let run = serde_json::to_value(&run).unwrap();
        let swept = json!({"flag": "rate", "values": [100_000], "find": []});
        let sweep = json!({"kind": "sweep", "version": 1, "status": "ok", "error": null,
            "options": {"typed": ["sweep"], "meant": {}}, "swept": swept, "points": [run],
            "knee": {"value": 100_000, "next": null, "at_least": true, "limit": "none"},
            "found": null, "limit": null, "warnings": ["w"]});
        let metric = json!({"name": "p50", "unit": "ns", "a": 1.0, "b": 2.0, "ratio": 2.0,
            "interval": [1.5, 2.5], "verdict": "differs", "within": null, "more_rounds": null,
            "p": null, "a_interval": null, "b_interval": null, "ratios": [2.0]});
        let mut compare = serde_json::to_value(crate::measured::Comparison::default()).unwrap();
        compare["metrics"] = json!([metric]);
        compare["pairs"] = json!([{"round": 1, "order": ["a", "b"], "a": run, "b": run,
            "control": null}]);
        let mut counts = [0, 0];
        for document in [run, sweep, compare].iter().flat_map(damaged) {
            let text = document.to_string();
            std::fs::write(&path, &text).unwrap();
            match read_page(std::slice::from_ref(&path)) {
                Ok(page) => assert!(page.starts_with("<!DOCTYPE html>")),
                Err(error) => {
                    counts[0] += 1;
                    let error = error.to_string();
                    assert!(!error.contains('\n') && error.contains("damaged.json: "), "{error}");
                }
            }
            // What can be read is merged and compared, or refused.
            let Ok(run) = RunResult::from_json(&text) else { continue };
            counts[1] += 1;
            let named = ("damaged.json".to_owned(), run);
            if let Err(error) = RunResult::merge(vec![named.clone()]) {
                assert!(!error.contains('\n'), "{error}");
            }
            assert!(!named.1.to_string().is_empty());
        }
        assert!(counts[0] > 50 && counts[1] > 20, "{counts:?}");
    }

    #[test]
    fn documents_of_one_command_share_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut run = samples::open_run();
        run.histograms = Histograms::of(&run);
        let before = write("before.json", &run.to_json());
        let after = write("after.json", &run.to_json());
        let page = read_page(&[before.clone(), after]).unwrap();
        assert!(page.contains("before: response time") && page.contains("after: response time"));
        let sweep =
            r#"{"kind": "sweep", "version": 1, "status": "ok", "swept": null, "points": []}"#;
        let sweep = write("sweep.json", sweep);
        let refused = read_page(&[before, sweep]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData);
        assert!(refused.to_string().contains("it is of another command than"), "{refused}");
        assert_eq!(read_page(&[]).unwrap_err().kind(), ErrorKind::InvalidData);
        let missing = read_page(&[folder.path().join("missing.json")]).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}

//! What the tests themselves may do.

use super::{Source, assert_none, sources};

/// A test that imports a bound passes whatever its value is.
#[test]
fn tests_write_the_bounds_of_the_server_as_numbers() {
    let mut found = Vec::new();
    for Source { path, text } in sources() {
        let is_test = |at: usize| {
            let inner = text.find("\nmod tests {").is_some_and(|start| at > start);
            inner || path.contains("/tests/") || path.ends_with("/tests.rs")
        };
        for (at, _) in text.match_indices("bounds::").filter(|(at, _)| is_test(*at)) {
            let number = text[..at].lines().count();
            found.push(format!("{path}:{number}"));
        }
    }
    assert_none("tests that import a bound", &found);
}

/// libtest captures the output of a passing test, so printing the skip alone does not report it.
#[test]
fn tests_record_what_they_skip() {
    let mut found = Vec::new();
    for Source { path, text } in sources().into_iter().filter(|source| !source.is_tidy()) {
        let is_its_own = ["skips.rs", "skipped.rs"].iter().any(|own| path.ends_with(own));
        for (number, line) in text.lines().enumerate() {
            if path.starts_with("tests/") && !is_its_own && line.contains("!(\"skipped") {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("skipped without support::skip", &found);
}

/// The crate `it` starts the program and uses its own clients. Tests that call the library are in
/// `tests/library`.
#[test]
fn the_tests_from_outside_do_not_import_the_library() {
    let mut found = Vec::new();
    let mut files = 0;
    for Source { path, text } in sources().into_iter().filter(|source| !source.is_tidy()) {
        if !path.starts_with("tests/it/") {
            continue;
        }
        files += 1;
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("resound::") || code.contains("use resound") {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(files > 50, "the tests are found");
    assert_none("imports of the library", &found);
}

/// libtest runs no test for a filter that matches none, and a new module would go unnoticed.
#[test]
fn the_script_runs_all_modules_of_property_tests() {
    let script = include_str!("../../../scripts/fuzz.sh");
    let filters = script.split(['\'', '\n']).filter_map(|part| part.strip_suffix("::properties"));
    let mut named: Vec<String> = filters
        .filter_map(|filter| {
            Some(format!("src/{}.rs", filter.split_once(' ')?.1.replace("::", "/")))
        })
        .collect();
    let has_properties = |source: &Source| source.text.contains("\nmod properties");
    let mut files: Vec<String> =
        sources().into_iter().filter(has_properties).map(|source| source.path).collect();
    named.sort_unstable();
    files.sort_unstable();
    assert_eq!(named, files);
}

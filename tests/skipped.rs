//! Not a test. It runs after all tests and prints which of them skipped something, and why.
//!
//! cargo runs test targets in the order of their names. This one does not use libtest, which would
//! capture the output.

// Its purpose is to print.
#![allow(clippy::print_stdout)]

#[path = "it/support/skips.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used)]
mod skips;

use std::collections::{BTreeMap, BTreeSet};

fn main() {
    // A program that lists tests calls this, and there are none here.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let notes = std::fs::read_to_string(skips::notes()).unwrap_or_default();
    let _ = std::fs::remove_file(skips::notes());
    print!("{}", summary(&notes));
}

/// Returns each reason with the number of tests that skipped something for it.
fn summary(notes: &str) -> String {
    let mut tests_by_reason = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (test, reason) in notes.lines().filter_map(|line| line.split_once('\t')) {
        tests_by_reason.entry(reason).or_default().insert(test);
    }
    let tests: BTreeSet<_> = tests_by_reason.values().flatten().collect();
    if tests.is_empty() {
        return "\nno test was skipped\n\n".to_owned();
    }
    let mut text = format!("\n{} skipped, all or in part:\n", counted(tests.len()));
    for (reason, tests) in &tests_by_reason {
        text += &format!("  {}: {reason}\n", counted(tests.len()));
    }
    text + "(.ci/run installs the tools; RESOUND_REQUIRE_TOOLS=1 makes a missing one a failure)\n\n"
}

fn counted(tests: usize) -> String {
    format!("{tests} test{}", if tests == 1 { "" } else { "s" })
}

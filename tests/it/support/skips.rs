//! Tests that cannot run here: noted, so that the end of `cargo test` can sum them up.
//!
//! libtest keeps to itself what a passing test prints. The test target `skipped`, which cargo runs
//! behind the others, prints what was noted under the process id that they all have for a parent:
//! cargo's.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::thread;

/// Where the tests of one `cargo test` note what they skip.
pub fn notes() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("skipped-{}", parent_id()))
}

/// Says that the running test skips something, and why.
///
/// # Panics
///
/// When that cannot be noted: a test that did not run must not pass without a word.
pub fn skip(reason: impl Display) {
    println!("skipped: {reason}");
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("{test}\t{reason}\n").replace('\n', " ").trim_end().to_owned() + "\n";
    // One write for each line, since other tests write to the same file.
    let mut file = OpenOptions::new().create(true).append(true).open(notes()).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

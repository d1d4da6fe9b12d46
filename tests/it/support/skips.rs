//! Records tests that cannot run on this machine, so that the end of `cargo test` can list them.
//!
//! libtest captures the output of a passing test. cargo runs the test target `skipped` after the
//! others. It prints the records of its parent process, cargo, which is the parent of all test
//! processes.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::thread;

/// Returns the file in which the tests of one `cargo test` record what they skip.
pub fn notes() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("skipped-{}", parent_id()))
}

/// Records that the running test skips something, and why.
///
/// # Panics
///
/// Panics if the record cannot be written, because a test that did not run must not pass silently.
pub fn skip(reason: impl Display) {
    println!("skipped: {reason}");
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("{test}\t{reason}\n").replace('\n', " ").trim_end().to_owned() + "\n";
    // Each line is one write, because other tests write to the same file.
    let mut file = OpenOptions::new().create(true).append(true).open(notes()).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

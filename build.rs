//! Tells the program its commit, for `resound --version`.
//!
//! Only in release builds, because each new commit would otherwise compile the crate again.

use std::path::Path;
use std::process::Command;

/// Hexadecimal digits of a commit that `--version` shows.
const DIGITS: usize = 12;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = if is_release { packaged_commit().or_else(checked_out_commit) } else { None };
    let suffix = commit.map(|commit| format!(" ({})", &commit[..DIGITS])).unwrap_or_default();
    println!("cargo:rustc-env=RESOUND_COMMIT_SUFFIX={suffix}");
}

/// Returns the commit that `cargo package` recorded.
fn packaged_commit() -> Option<String> {
    let record = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = record.split_once("\"sha1\"")?;
    rest.split('"').nth(1).map(str::to_owned).filter(|commit| is_commit(commit))
}

/// Returns the commit of this folder if it is the top of a repository, and not a part of another
/// project's.
fn checked_out_commit() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = std::env::current_dir().ok()?.canonicalize().ok()?;
    if Path::new(&top).canonicalize().ok()? != here {
        return None;
    }
    // The files that change when another commit is checked out or made.
    let branch = git(&["symbolic-ref", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "HEAD"]).filter(|commit| is_commit(commit))
}

fn is_commit(text: &str) -> bool {
    text.len() >= DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

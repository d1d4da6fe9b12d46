//! Rules of style and layering that a reader would otherwise have to check by hand.

mod layers;
mod pages;
mod size;
mod test_rules;
mod words;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

struct Source {
    /// Relative to the crate, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Returns true for the files of this module, which contain what they forbid.
    fn is_tidy(&self) -> bool {
        self.path.starts_with("tests/it/tidy")
    }
}

/// Reads the files of the crate's Rust folders.
fn sources() -> Vec<Source> {
    let sources = files_below(&["src", "tests", "benches", "examples"], &["rs"]);
    assert!(sources.len() > 30, "the sources are found");
    sources
}

/// Reads the files in `folders` and below that have one of `extensions`, except build output.
fn files_below(folders: &[&str], extensions: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if extensions.contains(&extension) {
                files.push(read(path.strip_prefix(root).unwrap().to_str().unwrap()));
            }
        }
    }
    files
}

/// Reads one file of the crate.
fn read(path: &str) -> Source {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    Source { path: path.to_owned(), text }
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

//! Reads documents from files.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::measured::{DOCUMENT_BYTES_MAX, RunResult};
use crate::process::standard;

/// Reads the document of a run from a file; `-` is stdin.
///
/// # Errors
///
/// The file cannot be read, or is not the document of a run; see [`RunResult::from_json`]. The
/// error names the file.
pub fn read_run(path: &Path) -> Result<RunResult, Error> {
    let text = read_text(path, DOCUMENT_BYTES_MAX)?;
    RunResult::from_json(&text).map_err(|error| unreadable(path, &error.reason()))
}

/// Reads the documents of several runs. Each has the name of its file.
///
/// # Errors
///
/// As of [`read_run`], for the first file that is not the document of a run.
pub fn read_runs(paths: &[PathBuf]) -> Result<Vec<(String, RunResult)>, Error> {
    paths.iter().map(|path| Ok((path.display().to_string(), read_run(path)?))).collect()
}

/// Returns the files that a pattern names, in the order of their names.
///
/// # Errors
///
/// The pattern is wrong or names no file. The error says what is expected.
pub fn files_of(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let expected = "expected a pattern of files, such as 'old/*.json'";
    let found = glob::glob(pattern).map_err(|error| format!("'{pattern}': {error}; {expected}"))?;
    let files: Vec<PathBuf> = found.filter_map(Result::ok).collect();
    match files.is_empty() {
        true => Err(format!("'{pattern}' names no file: {expected}")),
        false => Ok(files),
    }
}

/// Reads a text of at most `bytes_max` bytes from a file; `-` is stdin.
///
/// # Errors
///
/// The file cannot be read, is longer, or is not UTF-8. The error names the file.
pub fn read_text(path: &Path, bytes_max: usize) -> Result<String, Error> {
    let name = name_of(path);
    let failed = |error: io::Error| Error::new("read", &name, error);
    let source: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(standard::stdin()),
        false => Box::new(File::open(path).map_err(failed)?),
    };
    let mut bytes = Vec::new();
    source.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > bytes_max {
        return Err(unreadable(path, &format!("it is longer than {} MiB", bytes_max >> 20)));
    }
    String::from_utf8(bytes).map_err(|_| unreadable(path, "it is not text (UTF-8)"))
}

/// Returns the error for a file with the wrong content.
fn unreadable(path: &Path, reason: &str) -> Error {
    Error::new("read", name_of(path), io::Error::new(ErrorKind::InvalidData, reason.to_owned()))
}

fn name_of(path: &Path) -> String {
    match path.as_os_str() == "-" {
        true => "stdin".to_owned(),
        false => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::samples;

    #[test]
    fn a_file_is_read_as_a_run_or_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        let refusal = || read_run(&path).unwrap_err().to_string();
        let name = path.display();
        assert_eq!(refusal(), format!("cannot read {name}: no such file or directory"));
        std::fs::write(&path, samples::open_run().to_json()).unwrap();
        assert_eq!(read_run(&path).unwrap().to_json(), samples::open_run().to_json());
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(refusal(), format!("cannot read {name}: it is not text (UTF-8)"));
        std::fs::write(&path, "{}").unwrap();
        assert!(refusal().starts_with(&format!("cannot read {name}: it is not the document of")));
        assert!(read_run(folder.path()).unwrap_err().to_string().ends_with("is a directory"));
        assert!(read_text(&path, 1).unwrap_err().to_string().contains("it is longer than"));
    }
}

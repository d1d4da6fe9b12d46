//! Checks that the files of a command line are different ones.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Output, folder_of, followed};

/// What makes two paths the same file.
#[derive(PartialEq, Eq)]
enum Identity {
    /// A regular file that exists, by its device and inode.
    File(u64, u64),
    /// A file that does not exist yet, by its path.
    New(PathBuf),
    /// Anything else, such as a terminal or a FIFO, which several results may go to.
    Shared(PathBuf),
}

impl Identity {
    fn of(path: &Path) -> Identity {
        let target = followed(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&target) {
            Ok(file) if file.is_file() => Identity::File(file.dev(), file.ino()),
            Ok(_) => Identity::Shared(path.to_owned()),
            Err(_) => {
                let folder = fs::canonicalize(folder_of(&target));
                let name = target.file_name().map(Path::new).unwrap_or(&target);
                Identity::New(folder.map_or_else(|_| target.clone(), |folder| folder.join(name)))
            }
        }
    }
}

/// Checks that all outputs are different files, also from `trace` and from those that are read,
/// however their paths are spelled. Another spelling is a relative path, a symbolic or a hard link.
///
/// # Errors
///
/// Names the file that has two uses.
pub fn check_outputs(
    outputs: &[Output],
    trace: Option<&Path>,
    read: &[PathBuf],
) -> Result<(), String> {
    const EXPECTED: &str = "expected a file for each, such as";
    let written = outputs.iter().map(|output| ("--output", output.path.as_path()));
    let written = written.chain(trace.map(|trace| ("--trace", trace)));
    let written: Vec<_> = written.map(|(flag, path)| (flag, path, Identity::of(path))).collect();
    for (at, (flag, path, identity)) in written.iter().enumerate() {
        let other = written[..at].iter().find(|(_, _, other)| other == identity);
        let Some((first_flag, first, _)) = other else { continue };
        let (path, first_path) = (path.display(), first.display());
        return Err(match flag == first_flag && path.to_string() == first_path.to_string() {
            true => format!(
                "{flag} {path} was given twice: {EXPECTED} --output run.json --output run.csv"
            ),
            false => format!(
                "{first_flag} {first_path} and {flag} {path} are the same file: {EXPECTED} \
                 {first_flag} first.json {flag} second.json"
            ),
        });
    }
    for file in read.iter().filter(|file| file.as_os_str() != "-") {
        let identity = Identity::of(file);
        if let Some((flag, path, _)) = written.iter().find(|(_, _, other)| *other == identity) {
            let (path, file) = (path.display(), file.display());
            return Err(format!(
                "{flag} {path} would replace {file}, which is read: expected another file, such \
                 as {flag} result.json"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_file_has_one_use_however_its_path_is_spelled() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("old.json"), "{}").unwrap();
        fs::hard_link(path("old.json"), path("hard.json")).unwrap();
        symlink(path("old.json"), path("soft.json")).unwrap();
        symlink(path("new.json"), path("ahead.json")).unwrap();
        fs::create_dir(path("sub")).unwrap();
        let output = |name: &str| path(name).to_str().unwrap().parse::<Output>().unwrap();
        let twice = |first: &str, second: &str| {
            let outputs = [output(first), output(second)];
            check_outputs(&outputs, None, &[]).unwrap_err()
        };
        assert!(twice("new.json", "new.json").contains("was given twice: expected"));
        for (first, second) in [
            ("new.json", "sub/../new.json"),
            ("new.json", "./new.json"),
            ("new.json", "ahead.json"),
            ("old.json", "soft.json"),
            ("hard.json", "soft.json"),
        ] {
            assert!(twice(first, second).contains("are the same file: expected"), "{second}");
            let trace = check_outputs(&[output(first)], Some(&path(second)), &[]).unwrap_err();
            assert!(trace.starts_with("--output ") && trace.contains(" and --trace "), "{trace}");
            let read = check_outputs(&[output(first)], None, &[path(second)]).unwrap_err();
            assert!(read.contains("would replace ") && read.contains("such as"), "{read}");
        }
        let outputs = [output("new.json"), output("new.csv"), output("old.json")];
        let trace = path("new.html");
        let read = [path("missing.json"), "-".into()];
        assert_eq!(check_outputs(&outputs, Some(&trace), &read), Ok(()));
    }

    #[test]
    fn what_is_no_file_may_take_several_results() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.json", "b.csv"] {
            symlink("/dev/null", folder.path().join(name)).unwrap();
        }
        let output = |name: &str| {
            let path = folder.path().join(name);
            path.to_str().unwrap().parse::<Output>().unwrap()
        };
        assert_eq!(check_outputs(&[output("a.json"), output("b.csv")], None, &[]), Ok(()));
        assert!(check_outputs(&[output("a.json"), output("a.json")], None, &[]).is_err());
    }
}

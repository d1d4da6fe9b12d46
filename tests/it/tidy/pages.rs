//! The pages of the documentation and the sources that they describe.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Source, assert_none, sources};

/// Returns the names of the constants of a file that are bounds: all of the echo server's file of
/// bounds, and those of the loop and of the daemon whose names say so.
fn bounds_of(source: &Source) -> Vec<&str> {
    let path = source.path.as_str();
    let is_of_echo = path == "src/echo/bounds.rs";
    let is_of_loop_or_daemon = path == "src/socket/pipe.rs"
        || path.starts_with("src/reactor")
        || path.starts_with("src/metrics")
        || path.starts_with("src/daemon");
    if path.contains("/tests") || !(is_of_echo || is_of_loop_or_daemon) {
        return Vec::new();
    }
    // Only lines without indentation: the constants of a function are its own matter.
    let constants = source.text.lines().filter_map(|line| {
        let line = ["pub(super) ", "pub(crate) ", "pub "]
            .iter()
            .find_map(|word| line.strip_prefix(word))
            .unwrap_or(line);
        line.strip_prefix("const ")?.split(':').next()
    });
    let is_bound = |name: &&str| is_of_echo || name.ends_with("_MAX") || name.contains("_PER_");
    constants.filter(is_bound).collect()
}

/// The page of bounds lists each bound of the server, of the loop and of the daemon, and no others.
#[test]
fn every_bound_is_in_the_page_of_bounds() {
    let sources = sources();
    let mut named: Vec<&str> = sources.iter().flat_map(bounds_of).collect();
    let table = include_str!("../../../docs/bounds.md");
    let cells = table.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let mut listed: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').filter(|word| word.len() > 1).filter(is_name))
        .collect();
    assert!(named.len() > 40, "the bounds are found");
    named.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, named);
}

/// The package does not contain the repository, so its pages must link only to packaged files.
#[test]
fn links_of_packaged_pages_lead_to_packaged_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = std::process::Command::new(env!("CARGO"));
    command.args(["package", "--list", "--allow-dirty", "--offline"]).current_dir(root);
    let listed = command.output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<&Path> = listed.lines().map(Path::new).collect();
    let pages = files.iter().filter(|file| file.extension().is_some_and(|kind| kind == "md"));
    let mut found = Vec::new();
    let mut links = 0;
    for page in pages {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if link.is_empty() || link.contains("://") {
                continue;
            }
            links += 1;
            let target = plain(&page.parent().unwrap_or(Path::new("")).join(link));
            // A packaged folder is one with packaged files.
            if !files.iter().any(|file| file.starts_with(&target)) {
                found.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(links > 5, "the links are found");
    assert_none("links that lead out of the package", &found);
}

/// Removes `.` and `..` from a relative path.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(plain.pop()),
            std::path::Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// Returns the numbers of cases that a comment names: `case S16`, `cases X3, X4 and U9`.
fn case_numbers(comment: &str) -> Vec<String> {
    let words = comment.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut numbers = Vec::new();
    let mut is_list = false;
    for word in words {
        let (letter, digits) = word.split_at_checked(1).unwrap_or((word, ""));
        let is_number = letter.bytes().all(|byte| byte.is_ascii_uppercase())
            && !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_list && is_number {
            numbers.push(word.to_owned());
        }
        let begins = ["case", "cases", "Case", "Cases"].contains(&word);
        is_list = begins || (is_list && (is_number || word == "and"));
    }
    numbers
}

/// Returns true if the comment at this line belongs to a function or to the whole file.
fn is_of_a_function(lines: &[&str], at: usize) -> bool {
    let is_between = |line: &&&str| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("#[")
    };
    let after = lines[at..].iter().find(|line| !is_between(line));
    lines[at].trim_start().starts_with("//!") || after.is_some_and(|line| line.contains("fn "))
}

/// Returns the cases in a part of the page, which are list entries that begin with a number in
/// bold.
fn listed_cases(part: &str) -> Vec<&str> {
    let entries = part.lines().filter_map(|line| line.strip_prefix("- **"));
    entries.filter_map(|entry| Some(entry.split_once("**")?.0)).collect()
}

#[test]
fn every_case_is_listed_and_has_a_test_unless_the_list_says_otherwise() {
    let page = include_str!("../../../docs/cases.md");
    let (covered, not_yet) = page.split_once("\n## Not yet covered\n").unwrap();
    let (covered, not_yet) = (listed_cases(covered), listed_cases(not_yet));
    assert!(covered.len() > 70, "the cases are found");
    let mut found = Vec::new();
    let mut tested = Vec::new();
    for Source { path, text } in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some((_, comment)) = line.split_once("//") else { continue };
            for number in case_numbers(comment) {
                if !covered.iter().chain(&not_yet).any(|case| *case == number) {
                    found.push(format!("{path}:{}: docs/cases.md has no {number}", at + 1));
                }
                if is_of_a_function(&lines, at) {
                    tested.push(number);
                }
            }
        }
    }
    let is_tested = |case: &&str| tested.iter().any(|number| number == case);
    let missing = covered.iter().filter(|case| !is_tested(case));
    found.extend(missing.map(|case| format!("no test names {case}")));
    let no_longer = not_yet.iter().filter(|case| is_tested(case));
    found.extend(
        no_longer.map(|case| format!("{case} has a test but is in the list of untested cases")),
    );
    let mut all = [covered, not_yet].concat();
    all.sort_unstable();
    found.extend(all.windows(2).filter(|pair| pair[0] == pair[1]).map(|p| format!("{p:?} twice")));
    assert_none("cases", &found);
}

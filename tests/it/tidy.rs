//! Style and layers, held by a test rather than by memory.

use std::fs;
use std::path::{Path, PathBuf};

const LINE_COLUMNS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 450;
const FUNCTION_LINES_MAX: usize = 70;

/// The modules of the crate from the top, and what each imports of the others. No module imports
/// upwards, and siblings do not import each other.
const LAYERS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "daemon",
            "echo",
            "load",
            "ping",
            "send",
            "report",
            "measured",
            "reactor",
            "socket",
            "process",
            "escape",
            "readiness",
            "endpoint",
            "error",
            "units",
        ],
    ),
    (
        "daemon",
        &["echo", "reactor", "socket", "process", "escape", "readiness", "endpoint", "error"],
    ),
    ("echo", &["reactor", "socket", "readiness", "endpoint", "error"]),
    ("load", &["measured", "reactor", "socket", "readiness", "endpoint", "error", "units"]),
    ("ping", &["client", "measured", "socket", "process", "endpoint", "error", "units"]),
    ("send", &["client", "socket", "process", "endpoint", "error"]),
    ("client", &["socket", "process", "endpoint", "error"]),
    ("report", &["measured", "units"]),
    ("measured", &["units"]),
    ("testing", &["reactor", "socket", "readiness"]),
    ("reactor", &["readiness", "units"]),
    ("process", &["socket", "error"]),
    ("socket", &["endpoint", "error"]),
    ("escape", &[]),
    ("readiness", &[]),
    ("endpoint", &[]),
    ("error", &[]),
    ("units", &[]),
];

/// The one module that may hold `unsafe`, with its tests.
const UNSAFE_MODULE: &str = "src/socket/sys";

struct Source {
    /// Relative to the crate, with `/`.
    path: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> =
        ["src", "tests", "benches", "examples"].map(|folder| root.join(folder)).to_vec();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                sources.push(Source { path: relative, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    assert!(sources.len() > 30, "the sources are found");
    sources
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn lines_and_files_are_short() {
    let mut found = Vec::new();
    for Source { path, text } in sources() {
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_COLUMNS_MAX {
                found.push(format!("{path}:{} is too long a line", number + 1));
            }
        }
        if text.lines().count() > FILE_LINES_MAX {
            found.push(format!("{path} has {} lines", text.lines().count()));
        }
    }
    assert_none("too long", &found);
}

/// rustfmt puts the end of a function at the indentation of its beginning.
#[test]
fn functions_are_short() {
    let mut found = Vec::new();
    for Source { path, text } in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let indentation = line.len() - line.trim_start().len();
            let is_function = line.trim_start().split("fn ").next().is_some_and(|before| {
                before.len() < line.trim_start().len()
                    && before
                        .split_whitespace()
                        .all(|word| word.starts_with("pub") || word == "const" || word == "unsafe")
            });
            let end = format!("{}}}", " ".repeat(indentation));
            let is_end = |line: &&&str| **line == end;
            let is_one_line = line.ends_with(';') || line.ends_with('}');
            if !is_function || is_one_line {
                continue;
            }
            let length = lines[start..].iter().take_while(|line| !is_end(line)).count() + 1;
            if length > FUNCTION_LINES_MAX && length < lines.len() - start {
                found.push(format!("{path}:{} has {length} lines", start + 1));
            }
        }
    }
    assert_none("functions too long", &found);
}

/// An operator finds each bound of the server in its page, and no bound that does not exist.
#[test]
fn every_bound_is_in_the_page_of_bounds() {
    let sources = sources();
    let bounds = sources.iter().find(|source| source.path == "src/echo/bounds.rs").unwrap();
    let constants = bounds.text.lines().filter_map(|line| line.strip_prefix("pub(super) const "));
    let mut named: Vec<&str> = constants.map(|line| line.split(':').next().unwrap()).collect();
    let table = include_str!("../../docs/bounds.md");
    let cells = table.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let mut told: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').filter(|word| word.len() > 1).filter(is_name))
        .collect();
    assert!(named.len() > 20, "the bounds are found");
    named.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, named);
}

/// A test that imports a bound follows it wherever it goes.
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

/// libtest keeps what a passing test prints, so a word of it alone reaches no reader.
#[test]
fn what_a_test_skips_is_summed_up_at_the_end() {
    let mut found = Vec::new();
    for Source { path, text } in sources() {
        let is_its_own =
            ["skips.rs", "skipped.rs", "tidy.rs"].iter().any(|own| path.ends_with(own));
        for (number, line) in text.lines().enumerate() {
            if path.starts_with("tests/") && !is_its_own && line.contains("!(\"skipped") {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("skipped without support::skip", &found);
}

/// A reader of the package, who has no repository, follows the links of its pages.
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
            // A folder is packaged by its files.
            if !files.iter().any(|file| file.starts_with(&target)) {
                found.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(links > 5, "the links are found");
    assert_none("links that lead out of the package", &found);
}

/// A relative path without `.` and `..`.
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

/// The numbers of cases that a comment names: `case S16`, `cases X3, X4 and U9`.
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

/// Whether the comment at this line belongs to a function or to the whole file.
fn is_of_a_function(lines: &[&str], at: usize) -> bool {
    let is_between = |line: &&&str| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("#[")
    };
    let after = lines[at..].iter().find(|line| !is_between(line));
    lines[at].trim_start().starts_with("//!") || after.is_some_and(|line| line.contains("fn "))
}

/// The cases of a part of the page, each a list entry that begins with its number in bold.
fn listed_cases(part: &str) -> Vec<&str> {
    let entries = part.lines().filter_map(|line| line.strip_prefix("- **"));
    entries.filter_map(|entry| Some(entry.split_once("**")?.0)).collect()
}

#[test]
fn every_case_is_listed_and_has_a_test_unless_the_list_says_otherwise() {
    let page = include_str!("../../docs/cases.md");
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
    found.extend(no_longer.map(|case| format!("{case} has a test, and stands in the wrong list")));
    let mut all = [covered, not_yet].concat();
    all.sort_unstable();
    found.extend(all.windows(2).filter(|pair| pair[0] == pair[1]).map(|p| format!("{p:?} twice")));
    assert_none("cases", &found);
}

/// The modules of this crate that a file imports, with the numbers of the lines.
fn imports(path: &str, text: &str) -> Vec<(usize, String)> {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut depth = inside.split('/').count();
    let mut inner_modules = Vec::new();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let (indentation, code) = code.split_at(code.len() - code.trim_start().len());
        if code.ends_with('{') && code.trim_start_matches("pub ").starts_with("mod ") {
            inner_modules.push(indentation.to_owned());
            depth += 1;
        } else if code == "}" && inner_modules.last().is_some_and(|inner| inner == indentation) {
            inner_modules.pop();
            depth -= 1;
        }
        let root = "super::".repeat(depth);
        for prefix in ["crate::", "resound::", root.as_str()] {
            for import in code.split(prefix).skip(1) {
                let name = import.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                let module = match name {
                    "Error" | "reason" => "error",
                    "Readiness" => "readiness",
                    other => other,
                };
                found.push((number + 1, module.to_owned()));
            }
        }
    }
    found
}

/// The imports of a file that its layer may not have. Modules in braces behind `crate::` are among
/// them, because nothing here looks into the braces.
fn wrong_imports(path: &str, text: &str) -> Vec<String> {
    let own = path.split(['/', '.']).nth(1).unwrap_or_default();
    let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == own) else {
        return vec![format!("{path} is in no layer")];
    };
    // The compiler holds "testing" to tests.
    let is_wrong = |module: &str| ![own, "testing"].contains(&module) && !allowed.contains(&module);
    let wrong = imports(path, text).into_iter().filter(|(_, module)| is_wrong(module));
    wrong.map(|(number, module)| format!("{path}:{number}: imports {module:?}")).collect()
}

#[test]
fn layers_point_one_way() {
    for (at, (layer, allowed)) in LAYERS.iter().enumerate() {
        let is_below = |name: &&str| LAYERS[at + 1..].iter().any(|(below, _)| below == name);
        assert!(allowed.iter().all(is_below), "{layer} imports only what is below");
    }
    // Its root names every module and imports none.
    let is_code = |source: &Source| source.path.starts_with("src/") && source.path != "src/lib.rs";
    let sources = sources().into_iter().filter(is_code);
    let found: Vec<_> =
        sources.flat_map(|Source { path, text }| wrong_imports(&path, &text)).collect();
    assert_none("imports that point up or aside", &found);
}

/// The crate `it` starts the program and speaks to it by clients of its own. Tests that call the
/// library are in `tests/library`.
#[test]
fn the_tests_from_outside_do_not_import_the_library() {
    let mut found = Vec::new();
    let mut files = 0;
    for Source { path, text } in sources() {
        if !path.starts_with("tests/it/") || path.ends_with("tidy.rs") {
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

#[test]
fn an_import_that_points_up_or_aside_is_found_in_every_spelling() {
    for (path, text) in [
        ("src/echo.rs", "use crate::daemon::Options;"),
        ("src/echo.rs", "use crate::load::Options;"),
        ("src/echo.rs", "use super::load::Options;"),
        ("src/echo.rs", "    let options = crate::load::Options::default();"),
        ("src/echo/stream/tests.rs", "use super::super::super::load::Options;"),
        ("src/echo/stream.rs", "mod tests {\n    use super::super::super::load::Options;\n}"),
        ("src/reactor.rs", "use crate::{endpoint, readiness};"),
        ("src/reactor/turn.rs", "use crate::Error;"),
        ("src/daemon.rs", "use resound::load::Options;"),
        ("src/daemon.rs", "use crate::cli::serve;"),
        ("src/main.rs", "use resound::daemon;"),
        ("src/elsewhere.rs", ""),
    ] {
        assert_eq!(wrong_imports(path, text).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("src/echo.rs", "use crate::reactor::Key;"),
        ("src/echo.rs", "use super::reactor::Key;"),
        ("src/echo/stream.rs", "use super::load::Key; // of echo"),
        ("src/echo/stream.rs", "mod tests {\n    use super::super::load::Key;\n}"),
        ("src/cli/serve.rs", "use resound::Error;\nuse crate::cli::values;"),
        ("src/reactor.rs", "use crate::Readiness; // not crate::endpoint"),
    ] {
        assert_eq!(wrong_imports(path, text), [""; 0], "{text}");
    }
}

#[test]
fn unsafe_lives_in_one_module_and_clap_in_the_command_line() {
    let mut found = Vec::new();
    for Source { path, text } in sources() {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let is_tidy = path.ends_with("tidy.rs");
            let has_unsafe = code.contains("unsafe ") || code.contains("allow(unsafe_code)");
            if has_unsafe && !path.starts_with(UNSAFE_MODULE) && !is_tidy {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
            if code.contains("clap::") && !path.starts_with("src/cli") && !is_tidy {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("out of place", &found);
}

#[test]
fn what_runs_below_the_command_line_neither_prints_nor_exits() {
    let mut found = Vec::new();
    for Source { path, text } in sources() {
        if !path.starts_with("src/") || path.starts_with("src/cli") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if ["print!(", "println!(", "process::exit"].iter().any(|word| code.contains(word)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("prints or exits", &found);
}

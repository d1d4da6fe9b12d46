//! Every command in the user pages runs and prints what the page shows.
//!
//! A page shows commands in blocks of the language `console`: a line `$ COMMAND`, then its output.
//! Each line of a block of the language `sh` is a command, so that the block can be pasted.
//! One block is one session in its own folder. Ports, paths below `/tmp` and abstract names are
//! replaced, so that sessions can run at the same time. Outputs are compared by shape (see
//! `shape.rs`). A comment on the line above a block makes an exception:
//!
//! - `<!-- run by SCRIPT -->`: the script contains each command of the block.
//! - `<!-- not run: REASON -->`: nothing runs it.
//! - `<!-- needs TOOL -->`: skipped where the tool is not installed.

mod page;
mod session;
mod shape;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use self::page::{Block, Marker, Page};
use super::support::{resound, run, tool};

/// A busy machine can delay a session, so that a probe is lost or a line comes late. A wrong page
/// fails in every attempt.
const ATTEMPTS_MAX: usize = 3;

/// The languages of blocks without commands. rustdoc runs the examples in `rust` (see `lib.rs`).
const OTHER_LANGUAGES: &[&str] = &["rust", "text", "json", "toml", "ini", "promql"];

/// The beginning of the first command of each block that nothing runs. A new one fails a test.
const NOT_RUN: &[(&str, &str)] = &[
    ("CONTRIBUTING.md", ".ci/run"),
    ("CONTRIBUTING.md", "cargo test --lib "),
    ("CONTRIBUTING.md", "scripts/count.sh"),
    ("CONTRIBUTING.md", "scripts/soak.sh "),
    ("benches/peers/README.md", "cd benches/peers && cargo build "),
    ("docs/clients.md", "scripts/soak-ping.py "),
    ("docs/hosts.md", "at=$(date "),
    ("docs/hosts.md", "scripts/many-hosts.sh "),
    ("docs/hosts.md", "scripts/kubernetes/run.sh "),
    ("docs/book/README.md", "cargo run --example step5_edges"),
    ("docs/book/01-sockets.md", "awk "),
    ("docs/book/04-edges.md", "(head -c 4096 /dev/zero"),
    ("docs/book/08-fairness.md", "cargo run --example step7_unfair"),
    ("docs/book/09-time.md", "resound serve -q tcp://127.0.0.1:7007 & server=$!"),
    ("docs/book/10-where-the-time-goes.md", "cargo build --release && python3 "),
    ("docs/operate.md", "docker build "),
    ("docs/operate.md", "kubectl apply "),
    ("docs/operate.md", "python3 scripts/deploy/restart.py "),
    ("docs/operate.md", "scripts/check-deb.sh"),
    ("docs/operate.md", "sudo resound serve "),
    ("docs/operate.md", "systemd-socket-activate "),
    ("docs/sweep.md", "resound sweep "),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page_names() -> Vec<String> {
    let mut names = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    for folder in ["docs", "docs/book"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            names.extend(name.ends_with(".md").then(|| format!("{folder}/{name}")));
        }
    }
    assert!(names.len() > 8, "the pages are found");
    // The package has no peers.
    let peers = "benches/peers/README.md";
    names.extend(root().join(peers).exists().then(|| peers.to_owned()));
    names
}

fn read_page(name: &str) -> Page {
    Page::parse(name, &fs::read_to_string(root().join(name)).unwrap())
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// Runs each session of a page.
fn check_sessions(name: &str) {
    let page = read_page(name);
    let mut failures = Vec::new();
    for block in page.blocks.iter().filter(|block| block.is_session()) {
        match &block.marker {
            Some(Marker::NotRun(_) | Marker::RunBy(_)) => continue,
            Some(Marker::Needs(name)) if tool(name).is_none() => continue,
            Some(Marker::Needs(_)) | None => {}
        }
        for attempt in 1.. {
            match session::run(block) {
                Ok(()) => break,
                Err(_) if attempt < ATTEMPTS_MAX => {}
                Err(error) => {
                    failures.push(format!("{name}:{error}"));
                    break;
                }
            }
        }
    }
    assert_none("output differs from the page", &failures);
}

#[test]
fn the_sessions_of_the_readme_run_as_shown() {
    check_sessions("README.md");
}

#[test]
fn the_sessions_of_the_page_on_serve_run_as_shown() {
    check_sessions("docs/serve.md");
}

#[test]
fn the_sessions_of_the_page_on_bench_run_as_shown() {
    check_sessions("docs/bench.md");
}

#[test]
fn the_sessions_of_the_page_on_sweeps_run_as_shown() {
    check_sessions("docs/sweep.md");
}

#[test]
fn the_sessions_of_the_page_on_comparing_run_as_shown() {
    check_sessions("docs/compare.md");
}

#[test]
fn the_sessions_of_the_page_on_traces_run_as_shown() {
    check_sessions("docs/trace.md");
}

#[test]
fn the_sessions_of_the_page_on_clients_run_as_shown() {
    check_sessions("docs/clients.md");
}

#[test]
fn the_sessions_of_the_page_on_operation_run_as_shown() {
    check_sessions("docs/operate.md");
}

#[test]
fn the_sessions_of_the_page_on_reports_run_as_shown() {
    check_sessions("docs/report.md");
}

#[test]
fn the_sessions_of_the_book_run_as_shown() {
    let chapters = chapters();
    assert!(chapters.len() > 5, "the chapters are found");
    chapters.iter().for_each(|name| check_sessions(name));
}

fn chapters() -> Vec<String> {
    page_names().into_iter().filter(|name| name.starts_with("docs/book/")).collect()
}

/// An answer has the form: Answer: `NAME` in `FILE`.
#[test]
fn every_answer_to_an_exercise_of_the_book_is_a_test() {
    let mut found = Vec::new();
    let mut answers = 0;
    for name in chapters() {
        let text = fs::read_to_string(root().join(&name)).unwrap();
        for answer in text.split("Answer: ").skip(1) {
            answers += 1;
            let code: Vec<&str> = answer.split('`').collect();
            let [_, test, " in ", file, ..] = code[..] else {
                found.push(format!("{name}: {answer}"));
                continue;
            };
            let source = fs::read_to_string(root().join(file)).unwrap_or_default();
            if !source.contains(&format!("\nfn {test}() {{")) {
                found.push(format!("{name}: {file} has no {test}"));
            }
        }
    }
    assert!(answers > 10, "the answers are found");
    assert_none("answers that are no test", &found);
}

/// The tests above cover all pages with sessions.
#[test]
fn no_other_page_has_a_session_to_run() {
    let tested = [
        "README.md",
        "docs/serve.md",
        "docs/bench.md",
        "docs/sweep.md",
        "docs/compare.md",
        "docs/trace.md",
        "docs/clients.md",
        "docs/report.md",
        "docs/operate.md",
    ];
    let is_run = |block: &&Block| {
        block.is_session() && !matches!(block.marker, Some(Marker::NotRun(_) | Marker::RunBy(_)))
    };
    let mut found = Vec::new();
    for name in page_names() {
        if !tested.contains(&name.as_str()) && !chapters().contains(&name) {
            let page = read_page(&name);
            let blocks = page.blocks.iter().filter(is_run);
            found.extend(blocks.map(|block| format!("{name}:{}", block.line)));
        }
    }
    assert_none("sessions that no test runs", &found);
}

#[test]
fn every_command_is_in_a_session() {
    let mut found = Vec::new();
    for name in page_names() {
        let page = read_page(&name);
        found.extend(page.stray_commands.iter().map(|line| format!("{name}:{line}")));
        for block in page.blocks {
            let is_known = OTHER_LANGUAGES.contains(&block.language.as_str());
            if block.is_session() == is_known || (block.is_session() && block.commands.is_empty()) {
                found.push(format!("{name}:{}: {:?}", block.line, block.language));
            }
        }
    }
    assert_none("commands outside of sessions, or blocks of no known language", &found);
}

#[test]
fn a_test_or_a_script_runs_every_command_not_in_the_list() {
    let mut found = Vec::new();
    for name in page_names() {
        for block in read_page(&name).blocks {
            if let (Some(Marker::NotRun(_)), Some(first)) = (block.marker, block.commands.first()) {
                found.push((name.clone(), first.text.clone()));
            }
        }
    }
    let blocks = found.len();
    let is_known = |(page, text): &(String, String)| {
        NOT_RUN.iter().any(|(known, start)| page == known && text.starts_with(start))
    };
    found.retain(|block| !is_known(block));
    assert!(found.is_empty(), "nothing runs {found:?}");
    // The package has no peers.
    let known = NOT_RUN.iter().filter(|(page, _)| root().join(page).exists());
    assert_eq!(blocks, known.count(), "the list names a block that does not exist");
}

#[test]
fn every_exception_has_its_reason_or_a_script_that_runs_it() {
    let mut found = Vec::new();
    for name in page_names() {
        for block in read_page(&name).blocks {
            let at = format!("{name}:{}", block.line);
            match &block.marker {
                Some(Marker::NotRun(reason)) if reason.split(' ').count() < 3 => {
                    found.push(format!("{at} is not run, without a reason"));
                }
                Some(Marker::RunBy(script)) => {
                    let text = fs::read_to_string(root().join(script)).unwrap_or_default();
                    let missing =
                        block.commands.iter().filter(|command| !text.contains(&command.text));
                    found.extend(missing.map(|c| format!("{at}: {script} has no {:?}", c.text)));
                }
                _ => {}
            }
        }
    }
    assert_none("exceptions that do not hold", &found);
}

/// Relative links lead to files and headings that exist. A test in `tidy` checks that links of
/// packaged pages lead to packaged files.
#[test]
fn every_link_of_a_page_has_a_target() {
    let mut found = Vec::new();
    for name in page_names() {
        let folder = Path::new(&name).parent().unwrap();
        for link in read_page(&name).links {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => PathBuf::from(&name),
                _ => normal(&folder.join(path)),
            };
            let has_anchor = || read_page(target.to_str().unwrap()).anchors.contains(anchor);
            let is_right = root().join(&target).exists() && (anchor.is_empty() || has_anchor());
            if !is_right {
                found.push(format!("{name}: {link}"));
            }
        }
    }
    assert_none("links without a target", &found);
}

#[test]
fn every_file_that_a_page_names_exists() {
    let folders = ["src/", "tests/", "benches/", "scripts/", "examples/", "docs/", ".ci/"];
    let mut found = Vec::new();
    let mut named = 0;
    for name in page_names() {
        for code in read_page(&name).inline_code {
            let path = code.split(' ').next().unwrap_or_default();
            if folders.iter().any(|folder| path.starts_with(folder)) {
                named += 1;
                if !root().join(path).exists() {
                    found.push(format!("{name}: {path}"));
                }
            }
        }
    }
    assert!(named > 30, "the names are found");
    assert_none("files that do not exist", &found);
}

/// Removes `..` from a path.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => _ = normal.pop(),
            part => normal.push(part),
        }
    }
    normal
}

/// Returns the long flags in a text, such as `--metrics` in `--metrics 127.0.0.1:9100`.
fn flags(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let words = text.split(|c: char| !is_part(c));
    words.filter(|word| word.starts_with("--") && word.len() > 3).map(str::to_owned).collect()
}

fn flags_of_help(command: &str) -> BTreeSet<String> {
    let mut resound = resound();
    resound.args([command, "--help"]);
    let mut flags = flags(&run(resound).stdout_text());
    assert!(flags.remove("--help") && flags.remove("--version"), "{command} has help");
    flags
}

#[test]
fn the_pages_name_every_flag_and_no_other() {
    let pages = [
        ("serve", &["docs/serve.md", "docs/operate.md"][..]),
        ("bench", &["docs/bench.md"]),
        ("compare", &["docs/compare.md", "docs/bench.md"]),
        ("ping", &["docs/clients.md"]),
        ("send", &["docs/clients.md"]),
        ("man", &["docs/operate.md"]),
        ("report", &["docs/report.md"]),
    ];
    let all: BTreeSet<String> = pages.iter().flat_map(|(name, _)| flags_of_help(name)).collect();
    let mut found = Vec::new();
    for (command, pages) in pages {
        let mut named = BTreeSet::new();
        for name in pages {
            let code = read_page(name).inline_code;
            // Flags of other programs.
            let own = code.iter().filter(|code| code.starts_with('-') || code.contains("resound"));
            let of_page: BTreeSet<String> = own.flat_map(|code| flags(code)).collect();
            found.extend(of_page.difference(&all).map(|flag| format!("{name}: no {flag} exists")));
            named.extend(of_page);
        }
        let known = flags_of_help(command);
        found.extend(known.difference(&named).map(|flag| format!("{pages:?}: {flag} is missing")));
    }
    found.dedup();
    assert_none("flags", &found);
}

#[test]
fn the_page_on_bench_names_every_key_of_the_document() {
    let schema = include_str!("../../src/report/schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let keys = schema["$defs"]["bench"]["properties"].as_object().unwrap();
    let keys: Vec<&String> = keys.keys().collect();
    assert!(keys.len() > 20, "the keys are found");
    assert_named("docs/bench.md", keys);
}

#[test]
fn the_page_on_comparing_names_every_key_of_its_document() {
    let schema = include_str!("../../src/report/schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let keys = schema["$defs"]["compare"]["properties"].as_object().unwrap();
    let keys: Vec<&String> = keys.keys().collect();
    assert!(keys.len() > 15, "the keys are found");
    assert_named("docs/compare.md", keys);
}

#[test]
fn the_page_on_serve_names_every_counter() {
    let counters = include_str!("../../src/echo/cause.rs");
    let entries = counters.lines().filter_map(|line| line.trim().strip_prefix("(Cause::"));
    let names: Vec<String> =
        entries.filter_map(|entry| Some(entry.split('"').nth(1)?.to_owned())).collect();
    assert!(names.len() > 30, "the counters are found");
    assert_named("docs/serve.md", &names);
}

fn assert_named<'a>(page: &str, names: impl IntoIterator<Item = &'a String>) {
    let code = read_page(page).inline_code;
    let missing = names.into_iter().filter(|name| !code.contains(name)).cloned();
    assert_none(&format!("missing in {page}"), &missing.collect::<Vec<_>>());
}

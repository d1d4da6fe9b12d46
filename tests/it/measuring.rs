//! The measuring scripts: their results, and the arguments that they refuse.

use std::path::Path;
use std::process::Command;

use super::support::{run, skip};

fn compare(arguments: &[&str]) -> Command {
    let mut command =
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/compare.sh"));
    command.args(arguments);
    command
}

#[test]
fn results_of_fewer_than_six_rounds_are_not_written() {
    let ended = run(compare(&["--write", "--rounds", "5"]));
    assert_eq!(ended.code(), 2);
    assert!(ended.stderr.contains("--write needs at least --rounds 6"), "{}", ended.stderr);
}

#[test]
fn results_of_one_suite_do_not_replace_those_of_all() {
    let ended = run(compare(&["--write", "--suite", "small"]));
    assert_eq!(ended.code(), 2);
    assert!(ended.stderr.contains("benches/RESULTS.md has all suites"), "{}", ended.stderr);
}

/// `scripts/break-it.sh all` takes minutes. This only finds a change whose place in the code has
/// changed.
#[test]
fn each_change_that_breaks_the_loop_still_applies_and_names_a_test_that_exists() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/break-it.sh");
    let mut check = Command::new(&script);
    check.arg("--check");
    let ended = run(check);
    assert_eq!(ended.stdout_text(), "10 changes apply\n", "{}", ended.stderr);
    let mut unknown = Command::new(&script);
    unknown.arg("no-such-change");
    let ended = run(unknown);
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr.contains("see --list"), "{}", ended.stderr);
}

/// The rates of B are those of A times 1.01 to 1.08. C has too few rounds for an interval.
#[test]
fn a_table_has_the_median_and_the_interval_of_the_ratios() {
    // `cargo test` builds it; `cargo test --test it` alone does not.
    let program = Path::new(env!("CARGO_BIN_EXE_resound")).with_file_name("examples");
    let program = program.join("median_interval");
    if !program.is_file() {
        assert!(std::env::var_os("RESOUND_REQUIRE_TOOLS").is_none(), "{program:?} is not built");
        skip(format_args!("{} is not built", program.display()));
        return;
    }
    let script = "import sys, programs, tables\n\
                  programs.MEDIANS = sys.argv[1]\n\
                  table = tables.Table(['rate'])\n\
                  for number in range(1, 9):\n\
                  \x20   table.record(number, 'A', {'rate': 1000 * number})\n\
                  \x20   table.record(number, 'B', {'rate': number * (1000 + 10 * number)})\n\
                  \x20   if number < 6:\n\
                  \x20       table.record(number, 'C', {'rate': 2000 * number})\n\
                  table.print('title')\n";
    let mut python = Command::new("python3");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/measure");
    python.args(["-B", "-c", script]).arg(program).current_dir(folder);
    let ended = run(python);
    let rows: Vec<String> =
        ended.stdout_text().lines().skip(4).map(|line| line.replace("messages/s", "")).collect();
    let expected = [
        "|---|---|",
        "| A | 4.5 k (1.0–8.0) |",
        "| B | 4.7 k (1.0–8.6) ×1.04 [1.01–1.08] |",
        "| C | 6.0 k (2.0–10.0) ×2.00 |",
    ];
    assert_eq!(rows, expected, "{}", ended.stderr);
}

//! The measuring scripts: their results, and the arguments that they refuse.

use std::path::Path;
use std::process::Command;

use super::support::run;

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

/// The interval contains the median in at least 95 of 100 cases, and a narrower one does not. The
/// test counts the probability over all ways in which values can lie below the median or not.
#[test]
fn the_interval_of_a_ratio_is_that_of_the_exact_sign_test() {
    const COUNT_MAX: u32 = 16;
    let script = format!(
        "import intervals\n\
         for count in range(1, {COUNT_MAX} + 1):\n\
         \x20   bounds = intervals.interval(range(1, count + 1))\n\
         \x20   print(*(bounds or (0, 0)))\n"
    );
    let mut python = Command::new("python3");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/measure");
    python.args(["-B", "-c", &script]).current_dir(folder);
    let ended = run(python);
    let text = ended.stdout_text();
    assert_eq!(text.lines().count(), COUNT_MAX as usize, "{}", ended.stderr);
    for (count, line) in (1..=COUNT_MAX).zip(text.lines()) {
        let bounds: Vec<u32> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        // The values are 1 to `count`, so that each value is its rank.
        let encloses = |rank: u32| {
            let is_inside = |below: u32| below >= rank && below <= count - rank;
            let cases = 0..1_u32 << count;
            let hits = cases.filter(|case| is_inside(case.count_ones())).count();
            hits as f64 / f64::from(1_u32 << count) >= 0.95
        };
        let rank = bounds[0];
        if rank > 0 {
            assert_eq!(bounds[1], count + 1 - rank, "{count} values: both ends alike");
            assert!(encloses(rank), "{count} values, rank {rank}");
        }
        let is_narrowest = 2 * (rank + 1) > count + 1 || !encloses(rank + 1);
        assert!(is_narrowest, "{count} values: rank {rank} is too wide");
        assert_eq!(rank > 0, count >= 6, "{count} values");
    }
}

//! The table of verdicts: what kept the generator, or the load, and what the report must say of it,
//! in a closed and in an open loop.
//!
//! | condition | closed loop | open loop |
//! |---|---|---|
//! | idle machine | ok | ok |
//! | slow server | ok | ok |
//! | lossy path | ok | ok |
//! | more load than the generator can make | saturated | behind |
//! | quota of 20 % | starved | behind |
//! | stopped for a second | starved | behind |
//! | shares its CPU with a busy loop | starved | starved or behind |
//!
//! The other tests of this run may starve a generator as well. So the first three rows assert `ok`
//! of a run whose own figures say that it could always run, and try again for one. The generator of
//! the other rows has a lower priority than the server, so that the server is never the limit; with
//! the lowest, it would not end in time on a busy machine.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::starved::halted;
use crate::bench::{Judge, bench, count, document};
use crate::support::{Daemon, Guarded, run, skip};

/// Runs of a row, of which one should find the machine idle.
const TRIES: usize = 5;

/// Returns a figure of the generator; 0 if the system does not give it.
fn share(document: &Value, name: &str) -> f64 {
    document["generator"][name].as_f64().unwrap_or(0.0)
}

/// Returns true if the figures show a generator that waited for a CPU, was stopped or throttled.
/// The bounds are below those of the verdict.
fn was_kept(document: &Value) -> bool {
    let kept_ns = |name: &str| document["hiccups"][name].as_u64().unwrap_or(0);
    share(document, "wait_share") >= 0.03
        || kept_ns("total_ns").max(kept_ns("throttled_ns")) * 200 >= count(document, "/elapsed_ns")
}

/// Returns true if the figures show a generator that could run whenever it had to.
fn had_time(document: &Value) -> bool {
    let lag_ns = &document["generator"]["schedule_lag_ns"]["max"];
    share(document, "cpu_share") < 0.8
        && !was_kept(document)
        && lag_ns.as_u64().unwrap_or(0) < 1_000_000
}

/// Runs the load until it had time, and asserts that the generator is then not blamed. Asserts of
/// every run that it is not called saturated with CPU time left.
#[track_caller]
fn assert_not_blamed(load: &[&str]) {
    for _ in 0..TRIES {
        let document = document(&run(bench(&[&["-J", "--warmup=0"], load].concat())));
        let verdict = &document["generator"]["verdict"];
        let had_none_left = share(&document, "cpu_share") + share(&document, "wait_share") >= 0.95;
        assert!(verdict != "saturated" || had_none_left, "{document:#}");
        if had_time(&document) {
            assert_eq!(verdict, "ok", "{document:#}");
            assert_eq!(count(&document, "/hiccups/lost"), 0, "{document:#}");
            return;
        }
    }
    println!("not asserted: the machine was busy in {TRIES} runs of {load:?}");
}

#[test]
fn on_an_idle_machine_the_generator_is_ok() {
    for load in [&["-c1", "-n2k"][..], &["-c2", "-r500", "-t1s"]] {
        assert_not_blamed(load);
    }
}

/// case B14: a server that answers late is not a limit of the generator.
#[test]
fn beside_a_slow_server_the_generator_is_ok() {
    let judge = Judge::start("tcp://127.0.0.1:0", &["slow:1:0:0.02"]);
    for load in [&["-c2", "-n50"][..], &["-c4", "-r50", "-t1s"]] {
        assert_not_blamed(&[load, &["--timeout=50s", &judge.endpoint]].concat());
    }
}

/// case B14: a path that loses messages is not a limit of the generator.
#[test]
fn on_a_lossy_path_the_generator_is_ok() {
    let judge = Judge::start("udp://127.0.0.1:0", &["drop:10:5"]);
    for load in [&["-c4", "-n200"][..], &["-c4", "-r200", "-t1s"]] {
        assert_not_blamed(&[load, &["--timeout=100ms", &judge.endpoint]].concat());
    }
}

/// A load of datagrams that the generator can never make: without trains, a message costs it more
/// than the server.
const CLOSED: [&str; 4] = ["-c64", "-d8", "-t1s", "--no-offload"];
const OPEN: [&str; 4] = ["-c64", "-r1m", "-t1s", "--no-offload"];

/// Runs such a load with a low priority. `prefix` is a command that runs another one.
#[track_caller]
fn limited(prefix: &[&str], load: &[&str]) -> Value {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"]);
    let bench = bench(&[&["-J", "--warmup=0"], load, &[&daemon.endpoints[0]]].concat());
    let mut command = Command::new("nice");
    command.args(["-n", "5"]).args(prefix).arg(bench.get_program()).args(bench.get_args());
    document(&run(command))
}

#[track_caller]
fn assert_verdict(document: &Value, expected: &[&str]) {
    let verdict = document["generator"]["verdict"].as_str().unwrap();
    assert!(expected.contains(&verdict), "{verdict}, not {expected:?}: {document:#}");
}

/// case B2
#[test]
fn a_generator_without_cpu_time_left_is_saturated_and_behind_the_schedule_of_an_open_loop() {
    let closed = limited(&[], &CLOSED);
    // Neighbours starve a generator that could use a whole CPU.
    assert_verdict(
        &closed,
        if was_kept(&closed) { &["saturated", "starved"] } else { &["saturated"] },
    );
    assert_verdict(&limited(&[], &OPEN), &["behind"]);
}

/// A cgroup, version 1 or 2, with a CPU quota. Dropping it removes the cgroup.
struct Quota {
    folder: PathBuf,
    tasks: PathBuf,
}

impl Quota {
    /// Makes a cgroup with a quota of one fifth of a CPU. Returns `None` if this process may not.
    fn new() -> Option<Quota> {
        let name = format!("resound-test-{}", std::process::id());
        let v1 = PathBuf::from("/sys/fs/cgroup/cpu");
        let is_v1 = v1.join("cpu.cfs_quota_us").exists();
        let folder = if is_v1 { v1 } else { "/sys/fs/cgroup".into() }.join(name);
        fs::create_dir(&folder).ok()?;
        let quota = match is_v1 {
            true => Quota { tasks: folder.join("tasks"), folder },
            false => Quota { tasks: folder.join("cgroup.procs"), folder },
        };
        let set = |file: &str, text: &str| fs::write(quota.folder.join(file), text).ok();
        match is_v1 {
            true => set("cpu.cfs_period_us", "100000").and(set("cpu.cfs_quota_us", "20000"))?,
            false => set("cpu.max", "20000 100000")?,
        }
        Some(quota)
    }

    /// Returns the throttled time that the kernel has counted since the cgroup was made.
    fn throttled_ns(&self) -> u64 {
        let stat = fs::read_to_string(self.folder.join("cpu.stat")).unwrap();
        let of = |name: &str, unit_ns: u64| {
            let line = stat.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().parse::<u64>().unwrap() * unit_ns)
        };
        of("throttled_time", 1).or_else(|| of("throttled_usec", 1_000)).unwrap()
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

/// case B14
#[test]
fn a_generator_with_a_cpu_quota_is_starved_and_behind_the_schedule_of_an_open_loop() {
    let Some(quota) = Quota::new() else {
        skip("no cgroup with a CPU quota can be made here");
        return;
    };
    let tasks = quota.tasks.to_str().unwrap();
    // Everything that is due is sent, so a load far beyond the quota would take long.
    let open = ["-c64", "-r200k", "-t1s", "--no-offload"];
    for (load, verdict) in [(CLOSED, "starved"), (open, "behind")] {
        let before_ns = quota.throttled_ns();
        let document = limited(&["sh", "-c", r#"echo $$ > "$0"; exec "$@""#, tasks], &load);
        assert_verdict(&document, &[verdict]);
        let throttled_ns = count(&document, "/hiccups/throttled_ns");
        // The start of the process and the wait for the last echoes are not measured. On a busy
        // machine the generator hardly ever uses up the quota, and these two can be the larger part
        // of a short throttled time.
        let by_kernel_ns = quota.throttled_ns() - before_ns;
        let least_ns = if by_kernel_ns >= 600_000_000 { by_kernel_ns / 2 } else { 0 };
        assert!(
            (least_ns..=by_kernel_ns).contains(&throttled_ns),
            "the kernel counted {by_kernel_ns} ns: {document:#}"
        );
    }
}

/// case B15
#[test]
fn a_generator_that_was_stopped_is_starved_and_behind_the_schedule_of_an_open_loop() {
    const HALT: Duration = Duration::from_secs(1);
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    for (load, verdict) in [(&["-J", "-c4"][..], "starved"), (&["-J", "-c4", "-r200"], "behind")] {
        let document = document(&halted(&daemon, "tcp", HALT, load).0);
        assert_verdict(&document, &[verdict]);
        assert!(count(&document, "/hiccups/longest_ns") > 500_000_000, "{document:#}");
    }
}

/// case B14
#[test]
fn a_generator_that_shares_its_cpu_with_a_busy_loop_is_starved() {
    let busy = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass";
    let cpus = rustix::thread::sched_getaffinity(None).unwrap();
    let cpu = (0..1024).find(|cpu| cpus.is_set(*cpu)).unwrap().to_string();
    let mut command = Command::new("python3");
    command.args(["-c", busy, &cpu]);
    let _busy = Guarded::spawn(command);
    let rows =
        [(&CLOSED[..], &["starved"][..]), (&["-c4", "-r1k", "-t2s"], &["starved", "behind"])];
    for (load, expected) in rows {
        assert_verdict(&limited(&[], &[load, &["-A", &cpu]].concat()), expected);
    }
}

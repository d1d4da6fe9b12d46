//! A generator that could not run reports this, and does not blame the server.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid};
use serde_json::Value;

use crate::bench::{at_once, bench, count, document, every_endpoint, good_json};
use crate::support::{Daemon, Ended, Guarded, Process, resound, run, tool, wait_until};

/// Longer than the timeout, so that a message would be lost if its timeout ran during the halt.
const HALT: Duration = Duration::from_millis(2_500);
const HALTED_RUN: [&str; 4] = ["-t4s", "--warmup=0", "--timeout=2s", "-d16"];

/// Halts the run, as a paused machine does, after the first messages.
fn halted(daemon: &Daemon, transport: &str, arguments: &[&str]) -> (Ended, Duration) {
    let received = || daemon.counters().get(&format!("{transport}_bytes_in"));
    let before = received();
    let run = Process::start(bench(&[arguments, &HALTED_RUN, &[&daemon.endpoints[0]]].concat()));
    wait_until("messages", || received() > before + 64 * 20);
    let began = Instant::now();
    run.signal(Signal::STOP);
    thread::sleep(HALT);
    run.signal(Signal::CONT);
    (run.wait(), began.elapsed())
}

/// case B15
#[test]
fn after_a_halt_all_echoes_are_read_before_a_message_is_lost_and_the_halt_is_reported() {
    at_once(&every_endpoint("halt"), |endpoint| {
        let daemon = Daemon::start(&[endpoint]);
        let transport = endpoint.split(':').next().unwrap();
        for load in [&["-c4"][..], &["-c4", "-r200"]] {
            let (ended, longest) = halted(&daemon, transport, &[&["-J"], load].concat());
            let document = document(&ended);
            assert_eq!(ended.code(), 0, "{document:#}");
            for name in ["lost", "late"] {
                assert_eq!(count(&document, &format!("/messages/{name}")), 0, "{document:#}");
            }
            assert_ne!(document["generator"]["verdict"], "ok", "{document:#}");
            // A busy machine may stop the process late.
            let reported = Duration::from_nanos(count(&document, "/hiccups/longest_ns"));
            assert!(reported > HALT / 2 && reported <= longest, "{reported:?} of {longest:?}");
            assert!(count(&document, "/hiccups/count") >= 1);
        }
    });
}

/// case B15
#[test]
fn the_text_names_a_halt_with_its_length() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let text = halted(&daemon, "tcp", &["-c4"]).0.stdout_text();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("HEALTH the generator, not the server, was the limit: "), "{text}");
    assert!(words.contains("it stood still for 2.") && words.contains(" s at a stretch"), "{text}");
    assert!(words.contains("the generator could not run for 2."), "{text}");
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
fn a_generator_with_a_cpu_quota_is_starved_in_a_closed_and_in_an_open_loop() {
    let Some(quota) = Quota::new() else {
        crate::support::skip("no cgroup with a CPU quota can be made here");
        return;
    };
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    for load in [&["-c50"][..], &["-c50", "-r100k"]] {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ > "$0"; exec "$@""#]).arg(&quota.tasks);
        command.arg(resound().get_program()).args(["bench", "-J", "-t2s", "--warmup=100ms"]);
        command.args(load).arg(&daemon.endpoints[0]);
        let document = document(&run(command));
        assert_ne!(document["generator"]["verdict"], "ok", "{document:#}");
        // On a busy machine the generator hardly ever uses up the quota.
        let throttled_ns = count(&document, "/hiccups/throttled_ns");
        assert!(throttled_ns <= quota.throttled_ns(), "{document:#}");
    }
}

/// case B14
#[test]
fn a_generator_that_shares_its_cpu_with_a_busy_loop_is_not_ok() {
    let busy = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass";
    let cpus = rustix::thread::sched_getaffinity(None).unwrap();
    let cpu = (0..1024).find(|cpu| cpus.is_set(*cpu)).unwrap().to_string();
    let mut command = Command::new("python3");
    command.args(["-c", busy, &cpu]);
    let _busy = Guarded::spawn(command);
    for load in [&["-c4"][..], &["-c4", "-r1k"]] {
        let arguments = [&["-t2s", "--warmup=100ms", "-A", &cpu], load].concat();
        let document = good_json(&arguments);
        assert_ne!(document["generator"]["verdict"], "ok", "{document:#}");
    }
}

/// case B14: a value that cannot be read is unknown; 0 would be wrong.
#[test]
fn without_proc_its_values_are_null_and_the_text_reports_that() {
    let (Some(unshare), Some(_)) = (tool("unshare"), tool("umount")) else { return };
    if !geteuid().is_root() {
        crate::support::skip("only root may make mount namespaces");
        return;
    }
    let without_proc = |arguments: &[&str]| {
        let mut command = Command::new(&unshare);
        command.args(["-m", "sh", "-c", r#"umount -l /proc && exec "$0" "$@""#]);
        command.arg(resound().get_program()).args(["bench", "-n1k", "--warmup=0"]).args(arguments);
        run(command)
    };
    let document = document(&without_proc(&["-J"]));
    for path in ["/generator/wait_share", "/generator/wait_ns_mean", "/hiccups/throttled_ns"] {
        assert_eq!(document.pointer(path), Some(&Value::Null), "{path}");
    }
    let text = without_proc(&[]).stdout_text();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("how long it waited for a CPU is unknown"), "{text}");
}

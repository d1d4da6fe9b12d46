//! The CPUs on which loops run, and whether the loops sleep.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::{connect, echo, start, task_names};
use crate::support::{Daemon, Process, resound, run, tool, wait_until};

fn cpus_allowed() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap();
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

#[test]
fn only_the_threads_of_loops_are_pinned() {
    let cpus = cpus_allowed();
    let all = {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        list.unwrap().trim().to_owned()
    };
    let (first, last) = (cpus[0].to_string(), cpus[cpus.len() - 1].to_string());
    let both = format!("{last},{first}");
    let daemon = start(&["tcp://127.0.0.1:0", "--affinity", &both]);
    wait_until("the pinning", || {
        let names = task_names(&daemon);
        names.get("resound") == Some(&last) && names.get("loop-1") == Some(&first)
    });
    // The log's thread ends when there is nothing to log.
    assert!(task_names(&daemon).get("outlet").is_none_or(|cpus| *cpus == all));
    assert!(!daemon.process.stderr_text().contains("--affinity"));

    let daemon = start(&["tcp://127.0.0.1:0", "--affinity", &first]);
    wait_until("the pinning", || task_names(&daemon).get("resound") == Some(&first));
    let names = task_names(&daemon);
    assert_eq!(names["loop-1"], all, "not inherited");
    assert!(names.get("outlet").is_none_or(|cpus| *cpus == all), "not inherited");
    let warning = "--affinity has 1 of 2 loops pinned: the others are not";
    wait_until(warning, || daemon.process.stderr_text().contains(warning));

    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--affinity", &both]);
    wait_until("the pinning", || task_names(&daemon).get("resound") == Some(&last));
    let warning = "--affinity names 2 CPUs";
    wait_until(warning, || daemon.process.stderr_text().contains(warning));
}

#[test]
fn a_cpu_that_does_not_exist_is_a_clear_error() {
    let mut command = resound();
    command.args(["serve", "tcp://127.0.0.1:0", "--affinity", "1023"]);
    let ended = run(command);
    assert_eq!((ended.code(), ended.stdout.len()), (1, 0), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.starts_with("resound: cannot run on CPU 1023: "), "{last}");
}

/// `resound serve` under strace, which records the polls of every thread. Dropping it ends both,
/// because without strace the server would continue to spin.
struct Traced(Process);

impl Traced {
    fn start(path: &Path, arguments: &[&str]) -> Option<Traced> {
        let mut command = Command::new(tool("strace")?);
        command.args(["-f", "-e", "trace=epoll_wait,epoll_pwait", "-o"]).arg(path);
        command.arg(resound().get_program()).args(["serve", "-q"]).args(arguments);
        Some(Traced(Process::start(command)))
    }

    fn servers(&self) -> Vec<Pid> {
        let tracer = self.0.pid().as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        for server in self.servers() {
            // The process may have ended already.
            let _ = kill_process(server, Signal::KILL);
        }
    }
}

/// Counts the returned polls of each thread: those that could not sleep, and the others.
fn polls(path: &Path) -> BTreeMap<String, (usize, usize)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut polls = BTreeMap::new();
    for line in text.lines() {
        // A line is "1234  epoll_wait(3, [], 1024, 0) = 0", or the end of a call that another
        // thread interrupted.
        let Some((before, timeout)) = line.split_once(", 1024, ") else { continue };
        let thread = before.split(' ').next().unwrap().to_owned();
        let (zero, others) = polls.entry(thread).or_insert((0, 0));
        *if timeout.starts_with('0') { zero } else { others } += 1;
    }
    polls
}

#[test]
fn with_spin_always_every_loop_polls_without_sleep() {
    const MANY: usize = 1000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("polls");
    let arguments = ["tcp://127.0.0.1:0", "--threads", "2", "--spin", "always"];
    let Some(mut traced) = Traced::start(&path, &arguments) else { return };
    traced.0.wait_for_line("listening tcp://");
    let spin = |(zero, others): &(usize, usize)| *zero >= MANY && *others == 0;
    wait_until("many polls of two threads", || {
        polls(&path).values().filter(|p| spin(p)).count() == 2
    });
}

#[test]
fn spinning_for_a_time_comes_before_each_sleep_and_without_it_there_is_none() {
    const SLEEPS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    for spin in ["1ms", "0"] {
        let path = folder.path().join(spin);
        let arguments = ["tcp://127.0.0.1:0", "--spin", spin];
        let Some(mut traced) = Traced::start(&path, &arguments) else { return };
        let addr = traced.0.wait_for_line("listening tcp://").parse().unwrap();
        let mut client = connect(addr);
        let mut counted = (0, 0);
        // wait_until pauses between two checks, and the loop falls asleep in that pause.
        wait_until("some sleeps", || {
            echo(&mut client);
            counted = polls(&path).values().copied().next().unwrap_or_default();
            counted.1 >= SLEEPS
        });
        let (zero, sleeps) = counted;
        // Without the flag, only the first turn polls without sleep, and strace may lag behind.
        assert!(
            if spin == "0" { zero < SLEEPS / 2 } else { zero >= sleeps },
            "{spin}: {counted:?}"
        );
    }
}

//! A generator that could not run reports this, and does not blame the server.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid};
use serde_json::Value;

use crate::bench::{at_once, bench, count, document, every_endpoint};
use crate::support::{Daemon, Ended, Process, resound, run, tool, wait_until};

/// Longer than the timeout, so that a message would be lost if its timeout ran during the halt.
const HALT: Duration = Duration::from_millis(2_500);
/// So long that a test on a busy machine halts the run before its end.
const HALTED_RUN: [&str; 4] = ["-t8s", "--warmup=0", "--timeout=2s", "-d16"];

/// Halts a run, as a paused machine does, after the first messages. Returns how the run ended, and
/// a time that the halt did not exceed.
pub(super) fn halted(
    daemon: &Daemon,
    transport: &str,
    halt: Duration,
    arguments: &[&str],
) -> (Ended, Duration) {
    let received = || daemon.counters().get(&format!("{transport}_bytes_in"));
    let before = received();
    let run = Process::start(bench(&[arguments, &HALTED_RUN, &[&daemon.endpoints[0]]].concat()));
    wait_until("messages", || received() > before + 64 * 20);
    let began = Instant::now();
    run.signal(Signal::STOP);
    thread::sleep(halt);
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
            let (ended, longest) = halted(&daemon, transport, HALT, &[&["-J"], load].concat());
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
    let (ended, longest) = halted(&daemon, "tcp", HALT, &["-c4"]);
    let text = ended.stdout_text();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("HEALTH the generator, not the server, was the limit: "), "{text}");
    for (before, behind) in
        [("it stood still for ", " s at a stretch"), ("could not run for ", " s")]
    {
        let (_, rest) = words.split_once(before).unwrap_or_else(|| panic!("{text}"));
        let seconds: f64 = rest.split_once(behind).unwrap().0.parse().unwrap();
        // A busy machine may stop the process late. All halts together can exceed the longest.
        assert!(seconds > HALT.as_secs_f64() / 2.0, "{text}");
        assert!(seconds <= longest.as_secs_f64(), "{longest:?} {text}");
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

//! A generator that could not run reports this, and does not blame the server.

use std::fs;
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

/// cases B15 and B16: a halt stops all loops at once, and counts once.
#[test]
fn a_halt_of_several_loops_is_that_of_the_loop_that_it_stopped_most() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let halt = Duration::from_secs(1);
    let document = document(&halted(&daemon, "tcp", halt, &["-J", "-c4", "--threads=2"]).0);
    let loops = document["loops"].as_array().unwrap();
    assert_eq!(loops.len(), 2);
    for figure in ["/hiccups/count", "/hiccups/longest_ns", "/hiccups/total_ns"] {
        let worst = loops.iter().map(|own| count(own, figure)).max();
        assert_eq!(Some(count(&document, figure)), worst, "{figure}: {document:#}");
    }
    let lost: u64 = loops.iter().map(|own| count(own, "/hiccups/lost")).sum();
    assert_eq!(count(&document, "/hiccups/lost"), lost);
    let longest = Duration::from_nanos(count(&document, "/hiccups/longest_ns"));
    assert!(longest > halt / 2, "{document:#}");
    let ran_ns = count(&document, "/elapsed_ns") + count(&document, "/drain_ns");
    assert!(count(&document, "/hiccups/total_ns") <= ran_ns, "{document:#}");
}

/// case B15: a receive buffer this small drops echoes before, during and after the halt. The report
/// counts the messages that were in flight in the halt, because it may be the cause.
#[test]
fn lost_messages_that_were_in_flight_in_a_halt_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.json");
    let daemon = Daemon::start(&["udp://127.0.0.1:0"]);
    let load = ["-c4", "-l1400", "--rcvbuf=2KiB", "--no-offload", "-o", file.to_str().unwrap()];
    let (ended, _) = halted(&daemon, "udp", Duration::from_secs(1), &load);
    let document: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let lost = count(&document, "/hiccups/lost");
    assert!(0 < lost && lost <= count(&document, "/messages/lost"), "{document:#}");
    let text = ended.stdout_text();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (before, _) = words.split_once(" in flight in a hiccup, which may be the cause").unwrap();
    let named = before.rsplit("; ").next().unwrap().replace(',', "");
    let noun = if lost == 1 { "message" } else { "messages" };
    assert_eq!(named, format!("{lost} lost {noun}"), "{text}");
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

//! `--trace`: what the loops did, as a file, by the rules of the programs that read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Daemon, Process, python, resound, run, tool, wait_until};
use crate::syscalls::terminate_traced;

/// Reads a trace, or returns `None` if it is not complete yet.
fn read(path: &Path) -> Option<Vec<Value>> {
    let document: Value = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    document["traceEvents"].as_array().cloned()
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event[key].as_str().unwrap_or_default()
}

/// Returns a time in nanoseconds. The file has microseconds with three decimals.
fn ns(event: &Value, key: &str) -> u64 {
    let micros = format!("{:.3}", event[key].as_f64().unwrap());
    micros.replace('.', "").parse().unwrap()
}

/// Returns the time that a reader finds for this number of nanoseconds.
fn us(ns: u64) -> f64 {
    format!("{}.{:03}", ns / 1_000, ns % 1_000).parse().unwrap()
}

fn of_phase<'a>(events: &'a [Value], phase: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| text(event, "ph") == phase).collect()
}

fn of_category<'a>(events: &'a [Value], category: &str) -> Vec<&'a Value> {
    of_phase(events, "X").into_iter().filter(|event| text(event, "cat") == category).collect()
}

/// Checks the rules of the trace event format that Perfetto and speedscope depend on: every event
/// has its fields, the events of a thread are in the order of time, its spans nest, and each arrow
/// begins and ends once, forwards, inside a span.
fn assert_is_valid(events: &[Value]) {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    let mut open: BTreeMap<u64, Vec<(u64, String)>> = BTreeMap::new();
    let mut arrows: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
    for event in events {
        let thread = event["tid"].as_u64().unwrap();
        assert!(event["pid"].is_u64() && !text(event, "name").is_empty(), "{event}");
        let phase = text(event, "ph");
        if phase == "M" {
            assert!(event["args"].is_object(), "{event}");
            continue;
        }
        let at_ns = ns(event, "ts");
        let before = last.insert(thread, at_ns).unwrap_or(0);
        assert!(before <= at_ns, "time goes back at {event}");
        match phase {
            "X" => assert_nests(event, at_ns, open.entry(thread).or_default()),
            "s" => {
                let earlier = arrows.insert(event["id"].as_u64().unwrap(), (at_ns, false));
                assert_eq!(earlier, None, "{event}");
            }
            "f" => {
                let begun = arrows.get_mut(&event["id"].as_u64().unwrap()).unwrap();
                assert!(begun.0 <= at_ns && !begun.1, "{event}");
                begun.1 = true;
            }
            "i" => assert_eq!(text(event, "s"), "t"),
            "C" => assert!(event["args"].as_object().unwrap().values().all(Value::is_u64)),
            other => panic!("{other:?} in {event}"),
        }
    }
    assert!(arrows.values().all(|(_, has_ended)| *has_ended), "an arrow leads nowhere");
}

/// Checks that a span lies within the span that must contain it. `open` are the spans that contain
/// the latest one, and it: each with its end and its name, or the category of a turn or a slice.
fn assert_nests(event: &Value, at_ns: u64, open: &mut Vec<(u64, String)>) {
    let expected = match text(event, "cat") {
        "turn" => None,
        "phase" => Some("turn"),
        "slice" => Some("run"),
        "mark" if text(event, "name").starts_with("spin") => Some("wait"),
        "mark" => Some("mark"),
        "call" => Some("slice"),
        other => panic!("{other}"),
    };
    // A span that ends where this one begins may contain it only if this one has no length.
    while open.last().is_some_and(|(to_ns, name)| {
        *to_ns < at_ns || *to_ns == at_ns && Some(name.as_str()) != expected
    }) {
        open.pop();
    }
    // Readers add the two as floating-point numbers.
    let to_us = event["ts"].as_f64().unwrap() + event["dur"].as_f64().unwrap();
    let to_ns = at_ns + ns(event, "dur");
    assert!(to_us <= us(to_ns), "{event} ends at {to_us}, which is rounded up");
    let outer = open.last();
    assert_eq!(outer.map(|(_, name)| name.as_str()), expected, "{event}");
    assert!(outer.is_none_or(|(outer_to, _)| to_ns <= *outer_to), "{event} ends after {outer:?}");
    let is_named = matches!(text(event, "cat"), "phase" | "mark");
    let label = if is_named { "name" } else { "cat" };
    open.push((to_ns, text(event, label).to_owned()));
}

fn sum(events: &[&Value], key: &str) -> u64 {
    events.iter().map(|event| event["args"][key].as_u64().unwrap()).sum()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    (folder, path)
}

#[test]
fn a_trace_of_a_benchmark_is_valid_and_holds_every_byte() {
    let (_folder, path) = folder();
    let mut command = resound();
    command.args(["bench", "-c4", "-n500", "--warmup=0", "--timeout=50s"]);
    command.arg("--trace").arg(&path);
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let events = read(&path).unwrap();
    assert_is_valid(&events);
    let slices = of_category(&events, "slice");
    let calls = of_category(&events, "call");
    for slice in &slices {
        let counted = slice["args"]["calls"].as_object().unwrap();
        let (from_ns, to_ns) = (ns(slice, "ts"), ns(slice, "ts") + ns(slice, "dur"));
        let inside = calls.iter().filter(|call| (from_ns..=to_ns).contains(&ns(call, "ts")));
        let counted = counted.values().map(|count| count.as_u64().unwrap()).sum::<u64>();
        assert_eq!(inside.count() as u64, counted, "{slice}");
    }
    let moved = |name: &str| {
        let of_name = calls.iter().filter(|call| text(call, "name") == name);
        of_name.filter_map(|call| call["args"]["result"].as_u64()).sum::<u64>()
    };
    assert_eq!((moved("recvfrom"), moved("sendto")), (500 * 64, 500 * 64));
    assert_eq!(sum(&slices, "bytes_in"), 500 * 64);
    assert_eq!(sum(&slices, "bytes_out"), 500 * 64);
    assert_eq!(sum(&slices, "messages_in"), 500);
    let ends: BTreeSet<_> = slices.iter().map(|slice| text(&slice["args"], "end")).collect();
    assert!(ends.contains("drained"), "{ends:?}");
    assert!(of_category(&events, "turn").len() > 100);
    let opened = of_phase(&events, "i");
    assert_eq!(opened.iter().filter(|event| text(event, "name").starts_with("opened ")).count(), 4);
}

#[test]
fn a_server_writes_its_trace_on_sigusr2_and_goes_on_and_writes_it_again_at_its_end() {
    let (_folder, path) = folder();
    let trace = format!("--trace={}", path.display());
    for sandbox in [None, Some("--sandbox")] {
        let flags = ["tcp://127.0.0.1:0", &trace];
        let flags: Vec<&str> = flags.into_iter().chain(sandbox).collect();
        let daemon = Daemon::start(&flags);
        let echo = |message: &str| {
            let mut command = resound();
            command.args(["send", &daemon.endpoints[0], message]);
            assert_eq!(run(command).stdout_text(), message);
        };
        let bytes = || Some(sum(&of_category(&read(&path)?, "slice"), "bytes_in"));
        echo("hello");
        daemon.process.signal(Signal::USR2);
        wait_until("the trace after the signal", || bytes() == Some(5));
        assert_is_valid(&read(&path).unwrap());
        echo("again");
        daemon.process.signal(Signal::USR2);
        wait_until("the trace after the next signal", || bytes() == Some(10));
        echo("last");
        let ended = daemon.stop();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        assert_eq!(bytes(), Some(14));
        let events = read(&path).unwrap();
        assert_is_valid(&events);
        let names: Vec<_> = of_phase(&events, "i").iter().map(|i| text(i, "name")).collect();
        assert_eq!(names.iter().filter(|name| **name == "signal 12").count(), 2, "{names:?}");
        let has = |start: &str| names.iter().filter(|name| name.starts_with(start)).count();
        assert_eq!((has("opened tcp connection"), has("closed tcp connection")), (3, 3));
    }
}

/// The calls whose names a trace has.
const CALLS: &[&str] = &[
    "accept4", "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg", "splice",
    "shutdown",
];

/// Returns how often strace saw each of the calls. The program writes and reads its pipe of signals
/// with a flag that its streams do not use.
fn seen_by_strace(log: &Path) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        let name = line.split('(').next().unwrap_or_default();
        let is_of_signals = matches!(name, "recvfrom" | "sendto") && line.contains("MSG_DONTWAIT");
        if CALLS.contains(&name) && !is_of_signals {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Returns how often a trace has each call.
fn seen_by_trace(events: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in of_category(events, "call") {
        *counts.entry(text(call, "name").to_owned()).or_default() += 1;
    }
    counts
}

#[test]
fn the_system_calls_of_a_trace_are_those_that_the_kernel_saw() {
    let Some(strace) = tool("strace") else { return };
    for transport in ["tcp", "udp", "unix", "unixgram"] {
        let (folder, path) = folder();
        let socket = folder.path().join("socket");
        let endpoint = match transport {
            "tcp" | "udp" => format!("{transport}://127.0.0.1:0"),
            _ => format!("{transport}:{}", socket.display()),
        };
        let under_strace = |log: &Path, arguments: &[&str], trace: &Path| {
            let mut command = Command::new(&strace);
            command.args(["-o".as_ref(), log.as_os_str(), resound().get_program()]);
            command.args(arguments).arg("--trace").arg(trace);
            command
        };
        let (log, generator_log) = (folder.path().join("log"), folder.path().join("generator"));
        let daemon = Daemon::start_command(under_strace(&log, &["serve", "-q", &endpoint], &path));
        let endpoint = daemon.endpoints[0].as_str();
        let generator_path = folder.path().join("generator.json");
        for length in ["64", "48KiB"] {
            let load = ["bench", endpoint, "-c3", "-d2", "-n300", "--warmup=0", "-l", length];
            let ended = run(under_strace(&generator_log, &load, &generator_path));
            assert_eq!(ended.code(), 0, "{}", ended.stderr);
            let events = read(&generator_path).unwrap();
            assert_is_valid(&events);
            assert_eq!(seen_by_trace(&events), seen_by_strace(&generator_log), "{transport}");
        }
        terminate_traced(&daemon);
        assert_eq!(daemon.process.wait().code(), 0);
        let events = read(&path).unwrap();
        assert_is_valid(&events);
        let calls = seen_by_trace(&events);
        assert_eq!(calls, seen_by_strace(&log), "{transport}");
        assert!(calls.len() >= 2, "{calls:?}");
    }
}

#[test]
fn each_loop_is_a_thread_of_the_trace() {
    let (_folder, path) = folder();
    let trace = format!("--trace={}", path.display());
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--threads=2", &trace]);
    daemon.process.signal(Signal::USR2);
    let threads = |events: &[Value]| {
        let turns = of_category(events, "turn");
        turns.iter().map(|turn| turn["tid"].as_u64().unwrap()).collect::<BTreeSet<_>>()
    };
    wait_until("both loops", || read(&path).is_some_and(|events| threads(&events).len() == 2));
    assert_eq!(daemon.stop().code(), 0);
    assert_is_valid(&read(&path).unwrap());
}

#[test]
fn sigusr2_does_not_end_a_benchmark_and_the_first_sigint_does() {
    let (_folder, path) = folder();
    let mut command = resound();
    command.args(["bench", "-c1", "-t10m", "-r100", "--warmup=0", "-J", "--trace"]).arg(&path);
    let mut process = Process::start(command);
    // The file exists before the signal is watched, and a run sends soon after that.
    wait_until("the run", || {
        let task = fs::read_to_string(format!("/proc/{}/status", process.pid().as_raw_nonzero()));
        let caught = task.unwrap().lines().find_map(|line| {
            let mask = line.strip_prefix("SigCgt:")?;
            u64::from_str_radix(mask.trim(), 16).ok()
        });
        caught.unwrap() & (1 << 11) != 0
    });
    wait_until("echoes in the trace", || {
        process.signal(Signal::USR2);
        read(&path).is_some_and(|events| sum(&of_category(&events, "slice"), "messages_in") > 3)
    });
    assert!(process.is_running());
    process.signal(Signal::INT);
    let ended = process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_is_valid(&read(&path).unwrap());
}

#[test]
fn a_file_of_another_kind_is_refused_and_one_that_cannot_be_written_ends_the_program_at_once() {
    for command in ["serve", "bench"] {
        for file in ["turns.txt", "turns"] {
            let mut refused = resound();
            refused.args([command, "--trace", file]);
            let ended = run(refused);
            assert_eq!(ended.code(), 2, "{}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
            assert!(ended.stderr.contains("such as 'trace.json'"), "{}", ended.stderr);
        }
        let mut failing = resound();
        failing.args([command, "--trace", "/nonexistent/turns.json"]);
        failing.args(if command == "serve" { &["tcp://127.0.0.1:0"][..] } else { &["-n1"] });
        let ended = run(failing);
        assert_eq!(ended.code(), 1, "{}", ended.stderr);
        assert_eq!(ended.stdout_text(), "", "it did not begin");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("cannot write /nonexistent/turns.json"), "{}", ended.stderr);
    }
}

/// Records a benchmark of this many messages as a page, and returns the page.
fn page_of(folder: &tempfile::TempDir, messages: u32) -> (PathBuf, String) {
    let path = folder.path().join("turns.html");
    let mut command = resound();
    command.args(["bench", "-c1", "--warmup=0", "--timeout=50s", "-n", &messages.to_string()]);
    command.arg("--trace").arg(&path);
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let page = fs::read_to_string(&path).unwrap();
    (path, page)
}

#[test]
fn the_page_of_ten_thousand_echoes_is_small_and_loads_nothing() {
    let (folder, _) = folder();
    let (_, page) = page_of(&folder, 10_000);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    assert!(page.contains("default-src 'none'") && !page.contains("unsafe-inline"));
    for loads in ["http://", "https://", " src=", "@import", "url("] {
        assert!(!page.contains(loads), "{loads}");
    }
    let (_, data) = page.split_once("<script id=\"data\" type=\"application/json\">").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let turns = data["loops"][0]["turns"].as_array().unwrap();
    let records = turns.iter().flat_map(|turn| turn[12].as_array().unwrap());
    let received: u64 =
        records.filter(|record| record[0] == 1).map(|slice| slice[5].as_u64().unwrap()).sum();
    assert_eq!(received, 10_000, "the messages that slices received");
    let words = data["words"].as_array().unwrap();
    let sends = words.iter().position(|word| word == "sendto").unwrap();
    let records = turns.iter().flat_map(|turn| turn[12].as_array().unwrap());
    let calls = records
        .filter(|record| record[0] == 1)
        .flat_map(|slice| slice.as_array().unwrap()[8..].chunks_exact(3));
    assert_eq!(calls.filter(|call| call[0] == sends && call[2] == 64).count(), 10_000);
}

#[test]
fn the_page_steps_through_the_turns_and_lights_the_lines_that_ran() {
    let Some(chromium) = tool("chromium") else { return };
    let (folder, _) = folder();
    let (path, _) = page_of(&folder, 50);
    let mut command = python("turns.py");
    command.arg(chromium).arg(&path);
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let found: Value = serde_json::from_str(&ended.stdout_text()).unwrap();
    assert_eq!((&found["requests"], &found["errors"]), (&json!([]), &json!([])));
    let turn = |key: &str| found[key].as_u64().unwrap();
    let next: Vec<u64> =
        found["next"].as_array().unwrap().iter().map(|turn| turn.as_u64().unwrap()).collect();
    assert!(turn("first") < next[0] && next[0] < next[1] && next[1] < next[2], "{next:?}");
    assert_eq!((turn("previous"), turn("home"), turn("clicked")), (next[1], turn("first"), 1));
    assert!(turn("last") > next[2] && turn("beyond") == turn("last"));
    let shown = found["text"].as_str().unwrap();
    for part in ["The poll ", "Marked, in ", "Ready list", "1 slice, in ", "connection 0"] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    for (phase, here, elsewhere) in [
        ("wait", "self.poll.poll(", "handler.ready_traced("),
        ("mark", "slots.mark(key, readiness)", "self.poll.poll("),
        ("run", "handler.ready_traced(", "slots.mark(key, readiness)"),
    ] {
        let lit = found["lit"][phase].to_string();
        assert!(lit.contains(here) && !lit.contains(elsewhere), "{phase}: {lit}");
        assert!(found["lit"]["turn"].to_string().contains(here), "{phase}");
    }
}

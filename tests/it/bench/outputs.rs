//! Where the output goes: interval lines, files, a terminal, and readers that close their end.

use std::fs::File;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::bench::{Judge, bench, bench_json, count, document, good_json, run_bench};
use crate::support::schema::{check_bench_document, check_document};
use crate::support::{Process, python, run, tool, wait_until};

/// Returns what the libraries of other projects read from a result file.
#[track_caller]
fn read_result(path: &Path) -> Value {
    let mut command = python("read_result.py");
    command.arg(path);
    let ended = run(command);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{}", path.display());
    serde_json::from_slice(&ended.stdout).unwrap()
}

/// Runs an open loop that also writes its result to this file. Returns its document.
#[track_caller]
fn run_into(path: &Path) -> Value {
    let output = path.display().to_string();
    let common = ["-c2", "-r1k", "-t300ms", "--warmup=200ms", "--timeout=50s"];
    good_json(&[&common[..], &["--percentiles=50,90", "-o", &output]].concat())
}

#[test]
fn a_json_file_is_the_document() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    let document = run_into(&path);
    let written: Value = serde_json::from_reader(File::open(&path).unwrap()).unwrap();
    assert_eq!(written, document);
    // Without -J, the text goes to stdout and only the file gets the document.
    let ended = run_bench(&["-n100", "--warmup=0", "-o", &path.display().to_string()]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    assert!(ended.stdout_text().contains("round trip"));
    let written: Value = serde_json::from_reader(File::open(&path).unwrap()).unwrap();
    check_bench_document(&written);
    assert_eq!(count(&written, "/messages/received"), 100);
}

#[test]
fn a_csv_file_has_the_same_figures_in_one_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.csv");
    let document = run_into(&path);
    let row = read_result(&path);
    for (column, pointer) in [
        ("messages_sent", "/messages/sent"),
        ("warmup_messages_sent", "/warmup_messages/sent"),
        ("elapsed_ns", "/elapsed_ns"),
        ("latency_ns_count", "/latency_ns/count"),
        ("latency_ns_p90", "/latency_ns/percentiles/90"),
        ("service_time_ns_p50", "/service_time_ns/percentiles/50"),
    ] {
        assert_eq!(row[column], count(&document, pointer).to_string(), "{column}");
    }
    assert_eq!(row["endpoint"], document["endpoint"]);
    let typed: Value = serde_json::from_str(row["options_typed"].as_str().unwrap()).unwrap();
    assert_eq!(typed, document["options"]["typed"]);
}

/// The file uses microseconds.
#[test]
fn an_hgrm_file_has_the_same_distribution() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.hgrm");
    let document = run_into(&path);
    let table = read_result(&path);
    let latency = &document["latency_ns"];
    assert_eq!(table["summary"]["Total count"], count(latency, "/count") as f64);
    assert_eq!(table["summary"]["Unit"], "microseconds");
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.last().unwrap()[2], count(latency, "/count") as f64);
    let max_us = count(latency, "/max") as f64 / 1_000.0;
    assert!((table["summary"]["Max"].as_f64().unwrap() - max_us).abs() <= max_us / 500.0);
    // The first row that at least half of all samples do not exceed.
    let median = rows.iter().find(|row| row[1].as_f64().unwrap() >= 0.5).unwrap();
    let p50_us = count(latency, "/percentiles/50") as f64 / 1_000.0;
    assert!((median[0].as_f64().unwrap() - p50_us).abs() <= p50_us / 500.0, "{median} {p50_us}");
}

/// An independent decoder finds in the histograms what the document says of them.
#[test]
fn the_histograms_of_a_document_give_its_own_figures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    let document = run_into(&path);
    let histograms = read_result(&path);
    for (name, figures) in [
        ("latency", "/latency_ns"),
        ("service_time", "/service_time_ns"),
        ("schedule_lag", "/generator/schedule_lag_ns"),
    ] {
        let (histogram, summary) = (&histograms[name], document.pointer(figures).unwrap());
        assert_eq!(histogram["count"], summary["count"], "{name}");
        for (end, pointer) in [("min", "/min"), ("max", "/max")] {
            let bucket =
                count(histogram, &format!("/{end}/0"))..=count(histogram, &format!("/{end}/1"));
            assert!(bucket.contains(&count(summary, pointer)), "{name} {end}: {bucket:?}");
        }
        let mean = count(summary, "/mean") as f64;
        let difference = (histogram["mean"].as_f64().unwrap() - mean).abs();
        assert!(difference <= 1.0 + mean / 1_000.0, "{name}: {difference} of {mean}");
        for (text, value) in summary["percentiles"].as_object().unwrap() {
            let highest = histogram["percentiles"][text].as_u64().unwrap();
            let expected = highest.min(count(summary, "/max"));
            assert_eq!(value.as_u64(), Some(expected), "{name} p{text}");
        }
    }
    let time = |name: &str| document["run"][name].as_str().unwrap().to_owned();
    // Times of this format sort as text.
    assert!(time("started_at") < time("measured_from"));
    assert!(time("measured_from") < time("measured_to"));
}

#[test]
fn an_hlog_file_has_each_interval_and_their_sum_is_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.hlog");
    let output = path.display().to_string();
    let common = ["-c2", "-r1k", "-t300ms", "--warmup=200ms", "--timeout=50s", "--interval=50ms"];
    let ended = run_bench(&[&common[..], &["-J", "-o", &output]].concat());
    let document = document(&ended);
    let lines = ended.stderr.lines().count();
    let log = read_result(&path);
    let intervals = log["intervals"].as_array().unwrap();
    assert_eq!(intervals.len(), lines);
    let sum = |tag: Option<&str>| -> u64 {
        let of_tag = intervals.iter().filter(|interval| interval["tag"].as_str() == tag);
        of_tag.map(|interval| count(interval, "/count")).sum()
    };
    if count(&document, "/generator/intervals_lost") == 0 {
        assert_eq!(sum(None), count(&document, "/latency_ns/count"));
        // Echoes of the warm-up that come after it are in no interval. There is one per connection,
        // and more if a busy machine delayed the generator.
        let warmup = count(&document, "/warmup_messages/received");
        assert!(sum(Some("warmup")) <= warmup, "{log}");
    }
    let mut end = 0.0;
    for interval in intervals {
        let start = interval["start"].as_f64().unwrap();
        assert!(start >= end - 0.002, "{interval} begins before {end}");
        end = start + interval["length"].as_f64().unwrap();
    }
}

#[test]
fn a_json_stream_is_one_line_per_interval_and_the_document() {
    let judge = Judge::start("udp://127.0.0.1:0", &["drop:7:5", "twice:9:4"]);
    let common = ["-c2", "-r500", "-t400ms", "--warmup=100ms", "--timeout=200ms"];
    let stream = ["--json-stream", "--interval=50ms", &judge.endpoint];
    let ended = run_bench(&[&common[..], &stream].concat());
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let text = ended.stdout_text();
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let document = lines.pop().unwrap();
    check_bench_document(&document);
    assert!(lines.len() >= 2, "{text}");
    for name in ["sent", "received", "lost", "duplicated", "late"] {
        let of_phase = |is_warmup: bool| -> u64 {
            let of_phase = lines.iter().filter(|line| line["interval"]["warmup"] == is_warmup);
            of_phase.map(|line| count(line, &format!("/interval/messages/{name}"))).sum()
        };
        assert_eq!(of_phase(false), count(&document, &format!("/messages/{name}")), "{name}");
    }
    let mut end_ns = 0;
    for line in &lines {
        check_document("interval_line", line);
        assert_eq!(count(line, "/interval/start_ns"), end_ns, "{text}");
        end_ns = count(line, "/interval/end_ns");
    }
    assert_eq!(lines.last().unwrap()["interval"]["drain"], true, "{text}");
}

/// An interval in which messages were sent does not include the drain.
#[test]
fn the_drain_begins_an_interval_of_its_own_and_no_interval_is_empty() {
    for duration in ["-t150ms", "-t70ms"] {
        let arguments = ["-c4", duration, "--warmup=0", "--interval=100ms", "--json-stream"];
        let ended = run_bench(&arguments);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let text = ended.stdout_text();
        for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            let Some(interval) = line.get("interval") else { continue };
            let messages = &interval["messages"];
            if interval["drain"] == true {
                assert_eq!(messages["sent"], 0, "{text}");
            }
            assert!(count(interval, "/end_ns") > count(interval, "/start_ns"), "{text}");
        }
    }
}

/// A halt is not followed by a very short interval, which a plot would show as an outage.
#[test]
fn an_interval_after_a_halt_has_a_length() {
    let arguments = ["-c2", "-r1k", "-t2s", "--warmup=0", "--interval=100ms", "--json-stream"];
    let run = Process::start(bench(&arguments));
    wait_until("some intervals", || run.stdout_text().lines().count() > 2);
    run.signal(Signal::STOP);
    std::thread::sleep(std::time::Duration::from_millis(730));
    run.signal(Signal::CONT);
    let ended = run.wait();
    let text = ended.stdout_text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let intervals: Vec<Value> = lines.filter_map(|line| line.get("interval").cloned()).collect();
    // The last interval ends with the run.
    let (_, others) = intervals.split_last().unwrap();
    for interval in others.iter().filter(|interval| interval["drain"] == false) {
        let length_ns = count(interval, "/end_ns") - count(interval, "/start_ns");
        assert!(length_ns >= 20_000_000, "{length_ns} ns in {text}");
    }
}

/// Interval lines go where the text goes. With -J, stdout is only for the document.
#[test]
fn interval_lines_are_printed_into_a_pipe_only_if_requested() {
    let common = ["-c2", "-t250ms", "--warmup=100ms", "--timeout=50s"];
    let is_line = |line: &&str| line.contains(" msg/s ") && line.contains(" lost ");
    let ended = run_bench(&[&common[..], &["--interval=50ms"]].concat());
    let text = ended.stdout_text();
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    assert!(text.lines().take_while(is_line).count() >= 2, "{text}");
    assert!(text.lines().next().unwrap().contains(" warm-up "), "{text}");
    let ended = run_bench(&common);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    assert_eq!(ended.stdout_text().lines().filter(is_line).count(), 0);
    let (ended, _) = bench_json(&[&common[..], &["--interval=50ms"]].concat());
    assert_eq!(ended.code(), 0);
    assert!(ended.stderr.lines().all(|line| is_line(&line)) && !ended.stderr.is_empty());
}

/// A run without a warm-up prints no line about it.
#[test]
fn a_run_without_a_warm_up_prints_no_line_about_it() {
    let ended = run_bench(&["-c2", "-t100ms", "--warmup=0", "--interval=20ms"]);
    let text = ended.stdout_text();
    assert!(text.contains(" msg/s ") && !text.contains("warm-up  "), "{text}");
    assert!(text.contains("no warm-up"), "{text}");
}

/// A terminal gets a progress line, which is erased at the end.
#[test]
fn a_terminal_gets_a_progress_line_and_a_pipe_none() {
    let Some(script) = tool("script") else { return };
    let command_line = |redirection: &str| {
        let program = bench(&[]).get_program().to_str().unwrap().to_owned();
        format!("'{program}' bench -c2 -t3s --warmup=0 {redirection}")
    };
    let on_terminal = |redirection: &str| {
        let mut command = Command::new(&script);
        command.args(["-qec", &command_line(redirection), "/dev/null"]);
        let ended = run(command);
        assert_eq!(ended.code(), 0, "{}", ended.stdout_text());
        ended.stdout_text()
    };
    // The rest of the run. The report has a histogram of full blocks.
    const BAR: char = '\u{2591}';
    let both = on_terminal("");
    assert!(both.contains(BAR) && both.contains("round trip"), "{both:?}");
    let progress = on_terminal("> /dev/null");
    assert!(progress.contains(BAR) && !progress.contains("round trip"), "{progress:?}");
    let text = on_terminal("2> /dev/null");
    assert!(!text.contains(BAR) && text.contains("round trip"), "{text:?}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

/// case P4: the reader closes, as `| head -1` does; a run whose output has no reader ends.
#[test]
fn a_reader_that_leaves_is_a_quiet_end() {
    for arguments in [
        &["-n100"][..],
        &["-J", "-n100"],
        &["-t10m", "--interval=10ms"],
        &["-t10m", "--interval=10ms", "--json-stream"],
    ] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let command = bench(&[&["-c2", "--warmup=0", "--timeout=50s"], arguments].concat());
        let ended = Process::start_with(command, Stdio::null(), writer.into()).wait();
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{arguments:?}");
    }
}

/// case P4: the file still needs the result.
#[test]
fn a_reader_that_leaves_does_not_end_a_run_into_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let common = ["-c2", "-t200ms", "--warmup=0", "--interval=10ms", "-o"];
    let command = bench(&[&common[..], &[&path.display().to_string()]].concat());
    let ended = Process::start_with(command, Stdio::null(), writer.into()).wait();
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let document: Value = serde_json::from_reader(File::open(&path).unwrap()).unwrap();
    check_bench_document(&document);
    assert_eq!(document["status"], "ok");
    assert!(count(&document, "/elapsed_ns") >= 200_000_000, "{document:#}");
}

#[test]
fn a_full_device_as_stdout_is_an_error_of_one_line() {
    for arguments in [&["-n100"][..], &["-J", "-n100"], &["--json-stream", "-n100"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let command = bench(&[&["-c2", "--warmup=0", "--timeout=50s"], arguments].concat());
        let ended = Process::start_with(command, Stdio::null(), full.into()).wait();
        assert_eq!(ended.code(), 1, "{arguments:?}");
        assert_eq!(ended.stderr, "resound: cannot write to stdout: no space left on device\n");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_reported_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["run.json", "run.csv", "run.hgrm", "run.hlog"] {
        let path = folder.path().join("no such folder").join(name).display().to_string();
        // The run would take longer than the test waits.
        let (ended, document) = bench_json(&["-t10m", "-o", &path]);
        let expected = format!("cannot write {path}: no such file or directory");
        assert_eq!((ended.code(), ended.stderr), (1, format!("resound: {expected}\n")));
        assert_eq!(document["error"].as_str(), Some(expected.as_str()));
        let ended = run_bench(&["-t10m", "-o", &path]);
        assert_eq!((ended.code(), ended.stdout.len()), (1, 0), "{}", ended.stderr);
    }
}

#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["run.json", "run.csv", "run.hgrm", "run.hlog"] {
        let path = folder.path().join(name);
        symlink("/dev/full", &path).unwrap();
        let path = path.display().to_string();
        let ended = run_bench(&["-c2", "-t100ms", "--warmup=0", "-o", &path]);
        let expected = format!("resound: cannot write {path}: no space left on device\n");
        assert_eq!((ended.code(), &ended.stderr), (1, &expected));
        assert!(ended.stdout_text().contains("round trip"), "the text is still printed");
    }
}

/// case B5: an interrupted run also writes its file.
#[test]
fn ctrl_c_leaves_a_complete_file() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["run.json", "run.csv", "run.hgrm", "run.hlog"] {
        let path = folder.path().join(name);
        let common = ["-J", "-c2", "-t10m", "--warmup=0", "--interval=10ms", "-o"];
        let run = Process::start(bench(&[&common[..], &[&path.display().to_string()]].concat()));
        // With -J, interval lines go to stderr.
        wait_until("some intervals", || run.stderr_text().lines().count() > 10);
        run.signal(Signal::INT);
        let ended = run.wait();
        assert_eq!((ended.code(), &document(&ended)["status"]), (0, &"partial".into()));
        if name == "run.json" {
            let written = serde_json::from_reader(File::open(&path).unwrap());
            check_bench_document(&written.unwrap());
        } else {
            read_result(&path);
        }
    }
}

//! `resound sweep`: runs that differ in one flag, and the search for the highest rate that holds.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::schema::{check_bench_document, check_document};
use crate::support::{Daemon, Ended, Process, UnservedPorts, python, resound, run, wait_until};

/// Short runs without a warm-up.
const SHORT: [&str; 4] = ["-t300ms", "--warmup=0", "-c2", "--timeout=2s"];

fn sweep(arguments: &[&str]) -> Command {
    let mut command = resound();
    command.arg("sweep").args(arguments);
    command
}

/// Parses and checks the document on stdout, and the document of each run in it.
#[track_caller]
fn document(ended: &Ended) -> Value {
    let document: Value = serde_json::from_slice(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {:?}", ended.stdout_text()));
    check_document("sweep", &document);
    points(&document).iter().for_each(check_bench_document);
    document
}

#[track_caller]
fn sweep_json(arguments: &[&str]) -> (Ended, Value) {
    let ended = run(sweep(&[&SHORT, arguments, &["-J"]].concat()));
    let document = document(&ended);
    (ended, document)
}

fn points(document: &Value) -> &[Value] {
    document["points"].as_array().expect("a list of runs")
}

/// Returns the value of an option in each run.
fn values(document: &Value, option: &str) -> Vec<u64> {
    let value = |point: &Value| point["options"]["meant"][option].as_u64().expect("a number");
    points(document).iter().map(value).collect()
}

#[test]
fn a_range_of_rates_is_a_run_per_step_with_the_other_flags_the_same() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"]);
    let endpoint = &daemon.endpoints[0];
    let (ended, document) =
        sweep_json(&["--rate", "100..400", "--steps=3", "-l32", "--label=x", endpoint]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{document:#}");
    assert_eq!(values(&document, "rate"), [100, 200, 400]);
    assert_eq!(document["swept"]["values"], serde_json::json!([100, 200, 400]));
    assert_eq!((&document["found"], &document["limit"]), (&Value::Null, &Value::Null));
    for point in points(&document) {
        assert_eq!((&point["length"], &point["label"]), (&32.into(), &"x".into()));
        assert_eq!(point["endpoint"], endpoint.as_str());
        assert_eq!(point["options"]["meant"]["duration_ns"], 300_000_000);
    }
}

#[test]
fn every_flag_that_can_have_many_values_takes_a_list_in_its_order() {
    for (flag, list, option, expected) in [
        ("-c", "3,1", "connections", [3, 1]),
        ("--size", "1k,64", "length", [1_024, 64]),
        ("--depth", "1, 4", "depth", [1, 4]),
        ("-r", "200,100", "rate", [200, 100]),
    ] {
        let loads: Vec<&str> = match flag {
            "-c" => vec!["-t500ms", "--warmup=0", "-J", flag, list],
            _ => vec!["-t500ms", "--warmup=0", "-J", "-c2", flag, list],
        };
        let ended = run(sweep(&loads));
        let document = document(&ended);
        assert_eq!(ended.code(), 0, "{flag}: {document:#}");
        assert_eq!(values(&document, option), expected, "{flag}");
    }
}

#[test]
fn the_text_has_a_line_per_run_and_a_table() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let rates = ["--rate", "400,100", &daemon.endpoints[0]];
    let ended = run(sweep(&[&SHORT[..], &rates].concat()));
    let text = ended.stdout_text();
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{text}");
    let starts = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((starts("  1/2  rate 400 for "), starts("  2/2  rate 100 for ")), (1, 1), "{text}");
    let (_, table) = text.split_once("p50").unwrap().1.split_once("generator\n").unwrap();
    let row = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    assert_eq!(table.lines().take(2).map(row).collect::<Vec<_>>(), ["100", "400"], "{text}");
    assert_eq!(starts("knee "), 1, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
}

#[test]
fn a_sweep_is_refused_in_one_line_unless_one_flag_has_many_values() {
    let find = ["--find", "p99<1ms"];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let soon = (now.as_secs() + 3_600).to_string();
    for (arguments, parts) in [
        (&["-r", "1k"][..], ["no flag has many values", "such as --rate 1k..200k"]),
        (&["-r", "1..2", "-c", "1,2"], ["--rate and --connections", "such as"]),
        (&["-r", "5..1"], ["'5..1'", "such as 1k..200k"]),
        (&["-r", "1.."], ["'1..'", "such as"]),
        (&["-r", "0,1"], ["'--rate <N>'", "such as"]),
        (&["-c", "1,x"], ["'1,x'", "such as"]),
        (&["-d", "1,2,0"], ["'--depth <N>'", "such as"]),
        (&["-c", "1..2", "--steps", "1"], ["'--steps <N>'", "such as 10"]),
        (&["-c", "1..2", find[0], find[1]], ["--find", "--rate 1k..200k"]),
        (&["-r", "1,2", find[0], find[1]], ["--find", "--rate 1k..200k"]),
        (&["-r", "1..2", find[0], "p99<1"], ["'p99<1'", "such as p99<200us"]),
        (&["-r", "1..2", "--precision", "3"], ["--find", "--help"]),
        (&["-r", "1..2", "--precision", "90%", find[0], find[1]], ["'90%'", "such as 5%"]),
        (&["-r", "1..2", "--at-least", "1"], ["--find", "--help"]),
        (&["-r", "1..2", "-o", "x.hgrm"], ["'x.hgrm'", "such as sweep.json"]),
        (&["-r", "1..2", "--trace", "x.json"], ["--trace", "such as 'resound bench"]),
        (&["-r", "2..4", "--part", "1/2", find[0], find[1]], ["--part", "such as --rate"]),
        (&["-c", "1..4", "--part", "1/2"], ["--connections 1", "such as --connections 2"]),
        (&["-r", "1..2", "--start-at", &soon], ["--start-at", "bench --rate 10k --start-at 2030-"]),
        (&["-r", "1..2", "-t", "0"], ["'--duration <T>'", "such as"]),
        (&["-r", "1..2", "--mode", "connect", "udp://127.0.0.1:1"], ["stream", "such as"]),
        (&["-l", "64..64KiB", "--transport", "udp"], ["'65536'", "at most 65507 bytes"]),
        (&["-l", "64,65508", "udp://127.0.0.1:1"], ["'65508'", "such as 1200"]),
        (&["-l", "64,65528", "udp://localhost:1"], ["'65528'", "at most 65527 bytes"]),
        (&["-l", "64..5MiB", "--transport", "unixgram"], ["'5242880'", "Unix datagram"]),
    ] {
        let ended = run(sweep(&[&["-J"], arguments].concat()));
        let error = ended.stderr.strip_prefix("resound: ").unwrap_or_default();
        assert_eq!((ended.code(), error.lines().count()), (2, 1), "{arguments:?}: {ended:?}");
        assert!(parts.iter().all(|part| error.contains(part)), "{arguments:?}: {error}");
        let document = document(&ended);
        assert_eq!(document["error"].as_str(), Some(error.trim_end()), "{arguments:?}");
        assert_eq!((&document["swept"], points(&document).len()), (&Value::Null, 0));
    }
}

#[test]
fn a_stream_has_a_line_per_run_and_the_document_last() {
    let ended = run(sweep(&[&SHORT[..], &["-r100,200", "--json-stream"]].concat()));
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let text = ended.stdout_text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second, document] = &lines[..] else { panic!("{text}") };
    [first, second].iter().for_each(|line| check_document("point_line", line));
    check_document("sweep", document);
    assert_eq!(points(document), [first["point"].clone(), second["point"].clone()]);
}

#[test]
fn a_part_of_a_sweep_makes_its_share_of_every_point() {
    let (ended, document) = sweep_json(&["-r100,200", "--part=2/2"]);
    assert_eq!(ended.code(), 0, "{document:#}");
    for (point, asked) in points(&document).iter().zip([50.0, 100.0]) {
        assert_eq!((&point["rate"]["asked"], &point["connections"]), (&asked.into(), &1.into()));
        assert_eq!(point["run"]["part"], "2/2");
    }
}

#[test]
fn a_server_that_is_not_there_is_named_in_one_line() {
    let ports = UnservedPorts::new();
    for endpoint in [format!("tcp://{}", ports.tcp), format!("udp://{}", ports.udp)] {
        for load in [&["-r", "10..20"][..], &["-r", "10..20", "--find", "p50<1s"], &["-c1,2"]] {
            let arguments = [&["-t200ms", "--warmup=0", "-J"], load, &[&endpoint]].concat();
            let ended = run(sweep(&arguments));
            assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 1), "{ended:?}");
            assert!(ended.stderr.contains(&endpoint), "{ended:?}");
            let document = document(&ended);
            assert_eq!((&document["status"], points(&document).len()), (&"error".into(), 0));
        }
    }
}

#[test]
fn the_highest_rate_that_holds_is_confirmed_at_full_length() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    // On a busy machine a server may answer fewer messages, so a higher rate may hold as well.
    let find = ["--rate", "100..800", "--find", "rate<250", "--precision=10%", "-t1s"];
    let load = ["--warmup=0", "-c2", "-J", &daemon.endpoints[0]];
    let ended = run(sweep(&[&find[..], &load].concat()));
    let document = document(&ended);
    assert_eq!(document["swept"]["find"], serde_json::json!(["rate<250"]));
    let (found, limit) = (&document["found"], &document["limit"]);
    let Some(rate) = found["rate"].as_u64() else {
        assert_eq!((ended.code(), limit), (1, &"generator".into()), "{document:#}");
        return;
    };
    assert_eq!((ended.code(), &found["limit"]), (0, limit), "{document:#}");
    assert_eq!(found["at_least"], limit != "server", "{document:#}");
    assert!(rate >= 220 || limit == "generator", "{document:#}");
    let has_confirmed = |point: &Value| {
        let meant = &point["options"]["meant"];
        let held = &point["asserts"][0]["held"];
        meant["rate"] == rate && meant["duration_ns"] == 1_000_000_000 && held == true
    };
    assert!(points(&document).iter().any(has_confirmed), "{document:#}");
    let is_short = |point: &Value| point["options"]["meant"]["duration_ns"] == 500_000_000;
    assert!(points(&document).iter().any(is_short), "{document:#}");
}

#[test]
fn a_search_exits_with_1_if_nothing_holds_and_with_99_below_the_least_rate() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let endpoint = daemon.endpoints[0].as_str();
    let (ended, document) = sweep_json(&["-r10..20", "--find", "received<1", endpoint]);
    assert_eq!((ended.code(), &document["found"]), (1, &Value::Null), "{document:#}");
    let find = ["-r", "100..800", "--find", "rate<250", "--at-least", "700"];
    let (ended, document) = sweep_json(&[&find[..], &[endpoint]].concat());
    let expected = match document["found"]["rate"].as_u64() {
        None => 1,
        Some(..700) => 99,
        Some(_) => 0,
    };
    assert_eq!(ended.code(), expected, "{document:#}");
}

#[test]
fn a_least_rate_outside_the_range_runs_and_is_reached_only_below_it() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    for (least, reached, warnings) in [("5", 0, 0), ("100k", 99, 1)] {
        let find = ["-r10..20", "--find", "received>0", "--at-least", least];
        let (ended, document) = sweep_json(&[&find[..], &[&daemon.endpoints[0]]].concat());
        let expected = if document["found"].is_null() { 1 } else { reached };
        assert_eq!(ended.code(), expected, "{least}: {document:#}");
        let texts = document["warnings"].as_array().unwrap().iter();
        let is_of_least = |text: &&Value| text.as_str().unwrap().contains("--at-least 100000");
        assert_eq!(texts.filter(is_of_least).count(), warnings, "{document:#}");
    }
}

#[test]
fn a_failed_assert_of_the_answer_is_the_exit_code_of_a_search() {
    let find = ["-r10..20", "--find", "received>0"];
    for (assert, failed) in [("received<1", 99), ("received>0", 0)] {
        let (ended, document) = sweep_json(&[&find[..], &["--assert", assert]].concat());
        // A generator that was kept from running has confirmed no rate.
        let expected = if document["found"].is_null() { 1 } else { failed };
        assert_eq!(ended.code(), expected, "{assert}: {document:#}");
    }
}

#[test]
fn a_wrong_echo_is_the_exit_code_and_no_rate_with_one_is_the_knee() {
    for search in [&["-r100,200"][..], &["-r100..110", "--find", "received>0"]] {
        let mut command = python("judge.py");
        // The first connection of all gets one wrong byte, so the first run has it.
        command.args(["tcp://127.0.0.1:0", "64", "flip:0:3:40"]);
        let mut judge = Process::start(command);
        let wrong = judge.wait_for_line("ready ");
        let (ended, document) = sweep_json(&[search, &[&wrong]].concat());
        assert_eq!((ended.code(), ended.stderr.lines().count()), (3, 1), "{document:#}");
        assert!(ended.stderr.contains("an echo differed from what was sent"), "{ended:?}");
        assert_eq!(points(&document)[0]["messages"]["corrupted"], 1, "{document:#}");
        assert_eq!(document["knee"], Value::Null, "{document:#}");
    }
}

/// Keeps a CPU busy.
const BUSY: &str = "import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
print('ready', flush=True)
while True: pass";

/// Runs a sweep whose generator shares its CPU with a busy process of three times its weight. It
/// has one message in flight, and so waits for that process after every echo.
#[track_caller]
fn sweep_on_a_busy_cpu(arguments: &[&str]) -> Value {
    let cpus = rustix::thread::sched_getaffinity(None).unwrap();
    let cpu = (0..1024).find(|cpu| cpus.is_set(*cpu)).unwrap().to_string();
    let mut busy = Command::new("python3");
    busy.args(["-c", BUSY, &cpu]);
    let mut busy = Process::start(busy);
    busy.wait_for_line("ready");
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let mut command = Command::new("nice");
    command.args(["-n", "5"]).arg(resound().get_program()).args(["sweep", "-J", "-c1", "-d1"]);
    command.args(["-t200ms", "--warmup=0", "--timeout=2s", "-A", &cpu]);
    command.args(arguments).arg(&daemon.endpoints[0]);
    document(&run(command))
}

/// case B19: no generator reaches the last rate with one message in flight.
#[test]
fn a_generator_on_a_busy_cpu_never_shows_a_limit_of_the_server() {
    let document = sweep_on_a_busy_cpu(&["--rate", "1k..200k", "--find", "achieved>=99%"]);
    let has_failed = |point: &Value| point["asserts"][0]["held"] == false;
    assert!(points(&document).iter().any(has_failed), "{document:#}");
    let found = &document["found"];
    assert_eq!(document["limit"], "generator", "{document:#}");
    assert!(found.is_null() || found["at_least"] == true, "{document:#}");
}

/// case B19: even this generator reaches the first rate, and would make it the server's knee.
#[test]
fn a_generator_on_a_busy_cpu_shows_no_knee_of_the_server() {
    let document = sweep_on_a_busy_cpu(&["--rate", "20,20k,200k"]);
    let is_short = |point: &Value| {
        let figure = |name: &str| point["rate"][name].as_f64();
        let [asked, achieved] = ["asked", "over_planned"].map(figure);
        assert!(asked.is_some() && achieved.is_some(), "{point:#}");
        achieved < asked.map(|asked| asked * 0.99)
    };
    assert!(points(&document).iter().any(is_short), "{document:#}");
    let knee = &document["knee"];
    assert!(knee.is_null() || knee["limit"] == "generator", "{document:#}");
}

/// case B5
#[test]
fn an_interrupted_sweep_reports_the_runs_before() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let endpoint = daemon.endpoints[0].as_str();
    // The first run lasts a fifth of a second, the second twenty seconds.
    let load = ["-n20", "-t10m", "--warmup=0", "-c1", "--timeout=2s", "--rate", "100,1"];
    for format in [&[][..], &["-J"]] {
        let accepted = || daemon.counters().get("accepted");
        let before = accepted();
        let mut process = Process::start(sweep(&[&load[..], format, &[endpoint]].concat()));
        wait_until("a second run", || accepted() >= before + 2);
        assert!(process.is_running());
        process.signal(Signal::INT);
        let ended = process.wait();
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, "resound: interrupted\n"));
        if format.is_empty() {
            assert!(ended.stdout_text().contains("PARTIAL "), "{ended:?}");
        } else {
            let document = document(&ended);
            assert_eq!((&document["status"], points(&document).len()), (&"partial".into(), 1));
        }
    }
}

#[test]
fn files_have_the_document_and_a_row_per_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, csv) = (path("sweep.json"), path("sweep.csv"));
    let ended = run(sweep(&[&SHORT[..], &["-r100,200", "-o", &json, "-o", &csv]].concat()));
    assert_eq!(ended.code(), 0, "{ended:?}");
    let document: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    check_document("sweep", &document);
    assert_eq!(points(&document).len(), 2);
    let rows = fs::read_to_string(&csv).unwrap();
    assert_eq!(rows.lines().count(), 3);
    assert!(rows.starts_with("version,program,status,"), "{rows}");
}

#[test]
fn the_environment_gives_the_runs_of_a_sweep_no_flags_of_bench() {
    let trace = tempfile::tempdir().unwrap().path().join("trace.json");
    let mut command = sweep(&["--depth=2,4", "-n8", "--warmup=0", "--timeout=50s", "-J"]);
    command.env("RESOUND_BENCH_PART", "1/2").env("RESOUND_BENCH_TRACE", &trace);
    command.env("RESOUND_BENCH_START_AT", "2020-01-01T00:00:00Z");
    command.env("RESOUND_BENCH_CONNECTIONS", "7").env("RESOUND_BENCH_ASSERT", "received<1");
    command.env("RESOUND_BENCH_LENGTH", "nonsense").env("RESOUND_SWEEP_CONNECTIONS", "3");
    let ended = run(command);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{ended:?}");
    let document = document(&ended);
    assert_eq!(document["options"]["meant"]["connections"], 3, "{document:#}");
    for (point, depth) in points(&document).iter().zip([2, 4]) {
        let meant = &point["options"]["meant"];
        assert_eq!((&point["connections"], &meant["connections"]), (&3.into(), &3.into()));
        assert_eq!((&point["depth"], &point["length"]), (&depth.into(), &64.into()));
        assert_eq!((&point["run"]["part"], &point["asserts"]), (&"1/1".into(), &json!([])));
    }
    assert!(!trace.exists());
}

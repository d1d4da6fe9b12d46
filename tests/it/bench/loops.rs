//! `--threads`: several loops make the load of one.

use rustix::process::Signal;
use serde_json::Value;

use crate::bench::{bench, count, document, every_endpoint, good_json, is_stream, run_bench};
use crate::support::schema::check_bench_document;
use crate::support::{Daemon, Process, wait_until};

const THREE: [&str; 5] =
    ["--threads=3", "-c7", "--warmup=100ms", "--timeout=50s", "--percentiles=50"];

/// Returns the number of messages that all loops sent, with the warm-up, and asserts that each got
/// its echo.
#[track_caller]
fn sent(document: &Value) -> u64 {
    let mut all = 0;
    for part in ["/messages", "/warmup_messages"] {
        let of = |name: &str| count(document, &format!("{part}/{name}"));
        assert_eq!(of("received"), of("sent"), "{document:#}");
        all += of("sent");
    }
    all
}

/// case B16: the server's own counters are the witness.
#[test]
fn the_server_counts_what_several_loops_send_on_every_transport() {
    for endpoint in every_endpoint("loops") {
        let transport = endpoint.split(':').next().unwrap();
        for load in [
            &["-n1000"][..],
            // Long enough that a busy machine lets every loop run in it.
            &["-t1s", "-d4"],
            // Fewer than a receive buffer holds, in case the server does not run in all that time.
            &["-t1s", "-r150"],
            &["-t1s", "-r150", "--arrival=poisson"],
            &["-n100", "-r500"],
        ] {
            let daemon = Daemon::start(&[&endpoint]);
            let all = [&THREE[..], load, &[daemon.endpoints[0].as_str()]].concat();
            let document = good_json(&all);
            let (sent, counters) = (sent(&document), daemon.counters());
            for direction in ["in", "out"] {
                let bytes = counters.get(&format!("{transport}_bytes_{direction}"));
                assert_eq!(bytes, sent * 64, "{endpoint} {load:?}");
            }
            if is_stream(&endpoint) {
                assert_eq!(counters.get("accepted"), 7, "{endpoint} {load:?}");
            }
            match load {
                ["-n1000"] => assert_eq!(count(&document, "/messages/sent"), 1_000),
                ["-n100", _] => assert_eq!(count(&document, "/messages/sent"), 100),
                _ => {}
            }
            check_sums(&document);
        }
    }
}

/// The whole is the sum of its loops.
#[track_caller]
fn check_sums(document: &Value) {
    let loops = document["loops"].as_array().unwrap();
    let sum = |pointer: &str| -> u64 { loops.iter().map(|own| count(own, pointer)).sum() };
    let counts = ["/connections", "/messages/sent", "/messages/received", "/latency_ns/count"];
    for pointer in counts {
        assert_eq!(sum(pointer), count(document, pointer), "{pointer}: {document:#}");
    }
    for (pointer, name) in [("/min", "min"), ("/max", "max")] {
        let of_loops = loops.iter().map(|own| count(&own["latency_ns"], pointer));
        let expected = if name == "min" { of_loops.min() } else { of_loops.max() };
        assert_eq!(document["latency_ns"][name].as_u64(), expected, "{name}");
    }
}

/// case B16: with a fixed rate the number of messages follows from the schedule alone.
#[test]
fn several_loops_send_as_many_messages_as_one() {
    for threads in ["--threads=1", "--threads=2", "--threads=4"] {
        let common = ["-c5", "-r1k", "-t500ms", "--warmup=0", "--timeout=50s"];
        let document = good_json(&[&common[..], &[threads]].concat());
        assert_eq!(count(&document, "/messages/sent"), 500, "{threads}");
        assert_eq!(document["rate"]["asked"], 1_000.0);
        assert_eq!(document["run"]["part"], "1/1");
        let loops = document["loops"].as_array().unwrap();
        assert_eq!(loops.len().to_string(), threads.trim_start_matches("--threads="));
        let asked: f64 = loops.iter().map(|own| own["rate"]["asked"].as_f64().unwrap()).sum();
        assert!((asked - 1_000.0).abs() < 1e-6, "{asked}");
    }
}

/// case B16: loops that poll without a CPU each would keep each other from running.
#[test]
fn more_loops_than_cpus_sleep_until_the_next_message_unless_told_otherwise() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    let (one, crowd) = ("--threads=1".to_owned(), format!("--threads={}", cpus + 1));
    for (threads, spin, rate, pacing) in [
        (&one, None, Some("-r1k"), "hybrid"),
        (&one, Some("--spin=0"), Some("-r1k"), "sleep"),
        (&crowd, None, Some("-r1k"), "sleep"),
        (&crowd, Some("--spin=50us"), Some("-r1k"), "hybrid"),
        (&crowd, None, None, "none"),
    ] {
        let connections = format!("-c{}", cpus + 1);
        let common = ["-n500", &connections, "--warmup=0", "--timeout=50s", threads];
        let flags: Vec<&str> = common.into_iter().chain(spin).chain(rate).collect();
        let document = good_json(&flags);
        assert_eq!(document["generator"]["pacing"], pacing, "{flags:?}");
        assert_eq!(sent(&document), 500, "{flags:?}");
    }
}

#[test]
fn connections_of_several_loops_are_messages_too() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let common = ["--mode=connect", "--threads=2", "-n300", "--warmup=0", "--timeout=50s", "-c4"];
    let document = good_json(&[&common[..], &[&daemon.endpoints[0]]].concat());
    assert_eq!(count(&document, "/flows/opened"), 300);
    wait_until("the last connections to finish", || daemon.counters().get("finished") == 300);
    assert_eq!(daemon.counters().get("accepted"), 300);
}

#[test]
fn a_server_in_the_process_answers_several_loops_on_every_transport() {
    for transport in ["tcp", "udp", "unix", "unixgram"] {
        let common = ["--transport", transport, "-n500", "--warmup=0", "--timeout=50s"];
        let document = good_json(&[&common[..], &["--threads=2", "-c5"]].concat());
        assert_eq!(sent(&document), 500);
        assert_eq!(document["loops"][0]["connections"], 3);
        assert_eq!(document["loops"][1]["connections"], 2);
        let ended = run_bench(&[&common[..], &["--threads=2", "-c5", "--spin=always"]].concat());
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        let text = ended.stdout_text();
        let rows = text.lines().skip_while(|line| !line.starts_with("loops "));
        let rows: Vec<_> = rows.skip(1).take(2).map(|row| &row[..3]).collect();
        assert_eq!(rows, ["  1", "  2"], "{text}");
    }
}

/// case B5, case B16: the signal ends all loops.
#[test]
fn ctrl_c_ends_all_loops_with_one_partial_report() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    for load in [&["-t10m"][..], &["-t10m", "-r2k"]] {
        let before = daemon.counters().get("tcp_bytes_in");
        let common = ["-J", "--threads=3", "-c6", "--warmup=0", "--timeout=50s"];
        let target = daemon.endpoints[0].as_str();
        let run = Process::start(bench(&[&common[..], load, &[target]].concat()));
        wait_until("messages", || daemon.counters().get("tcp_bytes_in") > before + 64 * 300);
        run.signal(Signal::INT);
        let ended = run.wait();
        let document = document(&ended);
        assert_eq!((ended.code(), &document["status"]), (0, &"partial".into()));
        assert_eq!(document["error"], "interrupted");
        assert_eq!(ended.stderr, "resound: interrupted\n");
        assert_eq!(document["loops"].as_array().unwrap().len(), 3);
        check_sums(&document);
    }
}

/// case B16: no loop waits for one that cannot connect.
#[test]
fn loops_without_a_server_end_with_its_error() {
    let ended = run_bench(&["-J", "--threads=3", "-c6", "-t10m", "tcp://127.0.0.1:1"]);
    let document = document(&ended);
    check_bench_document(&document);
    assert_eq!(ended.code(), 1);
    let error = "cannot connect to tcp://127.0.0.1:1: refused (nothing listens there)";
    assert_eq!(document["error"], error);
    assert_eq!(ended.stderr, format!("resound: {error}\n"));
}

#[test]
fn the_intervals_of_several_loops_add_up_to_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("run.hlog").display().to_string();
    let common = ["--threads=3", "-c6", "-r1k", "-t400ms", "--warmup=100ms", "--timeout=50s"];
    let outputs = ["--json-stream", "--interval=50ms", "-o", &log];
    let ended = run_bench(&[&common[..], &outputs].concat());
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let text = ended.stdout_text();
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let document = lines.pop().unwrap();
    check_bench_document(&document);
    if count(&document, "/generator/intervals_lost") > 0 {
        return; // the machine is too busy to take every interval
    }
    let measured = lines.iter().filter(|line| line["interval"]["warmup"] == false);
    let received: u64 = measured.map(|line| count(line, "/interval/messages/received")).sum();
    assert_eq!(received, count(&document, "/messages/received"));
    let edges = lines.iter().map(|line| {
        let edge = |name: &str| count(line, &format!("/interval/{name}"));
        (edge("start_ns"), edge("end_ns"))
    });
    let edges: Vec<(u64, u64)> = edges.collect();
    assert!(edges.windows(2).all(|pair| pair[0].1 == pair[1].0), "{edges:?}");
    let logged = std::fs::read_to_string(&log).unwrap();
    let entries = logged.lines().filter(|line| !line.starts_with(['#', '"'])).count();
    assert_eq!(entries, lines.len(), "{logged}");
}

#[test]
fn each_loop_runs_on_its_cpu_of_the_list() {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let cpus: Vec<usize> =
        (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let (first, last) = (cpus[0], cpus[cpus.len() - 1]);
    let common = ["-J", "--threads=2", "-c4", "-n100", "--warmup=0", "--timeout=50s"];
    let run = |list: &str| document(&run_bench(&[&common[..], &["-A", list]].concat()));
    let pinned = run(&format!("{last},{first}"));
    assert_eq!(pinned["loops"][0]["cpus_allowed"], serde_json::json!([last]));
    assert_eq!(pinned["loops"][1]["cpus_allowed"], serde_json::json!([first]));
    let half = run(&first.to_string());
    assert_eq!(half["loops"][0]["cpus_allowed"], serde_json::json!([first]));
    assert_eq!(half["loops"][1]["cpus_allowed"].as_array().unwrap().len(), cpus.len());
    let warning = "--affinity has 1 of 2 loops pinned: the others are not";
    assert!(half["warnings"].to_string().contains(warning), "{half:#}");
    let more = run(&format!("{first},{first},{first}"));
    let warning = "--affinity names 3 CPUs, but --threads is 2";
    assert!(more["warnings"].to_string().contains(warning), "{more:#}");
}

#[test]
fn a_number_of_loops_that_the_load_cannot_fill_is_refused() {
    for (arguments, expected) in [
        (
            &["--threads=4", "-c3"][..],
            "--connections 3 cannot be dealt out to 4 loops (--threads): expected at least one for \
             each, such as --connections 4",
        ),
        (
            &["--threads=4", "-n2"],
            "--count 2 cannot be dealt out to 4 loops (--threads): expected at least one for each, \
             such as --count 4",
        ),
        (&["--threads=0"], "expected a count from 1 to 256, such as 2"),
        (&["--threads=257"], "expected a count from 1 to 256, such as 2"),
        (&["--threads=2", "-A", "0-1"], "expected the numbers of CPUs, such as 0,1"),
    ] {
        let ended = run_bench(arguments);
        assert_eq!(ended.code(), 2, "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    let pinned = run_bench(&["--threads=2", "-c2", "-n2", "-A", "0,1023"]);
    assert_eq!(pinned.code(), 1);
    assert!(pinned.stderr.contains("cannot run on CPU 1023"), "{}", pinned.stderr);
}

//! `ping --timestamps`: where the time of each probe goes.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::accept::cpu_time;
use crate::bench::timestamps::keep_stamping;
use crate::ping::{Faulty, PATIENT, assert_messages, count, document, ping};
use crate::support::{Daemon, Process, UnservedPorts, python, run};

const STRETCHES: [&str; 3] = ["send_ns", "away_ns", "wake_ns"];

/// Parses a time such as `12.3 us`, in nanoseconds.
fn time_ns(text: &str) -> f64 {
    let (value, unit) = text.trim().split_once(' ').unwrap();
    let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    let (_, scale) = units.iter().find(|(name, _)| *name == unit).unwrap();
    value.parse::<f64>().unwrap() * scale
}

#[test]
fn the_stretches_of_each_probe_add_up_to_no_more_than_its_time() {
    let _stamping = keep_stamping();
    let endpoints = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "tcp://[::1]:0", "udp://[::1]:0"];
    let daemon = Daemon::start(&endpoints);
    for endpoint in &daemon.endpoints {
        for length in ["64", "30k"] {
            let flags = ["--timestamps", "-c20", "-i1ms", "-l", length, PATIENT, endpoint];
            let ended = run(ping(&flags));
            assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
            let stdout = ended.stdout_text();
            let mut split_lines = 0;
            for line in stdout.lines().filter(|line| line.contains("time=")) {
                let (_, time) = line.split_once("time=").unwrap();
                let Some((time, parts)) = time.split_once(" (send ") else { continue };
                let (send, rest) = parts.split_once(", away ").unwrap();
                let (away, rest) = rest.split_once(", wake ").unwrap();
                let wake = rest.strip_suffix(')').unwrap();
                let sum = time_ns(send) + time_ns(away) + time_ns(wake);
                // Each of the times is rounded to three digits.
                assert!(sum <= time_ns(time) * 1.02 + 30.0, "{line}");
                split_lines += 1;
            }
            assert!(split_lines >= 10, "{stdout}");
            for name in ["send", "away", "wake"] {
                let summary = format!("\n{name} min/avg/max/mdev = ");
                assert!(stdout.contains(&summary), "{stdout}");
            }
        }
    }
}

#[test]
fn the_document_has_the_split_and_null_without_the_flag() {
    let _stamping = keep_stamping();
    let daemon = Daemon::start(&["udp://127.0.0.1:0"]);
    let common = ["-J", "-c50", "-i1ms", PATIENT, &daemon.endpoints[0]];
    let plain = document(&run(ping(&common)));
    assert_eq!(plain["split"], Value::Null);
    let document = document(&run(ping(&[&common[..], &["--timestamps"]].concat())));
    assert_messages(&document, &[("sent", 50), ("received", 50)]);
    let split = &document["split"];
    let samples = split["samples"].as_u64().unwrap();
    assert!((40..=50).contains(&samples), "{document}");
    let figure = |stretch: &str, name: &str| split[stretch][name].as_u64().unwrap();
    assert_eq!(STRETCHES.map(|stretch| figure(stretch, "count")), [samples; 3]);
    let sum: u64 = STRETCHES.iter().map(|stretch| figure(stretch, "min")).sum();
    assert!(sum <= document["latency_ns"]["max"].as_u64().unwrap(), "{document}");
}

/// A timestamp in the error queue ends no connection, and hides no error of the socket.
#[test]
fn faults_are_reported_as_without_timestamps() {
    for flag in [&[][..], &["--timestamps"]] {
        let faulty = Faulty::start("tcp://127.0.0.1:0", &["close:2", "reset:5", "pieces"]);
        let flags = ["-J", "-c8", "-i0", PATIENT, &faulty.endpoint];
        let document = document(&run(ping(&[&flags[..], flag].concat())));
        assert_messages(&document, &[("sent", 8), ("received", 6), ("lost", 2)]);
        let faulty = Faulty::start("udp://127.0.0.1:0", &["duplicate:2", "corrupt:3:20"]);
        let flags = ["-J", "-c5", "-i0", PATIENT, &faulty.endpoint];
        let document = self::document(&run(ping(&[&flags[..], flag].concat())));
        assert_messages(
            &document,
            &[("sent", 5), ("received", 5), ("duplicated", 1), ("corrupted", 1)],
        );
    }
    let ports = UnservedPorts::new();
    let endpoint = format!("udp://{}", ports.udp);
    let ended = run(ping(&["-J", "-c3", "-i10ms", "--timestamps", &endpoint]));
    let document = document(&ended);
    assert_eq!((ended.code(), count(&document, "lost")), (1, 3));
    assert!(document["losses"]["refused"].as_u64().unwrap() > 0, "{document}");
}

/// A probe per second is awaited asleep: a timestamp that stays in the error queue would keep the
/// client busy.
#[test]
fn between_two_probes_the_client_sleeps() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let command = ping(&["--timestamps", "-i1h", PATIENT, &daemon.endpoints[0]]);
    let mut process = Process::start(command);
    process.wait_for_line("64 bytes from");
    let before = cpu_time(process.pid());
    std::thread::sleep(Duration::from_millis(300));
    let used = cpu_time(process.pid()) - before;
    process.signal(Signal::INT);
    assert!(used < Duration::from_millis(100), "{used:?}");
    assert_eq!(process.wait().code(), 0);
}

#[test]
fn without_the_kernels_support_the_probes_go_on_with_a_warning() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let ping = ping(&["-J", "--timestamps", "-c2", "-i1ms", PATIENT, &daemon.endpoints[0]]);
    let mut command = python("refuse_option.py");
    command.args(["37", "ENOPROTOOPT"]).arg(ping.get_program()).args(ping.get_args());
    let ended = run(command);
    assert_eq!(ended.code(), 0);
    let warning = "resound: --timestamps without effect: the kernel has no timestamps (";
    assert!(ended.stderr.starts_with(warning), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1);
    assert_eq!(document(&ended)["split"]["samples"], 0);
}

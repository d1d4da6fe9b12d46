//! Limits other than the server: the speed of the generator, and the descriptors and ports of this
//! host.

use std::process::Command;

use serde_json::Value;

use crate::bench::{bench, bench_json, count, document, run_bench};
use crate::support::{Daemon, python, resound, run, tool, unshare_network};

/// case B2: 50 million messages per second, over connections that wait for each echo and over
/// sockets that do not.
#[test]
fn an_unreachable_rate_is_not_blamed_on_the_server() {
    for transport in ["tcp", "udp"] {
        let common = ["--transport", transport, "-r50m", "-t500ms", "--warmup=0"];
        let arguments = [&common[..], &["--timeout=2s", "--assert=rate>49m"]].concat();
        let (ended, document) = bench_json(&arguments);
        assert_eq!(ended.code(), 99, "{document:#}");
        assert_eq!(document["rate"]["asked"], 50e6);
        let achieved = document["rate"]["achieved"].as_f64().unwrap();
        assert!(achieved < 25e6, "{document:#}");
        let is_behind = document["generator"]["verdict"] != "ok";
        assert!(is_behind || count(&document, "/generator/held_back") > 0, "{document:#}");

        let ended = run_bench(&arguments);
        let text = ended.stdout_text().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("achieved of 50,000,000 asked for ("), "{text}");
        let says = |words: &str| text.contains(words);
        assert!(
            says("the generator, not the server, was the limit")
                || says("the rate was not reached because the connections took no more"),
            "{text}"
        );
    }
}

/// case B6
#[test]
fn too_few_descriptors_are_named_as_a_limit_of_this_client() {
    let Some(prlimit) = tool("prlimit") else { return };
    for endpoint in [None, Some("tcp://127.0.0.1:1")] {
        let mut command = Command::new(&prlimit);
        let bench = bench(&["-J", "-c100", "-n1000"]);
        command.arg("--nofile=64").arg(bench.get_program()).args(bench.get_args()).args(endpoint);
        let ended = run(command);
        let document = document(&ended);
        assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 1), "{}", ended.stderr);
        assert!(ended.stderr.contains("100 connections"), "{}", ended.stderr);
        assert!(ended.stderr.contains("this client's limit is 64"), "{}", ended.stderr);
        assert_eq!(document["status"], "error");
        assert!(document["error"].as_str().unwrap().contains("this client's limit"));
    }
}

/// A shell script for a host with few ephemeral ports, a server on it, and a command against that
/// server.
const FEW_PORTS: &str = r#"
set -eu
ip link set lo up
echo "$PORTS" > /proc/sys/net/ipv4/ip_local_port_range
exec 3>&1
mkfifo "$TMP/lines"
"$0" serve tcp://127.0.0.1:7007 > "$TMP/lines" 2>/dev/null &
server=$!
trap 'kill $server' EXIT
read -r _ < "$TMP/lines"
"$0" "$@" tcp://127.0.0.1:7007
"#;

/// case B6: half of the connections get no port; the others continue.
#[test]
fn too_few_ephemeral_ports_are_named_as_a_limit_of_this_client() {
    let Some(unshare) = unshare_network() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(unshare);
    command.env("TMP", folder.path()).env("PORTS", "40000 40049");
    command.args(["-n", "sh", "-c", FEW_PORTS]).arg(resound().get_program());
    command.args(["bench", "-J", "-c100", "-n2000", "--warmup=0", "--timeout=50s"]);
    let ended = run(command);
    let document = document(&ended);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{document:#}");
    let of_kind = |kind: &str| count(&document, &format!("/flows/{kind}"));
    assert_eq!((of_kind("opened"), of_kind("failed_locally")), (50, 50), "{document:#}");
    assert_eq!(count(&document, "/messages/received"), 2_000);
    let warnings = document["warnings"].to_string();
    assert!(warnings.contains("a limit of this client, not of the server"), "{warnings}");
    assert!(warnings.contains("ephemeral ports"), "{warnings}");
    assert!(warnings.contains("(times met: 50)"), "{warnings}");
}

/// case B6: closed connections keep their ports for some time.
#[test]
fn scarce_ports_are_named_when_connections_are_measured() {
    let Some(unshare) = unshare_network() else { return };
    for (ports, are_scarce) in [("40000 40099", true), ("20000 60000", false)] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(&unshare);
        command.env("TMP", folder.path()).env("PORTS", ports);
        command.args(["-n", "sh", "-c", FEW_PORTS]).arg(resound().get_program());
        command.args(["bench", "-J", "-c2", "-n60", "--warmup=0", "--mode=connect"]);
        command.arg("--timeout=50s");
        let document = document(&run(command));
        assert_eq!(count(&document, "/messages/received"), 60, "{document:#}");
        let warnings = document["warnings"].to_string();
        let are_named = warnings.contains("The ports may be the limit, and not the server");
        // A busy machine may connect so slowly that ports become free in time.
        let is_fast = document["rate"]["achieved"].as_f64().unwrap() >= 40.0;
        assert_eq!(are_named, are_scarce && is_fast, "{document:#}");
    }
}

/// cases B6 and B19
#[test]
fn a_value_with_too_few_ports_is_not_the_servers_knee() {
    let Some(unshare) = unshare_network() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(unshare);
    command.env("TMP", folder.path()).env("PORTS", "40000 40049");
    command.args(["-n", "sh", "-c", FEW_PORTS]).arg(resound().get_program());
    command.args(["sweep", "-J", "--connections=20,100", "-n2000", "--warmup=0", "--timeout=50s"]);
    let ended = run(command);
    let sweep: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{sweep:#}");
    assert!(count(&sweep, "/points/1/flows/failed_locally") > 0, "{sweep:#}");
    // A busy machine may starve the generator at the first value too.
    let knee = &sweep["knee"];
    let is_first = knee["value"] == 20 && knee["limit"] == "generator" && knee["next"].is_null();
    assert!(knee.is_null() || is_first, "{knee:#}");
}

/// Returns a command that runs the program where these system calls are refused.
fn without(calls: &[libc::c_long], arguments: &[&str]) -> Command {
    let mut command = python("without_calls.py");
    let calls: Vec<_> = calls.iter().map(libc::c_long::to_string).collect();
    command.arg(calls.join(",")).arg(resound().get_program()).args(arguments);
    command
}

/// No flag requests a CPU or more descriptors, so the run works without them.
#[test]
fn a_run_continues_if_optional_calls_are_refused() {
    let cpus = rustix::thread::sched_getaffinity(None).unwrap().count();
    for (call, warning) in [
        (libc::SYS_prlimit64, "the descriptor limit could not be raised"),
        (libc::SYS_sched_setaffinity, "the generator could not be kept to CPU"),
    ] {
        let bench = ["bench", "-J", "-n200", "-c4", "--warmup=0"];
        let ended = run(without(&[call], &bench));
        let document = document(&ended);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{document:#}");
        let warnings = document["warnings"].to_string();
        let is_tried = call == libc::SYS_prlimit64 || cpus > 1;
        assert_eq!(warnings.matches(warning).count(), usize::from(is_tried), "{warnings}");
    }
    let asked = ["bench", "-n200", "-c4", "--warmup=0", "-A0"];
    let ended = run(without(&[libc::SYS_sched_setaffinity], &asked));
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr.contains("cannot run on CPU 0"), "{}", ended.stderr);
}

#[test]
fn a_server_whose_descriptor_limit_cannot_be_raised_still_serves() {
    let mut command = without(&[libc::SYS_prlimit64], &["serve", "tcp://127.0.0.1:0"]);
    command.env_remove("RUST_LOG");
    let daemon = Daemon::start_command(command);
    let ended = run_bench(&["-n100", "--warmup=0", &daemon.endpoints[0]]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let log = daemon.stop().stderr;
    assert_eq!(log.matches("the descriptor limit could not be raised").count(), 1, "{log}");
}

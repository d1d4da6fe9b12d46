//! Limits that are not the server's: the generator's speed, this host's descriptors and ports.

use std::process::Command;

use crate::bench::{bench, bench_json, count, document, run_bench};
use crate::support::{resound, run, tool, unshare_network};

/// case B2: fifty million a second, over connections that wait for each echo and over sockets that
/// do not.
#[test]
fn a_rate_beyond_all_reach_is_not_blamed_on_the_server() {
    for transport in ["tcp", "udp"] {
        let common = ["--transport", transport, "-r50m", "-t100ms", "--warmup=0"];
        let arguments = [&common[..], &["--timeout=300ms", "--assert=rate>49m"]].concat();
        let (ended, document) = bench_json(&arguments);
        assert_eq!(ended.code(), 99, "{document:#}");
        assert_eq!(document["rate"]["asked"], 50e6);
        let achieved = document["rate"]["achieved"].as_f64().unwrap();
        assert!(achieved < 25e6, "{document:#}");
        let is_behind = document["generator"]["verdict"] != "ok";
        assert!(is_behind || count(&document, "/generator/held_back") > 0, "{document:#}");

        let ended = run_bench(&arguments);
        let text = ended.stdout_text().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("achieved of 50,000,000 asked ("), "{text}");
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

/// A host with fifty ephemeral ports, a server on it, and a run against that.
const FEW_PORTS: &str = r#"
set -eu
ip link set lo up
echo 40000 40049 > /proc/sys/net/ipv4/ip_local_port_range
exec 3>&1
mkfifo "$TMP/lines"
"$0" serve tcp://127.0.0.1:7007 > "$TMP/lines" 2>/dev/null &
server=$!
trap 'kill $server' EXIT
read -r _ < "$TMP/lines"
"$0" bench tcp://127.0.0.1:7007 "$@"
"#;

/// case B6: half of the connections find no port; the rest goes on.
#[test]
fn too_few_ephemeral_ports_are_named_as_a_limit_of_this_client() {
    let Some(unshare) = unshare_network() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(unshare);
    command.env("TMP", folder.path()).args(["-n", "sh", "-c", FEW_PORTS]);
    command.arg(resound().get_program());
    command.args(["-J", "-c100", "-n2000", "--warmup=0", "--timeout=50s"]);
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

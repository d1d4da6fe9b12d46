//! Servers, links and paths that fail during a run and come back. The run continues to its planned
//! end, counts every due message, and does not pass if it could not measure.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::bench::{
    at_once, bench, bench_json, count, document, every_endpoint, is_stream, run_bench,
};
use crate::support::{Daemon, Process, resound, run, unshare_network};

/// A run that lasts longer than the server, also on a busy machine.
const RUN: [&str; 5] = ["-c4", "-t6s", "--warmup=0", "--timeout=1s", "-J"];
/// The messages of such a run at 2,000 per second.
const DUE: u64 = 12_000;

/// Starts the run against its own server, and kills the server after it has answered.
#[track_caller]
fn start_and_kill(endpoint: &str, arguments: &[&str]) -> (Process, String) {
    let daemon = Daemon::start(&[endpoint]);
    let target = daemon.endpoints[0].clone();
    let scheme = endpoint.split(':').next().unwrap().to_owned();
    let run = Process::start(bench(&[&RUN[..], arguments, &[&target]].concat()));
    crate::support::wait_until("messages", || {
        daemon.counters().get(&format!("{scheme}_bytes_in")) > 64 * 600
    });
    daemon.process.signal(Signal::KILL);
    daemon.process.wait();
    (run, target)
}

fn share(document: &Value) -> f64 {
    document["load_made"].as_f64().unwrap()
}

/// case B4
#[test]
fn a_run_whose_server_dies_does_not_pass_in_a_closed_or_an_open_loop() {
    at_once(&every_endpoint("dies"), |endpoint| {
        for load in [&[][..], &["-r2k"]] {
            let (run, _) = start_and_kill(endpoint, load);
            let ended = run.wait();
            let found = document(&ended);
            // An open loop sends every datagram, and a refused one is lost.
            let is_whole = !is_stream(endpoint) && !load.is_empty();
            let (code, status) = if is_whole { (0, "ok") } else { (1, "partial") };
            assert_eq!((ended.code(), &found["status"]), (code, &status.into()), "{found:#}");
            assert_eq!(ended.stderr.lines().count(), usize::from(!is_whole), "{}", ended.stderr);
            assert_eq!(is_whole, share(&found) > 0.99, "{found:#}");
            assert!(is_stream(endpoint) || !ended.stderr.contains("connection"), "{endpoint}");
            if is_whole {
                assert_eq!(count(&found, "/messages/sent"), DUE, "{found:#}");
                assert!(count(&found, "/losses/refused") > 1_000, "{found:#}");
            }
            if !load.is_empty() {
                let due = count(&found, "/messages/sent") + count(&found, "/generator/unsent");
                assert_eq!(due, DUE, "{found:#}");
            }
            for assert in ["--assert=loss<10%", "--assert=rate>1900"] {
                let arguments = [load, &[assert]].concat();
                // The rate of a closed loop over a fast transport is not known.
                if assert.contains("rate") && load.is_empty() {
                    continue;
                }
                let ended = start_and_kill(endpoint, &arguments).0.wait();
                assert_eq!(ended.code(), 99, "{assert} {endpoint}: {:#}", document(&ended));
            }
        }
    });
}

/// case B4: the timeout of a message is longer than the rest of the run.
#[test]
fn a_closed_loop_whose_server_falls_silent_does_not_pass() {
    at_once(&every_endpoint("silent"), |endpoint| {
        let daemon = Daemon::start(&[endpoint]);
        let scheme = endpoint.split(':').next().unwrap();
        let common = ["-c4", "-t6s", "--warmup=0", "--timeout=10s", "-J"];
        let arguments = [&common[..], &[&daemon.endpoints[0]]].concat();
        let run = Process::start(bench(&arguments));
        crate::support::wait_until("messages", || {
            daemon.counters().get(&format!("{scheme}_bytes_in")) > 64 * 100
        });
        daemon.process.signal(Signal::STOP);
        let ended = run.wait();
        daemon.process.signal(Signal::KILL);
        daemon.process.wait();
        let found = document(&ended);
        assert_eq!((ended.code(), &found["status"]), (1, &"partial".into()), "{found:#}");
        assert!(share(&found) < 0.99, "{found:#}");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    });
}

/// case B4
#[test]
fn with_reconnect_a_run_continues_after_a_restart_of_the_server() {
    let [tcp, _, unix, _] = every_endpoint("restarts");
    at_once(&[tcp, unix], |endpoint| {
        for load in [&["--reconnect"][..], &["--reconnect", "-r2k"]] {
            let (run, target) = start_and_kill(endpoint, load);
            std::thread::sleep(Duration::from_millis(200));
            let _daemon = Daemon::start(&[&target]);
            let ended = run.wait();
            let found = document(&ended);
            assert!(count(&found, "/elapsed_ns") >= 6_000_000_000, "{found:#}");
            assert_eq!(count(&found, "/flows/reconnected"), 4, "{found:#}");
            assert_eq!(count(&found, "/flows/opened"), 8, "{found:#}");
            // The restart takes more than 1 % of the time.
            assert_eq!((ended.code(), &found["status"]), (1, &"partial".into()), "{found:#}");
            assert!((0.1..0.99).contains(&share(&found)), "{found:#}");
            if load.len() > 1 {
                let unsent = count(&found, "/generator/unsent");
                assert_eq!(count(&found, "/messages/sent") + unsent, DUE, "{found:#}");
                // A generator that hardly ran may not catch up.
                assert!(unsent == 0 || found["generator"]["verdict"] != "ok", "{found:#}");
                assert!(count(&found, "/losses/disconnected") >= 100, "{found:#}");
            }
        }
    });
}

#[test]
fn reconnect_is_refused_where_each_message_is_a_connection() {
    let ended = run_bench(&["tcp://127.0.0.1:1", "--mode=connect", "--reconnect"]);
    assert_eq!((ended.code(), ended.stderr.lines().count()), (2, 1), "{}", ended.stderr);
    assert!(ended.stderr.contains("--reconnect"), "{}", ended.stderr);
}

/// case B10: a closed port refuses at once.
#[test]
fn a_run_that_is_refused_does_not_wait_for_the_timeout() {
    let unserved = crate::support::UnservedPorts::new();
    let endpoint = format!("udp://{}", unserved.udp);
    for depth in ["-d1", "-d16"] {
        let arguments = ["-c2", "-n20", depth, "--warmup=0", "--timeout=1h", &endpoint];
        let (ended, document) = bench_json(&arguments);
        assert_eq!(ended.code(), 1, "{document:#}");
        assert_eq!(count(&document, "/losses/refused"), 20, "{document:#}");
    }
}

/// A shell script for a server behind a link that is down for some time.
const LINK: &str = r#"
set -eu
ip link set lo up
unshare -n sleep 60 &
far=$!
trap 'kill $far $server 2>/dev/null' EXIT
until [ "$(readlink /proc/$far/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.02; done
ip link add near type veth peer name far netns $far
ip addr add 10.77.0.1/24 dev near
ip link set near up
nsenter -t $far -n sh -c 'ip addr add 10.77.0.2/24 dev far; ip link set far up; ip link set lo up'
mkfifo "$TMP/lines"
nsenter -t $far -n "$0" serve udp://10.77.0.2:7007 > "$TMP/lines" 2>/dev/null &
server=$!
read -r _ < "$TMP/lines"
until "$0" send --timeout 200ms udp://10.77.0.2:7007 x > /dev/null 2>&1; do sleep 0.05; done
"$0" bench udp://10.77.0.2:7007 -c 2 -t 8s --warmup 0 --timeout 100ms -J "$@" > "$TMP/json" &
bench=$!
sent=0
until [ "$sent" -gt 1000 ]; do
    sleep 0.05
    sent=$(awk '$1 == "near:" { print $11 }' /proc/net/dev)
done
ip link set near down
sleep 1
ip link set near up
code=0
wait $bench || code=$?
cat "$TMP/json"
exit $code
"#;

/// case B4
#[test]
fn a_link_that_is_down_for_some_time_loses_messages_with_a_cause_and_no_socket() {
    let Some(unshare) = unshare_network() else { return };
    // The timeout is shorter than the outage. A flow with a message in flight when the link goes
    // down gives that message up, sends the next one, and gets the error.
    for load in [&[][..], &["-r1k"], &["-r1k", "-d1"]] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(&unshare);
        command.env("TMP", folder.path()).args(["-n", "sh", "-c", LINK]);
        command.arg(resound().get_program()).args(load);
        let ended = run(command);
        let found = document(&ended);
        assert_eq!((ended.code(), &found["status"]), (1, &"partial".into()), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("unreachable"), "{}", ended.stderr);
        assert!(count(&found, "/elapsed_ns") >= 8_000_000_000, "{found:#}");
        assert!(count(&found, "/losses/network_unreachable") > 10, "{found:#}");
        assert!(count(&found, "/messages/received") > 500, "{found:#}");
        let due = count(&found, "/messages/sent") + count(&found, "/generator/unsent");
        assert!(load.is_empty() || due == 8_000, "{found:#}");
        assert!((0.3..0.99).contains(&share(&found)), "{found:#}");
    }
}

//! A drain under load: whoever has sent gets what he is owed.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Counters, Daemon, Process, resound, wait_until};

/// case P1: the peers never finish by themselves, and are ended shortly before the deadline.
#[test]
fn no_echo_that_is_owed_is_lost_when_a_server_is_terminated_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", folder.path().join("echo").display());
    for (endpoint, transport) in [("tcp://127.0.0.1:0", "tcp"), (unix.as_str(), "unix")] {
        let daemon = Daemon::start(&[endpoint, "--drain-timeout", "2s"]);
        let mut command = resound();
        let load = ["-J", "-c20", "-d8", "-l256", "-t10m", "--warmup=0", "--timeout=50s"];
        command.arg("bench").args(load).arg(&daemon.endpoints[0]);
        let bench = Process::start(command);
        let messages_in = format!("{transport}_messages_in");
        wait_until("load", || daemon.counters().get(&messages_in) > 5_000);
        daemon.process.signal(Signal::TERM);
        let ended = daemon.process.wait();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let counters = Counters::last_of(&ended.stderr);
        let count = |name: &str| counters.get(&format!("{transport}_{name}"));
        let document: Value = serde_json::from_slice(&bench.wait().stdout).unwrap();
        let received = document["bytes"]["received"].as_u64().unwrap();
        assert_eq!(document["messages"]["corrupted"], 0, "{document:#}");
        // On a machine so busy that a peer did not end within its half a second, it was cut.
        if counters.get("drain_cut") == 0 {
            assert_eq!(count("bytes_out"), count("bytes_in"), "all that was read: {counters:?}");
            assert_eq!(received, count("bytes_out"), "all of it has arrived: {document:#}");
            assert_eq!(
                (document["flows"]["closed"].as_u64(), counters.get("finished")),
                (Some(20), 20)
            );
        }
    }
}

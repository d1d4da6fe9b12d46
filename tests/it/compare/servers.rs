//! Servers that `compare` starts and stops itself.

use std::path::Path;

use serde_json::json;

use super::{SHORT, compare, compare_json};
use crate::support::{Daemon, abstract_name, resound, run};

/// Returns a command of the shell that serves an endpoint. It notes its process, and that of the
/// shell around it, in a file.
fn server(endpoint: &str, notes: &Path, more: &str) -> String {
    let (program, notes) = (env!("CARGO_BIN_EXE_resound"), notes.display());
    format!(
        "echo $$ >> '{notes}'; '{program}' serve -q {more} {endpoint} & echo $! >> '{notes}'; wait"
    )
}

fn answers(endpoint: &str) -> bool {
    let mut ping = resound();
    ping.args(["ping", "-q", "-c1", "-W1s", endpoint]);
    run(ping).code() == 0
}

#[test]
fn each_run_has_a_server_of_its_own_that_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    for scheme in ["unix", "unixgram"] {
        let endpoint = format!("{scheme}:{}", abstract_name("served"));
        let notes = folder.path().join(scheme);
        let [a, b] = ["--stats=1h", "--no-splice"].map(|more| server(&endpoint, &notes, more));
        let servers = ["--serve-a", &a, "--serve-b", &b, "--rounds=2"];
        let (ended, document) = compare_json(&[&[&*endpoint], &servers[..], &SHORT[..]].concat());
        assert_eq!((ended.code(), &document["rounds"]), (0, &json!(2)), "{ended:?}");
        assert!(document["a"].as_str().is_some_and(|a| a.contains("--stats=1h")));
        let notes = std::fs::read_to_string(notes).unwrap();
        let processes: Vec<_> = notes.lines().collect();
        assert_eq!(processes.len(), 8, "two processes for each of four runs");
        for process in processes {
            // A process that nothing has waited for yet is a zombie.
            let state = std::fs::read_to_string(format!("/proc/{process}/stat"));
            let is_gone =
                |stat: String| stat.rsplit(") ").next().is_some_and(|s| s.starts_with('Z'));
            assert!(state.is_err() || is_gone(state.unwrap()), "process {process} is left");
        }
        assert!(!answers(&endpoint));
    }
}

#[test]
fn a_command_that_ends_by_itself_is_named_with_its_last_line() {
    let endpoint = format!("unix:{}", abstract_name("ends"));
    let folder = tempfile::tempdir().unwrap();
    let good = server(&endpoint, &folder.path().join("notes"), "");
    let servers = ["--serve-a", &good, "--serve-b", "echo no disk >&2; exit 7", "--rounds=2"];
    let (ended, document) = compare_json(&[&[&*endpoint], &servers[..], &SHORT[..]].concat());
    assert_eq!((ended.code(), &document["status"]), (1, &json!("error")));
    let expected = "resound: round 1, B: the server 'echo no disk >&2; exit 7' ended by itself \
                    (exit status: 7): no disk\n";
    assert_eq!(ended.stderr, expected);
    assert!(!answers(&endpoint), "the other server has ended too");
}

#[test]
fn an_endpoint_that_another_server_serves_is_refused() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let servers = ["--serve-a", "sleep 60", "--serve-b", "sleep 60", "--rounds=1"];
    let ended = run(compare(&[&[&*daemon.endpoints[0]], &servers[..], &SHORT[..]].concat()));
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr.contains("expected a free endpoint"), "{}", ended.stderr);
}

//! UDP datagrams in trains, with a client that sends and receives trains itself.

use crate::support::{Daemon, python, run};

/// Returns the number of trains in which the server's answers came.
fn trains(flags: &[&str], host: &str, seed: u32) -> (u32, String) {
    let endpoint = if host.contains(':') { "udp://[::1]:0" } else { "udp://127.0.0.1:0" };
    let daemon = Daemon::start(&[&[endpoint], flags].concat());
    let port = daemon.endpoints[0].rsplit(':').next().unwrap();
    let pid = daemon.process.pid().as_raw_nonzero().to_string();
    let mut client = python("trains.py");
    client.args([host, port, &pid, &seed.to_string()]);
    let ended = run(client);
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout_text(), ended.stderr);
    let server = daemon.stop();
    assert_eq!(server.code(), 0, "{}", server.stderr);
    (ended.stdout_text().trim().strip_prefix("trains ").unwrap().parse().unwrap(), server.stderr)
}

/// cases U1 U13 U15
#[test]
fn trains_and_single_datagrams_come_back_whole_and_in_order_and_often_in_trains() {
    for (seed, host) in (0..).zip(["127.0.0.1", "::1", "127.0.0.1"]) {
        let (trains, log) = trains(&[], host, seed);
        assert!(trains > 20, "{trains} trains\n{log}");
        assert!(!log.contains("train_refused"), "{log}");
    }
}

/// cases U1 U15
#[test]
fn with_no_offload_every_answer_comes_singly() {
    assert_eq!(trains(&["--no-offload"], "127.0.0.1", 3).0, 0);
}

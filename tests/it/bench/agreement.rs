//! The counts of `bench` and of `serve` agree, to the message and the byte.

use serde_json::Value;

use crate::bench::{count, every_endpoint, good_json, is_stream, run_bench};
use crate::support::{Daemon, wait_until};

/// Returns the number of messages that `bench` sent, including the warm-up, and asserts that
/// nothing is in flight at the end.
#[track_caller]
fn sent(document: &Value) -> u64 {
    let mut all = 0;
    for part in ["/messages", "/warmup_messages"] {
        let of = |name: &str| count(document, &format!("{part}/{name}"));
        assert_eq!((of("lost"), of("in_flight_at_end")), (0, 0), "{document:#}");
        assert_eq!(of("received"), of("sent"), "{document:#}");
        all += of("sent");
    }
    all
}

fn transport(endpoint: &str) -> &str {
    endpoint.split(':').next().unwrap()
}

/// With this timeout no message is lost, even on a busy machine.
const PATIENT: [&str; 3] = ["--warmup=100ms", "--timeout=50s", "-c4"];

#[test]
fn the_server_counts_what_bench_sends_on_every_transport() {
    for endpoint in every_endpoint("agree") {
        for load in [
            &["-n1000"][..],
            // Long enough that a busy machine lets the generator run in it.
            &["-t1s", "-d4"],
            // Fewer than a receive buffer holds, in case the server does not run in all that time.
            &["-t1s", "-r150"],
            &["-t1s", "-r150", "--arrival=poisson"],
            &["-n200", "-l", "3000"],
        ] {
            let daemon = Daemon::start(&[&endpoint]);
            let document =
                good_json(&[&PATIENT[..], load, &[daemon.endpoints[0].as_str()]].concat());
            let (sent, length) = (sent(&document), count(&document, "/length"));
            let transport = transport(&endpoint);
            let counters = daemon.counters();
            for direction in ["in", "out"] {
                let counted = |what: &str| counters.get(&format!("{transport}_{what}_{direction}"));
                assert_eq!(counted("bytes"), sent * length, "{endpoint} {load:?}");
                // The server counts no messages on streams.
                let is_same = counted("messages") == sent || is_stream(&endpoint);
                assert!(is_same, "{endpoint} {load:?}: {sent} {counters:?}");
            }
            let measured = count(&document, "/messages/sent");
            assert_eq!(count(&document, "/bytes/sent"), measured * length);
            assert_eq!(count(&document, "/bytes/received"), measured * length);
            if load.contains(&"-n1000") {
                assert_eq!(measured, 1_000);
            }
            if is_stream(&endpoint) {
                assert_eq!(counters.get("accepted"), 4);
            }
        }
    }
}

/// Each message is a connection.
#[test]
fn the_server_accepts_as_many_connections_as_bench_makes() {
    for endpoint in every_endpoint("connect").iter().filter(|endpoint| is_stream(endpoint)) {
        let daemon = Daemon::start(&[endpoint]);
        let common = ["--mode=connect", "--warmup=50ms", "--timeout=50s", "-c4"];
        for load in [&["-n300"][..], &["-t100ms", "-r500"]] {
            let before = daemon.counters();
            let document =
                good_json(&[&common[..], load, &[daemon.endpoints[0].as_str()]].concat());
            assert_eq!(document["mode"], "connect");
            let sent = sent(&document);
            assert_eq!(count(&document, "/flows/opened"), sent, "{document:#}");
            wait_until("the last connections to finish", || {
                daemon.counters().get("finished") - before.get("finished") == sent
            });
            let counters = daemon.counters();
            assert_eq!(counters.get("accepted") - before.get("accepted"), sent);
            let bytes = format!("{}_bytes_in", transport(endpoint));
            assert_eq!(counters.get(&bytes) - before.get(&bytes), 64 * sent);
            assert_eq!(counters.get("reset") + counters.get("broken_pipe"), 0);
        }
    }
}

/// With fewer messages than connections, the other connections send nothing.
#[test]
fn one_message_over_many_connections_is_one_message() {
    for endpoint in every_endpoint("one") {
        let daemon = Daemon::start(&[&endpoint]);
        for load in [&["-d1"][..], &["-d8"], &["-r1k"]] {
            let common = ["-c20", "-n1", "--warmup=0", "--timeout=50s"];
            let document =
                good_json(&[&common[..], load, &[daemon.endpoints[0].as_str()]].concat());
            assert_eq!(sent(&document), 1, "{endpoint} {load:?}");
        }
        let bytes = format!("{}_bytes_in", transport(&endpoint));
        assert_eq!(daemon.counters().get(&bytes), 3 * 64);
    }
}

#[test]
fn a_server_in_the_process_of_bench_answers_on_every_transport() {
    for transport in ["tcp", "udp", "unix", "unixgram"] {
        let common = ["--transport", transport, "-c4", "-n500", "--warmup=0", "--timeout=50s"];
        let document = good_json(&common);
        assert_eq!(sent(&document), 500);
        assert_eq!(document["embedded_server"], true);
        let endpoint = document["endpoint"].as_str().unwrap();
        assert!(endpoint.starts_with(&format!("{transport}:")), "{endpoint}");
        let ended = run_bench(&common);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        assert!(ended.stdout_text().contains("(a server in this process)"));
    }
}

/// The rate is known. The due times, and so the exact number, are random.
#[test]
fn random_arrivals_have_the_requested_rate() {
    let common = ["-c4", "-r1k", "-t1s", "--warmup=0", "--timeout=50s"];
    let fixed = good_json(&common);
    assert_eq!(count(&fixed, "/messages/sent"), 1_000);
    let poisson = good_json(&[&common[..], &["--arrival=poisson"]].concat());
    // The seed is fixed, and five standard deviations are 160.
    let sent = count(&poisson, "/messages/sent");
    assert!(sent.abs_diff(1_000) <= 160 && sent != 1_000, "{sent}");
    assert_eq!(poisson["options"]["meant"]["arrival"], "poisson");
}

/// A burst is due as a whole: also in a run that is much shorter than the time between two bursts.
#[test]
fn whole_bursts_are_sent_at_the_requested_rate() {
    for endpoint in every_endpoint("bursts") {
        let is_stream = is_stream(&endpoint);
        for (load, measured, of_warmup) in [
            (&["-r10", "-t100ms", "--arrival=burst:50", "--warmup=0"][..], 50, 0),
            (&["-r1k", "-t300ms", "--arrival=burst:100", "--warmup=250ms"], 300, 200),
            (&["-r10k", "-n150", "--arrival=burst:100", "--warmup=0", "-d1"], 150, 0),
            (&["-r1k", "-n40", "--arrival=burst:20", "--warmup=0", "--mode=connect"], 40, 0),
        ] {
            if load.contains(&"--mode=connect") && !is_stream {
                continue;
            }
            let daemon = Daemon::start(&[&endpoint]);
            let common = ["-c8", "--timeout=50s", daemon.endpoints[0].as_str()];
            let document = good_json(&[load, &common[..]].concat());
            assert_eq!(count(&document, "/messages/sent"), measured, "{endpoint} {load:?}");
            assert_eq!(count(&document, "/warmup_messages/sent"), of_warmup, "{load:?}");
            assert_eq!(sent(&document), measured + of_warmup);
            let bytes = format!("{}_bytes_in", transport(&endpoint));
            assert_eq!(daemon.counters().get(&bytes), 64 * (measured + of_warmup));
            let (arrival, depth) = (&document["arrival"], count(&document, "/depth"));
            assert_eq!(&document["options"]["meant"]["arrival"], arrival);
            // A whole burst may be in flight, unless the user says otherwise.
            let has_room = depth * 8 >= 100 || measured == 50;
            let is_told = document["warnings"].to_string().contains("the rest of each burst");
            assert_eq!(is_told, !has_room, "{document:#}");
        }
    }
}

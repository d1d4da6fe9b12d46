//! Replies that are longer than their requests, which a forged source turns on a third party.

use std::net::UdpSocket;
use std::time::Instant;

use crate::support::{Counters, Daemon, Ended, resound, run, wait_until};

/// Bytes per second beyond its requests that one address gets.
const EXCESS_BYTES_PER_SECOND: u64 = 64 << 10;

const SENT: u64 = 100;

/// Requests that have room in a receive buffer of the usual size.
const SENT_AT_ONCE: u64 = 20;

/// Has one address ask so often, with so long requests, and ends the server; also returns how many
/// seconds it took.
fn flood(daemon: Daemon, request_bytes: usize) -> (Counters, Ended, f64) {
    let started_at = Instant::now();
    let port = daemon.endpoints[0].rsplit(':').next().unwrap().parse::<u16>().unwrap();
    for number in 1..=SENT {
        // A new socket each, because the limit is one for each address.
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(&vec![b'q'; request_bytes], ("127.0.0.1", port)).unwrap();
        // Short ones have room all at once. Of several loops each has counters of its own.
        if request_bytes > 0 && number % SENT_AT_ONCE == 0 {
            wait_until("the requests", || daemon.counters().get("udp_messages_in") == number);
        }
    }
    // What is queued is answered before the end.
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let counters = Counters::last_of(&ended.stderr);
    assert_eq!(counters.get("udp_messages_in"), SENT);
    (counters, ended, started_at.elapsed().as_secs_f64())
}

/// How many replies of this length to requests of that length leave in this time at the most, one
/// more for rounding.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn most(reply_bytes: usize, request_bytes: usize, seconds: f64) -> u64 {
    let bytes = EXCESS_BYTES_PER_SECOND as f64 * (1.0 + seconds);
    (bytes / (reply_bytes - request_bytes) as f64) as u64 + 1
}

/// case U19
#[test]
fn a_reply_that_amplifies_is_warned_of_with_its_factor_and_limited_by_bytes() {
    let reply = "R".repeat(2000);
    for (endpoint, threads) in [("udp://0.0.0.0:0", "1"), ("udp://:0", "1"), ("udp://:0", "2")] {
        for request_bytes in if threads == "1" { &[0, 1000][..] } else { &[0] } {
            let request_bytes = *request_bytes;
            let arguments = ["--reply", &reply, endpoint, "--threads", threads];
            let daemon = Daemon::start(&arguments);
            let (counters, ended, seconds) = flood(daemon, request_bytes);
            let answered = counters.get("udp_messages_out");
            let (least, most) =
                (65_536 / (2000 - request_bytes as u64), most(2000, request_bytes, seconds));
            assert!((least..=most).contains(&answered), "{answered}: {least} to {most}");
            assert_eq!(answered + counters.get("amplification_limited"), SENT);
            // (2000 + 28) / 28
            assert!(ended.stderr.contains("amplifies"), "{}", ended.stderr);
            assert!(ended.stderr.contains("a factor of 72.4"), "{}", ended.stderr);
        }
    }
}

/// case U19
#[test]
fn what_does_not_amplify_is_not_limited() {
    let reply = "R".repeat(2000);
    let cases: [(&[&str], usize, bool); 4] = [
        // Of this host alone.
        (&["--reply", &reply, "udp://127.0.0.1:0"], 0, false),
        // No longer than the request.
        (&["--reply", &reply, "udp://0.0.0.0:0"], 2000, true),
        (&["--reply", "", "udp://0.0.0.0:0"], 0, false),
        (&["udp://0.0.0.0:0"], 1000, false),
    ];
    for (arguments, request_bytes, is_warned) in cases {
        let (counters, ended, _) = flood(Daemon::start(arguments), request_bytes);
        assert_eq!(counters.get("udp_messages_out"), SENT, "{arguments:?}");
        assert_eq!(ended.stderr.contains("amplif"), is_warned, "{}", ended.stderr);
    }
}

/// case U19
#[test]
fn the_limit_of_bytes_holds_beside_that_of_datagrams() {
    let reply = "R".repeat(10_000);
    let arguments = ["--reply", &reply, "udp://0.0.0.0:0", "--rate-limit-per-ip", "50"];
    let (counters, _, seconds) = flood(Daemon::start(&arguments), 0);
    let answered = counters.get("udp_messages_out");
    assert!((6..=most(10_000, 0, seconds)).contains(&answered), "{answered}");
    let (rate, bytes) = (counters.get("rate_limited"), counters.get("amplification_limited"));
    assert!(rate > 0 && bytes > 0, "{rate} {bytes}");
    assert_eq!(answered + rate + bytes, SENT);
}

#[test]
fn a_discarding_server_is_not_said_to_answer_forged_sources() {
    let ended = Daemon::start(&["--discard", "udp://0.0.0.0:0"]).stop();
    assert!(!ended.stderr.contains("forged"), "{}", ended.stderr);
}

#[test]
fn a_reply_that_no_udp_datagram_carries_is_refused() {
    let mut command = resound();
    command.args(["serve", "--reply", &"x".repeat(70_000), "tcp://127.0.0.1:0", "udp://:0"]);
    let ended = run(command);
    assert_eq!((ended.code(), ended.stdout.len()), (2, 0));
    assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{}", ended.stderr);
    for word in ["--reply", "70000 bytes", "too long", "65527"] {
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
    let daemon = Daemon::start(&["--reply", &"x".repeat(70_000), "tcp://127.0.0.1:0"]);
    assert!(!daemon.stop().stderr.contains("too long"));
}

#[test]
fn a_reply_that_an_endpoint_cannot_send_is_warned_of() {
    let name = crate::support::abstract_name("reply");
    let unixgram = format!("unixgram:{name}");
    let reply = "x".repeat(65_510);
    let daemon =
        Daemon::start(&["--reply", &reply, "udp://127.0.0.1:0", &unixgram, "--sndbuf", "4KiB"]);
    let ended = daemon.stop();
    let warned = |scheme: &str| {
        let is_of = |line: &&str| line.contains(scheme) && line.contains("--reply is too long");
        ended.stderr.lines().filter(is_of).count()
    };
    assert_eq!((warned("udp://"), warned("unixgram:")), (1, 1), "{}", ended.stderr);
}

//! Replies longer than their requests, which a forged source address turns on a third party.

use std::net::UdpSocket;
use std::time::Instant;

use crate::support::{Counters, Daemon, Ended, resound, run, wait_until};

/// The bytes per second, beyond the bytes of its requests, that one address receives.
const EXCESS_BYTES_PER_SECOND: u64 = 64 << 10;

const SENT: u64 = 100;

/// The number of requests that a receive buffer of the usual size holds.
const SENT_AT_ONCE: u64 = 20;

/// Sends requests of this length from one address, then stops the server. Also returns how many
/// seconds it took.
fn flood(daemon: Daemon, request_bytes: usize) -> (Counters, Ended, f64) {
    let started_at = Instant::now();
    let port = daemon.endpoints[0].rsplit(':').next().unwrap().parse::<u16>().unwrap();
    for number in 1..=SENT {
        // Each request has a new socket, because the limit counts addresses.
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(&vec![b'q'; request_bytes], ("127.0.0.1", port)).unwrap();
        // The buffer holds all short requests at once. Several loops have separate counters.
        if request_bytes > 0 && number % SENT_AT_ONCE == 0 {
            wait_until("the requests", || daemon.counters().get("udp_messages_in") == number);
        }
    }
    // The server answers queued requests before it ends.
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let counters = Counters::last_of(&ended.stderr);
    assert_eq!(counters.get("udp_messages_in"), SENT);
    (counters, ended, started_at.elapsed().as_secs_f64())
}

/// Returns the largest number of replies of this length, to requests of that length, that the limit
/// allows in this time. Adds one for rounding.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn most(reply_bytes: usize, request_bytes: usize, seconds: f64) -> u64 {
    let bytes = EXCESS_BYTES_PER_SECOND as f64 * (1.0 + seconds);
    (bytes / (reply_bytes - request_bytes) as f64) as u64 + 1
}

/// case U19
#[test]
fn a_reply_that_amplifies_is_reported_with_its_factor_and_limited_by_bytes() {
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
fn a_reply_that_does_not_amplify_is_not_limited() {
    let reply = "R".repeat(2000);
    let cases: [(&[&str], usize, bool); 4] = [
        // Only this host can reach it.
        (&["--reply", &reply, "udp://127.0.0.1:0"], 0, false),
        // The reply is not longer than the request.
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
fn the_limit_of_bytes_and_the_limit_of_datagrams_both_apply() {
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
fn a_discarding_server_is_not_warned_of_forged_sources() {
    let ended = Daemon::start(&["--discard", "udp://0.0.0.0:0"]).stop();
    assert!(!ended.stderr.contains("forged"), "{}", ended.stderr);
}

#[test]
fn a_reply_too_long_for_a_udp_datagram_is_refused() {
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
fn a_reply_that_an_endpoint_cannot_send_causes_a_warning() {
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

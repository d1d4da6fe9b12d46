//! `resound ping` against echo services made with socat and ncat.

use crate::ping::{PATIENT, assert_messages, document, ping};
use crate::support::run;
use crate::support::services::{each_of_ncat, each_of_socat};

#[track_caller]
fn assert_echoes(endpoint: &str) {
    println!("{endpoint}");
    // One probe after the other, because cat(1) ignores boundaries and merges datagrams that come
    // at once.
    let ended = run(ping(&["-J", "-c", "20", "-i", "0", PATIENT, endpoint]));
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    assert_messages(&document(&ended), &[("sent", 20), ("received", 20)]);
}

#[test]
fn socat_is_measured_on_every_transport() {
    each_of_socat(assert_echoes);
}

#[test]
fn ncat_is_measured() {
    each_of_ncat("127.6.6.6", assert_echoes);
}

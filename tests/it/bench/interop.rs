//! `resound bench` against echo services made with socat and ncat.

use crate::bench::{assert_messages, good_json, is_stream};
use crate::support::services::{each_of_ncat, each_of_socat};

/// Measures a service. Streams take any load. Datagrams are sent one at a time, because cat(1)
/// ignores message boundaries.
#[track_caller]
fn assert_echoes(endpoint: &str, stream_load: &[&str]) {
    println!("{endpoint} {stream_load:?}");
    let load = if is_stream(endpoint) { stream_load } else { &["-c1", "-d1"] };
    let common = ["-n100", "--warmup=0", "--timeout=50s", endpoint];
    let document = good_json(&[&common[..], load].concat());
    assert_messages(&document, [100, 100, 0, 0, 0, 0, 0]);
}

#[test]
fn socat_is_measured_on_every_transport() {
    each_of_socat(|endpoint| {
        assert_echoes(endpoint, &["-c4", "-d4"]);
        assert_echoes(endpoint, &["-c1", "-l200k"]);
    });
}

/// ncat writes all that it has read to cat(1) before it reads again, so more bytes than the pipes
/// hold would block it.
#[test]
fn ncat_is_measured() {
    each_of_ncat("127.6.6.7", |endpoint| assert_echoes(endpoint, &["-c4", "-d4"]));
}

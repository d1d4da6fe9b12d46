//! What the log of a server says, and how collectors read it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Daemon, Ended, resound, run, wait_until};

fn start(arguments: &[&str]) -> Daemon {
    let mut command = resound();
    command.arg("serve").args(arguments).env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
    Daemon::start_command(command)
}

/// Returns the lines of a JSON log. Every line is an object with a time, a level and a message.
#[track_caller]
fn objects(ended: &Ended) -> Vec<Value> {
    let object = |line: &str| {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for key in ["timestamp", "level", "message"] {
            assert!(object[key].is_string(), "{key} in {line}");
        }
        object
    };
    ended.stderr.lines().map(object).collect()
}

/// Returns the objects about connections that have ended.
fn ended_connections(objects: &[Value]) -> Vec<&Value> {
    objects.iter().filter(|object| object["message"] == "connection ended").collect()
}

fn exchange(mut peer: impl Read + Write, bytes: usize) {
    peer.write_all(&vec![b'x'; bytes]).unwrap();
    peer.read_exact(&mut vec![0; bytes]).unwrap();
}

#[test]
fn the_access_log_has_one_line_for_each_connection_with_peer_bytes_and_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let unix = format!("unix:{}", path.display());
    // The quietest log keeps these lines.
    let flags = ["-qq", "--access-log", "--log-format=json", "--drain-timeout=1ms"];
    let daemon = start(&[&["tcp://127.0.0.1:0", &unix], &flags[..]].concat());

    let finished = TcpStream::connect(daemon.addr(0)).unwrap();
    let finished_addr = finished.local_addr().unwrap().to_string();
    exchange(&finished, 100);
    drop(finished);

    let reset = TcpStream::connect(daemon.addr(0)).unwrap();
    let reset_addr = reset.local_addr().unwrap().to_string();
    exchange(&reset, 200_000);
    socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);

    exchange(UnixStream::connect(&path).unwrap(), 7);

    let cut = TcpStream::connect(daemon.addr(0)).unwrap();
    let cut_addr = cut.local_addr().unwrap().to_string();
    exchange(&cut, 3);
    wait_until("the ends of three connections", || {
        daemon.process.stderr_text().matches("connection ended").count() == 3
    });
    let ended = daemon.stop();
    drop(cut);

    let objects = objects(&ended);
    let connections = ended_connections(&objects);
    let expected = [
        ("tcp", finished_addr.as_str(), 100, "finished"),
        ("tcp", &reset_addr, 200_000, "reset"),
        ("unix", "unnamed", 7, "finished"),
        ("tcp", &cut_addr, 3, "drain_cut"),
    ];
    assert_eq!(connections.len(), expected.len(), "{}", ended.stderr);
    for (transport, peer, bytes, cause) in expected {
        let is_same = |object: &&&Value| object["peer"] == peer && object["transport"] == transport;
        let object = connections.iter().find(is_same).expect(peer);
        assert_eq!(object["cause"], cause, "{object}");
        assert_eq!((&object["bytes_in"], &object["bytes_out"]), (&bytes.into(), &bytes.into()));
        assert!(object["duration_s"].as_f64().unwrap() > 0.0, "{object}");
    }
    let stats = objects.last().unwrap();
    assert_eq!((&stats["message"], &stats["accepted"]), (&"stats".into(), &4.into()), "{stats}");
    assert_eq!(stats["tcp_bytes_in"], 200_103);
}

/// A peer of a Unix stream chooses its own name.
#[test]
fn a_name_with_control_characters_forges_no_line_of_the_access_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let unix = format!("unix:{}", path.display());
    let name = folder.path().join("a\" cause=\"finished\"\nconnection ended\u{1b}[2J");
    for format in ["json", "text"] {
        let daemon = start(&[&unix, "-qq", "--access-log", "--log-format", format]);
        let peer = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let mut peer = peer.unwrap();
        peer.bind(&socket2::SockAddr::unix(&name).unwrap()).unwrap();
        peer.connect(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        exchange(&mut peer, 3);
        drop(peer);
        std::fs::remove_file(&name).unwrap();
        let ended = daemon.stop();
        // The line and the counters.
        assert_eq!(ended.stderr.lines().count(), 2, "{}", ended.stderr);
        if format == "json" {
            let objects = objects(&ended);
            assert_eq!(ended_connections(&objects).len(), 1, "{}", ended.stderr);
            assert_eq!(ended_connections(&objects)[0]["bytes_in"], 3);
        } else {
            let words = ended.stderr.lines().next().unwrap().split(' ');
            let peers = words.clone().filter(|word| word.starts_with("peer=")).count();
            let causes = words.filter(|word| word.starts_with("cause=")).count();
            assert_eq!((peers, causes), (1, 1), "{}", ended.stderr);
        }
        assert!(!ended.stderr.contains('\u{1b}'), "{}", ended.stderr);
    }
}

#[test]
fn connections_are_not_logged_one_by_one_without_the_flag() {
    let daemon = start(&["tcp://127.0.0.1:0"]);
    exchange(TcpStream::connect(daemon.addr(0)).unwrap(), 5);
    let ended = daemon.stop();
    assert!(!ended.stderr.contains("connection ended"), "{}", ended.stderr);
}

#[test]
fn an_access_line_of_the_text_log_names_the_peer_of_a_reset() {
    let mut command = resound();
    command.args(["serve", "tcp://127.0.0.1:0", "--access-log"]).env("RUST_LOG", "error");
    let daemon = Daemon::start_command(command);
    let peer = TcpStream::connect(daemon.addr(0)).unwrap();
    let addr = peer.local_addr().unwrap();
    exchange(&peer, 5);
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    let line = format!("transport=\"tcp\" peer={addr} bytes_in=5 bytes_out=5 duration_s=");
    wait_until("the line of the reset", || {
        let log = daemon.process.stderr_text();
        log.lines().any(|l| l.contains(&line) && l.ends_with("cause=\"reset\""))
    });
}

#[test]
fn every_line_of_a_json_log_is_an_object() {
    let daemon = start(&["tcp://127.0.0.1:0", "udp://:0", "--log-format", "json", "--threads=2"]);
    daemon.process.signal(Signal::USR1);
    wait_until("the counters", || daemon.process.stderr_text().contains("\"loop\":"));
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0);
    let objects = objects(&ended);
    assert!(objects.iter().any(|object| object["level"] == "WARN"), "{}", ended.stderr);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = resound();
    command.args(["serve", "--log-format=json"]).arg(taken.local_addr().unwrap().to_string());
    let ended = run(command);
    assert_eq!(ended.code(), 1);
    let last = self::objects(&ended).pop().unwrap();
    assert_eq!(last["level"], "ERROR");
    assert!(last["message"].as_str().unwrap().contains("address in use"), "{last}");
}

#[test]
fn an_unknown_log_format_is_refused_in_one_line() {
    let mut command = resound();
    command.args(["serve", "--log-format", "xml"]);
    let ended = run(command);
    assert_eq!((ended.code(), ended.stderr.lines().count()), (2, 1));
    assert!(ended.stderr.contains("expected text or json"), "{}", ended.stderr);
}

//! `--sandbox`: what it forbids, tested from outside, and that the server still serves.
//!
//! `scripts/check.sh` runs some of the other tests again with `RESOUND_TEST_SERVE_FLAGS=--sandbox`.

pub mod forbidden;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::support::{
    Daemon, WAIT_MAX, abstract_name, echo, python, resound, run, serve_flags, wait_until,
};

/// Starts a sandboxed server. Adds no flag if all servers of these tests are sandboxed.
fn sandboxed(arguments: &[&str]) -> Daemon {
    let mut command = resound();
    command.arg("serve").args(arguments).env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
    if !serve_flags().iter().any(|flag| flag == "--sandbox") {
        command.arg("--sandbox");
    }
    Daemon::start_command(command)
}

/// Waits until the sandbox has logged what took effect, and returns the log.
fn sandbox_log(daemon: &Daemon) -> String {
    wait_until("the log of the sandbox", || {
        let log = daemon.process.stderr_text();
        // The line about the remaining rights is part of the same write.
        log.lines().any(|line| line.contains("INFO sandbox: no new privileges"))
    });
    daemon.process.stderr_text()
}

pub fn threads(pid: Pid) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    tasks.map(|task| task.unwrap().file_name().into_string().unwrap()).collect()
}

/// Returns the number of threads, and asserts that each has a filter and no new privileges.
#[track_caller]
pub fn confined_threads(pid: Pid) -> usize {
    let mut count = 0;
    for thread in threads(pid) {
        let path = format!("/proc/{}/task/{thread}/status", pid.as_raw_nonzero());
        // The log's thread starts and ends as needed.
        let Ok(status) = fs::read_to_string(path) else { continue };
        for line in ["Seccomp:\t2", "NoNewPrivs:\t1"] {
            assert!(status.lines().any(|other| other == line), "{line} is not in {status}");
        }
        count += 1;
    }
    count
}

fn tcp(daemon: &Daemon) -> TcpStream {
    let peer = TcpStream::connect(daemon.addr(0)).unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    peer
}

/// Sends one datagram from a bound, connected peer and reads the answer.
#[track_caller]
fn ask(peer: &UnixDatagram) {
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    peer.send(b"ping").unwrap();
    assert_eq!(peer.recv(&mut [0; 8]).unwrap(), 4);
}

fn abstract_addr(name: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(name.trim_start_matches('@')).unwrap()
}

/// Sends datagrams in each of the four pairings of paths and abstract names.
#[track_caller]
fn ask_by_every_name(folder: &std::path::Path, name: &str) {
    for to_path in [true, false] {
        let by_path = UnixDatagram::bind(folder.join(format!("peer-{to_path}"))).unwrap();
        let own_name = abstract_addr(&abstract_name("peer"));
        for peer in [by_path, UnixDatagram::bind_addr(&own_name).unwrap()] {
            if to_path {
                peer.connect(folder.join("datagram")).unwrap();
            } else {
                peer.connect_addr(&abstract_addr(name)).unwrap();
            }
            ask(&peer);
        }
    }
}

#[test]
fn all_transports_are_served_on_confined_threads_and_the_server_ends_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let (stream, datagram) = (folder.path().join("stream"), folder.path().join("datagram"));
    let name = abstract_name("served");
    let daemon = sandboxed(&[
        "tcp://127.0.0.1:0",
        "udp://127.0.0.1:0",
        &format!("unix:{}", stream.display()),
        &format!("unixgram:{}", datagram.display()),
        &format!("unixgram:{name}"),
        "--threads=2",
        "--affinity=0,0",
        "--print",
        "--stats=20ms",
    ]);
    let log = sandbox_log(&daemon);
    let removal = format!("removal in {}", folder.path().display());
    for part in ["no new privileges, landlock (ABI ", &removal, "seccomp ("] {
        assert!(log.contains(part), "{part:?} is not in {log}");
    }

    for _ in 0..4 {
        echo(&mut tcp(&daemon));
        let mut peer = UnixStream::connect(&stream).unwrap();
        peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
        echo(&mut peer);
    }
    ask_by_every_name(folder.path(), &name);
    let pid = daemon.process.pid();
    let mut trains = python("trains.py");
    let addr = daemon.addr(1);
    trains.args([addr.ip().to_string(), addr.port().to_string()]);
    let ended = run({
        trains.args([pid.as_raw_nonzero().to_string(), "1".to_owned()]);
        trains
    });
    assert_eq!(ended.code(), 0, "{}", ended.stderr);

    let names = threads(pid).into_iter().filter_map(|thread| {
        fs::read_to_string(format!("/proc/{}/task/{thread}/comm", pid.as_raw_nonzero())).ok()
    });
    assert!(names.into_iter().any(|name| name == "loop-1\n"), "threads can be named");
    // Two loops, the log's thread and the printing thread. The log's thread ends shortly after its
    // last line.
    wait_until("four threads", || {
        echo(&mut tcp(&daemon));
        confined_threads(pid) >= 4
    });
    let peer = tcp(&daemon);
    daemon.process.signal(Signal::TERM);
    wait_until("the stream's file to go", || !stream.exists());
    drop(peer);
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(!datagram.exists(), "the datagram socket's file is removed with the last stream");
    assert!(ended.stdout_text().contains(" ping\n"), "it prints");
    // Root is warned of its own rights (case X11), and of nothing else.
    let is_unexpected = |line: &str| line.contains("WARN") && !line.contains("rights of root");
    assert!(!ended.stderr.lines().any(is_unexpected), "{}", ended.stderr);
}

#[test]
fn the_rights_that_a_server_keeps_are_logged() {
    let daemon = sandboxed(&["tcp://127.0.0.1:0"]);
    let log = sandbox_log(&daemon);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let has_rights = !status.contains("CapPrm:\t0000000000000000");
    let user = rustix::process::geteuid();
    assert_eq!(log.contains("INFO sandbox: user 0 "), user.is_root(), "{log}");
    let capabilities = log.lines().any(|line| line.contains("sandbox: ") && line.contains(" stay"));
    assert_eq!(capabilities, has_rights || user.is_root(), "{log}");
}

/// Sends without reading until the socket takes no more.
fn send_until_stuck(peer: &mut TcpStream) {
    peer.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let is_stuck = (0..1_000).any(|_| peer.write(&[7; 1 << 20]).is_err());
    assert!(is_stuck, "a peer that does not read is served without limit");
}

#[test]
fn bulk_is_spliced_and_idle_peers_are_closed() {
    let daemon = sandboxed(&["tcp://127.0.0.1:0", "--idle-timeout=5s"]);
    send_until_stuck(&mut tcp(&daemon));
    wait_until("splices", || daemon.counters().get("tcp_bytes_spliced") > 0);
    let mut quiet = tcp(&daemon);
    echo(&mut quiet);
    assert_eq!(quiet.read(&mut [0]).unwrap(), 0, "it is closed");
    assert_eq!(daemon.stop().code(), 0);
}

/// The spare descriptor is /dev/null, opened for reading. The server opens it again after each use.
#[test]
fn without_descriptors_clients_are_shed_one_after_the_other() {
    sheds_again_and_again(sandboxed(&["tcp://127.0.0.1:0"]));
}

/// case A3
#[track_caller]
fn sheds_again_and_again(daemon: Daemon) {
    let pid = daemon.process.pid();
    echo(&mut tcp(&daemon));
    let open = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap();
    let highest = open.filter_map(|fd| fd.unwrap().file_name().to_str()?.parse::<u64>().ok()).max();
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(highest.unwrap() + 1), maximum })
        .unwrap();
    let mut clients = Vec::new();
    wait_until("three clients to be shed", || {
        clients.push(tcp(&daemon));
        daemon.counters().get("shed") >= 3
    });
    assert_eq!(daemon.stop().code(), 0);
}

#[test]
fn the_thread_of_the_log_starts_again_when_there_is_a_line_to_write() {
    let daemon = sandboxed(&["tcp://127.0.0.1:0"]);
    sandbox_log(&daemon);
    for _ in 0..2 {
        wait_until("the thread's end", || threads(daemon.process.pid()).len() == 1);
        assert_eq!(daemon.counters().get("connections_open"), 0);
    }
    assert_eq!(daemon.stop().code(), 0);
}

/// case X8
#[test]
fn a_file_that_replaced_the_socket_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let daemon = sandboxed(&[&format!("unix:{}", path.display())]);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another's").unwrap();
    assert_eq!(daemon.stop().code(), 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
}

#[test]
fn a_server_that_cannot_start_reports_the_same_cause_as_without_the_sandbox() {
    let daemon = sandboxed(&["tcp://127.0.0.1:0"]);
    let mut command = resound();
    command.args(["serve", "--sandbox", &daemon.endpoints[0]]);
    // This flag causes a warning before the server binds.
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let ended = run(command);
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr.contains("WARN LISTEN_FDS"), "the log is not lost: {}", ended.stderr);
    assert!(!ended.stderr.contains("sandbox"), "{}", ended.stderr);
}

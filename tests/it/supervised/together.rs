//! All features of a service at once: none disturbs another.

use std::fs;
use std::net::{SocketAddr, UdpSocket};

use rustix::process::Signal;
use serde_json::json;

use super::notify::Manager;
use super::passed;
use crate::metrics::{Metrics, connect, get};
use crate::sandbox::forbidden::{EACCES, make_calls};
use crate::sandbox::{confined_threads, threads};
use crate::support::{Daemon, Process, WAIT_MAX, abstract_name, echo, serve_flags, wait_until};

/// Two loops, two threads for the metrics, one for the manager. The writing threads start and end
/// as needed.
const THREADS_LASTING: usize = 5;

/// A service with all features, and the tools that observe it.
struct Service {
    /// The endpoints are first the passed sockets, TCP and UDP, then its own.
    daemon: Daemon,
    manager: Manager,
    metrics: SocketAddr,
}

#[track_caller]
fn start() -> Service {
    let name = abstract_name("together");
    let manager = Manager::new(&name);
    let own = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"];
    let flags = ["--metrics=127.0.0.1:0", "--threads=2", "--print", "--stats=50ms"];
    let arguments = [&own[..], &flags[..], &["--drain-timeout=10m"]].concat();
    let mut command = passed(&["tcp=127.0.0.1", "udp=127.0.0.1"], &arguments);
    if serve_flags().is_empty() {
        command.arg("--sandbox");
    }
    command.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "100000");
    let process = Process::start(command);
    let (mut endpoints, mut metrics) = (Vec::new(), None);
    wait_until("where it listens", || {
        let (stdout, log) = (process.stdout_text(), process.stderr_text());
        // All lines come in one write.
        let lines = stdout.lines().filter_map(|line| line.strip_prefix("listening "));
        endpoints = lines.map(str::to_owned).collect();
        let url = log.split_once("metrics at http://");
        metrics = url.and_then(|(_, rest)| rest.split_once("/metrics")?.0.parse().ok());
        endpoints.len() == 4 && stdout.ends_with('\n') && metrics.is_some()
    });
    let daemon = Daemon { process, endpoints };
    Service { daemon, manager, metrics: metrics.expect("the wait above returns after a match") }
}

/// Asserts that no thread can open other files. Landlock applies per thread, so a thread that
/// started too early could.
#[track_caller]
fn assert_files_are_out_of_reach(daemon: &Daemon) {
    let calls = json!([[libc::SYS_openat, libc::AT_FDCWD, "/etc/passwd", libc::O_RDONLY]]);
    for thread in threads(daemon.process.pid()) {
        let Some(results) = make_calls(daemon, &thread, &calls) else { return };
        assert!(results.iter().all(|result| *result == EACCES), "{thread}: {results:?}");
    }
}

/// cases P1, P2, P3
#[test]
fn a_watched_and_scraped_service_in_the_sandbox_serves_passed_sockets_and_its_own() {
    let Service { daemon, manager, metrics } = start();
    manager.wait_for("READY=1");
    let addrs = [0, 2].map(|index| daemon.addr(index));
    let mut open: Vec<_> = addrs.iter().flat_map(|addr| (0..8).map(|_| connect(*addr))).collect();
    open.iter_mut().for_each(echo);
    for index in [1, 3] {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
        peer.send_to(b"ping", daemon.addr(index)).unwrap();
        assert_eq!(peer.recv(&mut [0; 8]).unwrap(), 4);
    }
    // In the sandbox, the metrics can still read /proc/self.
    let page = Metrics::of(&get(metrics, "/metrics").body);
    assert_eq!(page.get("resound_connections_open"), 16.0);
    let pid = daemon.process.pid();
    let fds = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap().count() as f64;
    assert!((page.get("process_open_fds") - fds).abs() <= 1.0, "{fds} and {page:?}");
    assert!(page.get("process_max_fds") > fds);
    assert!(page.get("process_resident_memory_bytes") > 0.0);
    manager.wait_for("WATCHDOG=1");
    assert!(confined_threads(pid) >= THREADS_LASTING);
    assert_files_are_out_of_reach(&daemon);

    // An unfinished request does not delay the end.
    let _pending = connect(metrics);
    daemon.process.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    manager.wait_for("WATCHDOG=1");
    assert_eq!(get(metrics, "/healthz").body, "draining\n");
    open.iter_mut().for_each(echo);
    drop(open);
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let stdout = ended.stdout_text();
    assert_eq!(stdout.matches(" ping\n").count(), 16 + 2 + 16, "{stdout}");
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.starts_with("stats uptime_s=") && last.contains(" accepted=16 "), "{last}");
}

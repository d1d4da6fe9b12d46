//! The notifications to `NOTIFY_SOCKET`, and a manager that does not read them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Signal;

use super::passed;
use crate::support::{Daemon, Process, WAIT_MAX, abstract_name, echo, resound, wait_until};

/// The manager's socket, which receives the notifications.
pub(super) struct Manager(UnixDatagram);

impl Manager {
    /// Binds to a name in the form of `NOTIFY_SOCKET`.
    pub(super) fn new(name: &str) -> Manager {
        let addr = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).unwrap(),
            None => SocketAddr::from_pathname(name).unwrap(),
        };
        let socket = UnixDatagram::bind_addr(&addr).unwrap();
        socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
        Manager(socket)
    }

    /// Receives the next message and returns its lines.
    #[track_caller]
    fn receive(&self) -> Vec<String> {
        let mut buf = [0; 8192];
        let length = self.0.recv(&mut buf).expect("a message");
        let text = str::from_utf8(&buf[..length]).unwrap();
        assert!(text.ends_with('\n'), "{text:?}");
        text.lines().map(str::to_owned).collect()
    }

    /// Waits for a message with such a line. Returns it, and the lines of the messages before it.
    #[track_caller]
    pub(super) fn wait_for(&self, prefix: &str) -> (Vec<String>, Vec<String>) {
        let deadline = Instant::now() + WAIT_MAX;
        let mut before = Vec::new();
        loop {
            assert!(Instant::now() < deadline, "{prefix} after {before:?}");
            let message = self.receive();
            if message.iter().any(|line| line.starts_with(prefix)) {
                return (message, before);
            }
            before.extend(message);
        }
    }

    /// Returns the queued messages without waiting for more.
    fn rest(&self) -> Vec<String> {
        self.0.set_nonblocking(true).unwrap();
        let mut lines = Vec::new();
        let mut buf = [0; 8192];
        while let Ok(length) = self.0.recv(&mut buf) {
            lines.extend(str::from_utf8(&buf[..length]).unwrap().lines().map(str::to_owned));
        }
        lines
    }
}

/// Returns a command for `resound serve` with a manager at `name`.
fn serve(name: &str, arguments: &[&str]) -> Command {
    let mut command = resound();
    command.arg("serve").args(arguments).env("NOTIFY_SOCKET", name).env_remove("RUST_LOG");
    command
}

fn client(daemon: &Daemon) -> TcpStream {
    let mut client = TcpStream::connect_timeout(&daemon.addr(0), WAIT_MAX).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    echo(&mut client);
    client
}

/// cases P1, P3: from the start to the end.
#[test]
fn a_manager_at_a_path_or_an_abstract_name_gets_every_notification() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify").to_str().unwrap().to_owned();
    thread::scope(|scope| {
        for name in [path, abstract_name("notify")] {
            scope.spawn(move || sends_every_notification(&name));
        }
    });
}

#[track_caller]
fn sends_every_notification(name: &str) {
    let manager = Manager::new(name);
    let (mut stdout, writer) = io::pipe().unwrap();
    let command = serve(name, &["tcp://127.0.0.1:0", "-q", "--drain-timeout", "10m"]);
    let process = Process::start_with(command, Stdio::null(), writer.into());
    assert_eq!(manager.receive(), ["READY=1"]);
    // The server prints where it listens before it sends READY=1.
    fcntl_setfl(&stdout, OFlags::NONBLOCK).unwrap();
    let mut buf = [0; 256];
    let length = stdout.read(&mut buf).expect("the line is there");
    let line = str::from_utf8(&buf[..length]).unwrap().trim_end();
    let endpoint = line.strip_prefix("listening ").unwrap().to_owned();
    assert_eq!(manager.receive(), [format!("STATUS=serving {endpoint}: 0 connections")]);

    let daemon = Daemon { process, endpoints: vec![endpoint.clone()] };
    let mut open = client(&daemon);
    assert_eq!(manager.receive(), [format!("STATUS=serving {endpoint}: 1 connection")]);
    daemon.process.signal(Signal::TERM);
    // The drain begins and the peer is still connected. The drain may take longer than a manager
    // waits by default.
    let draining = ["STOPPING=1", "STATUS=draining", "EXTEND_TIMEOUT_USEC=605000000"];
    assert_eq!(manager.wait_for("STOPPING").0, draining);
    echo(&mut open);
    assert_eq!(manager.receive(), ["STATUS=draining: 1 connection"]);
    drop(open);
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
    assert!(manager.rest().iter().all(|line| line.starts_with("STATUS=draining")));
}

/// case P1: an end without a drain.
#[test]
fn the_manager_is_notified_of_the_end_of_one_off() {
    let name = abstract_name("notify");
    let manager = Manager::new(&name);
    let daemon = Daemon::start_command(serve(&name, &["tcp://127.0.0.1:0", "-1"]));
    drop(client(&daemon));
    assert_eq!(daemon.process.wait().code(), 0);
    let notifications = manager.rest();
    assert_eq!(notifications.first().map(String::as_str), Some("READY=1"), "{notifications:?}");
    assert!(notifications.iter().any(|line| line == "STOPPING=1"), "{notifications:?}");
    assert!(!notifications.iter().any(|line| line.starts_with("EXTEND")), "{notifications:?}");
}

#[test]
fn a_service_that_cannot_start_does_not_report_ready() {
    let name = abstract_name("notify");
    let manager = Manager::new(&name);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", taken.local_addr().unwrap());
    let ended = Daemon::try_start(serve(&name, &[&endpoint])).unwrap_err();
    assert_eq!(ended.code(), 1);
    assert!(manager.rest().is_empty());
}

#[test]
fn a_service_with_passed_sockets_reports_ready() {
    let name = abstract_name("notify");
    let manager = Manager::new(&name);
    let mut command = passed(&["tcp=127.0.0.1"], &[]);
    command.env("NOTIFY_SOCKET", &name);
    let mut process = Process::start(command);
    assert_eq!(manager.receive(), ["READY=1"]);
    let endpoint = process.wait_for_line("listening ");
    assert_eq!(manager.receive(), [format!("STATUS=serving {endpoint}: 0 connections")]);
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), 0);
}

/// case P3
#[test]
fn a_wrong_notify_socket_is_ignored_with_one_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    File::create(path("file")).unwrap();
    let _stream = UnixListener::bind(path("stream")).unwrap();
    // This socket is closed.
    drop(UnixDatagram::bind(path("stale")).unwrap());
    let wrong = [
        path("missing"),
        path("file"),
        path("stream"),
        path("stale"),
        path(&"long".repeat(40)),
        path(""),
        abstract_name("closed"),
        "relative".to_owned(),
        "vsock:2:1234".to_owned(),
        "@".to_owned(),
        "\u{1b}[2J\n".to_owned(),
    ];
    for name in wrong {
        let mut command = serve(&name, &["tcp://127.0.0.1:0"]);
        command.env("WATCHDOG_USEC", "20000");
        let daemon = Daemon::start_command(command);
        drop(client(&daemon));
        let ended = daemon.stop();
        assert_eq!(ended.code(), 0, "{name:?}: {}", ended.stderr);
        let warnings: Vec<_> = ended.stderr.lines().filter(|l| l.contains("WARN")).collect();
        assert_eq!(warnings.len(), 1, "{name:?}: {}", ended.stderr);
        assert!(warnings[0].contains("NOTIFY_SOCKET is ignored: "), "{warnings:?}");
        assert!(!warnings[0].contains("\u{1b}[2J"), "{warnings:?}");
    }
}

/// case P3: and there is no notifying thread.
#[test]
fn without_a_manager_there_are_no_notifications_and_no_thread() {
    for name in [None, Some("")] {
        let mut command = serve("", &["tcp://127.0.0.1:0"]);
        command.env_remove("NOTIFY_SOCKET").envs(name.map(|name| ("NOTIFY_SOCKET", name)));
        command.env("WATCHDOG_USEC", "20000");
        let daemon = Daemon::start_command(command);
        drop(client(&daemon));
        let pid = daemon.process.pid().as_raw_nonzero();
        let names = || {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
            names.filter_map(Result::ok).collect::<String>()
        };
        assert!(!names().contains("supervisor"), "{}", names());
        let ended = daemon.stop();
        assert_eq!(ended.code(), 0);
        assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
    }
}

/// Returns a manager whose queue is full.
fn deaf(name: &str) -> Manager {
    let manager = Manager::new(name);
    let addr = manager.0.local_addr().unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to_addr(b"noise\n", &addr).is_ok() {}
    manager
}

/// case P3
#[test]
fn a_manager_that_does_not_read_delays_neither_the_echo_nor_the_end() {
    let name = abstract_name("notify");
    let manager = deaf(&name);
    let mut command = serve(&name, &["tcp://127.0.0.1:0"]);
    command.env("WATCHDOG_USEC", "2000");
    let daemon = Daemon::start_command(command);
    let mut open = client(&daemon);
    (0..100).for_each(|_| echo(&mut open));
    daemon.process.signal(Signal::TERM);
    wait_until("the drain", || daemon.process.stderr_text().contains("draining"));
    (0..100).for_each(|_| echo(&mut open));
    drop(open);
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
    assert!(manager.rest().iter().all(|line| line == "noise"));
}

#[test]
fn a_manager_that_reads_late_gets_every_notification() {
    let name = abstract_name("notify");
    let manager = deaf(&name);
    let daemon = Daemon::start_command(serve(&name, &["tcp://127.0.0.1:0"]));
    let open = client(&daemon);
    daemon.process.signal(Signal::TERM);
    wait_until("the drain", || daemon.process.stderr_text().contains("draining"));
    let (ready, before) = manager.wait_for("READY=1");
    assert_eq!(ready, ["READY=1"]);
    assert!(before.iter().all(|line| line == "noise"), "the notifications come in order");
    assert_eq!(manager.receive()[0], "STOPPING=1");
    drop(open);
    assert_eq!(daemon.process.wait().code(), 0);
}

/// Returns a command: `sh`, which becomes the service, so that the process number is known before
/// the service starts.
fn watched(name: &str, pid: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("WATCHDOG_PID={pid} exec \"$@\""), "sh"]);
    command.arg(resound().get_program()).args(["serve", "tcp://127.0.0.1:0", "--threads", "2"]);
    command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "100000").env_remove("RUST_LOG");
    command
}

#[test]
fn the_watchdog_is_notified_repeatedly_while_every_loop_turns_and_in_the_drain() {
    let name = abstract_name("notify");
    let manager = Manager::new(&name);
    let daemon = Daemon::start_command(watched(&name, "$$"));
    let open = client(&daemon);
    for _ in 0..4 {
        assert_eq!(manager.wait_for("WATCHDOG").0, ["WATCHDOG=1"]);
    }
    daemon.process.signal(Signal::TERM);
    manager.wait_for("STOPPING");
    for _ in 0..2 {
        assert_eq!(manager.wait_for("WATCHDOG").0, ["WATCHDOG=1"]);
    }
    drop(open);
    assert_eq!(daemon.process.wait().code(), 0);
}

#[test]
fn without_a_watchdog_for_this_process_there_are_no_watchdog_notifications() {
    let commands = [("1", "100000"), ("$$", "0"), ("$$", "x"), ("$$", "")];
    for (pid, usec) in commands {
        let name = abstract_name("notify");
        let manager = Manager::new(&name);
        let mut command = watched(&name, pid);
        command.env("WATCHDOG_USEC", usec);
        let daemon = Daemon::start_command(command);
        manager.wait_for("STATUS");
        // This time is several watchdog intervals long.
        thread::sleep(Duration::from_millis(300));
        daemon.process.signal(Signal::TERM);
        let (_, before) = manager.wait_for("STOPPING");
        assert!(before.is_empty(), "{before:?}");
        assert_eq!(daemon.process.wait().code(), 0);
    }
}

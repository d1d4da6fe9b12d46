//! How the program ends, and for which peers it must not wait.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::support::{Counters, Daemon, Guarded, Process, WAIT_MAX, echo, resound, wait_until};

fn client(daemon: &Daemon) -> TcpStream {
    let client = TcpStream::connect_timeout(&daemon.addr(0), WAIT_MAX).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client
}

fn served_client(daemon: &Daemon) -> TcpStream {
    let mut client = client(daemon);
    echo(&mut client);
    client
}

/// Stops the process, does `meanwhile`, signals the process, and continues it. So everything in
/// `meanwhile` precedes the signal.
fn signal_after(daemon: &Daemon, signal: Signal, meanwhile: impl FnOnce()) {
    daemon.process.signal(Signal::STOP);
    let pid = daemon.process.pid();
    wait_until("the process to stop", || state(pid) == 'T');
    meanwhile();
    daemon.process.signal(signal);
    daemon.process.signal(Signal::CONT);
}

fn state(pid: Pid) -> char {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

/// case P1
#[test]
fn sigterm_accepts_what_is_queued_stops_listening_and_waits_for_peers() {
    drains_on(Signal::TERM);
}

/// case P1
#[test]
fn sigint_accepts_what_is_queued_stops_listening_and_waits_for_peers() {
    drains_on(Signal::INT);
}

/// case P1
#[test]
fn sighup_accepts_what_is_queued_stops_listening_and_waits_for_peers() {
    drains_on(Signal::HUP);
}

#[track_caller]
fn drains_on(signal: Signal) {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--drain-timeout", "10m"]);
    let mut open = served_client(&daemon);
    let mut queued = Vec::new();
    signal_after(&daemon, signal, || queued = (0..100).map(|_| client(&daemon)).collect());
    // A connect is refused only after listening has ended; until then it may still be queued.
    wait_until("a refusal", || {
        TcpStream::connect_timeout(&daemon.addr(0), WAIT_MAX)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    });
    echo(&mut open);
    queued.iter_mut().for_each(echo);
    drop(open);
    for client in &queued {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("draining: "), "{}", ended.stderr);
    let counters = Counters::last_of(&ended.stderr);
    assert_eq!((counters.get("connections_open"), counters.get("drain_cut")), (0, 0));
    assert!(counters.get("finished") >= 101);
}

/// case P1
#[test]
fn a_peer_that_never_finishes_is_cut_at_the_drain_timeout() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--drain-timeout", "300ms"]);
    let mut peer = served_client(&daemon);
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("drain timed out: 1 connection cut"), "{}", ended.stderr);
    assert_eq!(Counters::last_of(&ended.stderr).get("drain_cut"), 1);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "FIN, and not a reset");
}

/// case P1: for any two of the signals.
#[test]
fn a_second_signal_ends_a_drain_at_once() {
    for (first, second) in [
        (Signal::TERM, Signal::TERM),
        (Signal::INT, Signal::INT),
        (Signal::TERM, Signal::INT),
        (Signal::HUP, Signal::HUP),
        (Signal::HUP, Signal::TERM),
    ] {
        // This is longer than the test waits, so the test fails if the second signal is ignored.
        let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--drain-timeout", "10m"]);
        let _peer = served_client(&daemon);
        daemon.process.signal(first);
        wait_until("the drain", || daemon.process.stderr_text().contains("draining"));
        daemon.process.signal(second);
        let ended = daemon.process.wait();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        assert!(ended.stderr.contains("second signal: 1 connection cut"), "{}", ended.stderr);
    }
}

/// case P1
#[test]
fn socket_files_are_removed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (stream, packets) = (folder.path().join("stream"), folder.path().join("packets"));
    let endpoint = |scheme: &str, path: &Path| format!("{scheme}:{}", path.display());
    let daemon = Daemon::start(&[endpoint("unix", &stream), endpoint("unixgram", &packets)]);
    let mut peer = UnixStream::connect(&stream).unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    echo(&mut peer);
    let datagram = UnixDatagram::bind(folder.path().join("peer")).unwrap();
    datagram.set_read_timeout(Some(WAIT_MAX)).unwrap();
    datagram.send_to(b"ping", &packets).unwrap();
    assert_eq!(datagram.recv(&mut [0; 8]).unwrap(), 4);

    // Listening ends when the drain begins, and its file is removed. Datagrams are answered while
    // the stream drains.
    daemon.process.signal(Signal::HUP);
    wait_until("the listener's file to go", || !stream.exists());
    echo(&mut peer);
    datagram.send_to(b"ping", &packets).unwrap();
    assert_eq!(datagram.recv(&mut [0; 8]).unwrap(), 4);
    drop(peer);
    assert_eq!(daemon.process.wait().code(), 0);
    assert!(!packets.exists());
}

/// case S11: all bytes that the server read come back before FIN, although more are on the way.
#[test]
fn at_the_drain_deadline_a_peer_that_keeps_sending_gets_its_whole_echo_and_fin() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--drain-timeout", "2s"]);
    let mut reader = served_client(&daemon);
    let mut writer = reader.try_clone().unwrap();
    writer.set_write_timeout(Some(WAIT_MAX)).unwrap();
    let sender = thread::spawn(move || {
        let mut chunk = [0; 10_000];
        let mut bytes = (0..=250_u8).cycle();
        // This continues until the server or the reader closes.
        loop {
            chunk.iter_mut().zip(&mut bytes).for_each(|(place, byte)| *place = byte);
            if writer.write_all(&chunk).is_err() {
                break;
            }
        }
    });
    daemon.process.signal(Signal::TERM);
    let mut received = Vec::new();
    reader.read_to_end(&mut received).expect("FIN, and not a reset");
    let _ = reader.shutdown(Shutdown::Both);
    sender.join().unwrap();
    assert!(received.iter().zip((0..=250_u8).cycle()).all(|(got, sent)| *got == sent));
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let counters = Counters::last_of(&ended.stderr);
    let echoed = 4 + received.len() as u64;
    assert_eq!(counters.get("tcp_bytes_in"), echoed, "all that was read was answered");
    assert_eq!(counters.get("tcp_bytes_out"), echoed, "all that was answered arrived");
}

/// Starts `resound serve` with a pipe as stderr, which the test reads after the end.
fn serve_piped(arguments: &[&str], stdout: Stdio) -> (Guarded, io::PipeReader) {
    let (stderr, writer) = io::pipe().unwrap();
    let mut command = resound();
    command.arg("serve").args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(writer);
    (Guarded::spawn(command), stderr)
}

/// Returns the exit code and the log of a process that prints only a few lines.
#[track_caller]
fn end_of((child, mut stderr): (Guarded, io::PipeReader)) -> (Option<i32>, String) {
    let status = child.wait();
    let mut log = String::new();
    stderr.read_to_string(&mut log).unwrap();
    (status.code(), log)
}

/// case P4: as in `serve | head -1`, with which a script reads the port.
#[test]
fn a_reader_that_closes_after_the_listening_line_does_not_disturb_the_server() {
    let endpoints = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "udp://127.0.0.1:0", "-1"];
    let mut served = serve_piped(&endpoints, Stdio::piped());
    let mut stdout = served.0.0.stdout.take().unwrap();
    let line = read_line(&mut stdout);
    drop(stdout);
    let mut peer = TcpStream::connect(line.strip_prefix("listening tcp://").unwrap()).unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    echo(&mut peer);
    drop(peer);
    let (code, log) = end_of(served);
    assert_eq!(code, Some(0));
    assert!(log.contains("finished=1"), "{log}");
    for noise in ["roken pipe", "ERROR", "WARN", "panic"] {
        assert!(!log.contains(noise), "{log}");
    }
}

/// case P4
#[test]
fn a_server_with_stdout_closed_from_the_start_ends_quietly() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let served = serve_piped(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "-q"], writer.into());
    assert_eq!(end_of(served), (Some(0), String::new()));
}

/// case P4
#[test]
fn with_print_a_reader_that_closes_ends_the_server_quietly() {
    let mut served = serve_piped(&["udp://127.0.0.1:0", "--print", "-q"], Stdio::piped());
    let mut stdout = served.0.0.stdout.take().unwrap();
    let line = read_line(&mut stdout);
    let addr = line.strip_prefix("listening udp://").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"one", addr).unwrap();
    let printed = read_line(&mut stdout);
    assert!(printed.contains("one"), "{printed}");
    drop(stdout);
    // The next message is printed after the reader closed.
    client.send_to(b"two", addr).unwrap();
    let (code, log) = end_of(served);
    assert_eq!((code, log.lines().count()), (Some(0), 1), "{log}");
    assert_eq!(Counters::last_of(&log).get("udp_messages_in"), 2);
}

/// Returns a command that runs `resound serve` where no file may grow beyond a block, which has the
/// effect of a full disk.
fn with_small_files(arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -f 1 && exec \"$@\"", "sh"]);
    command.arg(resound().get_program()).arg("serve").args(arguments).env_remove("RUST_LOG");
    command
}

/// Returns the number of messages that were not printed, by the log.
#[track_caller]
fn lost_messages(log: &str) -> u64 {
    let (before, _) = log.split_once(" messages were not printed").expect(log);
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn print_to_a_full_disk_warns_once_a_second_and_counts_what_was_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let printed = folder.path().join("printed");
    let command = with_small_files(&["udp://127.0.0.1:0", "--print"]);
    let file = File::create(&printed).unwrap();
    let started_at = Instant::now();
    let process = Process::start_with(command, Stdio::null(), file.into());
    let text = || fs::read_to_string(&printed).unwrap();
    wait_until("the listening line", || text().ends_with('\n'));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client.connect(text().trim().strip_prefix("listening udp://").unwrap()).unwrap();
    let messages = 300;
    for _ in 0..messages {
        client.send(b"ping").unwrap();
        assert_eq!(client.recv(&mut [0; 16]).unwrap(), 4);
    }
    process.signal(Signal::TERM);
    let ended = process.wait();
    let elapsed_s = started_at.elapsed().as_secs();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let warnings = ended.stderr.matches("cannot print to stdout").count() as u64;
    assert!((1..=elapsed_s + 1).contains(&warnings), "{warnings} in {elapsed_s} s");
    let lost = lost_messages(&ended.stderr);
    // The first part of a batch may fit in the file, and still counts as lost with its batch.
    let whole_lines = text().lines().filter(|line| line.ends_with(" ping")).count() as u64;
    assert!(lost <= messages && lost + whole_lines >= messages, "{lost} + {whole_lines}");
}

/// case P4: messages that wait for a reader are counted at the end.
#[test]
fn messages_that_are_unread_at_the_end_are_counted() {
    let mut served = serve_piped(&["udp://127.0.0.1:0", "--print"], Stdio::piped());
    let mut stdout = served.0.0.stdout.take().unwrap();
    let line = read_line(&mut stdout);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client.connect(line.strip_prefix("listening udp://").unwrap()).unwrap();
    // More than a pipe holds.
    for _ in 0..100 {
        client.send(&[b'x'; 8_000]).unwrap();
        assert_eq!(client.recv(&mut [0; 16_000]).unwrap(), 8_000);
    }
    kill_process(Pid::from_child(&served.0.0), Signal::TERM).unwrap();
    let (code, log) = end_of(served);
    assert_eq!(code, Some(0));
    let lost = lost_messages(&log);
    assert!((50..=100).contains(&lost), "{log}");
    drop(stdout);
}

/// Reads a line byte by byte, so that the bytes after it stay unread.
fn read_line(source: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while source.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// Returns both ends of a full pipe.
fn full_pipe() -> (io::PipeReader, OwnedFd) {
    let (reader, mut writer) = io::pipe().unwrap();
    let flags = fcntl_getfl(writer.as_fd()).unwrap();
    fcntl_setfl(writer.as_fd(), flags | OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    // Less than a page of room may be left.
    while writer.write(b".").is_ok() {}
    // The flag applies to every process that inherits this end.
    fcntl_setfl(writer.as_fd(), flags).unwrap();
    (reader, writer.into())
}

/// case P4: stderr is a full pipe without a reader, and the server logs much.
#[test]
fn a_full_stderr_delays_neither_the_echo_nor_the_end() {
    let (_reader, writer) = full_pipe();
    let mut command = resound();
    command.args(["serve", "tcp://127.0.0.1:0", "-vv", "--stats", "1ms"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer);
    let mut child = Guarded::spawn(command);
    let mut stdout = child.0.stdout.take().unwrap();
    let addr = read_line(&mut stdout);
    let addr = addr.strip_prefix("listening tcp://").unwrap();
    for _ in 0..50 {
        let mut peer = TcpStream::connect(addr).unwrap();
        peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
        (0..20).for_each(|_| echo(&mut peer));
    }
    kill_process(Pid::from_child(&child.0), Signal::TERM).unwrap();
    assert_eq!(child.wait().code(), Some(0));
}

#[test]
fn lost_lines_of_the_log_are_counted_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut command = with_small_files(&["tcp://127.0.0.1:0", "--stats", "1ms"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&path).unwrap());
    let child = Guarded::spawn(command);
    let pid = Pid::from_child(&child.0);
    wait_until("a full log", || fs::metadata(&path).unwrap().len() >= 512);
    // The kernel also counts the writes that fail (proc_pid_io(5)).
    let writes = || {
        let text = fs::read_to_string(format!("/proc/{}/io", pid.as_raw_nonzero())).unwrap();
        let count = text.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap();
        count.parse::<u64>().unwrap()
    };
    let before = writes();
    wait_until("lines that are lost", || writes() >= before + 20);
    let unlimited = Rlimit { current: None, maximum: None };
    prlimit(Some(pid), Resource::Fsize, unlimited).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().code(), Some(0));
    let log = fs::read_to_string(&path).unwrap();
    assert_eq!(log.matches("lines of the log were lost").count(), 1, "{log}");
    assert!(log.ends_with("or not at all\n"), "{log}");
}

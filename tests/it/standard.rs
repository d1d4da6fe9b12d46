//! The standard streams of every command: non-blocking ones, and ones that take no more.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Daemon, Ended, Guarded, Process, WAIT_MAX, echo, resound, run, wait_until};

/// The arguments of a client command, before the server's endpoint.
type Arguments = &'static [&'static str];

fn command(arguments: Arguments, server: &Daemon) -> Command {
    let mut command = resound();
    command.args(arguments).arg(&server.endpoints[0]);
    command
}

/// Returns a full pipe whose writing end does not block, and the number of bytes in it.
fn full_pipe() -> (PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setfl(writer.as_fd(), fcntl_getfl(&writer).unwrap() | OFlags::NONBLOCK).unwrap();
    let mut bytes = 0;
    // When a page finds no room, there may still be room for less than a page.
    for piece in [[b'.'; 4096].as_slice(), b"."] {
        while let Ok(count) = writer.write(piece) {
            bytes += count;
        }
    }
    (reader, writer, bytes)
}

/// Returns true if a thread of the process is in poll(2).
fn polls(pid: Pid) -> bool {
    let folder = format!("/proc/{}/task", pid.as_raw_nonzero());
    let is_poll = |number: i64| {
        #[cfg(target_arch = "x86_64")]
        if number == libc::SYS_poll {
            return true;
        }
        number == libc::SYS_ppoll
    };
    fs::read_dir(folder).is_ok_and(|mut threads| {
        threads.any(|thread| {
            let path = thread.unwrap().path().join("syscall");
            let call = fs::read_to_string(path).unwrap_or_default();
            call.split(' ').next().and_then(|number| number.parse().ok()).is_some_and(is_poll)
        })
    })
}

/// Waits until a program waits for a stream by poll(2).
#[track_caller]
fn wait_until_it_polls(child: &mut Guarded) {
    let pid = Pid::from_child(&child.0);
    wait_until("a wait for the stream", || polls(pid) || child.0.try_wait().unwrap().is_some());
}

/// Runs a client whose stdout is full and does not block, and starts to read once the client waits.
#[track_caller]
fn stdout_of(arguments: Arguments, input: &[u8], server: &Daemon) -> (String, Option<i32>) {
    let (mut reader, writer, filled_bytes) = full_pipe();
    let mut command = command(arguments, server);
    command.stdin(Stdio::piped()).stdout(writer).stderr(Stdio::null());
    let mut child = Guarded::spawn(command);
    let mut stdin = child.0.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    wait_until_it_polls(&mut child);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    let _ = feeder.join().unwrap();
    (String::from_utf8(bytes.split_off(filled_bytes)).unwrap(), child.wait().code())
}

#[test]
fn send_waits_for_a_stdout_that_does_not_block() {
    let server = Daemon::start(&["tcp://127.0.0.1:0"]);
    let input = "0123456789".repeat(100_000);
    let (text, code) = stdout_of(&["send"], input.as_bytes(), &server);
    assert!(text == input, "{} bytes came", text.len());
    assert_eq!(code, Some(0));
}

#[test]
fn ping_waits_for_a_stdout_that_does_not_block() {
    let server = Daemon::start(&["tcp://127.0.0.1:0"]);
    let (text, code) = stdout_of(&["ping", "-c", "3000", "-i", "0"], b"", &server);
    assert_eq!((text.matches("seq=").count(), code), (3000, Some(0)));
}

#[test]
fn bench_waits_for_a_stdout_that_does_not_block() {
    let server = Daemon::start(&["tcp://127.0.0.1:0"]);
    let (text, code) = stdout_of(&["bench", "-n", "100", "--warmup", "0"], b"", &server);
    assert_eq!(code, Some(0), "{text}");
    let (json, code) = stdout_of(&["bench", "-n", "100", "--warmup", "0", "-J"], b"", &server);
    let document: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((document["messages"]["received"].as_u64(), code), (Some(100), Some(0)));
    const STREAM: Arguments =
        &["bench", "-t", "1s", "--warmup", "0", "--json-stream", "--interval", "20ms"];
    let (lines, code) = stdout_of(STREAM, b"", &server);
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert!(last["status"].is_string() && code == Some(0), "{last}");
}

#[test]
fn help_waits_for_a_stdout_that_does_not_block() {
    let (mut reader, writer, filled_bytes) = full_pipe();
    let mut command = resound();
    command.args(["serve", "--help"]).stdout(writer).stderr(Stdio::null());
    let mut child = Guarded::spawn(command);
    wait_until_it_polls(&mut child);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert!(String::from_utf8_lossy(&bytes[filled_bytes..]).contains("--drain-timeout"));
    assert_eq!(child.wait().code(), Some(0));
}

#[test]
fn an_error_message_waits_for_a_stderr_that_does_not_block() {
    let (mut reader, writer, filled_bytes) = full_pipe();
    let mut command = resound();
    command.arg("nonsense").stdout(Stdio::null()).stderr(writer);
    let mut child = Guarded::spawn(command);
    wait_until_it_polls(&mut child);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert!(String::from_utf8_lossy(&bytes[filled_bytes..]).starts_with("resound: "));
    assert_eq!(child.wait().code(), Some(2));
}

#[test]
fn send_waits_for_a_stdin_that_does_not_block() {
    let server = Daemon::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    for endpoint in &server.endpoints {
        let (reader, mut writer) = std::io::pipe().unwrap();
        fcntl_setfl(reader.as_fd(), OFlags::NONBLOCK).unwrap();
        let mut command = resound();
        command.args(["send", endpoint]).stdin(reader).stdout(Stdio::piped());
        let mut child = Guarded::spawn(command);
        wait_until_it_polls(&mut child);
        writer.write_all(b"late\n").unwrap();
        drop(writer);
        let mut answer = String::new();
        child.0.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
        assert_eq!(answer.trim_end(), "late", "{endpoint}");
        assert_eq!(child.wait().code(), Some(0));
    }
}

/// case P4: the printing thread waits, not the loop.
#[test]
fn serve_prints_every_message_to_a_stdout_that_does_not_block() {
    const MESSAGES: usize = 100;
    for flags in [&[][..], &["--sandbox"]] {
        let (mut reader, writer, filled_bytes) = full_pipe();
        let mut command = resound();
        command.args(["serve", "--print", "udp://127.0.0.1:0", "-q"]).args(flags);
        command.stdin(Stdio::null()).stdout(writer);
        let mut child = Guarded::spawn(command);
        wait_until_it_polls(&mut child);
        let mut filled = vec![0; filled_bytes];
        reader.read_exact(&mut filled).unwrap();
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            reader.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        let line = String::from_utf8(line).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(WAIT_MAX)).unwrap();
        client.connect(line.trim_end().strip_prefix("listening udp://").unwrap()).unwrap();
        // More than a pipe holds.
        for _ in 0..MESSAGES {
            client.send(&[b'x'; 8_000]).unwrap();
            assert_eq!(client.recv(&mut [0; 16_000]).unwrap(), 8_000);
        }
        wait_until_it_polls(&mut child);
        // Read before the end, at which the server waits for a reader only for a moment.
        let mut lines = BufReader::new(reader).lines();
        for line in lines.by_ref().take(MESSAGES) {
            assert!(line.unwrap().ends_with("xxx"));
        }
        kill_process(Pid::from_child(&child.0), Signal::TERM).unwrap();
        assert_eq!(lines.count(), 0);
        assert_eq!(child.wait().code(), Some(0));
    }
}

/// case P4
#[test]
fn serve_logs_all_to_a_stderr_that_does_not_block_and_serves_meanwhile() {
    let (mut reader, writer, filled_bytes) = full_pipe();
    let mut command = resound();
    command.args(["serve", "tcp://127.0.0.1:0", "--stats", "1ms"]).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer);
    let mut child = Guarded::spawn(command);
    let mut listening = [0; 64];
    let count = child.0.stdout.as_mut().unwrap().read(&mut listening).unwrap();
    let line = std::str::from_utf8(&listening[..count]).unwrap();
    let addr = line.trim_end().strip_prefix("listening tcp://").unwrap();
    let mut peer = TcpStream::connect(addr).unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    (0..100).for_each(|_| echo(&mut peer));
    drop(peer);
    wait_until_it_polls(&mut child);
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
    // At its end the server waits for a reader only for a moment.
    let (pid, mut checks) = (Pid::from_child(&child.0), 0);
    wait_until("the log to be read", || {
        checks = if polls(pid) { 0 } else { checks + 1 };
        checks == 20
    });
    kill_process(pid, Signal::TERM).unwrap();
    let mut bytes = reading.join().unwrap();
    let log = String::from_utf8(bytes.split_off(filled_bytes)).unwrap();
    assert!(log.contains("INFO at most ") && log.contains("stats "), "{log}");
    assert!(!log.contains("were lost"), "{log}");
    assert_eq!(child.wait().code(), Some(0));
}

/// The commands with a result on stdout.
const RESULTS: &[Arguments] = &[
    &["ping", "-c", "1"],
    &["ping", "-c", "1", "-J"],
    &["bench", "-n", "10", "--warmup", "0"],
    &["bench", "-n", "10", "--warmup", "0", "-J"],
    &["bench", "-n", "10", "--warmup", "0", "--json-stream"],
    &["bench", "-t", "200ms", "--warmup", "0", "--interval", "50ms"],
    &["send", "--no-shutdown"],
];

fn with_message(arguments: Arguments, server: &Daemon) -> Command {
    let mut command = command(arguments, server);
    if arguments[0] == "send" {
        command.arg("message");
    }
    command
}

/// Asserts that one line on stderr reports the loss of stdout.
#[track_caller]
fn assert_reported(ended: &Ended, reason: &str, what: Arguments) {
    assert_eq!(ended.code(), 1, "{what:?}: {}", ended.stderr);
    let line = format!("resound: cannot write to stdout: {reason}\n");
    assert!(ended.stderr.ends_with(&line), "{what:?}: {}", ended.stderr);
    assert_eq!(ended.stderr.matches(reason).count(), 1, "{what:?}: {}", ended.stderr);
}

#[test]
fn a_result_lost_to_a_full_disk_is_reported() {
    let server = Daemon::start(&["tcp://127.0.0.1:0"]);
    let full = || File::options().write(true).open("/dev/full").unwrap().into();
    for arguments in RESULTS {
        let command = with_message(arguments, &server);
        let ended = Process::start_with(command, Stdio::null(), full()).wait();
        assert_reported(&ended, "no space left on device", arguments);
    }
    for arguments in [&["--help"][..], &["serve", "--help"], &["--version"]] {
        let mut command = resound();
        command.args(arguments);
        let ended = Process::start_with(command, Stdio::null(), full()).wait();
        assert_reported(&ended, "no space left on device", arguments);
    }
    let mut command = resound();
    command.args(["serve", "-q", "tcp://127.0.0.1:0"]);
    let ended = Process::start_with(command, Stdio::null(), full()).wait();
    assert_reported(&ended, "no space left on device", &["serve"]);
}

/// Returns a command for which no file may grow beyond a number of blocks of 512 bytes.
fn limited(command: &Command, blocks: u32) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -f {blocks} && exec \"$@\""), "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

#[test]
fn a_result_lost_to_the_file_size_limit_is_reported() {
    let server = Daemon::start(&["tcp://127.0.0.1:0"]);
    let folder = tempfile::tempdir().unwrap();
    for arguments in RESULTS {
        let command = with_message(arguments, &server);
        let file = File::create(folder.path().join("stdout")).unwrap();
        let process = Process::start_with(limited(&command, 0), Stdio::null(), file.into());
        assert_reported(&process.wait(), "file too large", arguments);
    }
}

#[test]
fn a_result_file_at_the_file_size_limit_is_named_and_the_result_is_printed() {
    let server = Daemon::start(&["tcp://127.0.0.1:0"]);
    let folder = tempfile::tempdir().unwrap();
    for ending in ["json", "csv", "hgrm", "hlog"] {
        let path = folder.path().join(format!("run.{ending}")).display().to_string();
        let mut command = command(&["bench", "-n", "100", "--warmup", "0"], &server);
        command.args(["-o", &path]);
        let ended = run(limited(&command, 0));
        assert_eq!(ended.code(), 1, "{ending}: {}", ended.stderr);
        assert!(ended.stderr.contains("file too large"), "{ending}: {}", ended.stderr);
        assert!(ended.stderr.contains(&format!("run.{ending}")), "{ending}: {}", ended.stderr);
        assert!(!ended.stdout.is_empty(), "{ending}: the result is printed");
    }
}

/// The user requested the line of `send -v` about the peer, so losing it is an error.
#[test]
fn a_verbose_line_that_cannot_be_written_to_stderr_is_an_error() {
    let server = Daemon::start(&["tcp://127.0.0.1:0"]);
    let mut command = command(&["send", "-v"], &server);
    let full = File::options().write(true).open("/dev/full").unwrap();
    command.arg("message").stdin(Stdio::null()).stdout(Stdio::null()).stderr(full);
    assert_eq!(Guarded::spawn(command).wait().code(), Some(1));
}

/// Rust's runtime opens /dev/null for each closed standard stream, so that no socket gets its
/// number.
#[test]
fn with_standard_streams_closed_at_the_start_every_command_works() {
    let server = Daemon::start(&["tcp://127.0.0.1:0"]);
    let closed = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh"]);
        command.arg(resound().get_program()).arg(program).args(arguments);
        command
    };
    let endpoint = server.endpoints[0].as_str();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run.json").display().to_string();
    // A result that goes only to stdout is lost.
    for (program, arguments, code) in [
        ("ping", &["-c", "1", endpoint][..], 1),
        ("bench", &["-n", "10", "--warmup", "0", endpoint], 1),
        ("bench", &["-n", "10", "--warmup", "0", "-o", &output, endpoint], 0),
        ("send", &[endpoint, "message"], 1),
        ("send", &[endpoint, "message", "--no-reply"], 0),
        ("send", &[endpoint, "--no-reply"], 1),
    ] {
        let ended = run(closed(program, arguments));
        assert_eq!(ended.code(), code, "{program} {arguments:?}");
    }
    let path = folder.path().join("echo");
    let daemon = Process::start(closed("serve", &[&format!("unix:{}", path.display())]));
    let mut peer = None;
    wait_until("a server", || {
        peer = std::os::unix::net::UnixStream::connect(&path).ok();
        peer.is_some()
    });
    let mut peer = peer.unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    echo(&mut peer);
    daemon.signal(Signal::TERM);
    drop(peer);
    assert_eq!(daemon.wait().code(), 0);
    assert_eq!(fs::metadata(&path).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Runs the program with one of its standard streams closed by the shell.
#[track_caller]
fn run_closed(redirection: &str, arguments: &[&str]) -> Ended {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec \"$0\" \"$@\" {redirection}")]);
    command.arg(resound().get_program()).args(arguments);
    run(command)
}

#[test]
fn a_message_lost_to_a_stdin_closed_at_the_start_is_reported() {
    let server = Daemon::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    for endpoint in &server.endpoints {
        let ended = run_closed("<&-", &["send", endpoint]);
        assert_eq!((ended.code(), ended.stdout_text().as_str()), (1, ""), "{endpoint}");
        assert_eq!(ended.stderr, "resound: cannot read stdin: bad file descriptor\n", "{endpoint}");
        // A message in the command line needs no stdin, and an empty stdin is no mistake.
        let ended = run_closed("<&-", &["send", endpoint, "hello", "--expect-echo"]);
        assert_eq!((ended.code(), ended.stdout_text().as_str()), (0, "hello"), "{endpoint}");
        let ended = run_closed("</dev/null", &["send", endpoint]);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{endpoint}");
    }
}

#[test]
fn a_result_lost_to_a_stdout_closed_at_the_start_is_reported() {
    let server = Daemon::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    let output = format!("--output={}", path.display());
    let [tcp, udp] = [&server.endpoints[0], &server.endpoints[1]].map(String::as_str);
    for arguments in [
        &["bench", "-n10", "--warmup=0", tcp][..],
        &["bench", "-n10", "--warmup=0", "-J", udp],
        &["bench", "-n10", "--warmup=0", "--json-stream", &output, tcp],
        &["ping", "-c1", tcp],
        &["ping", "-c1", "-J", udp],
        &["send", tcp, "hello"],
        &["send", udp, "hello"],
        &["serve", "--print", "tcp://127.0.0.1:0", "-q"],
        &["--version"],
        &["bench", "--help"],
    ] {
        let ended = run_closed(">&-", arguments);
        assert_eq!(ended.code(), 1, "{arguments:?}: {}", ended.stderr);
        let complaints = ended.stderr.lines().filter(|line| !line.starts_with("stats "));
        let expected = ["resound: cannot write to stdout: bad file descriptor"];
        assert_eq!(complaints.collect::<Vec<_>>(), expected, "{arguments:?}");
    }
    fs::remove_file(&path).unwrap();
    // The result goes elsewhere, or there is none.
    for arguments in [
        &["bench", "-n10", "--warmup=0", "--interval=1ms", &output, tcp][..],
        &["send", "--no-reply", udp, "hello"],
    ] {
        let ended = run_closed(">&-", arguments);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{arguments:?}");
    }
    let document = fs::read(&path).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(document["messages"]["received"], 10);
    // A stdout that the caller opened as /dev/null takes everything.
    for redirection in [">/dev/null", "1<>/dev/null"] {
        let ended = run_closed(redirection, &["ping", "-c1", tcp]);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{redirection}");
    }
}

//! Starts the program and its peers. Every wait is bounded.

// Each test file uses a part of this module.
#![allow(dead_code)]

pub mod schema;
pub mod services;
pub mod skips;
#[path = "../../../src/testing/wait.rs"]
mod wait;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, geteuid, kill_process, waitid};

pub use self::skips::skip;
pub(crate) use self::wait::{WAIT_MAX, wait_until};

/// Sends one message on a stream and reads its echo.
#[track_caller]
pub fn echo(client: &mut (impl Read + Write)) {
    client.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

/// Whether this kernel has Multipath TCP switched on. If not, the test is skipped.
pub fn has_multipath_tcp() -> bool {
    let enabled = std::fs::read_to_string("/proc/sys/net/mptcp/enabled");
    let is_on = enabled.is_ok_and(|text| text.trim() == "1");
    if !is_on {
        skip("this kernel has no Multipath TCP, or it is switched off");
    }
    is_on
}

/// Returns the path of unshare(1), which makes network namespaces. Returns `None` and records a
/// skip if unshare, ip(8) or root rights are missing.
pub fn unshare_network() -> Option<PathBuf> {
    let unshare = tool("unshare")?;
    tool("ip")?;
    if !geteuid().is_root() {
        skip("only root may make network namespaces");
        return None;
    }
    Some(unshare)
}

/// Returns a command that runs the built program.
pub fn resound() -> Command {
    Command::new(env!("CARGO_BIN_EXE_resound"))
}

/// Returns flags for every server of these tests, so that the same tests can run with another
/// configuration.
pub fn serve_flags() -> Vec<String> {
    let flags = std::env::var("RESOUND_TEST_SERVE_FLAGS").unwrap_or_default();
    flags.split_whitespace().map(str::to_owned).collect()
}

/// Returns a command that runs a script in `tests/python`.
pub fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    // -u: unbuffered, because tests wait for its output. -B: Python writes no compiled copy beside
    // the script.
    command.args(["-u", "-B"]).arg(path);
    command
}

/// Returns the path of a tool that some machines lack. If it is missing, the test fails where
/// `RESOUND_REQUIRE_TOOLS` is set, as in the project's checks. Otherwise this records a skip and
/// returns `None`.
pub fn tool(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("RESOUND_REQUIRE_TOOLS").is_none(), "{name} is not installed");
        skip(format_args!("{name} is not installed"));
    }
    found
}

/// Returns an abstract Unix name, with its `@`, that no other test uses.
pub fn abstract_name(tag: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("@resound-test-{}-{tag}-{count}", std::process::id())
}

/// Two ports that serve no client. No other test gets them, because sockets are bound to them: the
/// TCP socket does not listen, and the UDP socket is connected to another peer.
pub struct UnservedPorts {
    pub tcp: SocketAddr,
    pub udp: SocketAddr,
    _bound: rustix::fd::OwnedFd,
    _connected: UdpSocket,
}

impl UnservedPorts {
    pub fn new() -> UnservedPorts {
        let bound = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&bound, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let tcp = SocketAddr::try_from(rustix::net::getsockname(&bound).unwrap()).unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect("127.0.0.1:9").unwrap();
        let udp = connected.local_addr().unwrap();
        UnservedPorts { tcp, udp, _bound: bound, _connected: connected }
    }
}

/// A running process. Threads collect its output. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    /// Returns the exit code, or -1 if a signal ended the process.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Process {
    /// Starts a command. Writes `input` to its stdin, a pipe, then closes it.
    pub fn start_with_input(command: Command, input: &[u8]) -> Process {
        let mut process = Process::start_with_stdin(command, Stdio::piped());
        let mut stdin = process.child.stdin.take().expect("stdin is a pipe");
        let input = input.to_vec();
        // This takes a thread, because the process may write output before it reads all its input.
        // A process that ends early closes the pipe, which is allowed.
        process.readers.push(thread::spawn(move || {
            let _ = stdin.write_all(&input);
        }));
        process
    }

    /// Starts a command with an empty stdin.
    pub fn start(command: Command) -> Process {
        Process::start_with_stdin(command, Stdio::null())
    }

    /// Starts a command with this stdin, and collects stdout and stderr.
    pub fn start_with_stdin(command: Command, stdin: Stdio) -> Process {
        Process::start_with(command, stdin, Stdio::piped())
    }

    /// Starts a command with this stdin and stdout. Collects stderr, and also stdout if it is
    /// [`Stdio::piped`].
    pub fn start_with(mut command: Command, stdin: Stdio, stdout: Stdio) -> Process {
        command.stdin(stdin).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Arc::new(Mutex::new(Vec::new()));
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(gather(pipe, Arc::clone(&stdout)));
        }
        readers.push(gather(child.stderr.take().expect("stderr is a pipe"), Arc::clone(&stderr)));
        Process { child, stdout, stderr, readers }
    }

    /// Returns the bytes that it has printed to stdout so far.
    pub fn stdout_bytes(&self) -> Vec<u8> {
        self.stdout.lock().unwrap().clone()
    }

    /// Returns the text that it has printed to stdout so far.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout.lock().unwrap()).into_owned()
    }

    /// Returns the text that it has printed to stderr so far.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Returns true while the process runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child can be waited for").is_none()
    }

    /// Panics with its status and stderr if the process has ended.
    #[track_caller]
    pub fn assert_running(&self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(self.pid()), options).expect("the child can be waited for");
        assert!(status.is_none(), "it ended: {status:?}, stderr {:?}", self.stderr_text());
    }

    /// Takes its stdin, to write to while it runs.
    pub fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("stdin is a pipe that was not taken")
    }

    /// Returns its stdin, which stays open until the process ends.
    pub fn stdin_mut(&mut self) -> &mut std::process::ChildStdin {
        self.child.stdin.as_mut().expect("stdin is a pipe that was not taken")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the child can be signalled");
    }

    /// Waits for a line of its stdout that begins with `prefix`, and returns the rest of it.
    #[track_caller]
    pub fn wait_for_line(&mut self, prefix: &str) -> String {
        let mut found = None;
        wait_until(&format!("a line {prefix:?}"), || {
            let stdout = self.stdout_text();
            // The last line may be incomplete.
            let whole = stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
            found = whole.lines().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned);
            if found.is_none() && !self.is_running() {
                panic!("it ended: stdout {stdout:?}, stderr {:?}", self.stderr_text());
            }
            found.is_some()
        });
        found.expect("wait_until returns after a match")
    }

    /// Waits until the process ends by itself.
    #[track_caller]
    pub fn wait(mut self) -> Ended {
        wait_until("the end of a process", || !self.is_running());
        let status = self.child.wait().expect("it has ended");
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        let stdout = std::mem::take(&mut *self.stdout.lock().unwrap());
        Ended { status, stdout, stderr: self.stderr_text() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child process whose output the test handles. Dropping it kills the process.
#[derive(Debug)]
pub struct Guarded(pub Child);

impl Guarded {
    pub fn spawn(mut command: Command) -> Guarded {
        Guarded(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Waits until the process ends by itself.
    #[track_caller]
    pub fn wait(mut self) -> ExitStatus {
        wait_until("the end of a process", || self.0.try_wait().unwrap().is_some());
        self.0.wait().unwrap()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn gather(mut source: impl Read + Send + 'static, target: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buf = [0; 65_536];
        while let Ok(count @ 1..) = source.read(&mut buf) {
            target.lock().unwrap().extend_from_slice(&buf[..count]);
        }
    })
}

/// Runs a command to its end with an empty stdin.
#[track_caller]
pub fn run(command: Command) -> Ended {
    Process::start(command).wait()
}

/// A running `resound serve`.
#[derive(Debug)]
pub struct Daemon {
    pub process: Process,
    /// The endpoints in its `listening` lines, in order.
    pub endpoints: Vec<String>,
}

impl Daemon {
    /// Starts `resound serve` and waits for its `listening` lines, as many as there are endpoints
    /// among the arguments (words with a colon).
    #[track_caller]
    pub fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Daemon {
        let mut command = resound();
        command.arg("serve").args(arguments);
        Daemon::start_command(command)
    }

    /// Like [`Daemon::start`], for a command that the caller has prepared.
    #[track_caller]
    pub fn start_command(command: Command) -> Daemon {
        Daemon::try_start(command)
            .unwrap_or_else(|ended| panic!("serve ended: {}", ended.stderr.trim_end()))
    }

    /// Like [`Daemon::start_command`], but returns a daemon that ends before it listens as an
    /// error.
    #[track_caller]
    pub fn try_start(mut command: Command) -> Result<Daemon, Ended> {
        command.args(serve_flags());
        let is_endpoint = |argument: &&OsStr| {
            let text = argument.to_string_lossy();
            ["tcp:", "udp:", "unix:", "unixgram:"].iter().any(|scheme| text.starts_with(scheme))
        };
        let expected = command.get_args().filter(is_endpoint).count();
        let mut process = Process::start(command);
        let mut endpoints = Vec::new();
        wait_until("the listening lines", || {
            // Checked first, so that the output below includes all that it printed before its end.
            let has_ended = !process.is_running();
            let stdout = process.stdout_text();
            let whole = stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let listening = whole.lines().filter_map(|line| line.strip_prefix("listening "));
            endpoints = listening.map(str::to_owned).collect();
            endpoints.len() >= expected || has_ended
        });
        if endpoints.len() < expected {
            Err(process.wait())
        } else {
            Ok(Daemon { process, endpoints })
        }
    }

    /// Returns the address of the endpoint with this index, which must be TCP or UDP with an IP
    /// address as host.
    #[track_caller]
    pub fn addr(&self, index: usize) -> SocketAddr {
        let (_, addr) = self.endpoints[index].split_once("://").expect("an IP endpoint");
        addr.parse().expect("an address")
    }

    /// Sends SIGTERM and waits until the process ends.
    #[track_caller]
    pub fn stop(self) -> Ended {
        self.process.signal(Signal::TERM);
        self.process.wait()
    }

    /// Requests the counters by SIGUSR1 and waits for the line.
    #[track_caller]
    pub fn counters(&self) -> Counters {
        let lines = || self.process.stderr_text().matches("stats ").count();
        let before = lines();
        self.process.signal(Signal::USR1);
        wait_until("the counters", || {
            self.process.assert_running();
            lines() > before && self.process.stderr_text().ends_with('\n')
        });
        Counters::last_of(&self.process.stderr_text())
    }
}

/// The names and values of a line of counters.
#[derive(Debug)]
pub struct Counters(Vec<(String, String)>);

impl Counters {
    /// Parses the last line of counters in a log.
    #[track_caller]
    pub fn last_of(log: &str) -> Counters {
        let line = log.lines().rev().find_map(|line| line.strip_prefix("stats "));
        let words = line.unwrap_or_else(|| panic!("no counters in {log:?}")).split(' ');
        let pair = |word: &str| word.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
        Counters(words.map(|word| pair(word).expect("name=value")).collect())
    }

    /// Returns the count of this name. The line omits counts that are zero.
    pub fn get(&self, name: &str) -> u64 {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map_or(0, |(_, value)| value.parse().expect("a whole number"))
    }
}

//! A server that a command starts for one run, and that ends after it.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::{Failure, Runner};

/// How long a server may take until it answers: an interpreter or a virtual machine starts within a
/// few seconds.
const START_MAX: Duration = Duration::from_secs(10);

/// How long a server may take to end after SIGTERM, before it is killed. No peer is left by then.
const STOP_MAX: Duration = Duration::from_secs(2);

/// How long its other processes may take once the first has ended.
const REST_MAX: Duration = Duration::from_millis(500);

/// Between two looks at a process that starts or ends.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The bytes of a server's stderr that are read for its last line.
const STDERR_BYTES_MAX: u64 = 64 << 10;

/// A running server with all processes of its group. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Served {
    command: String,
    child: Child,
    stderr: File,
}

impl Served {
    /// Starts a server by a command of the shell, and waits until it answers at the endpoint.
    pub(super) fn start(runner: &Runner, command: &str, endpoint: &str) -> Result<Served, Failure> {
        if answers(runner, endpoint) {
            return Err(Failure::Failed(format!(
                "a server answers at {endpoint} before '{command}' has started: expected a free \
                 endpoint"
            )));
        }
        let mut served = Served::spawn(command).map_err(|error| {
            let error = crate::error::Error::new("run", format!("'{command}'"), error);
            Failure::Failed(error.to_string())
        })?;
        let started_at = Instant::now();
        while !answers(runner, endpoint) {
            if runner.is_interrupted() {
                return Err(Failure::Interrupted);
            }
            served.check()?;
            if started_at.elapsed() >= START_MAX {
                let seconds = START_MAX.as_secs();
                return Err(Failure::Failed(format!(
                    "'{command}' does not answer at {endpoint} after {seconds} s"
                )));
            }
            runner.pause(LOOK_INTERVAL);
        }
        served.check()?;
        Ok(served)
    }

    fn spawn(command: &str) -> io::Result<Served> {
        let stderr = tempfile::tempfile()?;
        let child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr.try_clone()?)
            .process_group(0)
            .spawn()?;
        Ok(Served { command: command.to_owned(), child, stderr })
    }

    /// Fails if the command has ended. It names the command and the last line that it wrote to
    /// stderr.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Failure::Failed(self.end_text(status))),
            Err(error) => Err(Failure::Failed(crate::error::reason(&error))),
        }
    }

    fn end_text(&mut self, status: ExitStatus) -> String {
        let mut bytes = Vec::new();
        let file = &mut self.stderr;
        let read = file.rewind().and_then(|()| file.take(STDERR_BYTES_MAX).read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes);
        let last = text.lines().rfind(|line| !line.trim().is_empty()).filter(|_| read.is_ok());
        let last = last.map_or_else(String::new, |line| format!(": {}", line.trim()));
        format!("the server '{}' ended by itself ({status}){last}", self.command)
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until this holds, but not longer than a time.
    fn wait(&mut self, time_max: Duration, mut holds: impl FnMut(&mut Served) -> bool) -> bool {
        let started_at = Instant::now();
        while !holds(self) {
            if started_at.elapsed() >= time_max {
                return false;
            }
            thread::sleep(LOOK_INTERVAL);
        }
        true
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let group = self.group();
        // Each signal may find the group gone.
        let _ = kill_process_group(group, Signal::TERM);
        let has_ended = |served: &mut Served| !matches!(served.child.try_wait(), Ok(None));
        let is_empty = |served: &mut Served| test_kill_process_group(served.group()).is_err();
        if !self.wait(STOP_MAX, has_ended) || !self.wait(REST_MAX, is_empty) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Returns true if an echo comes back from the endpoint.
fn answers(runner: &Runner, endpoint: &str) -> bool {
    let mut ping = runner.command("ping");
    ping.args(["-q", "-c", "1", "-W", "200ms", endpoint]);
    ping.status().is_ok_and(|status| status.success())
}

//! Runs `resound bench` as a process of its own, and reads its document. A run in a new process
//! inherits nothing of an earlier one, and cannot end the series.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::error::Error;
use crate::measured::{RunResult, Status};
use crate::process::{ending_signals, restore_ending_signals};

/// The bytes of one read from a pipe, which is the default capacity of a pipe (pipe(7)).
const READ_BYTES: usize = 64 << 10;

/// The bytes of a run's stderr that are kept for the report of a failure: some screens of text.
const STDERR_BYTES_MAX: usize = 64 << 10;

/// The exit code of `bench` for a wrong command line.
const USAGE: i32 = 2;

/// Runs `resound bench` again and again. Until it is dropped, the signals that ask a program to
/// end do not end this process: they end the run and the series.
#[derive(Debug)]
pub struct Runner {
    program: PathBuf,
    /// Readable after a signal.
    signals: UnixStream,
    /// Signals so far.
    signalled: Cell<usize>,
}

/// A run that made load.
#[derive(Clone, Debug)]
pub struct Run {
    /// The facts in the document of `bench -J`.
    pub result: RunResult,
    /// The exit code of `bench`.
    pub code: i32,
}

/// Why there is no run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A signal asked this process to end.
    Interrupted,
    /// `bench` refused its command line. Holds its message.
    Usage(String),
    /// The run did not take place. Holds the reason.
    Failed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Interrupted => f.write_str("interrupted"),
            Failure::Usage(reason) | Failure::Failed(reason) => f.write_str(reason),
        }
    }
}

/// What a process wrote, up to its end.
#[derive(Debug, Default)]
struct Written {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Runner {
    /// Creates a runner of this program, and catches the ending signals from here on.
    ///
    /// # Errors
    ///
    /// The path of this program is unknown, or the signals cannot be caught.
    pub fn new() -> Result<Runner, Error> {
        let program = std::env::current_exe();
        Runner::of(program.map_err(|error| Error::new("find", "this program", error))?)
    }

    fn of(program: PathBuf) -> Result<Runner, Error> {
        let catch = || {
            let (signals, wake) = UnixStream::pair()?;
            signals.set_nonblocking(true)?;
            for signal in ending_signals() {
                signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
            }
            Ok(signals)
        };
        let signals = catch().map_err(|error: io::Error| Error::new("watch", "signals", error))?;
        Ok(Runner { program, signals, signalled: Cell::new(0) })
    }

    /// Returns true once a signal has asked this process to end.
    pub fn is_interrupted(&self) -> bool {
        let mut bytes = [0; 16];
        while let Ok(count @ 1..) = (&self.signals).read(&mut bytes) {
            self.signalled.set(self.signalled.get() + count);
        }
        self.signalled.get() > 0
    }

    /// Waits, but not longer than until a signal comes.
    pub fn pause(&self, time: Duration) {
        if !self.is_interrupted() {
            let mut fds = [PollFd::new(&self.signals, PollFlags::IN)];
            // A pause may be short.
            let _ = poll(&mut fds, Timespec::try_from(time).ok().as_ref());
        }
    }

    /// Returns a command of this program, such as `ping`. It takes no flag from the environment: a
    /// series gives its runs every flag that they have, and its document names no others.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(subcommand).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_flag_of(subcommand, name)) {
            command.env_remove(name);
        }
        // Signals of the terminal reach this process only, which passes on those that it means.
        command.process_group(0);
        command
    }

    /// Runs `bench` with these words behind it, and returns its document. A partial run, a run with
    /// corrupted echoes and one whose asserts failed are runs as well; [`Run::code`] tells.
    ///
    /// # Errors
    ///
    /// The run did not take place, or a signal ended it.
    pub fn run(&self, words: &[OsString]) -> Result<Run, Failure> {
        if self.is_interrupted() {
            return Err(Failure::Interrupted);
        }
        let failed = |error: io::Error| {
            let program = self.program.display();
            Failure::Failed(Error::new("run", program, error).to_string())
        };
        let mut command = self.command("bench");
        command.arg("-J").args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let written = self.read(&mut child);
        if written.is_err() {
            // Otherwise the wait below could last as long as the run.
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed)?;
        let written = written.map_err(failed)?;
        if self.is_interrupted() {
            return Err(Failure::Interrupted);
        }
        let result = RunResult::from_json(&String::from_utf8_lossy(&written.stdout));
        match (status.code(), result) {
            (Some(USAGE), result) => {
                let reason = reason(result.ok(), &written.stderr);
                // The caller has a help of its own.
                let reason = reason.trim_end_matches("; try 'resound bench --help'");
                Err(Failure::Usage(reason.to_owned()))
            }
            (Some(code), Ok(result)) if result.status != Status::Error => Ok(Run { result, code }),
            (Some(_), result) => Err(Failure::Failed(reason(result.ok(), &written.stderr))),
            (None, _) => Err(Failure::Failed(format!("'resound bench' ended by {status}"))),
        }
    }

    /// Reads all that a process writes. Passes on a signal, and kills the process at the second.
    fn read(&self, child: &mut Child) -> io::Result<Written> {
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        let mut written = Written::default();
        let mut passed_on = 0;
        while stdout.is_some() || stderr.is_some() {
            let is_asked = self.is_interrupted();
            if is_asked && passed_on < self.signalled.get() {
                let signal = if passed_on == 0 { Signal::INT } else { Signal::KILL };
                passed_on = self.signalled.get();
                // It may have ended by itself.
                let _ = kill_process(Pid::from_child(child), signal);
            }
            let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
            fds.extend(stdout.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            fds.extend(stderr.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            match poll(&mut fds, None) {
                Err(error) if error != Errno::INTR => return Err(error.into()),
                _ => {}
            }
            read_ready(&mut stdout, &mut written.stdout)?;
            read_ready(&mut stderr, &mut written.stderr)?;
            written.stderr.truncate(STDERR_BYTES_MAX);
        }
        Ok(written)
    }
}

impl Drop for Runner {
    /// From here on a signal ends the program again.
    fn drop(&mut self) {
        restore_ending_signals();
    }
}

/// Returns true for a variable that gives a subcommand a flag.
fn is_flag_of(subcommand: &str, variable: &OsStr) -> bool {
    let prefix = format!("RESOUND_{}_", subcommand.to_uppercase());
    variable.as_encoded_bytes().starts_with(prefix.as_bytes())
}

/// Reads once from a pipe that has bytes or has ended, and forgets it at its end.
fn read_ready<P: Read + AsFd>(pipe: &mut Option<P>, text: &mut Vec<u8>) -> io::Result<()> {
    let Some(readable) = pipe else { return Ok(()) };
    let mut fds = [PollFd::new(readable, PollFlags::IN)];
    if poll(&mut fds, Some(&Timespec::default())).unwrap_or(0) == 0 {
        return Ok(());
    }
    let mut bytes = vec![0; READ_BYTES];
    match readable.read(&mut bytes) {
        Ok(0) => *pipe = None,
        Ok(count) => text.extend_from_slice(&bytes[..count]),
        Err(error) if error.kind() == ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Returns why there are no figures: what the document says, or else the last line of stderr.
fn reason(result: Option<RunResult>, stderr: &[u8]) -> String {
    if let Some(error) = result.and_then(|result| result.error) {
        return error;
    }
    let text = String::from_utf8_lossy(stderr);
    match text.lines().rfind(|line| !line.trim().is_empty()) {
        Some(last) => last.strip_prefix("resound: ").unwrap_or(last).to_owned(),
        None => "'resound bench' ended without a document".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;
    use crate::measured::samples;

    /// Returns a runner of a shell script, which stands for this program.
    fn scripted(lines: &str) -> (Runner, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        // Written by a shell, because a file that this process holds open for writing cannot be
        // executed, and another test may fork meanwhile.
        let mut shell = Command::new("sh")
            .args(["-c", "cat > \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = format!("#!/bin/sh\n{lines}\n");
        shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        // Without signal handlers, which are the same for all tests of this process.
        let (signals, _wake) = UnixStream::pair().unwrap();
        signals.set_nonblocking(true).unwrap();
        (Runner { program: path, signals, signalled: Cell::new(0) }, folder)
    }

    /// Returns a runner of a script that prints the document of a run, and then does more.
    fn printing(result: &RunResult, more: &str) -> (Runner, TempDir) {
        let (runner, folder) = scripted(&format!("cat \"$0.json\"\n{more}"));
        fs::write(folder.path().join("program.json"), result.to_json()).unwrap();
        (runner, folder)
    }

    #[test]
    fn every_flag_of_a_subcommand_from_the_environment_is_left_out() {
        for (variable, is_left_out) in [
            ("RESOUND_BENCH_CONNECTIONS", true),
            ("RESOUND_BENCH_ASSERT", true),
            ("RESOUND_SWEEP_STEPS", false),
            ("RESOUND_BENCHES", false),
            ("PATH", false),
        ] {
            assert_eq!(is_flag_of("bench", variable.as_ref()), is_left_out, "{variable}");
        }
        assert!(is_flag_of("ping", "RESOUND_PING_METRICS".as_ref()));
    }

    #[test]
    fn a_run_is_its_document_and_its_exit_code() {
        let check = r#"[ "$*" = "bench -J -c 3" ] && exit 99"#;
        let (runner, _folder) = printing(&samples::open_run(), check);
        let run = runner.run(&["-c".into(), "3".into()]).unwrap();
        assert_eq!((run.code, run.result.to_json()), (99, samples::open_run().to_json()));
    }

    #[test]
    fn a_run_without_figures_says_why() {
        let run = |lines: &str| scripted(lines).0.run(&[]).unwrap_err();
        let failed = |reason: &str| Failure::Failed(reason.to_owned());
        let refused = RunResult::failed(Vec::new(), "refused");
        assert_eq!(printing(&refused, "exit 1").0.run(&[]).unwrap_err(), failed("refused"));
        assert_eq!(run("echo first >&2; echo 'resound: last' >&2; exit 1"), failed("last"));
        assert_eq!(run("exit 0"), failed("'resound bench' ended without a document"));
        let refused = run(r#"echo "resound: bad flag; try 'resound bench --help'" >&2; exit 2"#);
        assert_eq!(refused, Failure::Usage("bad flag".to_owned()));
        let killed = run("kill -KILL $$").to_string();
        assert!(killed.starts_with("'resound bench' ended by signal: 9"), "{killed}");
    }

    #[test]
    fn a_run_may_write_more_than_a_pipe_takes() {
        let noise = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; \
                     i=$((i + 1)); done >&2";
        assert_eq!(printing(&samples::closed_run(), noise).0.run(&[]).unwrap().code, 0);
    }

    #[test]
    fn a_signal_ends_the_run_and_the_series() {
        let (mut runner, folder) =
            scripted("trap 'exit 0' INT; echo > \"$0.ready\"; while :; do sleep 0.01; done");
        let (signals, mut wake) = UnixStream::pair().unwrap();
        signals.set_nonblocking(true).unwrap();
        runner.signals = signals;
        let ready = folder.path().join("program.ready");
        let waker = std::thread::spawn(move || {
            while !ready.exists() {
                std::thread::sleep(Duration::from_millis(1));
            }
            wake.write_all(b"x").unwrap();
            wake
        });
        assert_eq!(runner.run(&[]).unwrap_err(), Failure::Interrupted);
        assert_eq!(runner.run(&[]).unwrap_err(), Failure::Interrupted, "no other run starts");
        drop(waker.join().unwrap());
    }
}

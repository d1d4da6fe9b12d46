//! Runs the commands of one block, and compares their output with the page.

use std::process::Command as System;
use std::time::Instant;

use rustix::process::Signal;

use super::page::{Block, Command};
use super::shape::{label, shape};
use crate::support::{Process, WAIT_MAX, abstract_name};

/// The flags that end a run which would not end by itself and whose output the page does not show.
const UNSHOWN_MESSAGES: &str = "-n 1000 --warmup 0s";

/// A block that runs.
struct Session {
    folder: tempfile::TempDir,
    /// A prefix for every abstract name.
    name_prefix: String,
    /// Endpoints and addresses of the page, with their replacements in this session.
    places: Vec<(String, String)>,
    /// Jobs by number; `None` for one that has ended.
    jobs: Vec<Option<Job>>,
}

/// A running command, and how much of its output has been compared.
struct Job {
    process: Process,
    stdout_at: usize,
    stderr_at: usize,
    is_report: bool,
}

/// Runs a block. An error names the line and the difference.
pub fn run(block: &Block) -> Result<(), String> {
    let mut session = Session {
        folder: tempfile::tempdir().unwrap(),
        name_prefix: abstract_name("page") + "-",
        places: Vec::new(),
        jobs: Vec::new(),
    };
    for command in &block.commands {
        let done = session.carry_out(command);
        done.map_err(|error| format!("{}: {}\n{error}", command.line, command.text))?;
    }
    for job in session.jobs.into_iter().flatten() {
        job.process.signal(Signal::TERM);
        let _ = job.process.wait();
    }
    Ok(())
}

impl Session {
    fn carry_out(&mut self, command: &Command) -> Result<(), String> {
        if let Some(words) = command.text.strip_prefix("kill ") {
            return self.kill(words, &command.output);
        }
        let (text, is_job) = match command.text.strip_suffix(" &") {
            Some(text) => (text, true),
            None => (command.text.as_str(), false),
        };
        let (text, learned) = self.localised(text, command.output.is_empty());
        let is_report = text.starts_with("resound bench") && !text.contains("-J");
        let process = Process::start(self.shell(&text));
        let mut job = Job { process, stdout_at: 0, stderr_at: 0, is_report };
        if is_job {
            self.await_output(&mut job, &command.output, &learned)?;
            self.jobs.push(Some(job));
            return Ok(());
        }
        let (before, after) = match command.output.iter().position(|line| line == "^C") {
            Some(at) => (&command.output[..at], &command.output[at + 1..]),
            None => (&[][..], &command.output[..]),
        };
        if after.len() < command.output.len() {
            self.await_output(&mut job, before, &[])?;
            job.process.signal(Signal::INT);
        }
        self.await_end(job, after)
    }

    /// Sends a signal to a job of the block: `kill %1`, `kill -USR1 %1`.
    fn kill(&mut self, words: &str, output: &[String]) -> Result<(), String> {
        let (signal, number) = match words.split_once(' ') {
            Some(("-USR1", number)) => (Signal::USR1, number),
            Some(("-INT", number)) => (Signal::INT, number),
            _ => (Signal::TERM, words),
        };
        let number: usize = number.strip_prefix('%').and_then(|n| n.parse().ok()).unwrap();
        let mut job = self.jobs[number - 1].take().unwrap();
        job.process.signal(signal);
        if signal == Signal::USR1 {
            self.await_output(&mut job, output, &[])?;
            self.jobs[number - 1] = Some(job);
            return Ok(());
        }
        self.await_end(job, output)
    }

    /// Waits for lines of a job that continues, and takes its addresses from them.
    fn await_output(
        &mut self,
        job: &mut Job,
        output: &[String],
        learned: &[String],
    ) -> Result<(), String> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            // Checked first, so that the output below includes all that it printed before its end.
            let has_ended = !job.process.is_running();
            let (stdout, stderr) = (job.process.stdout_text(), job.process.stderr_text());
            let is_known = self.learn(learned, &stdout, &stderr);
            let whole = |text: &str| text.rsplit_once('\n').map_or("", |(t, _)| t).to_owned();
            let seen =
                job.compare(output, &self.lines(&whole(&stdout)), &self.lines(&whole(&stderr)));
            match seen {
                Ok((stdout_at, stderr_at)) if is_known => {
                    (job.stdout_at, job.stderr_at) = (stdout_at, stderr_at);
                    return Ok(());
                }
                Err(error) if has_ended || Instant::now() > deadline => return Err(error),
                _ if has_ended || Instant::now() > deadline => {
                    return Err(format!("it did not print {learned:?}: {stdout}{stderr}"));
                }
                _ => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        }
    }

    /// Waits for the end of a command and compares the rest of its output. A command without output
    /// on the page must succeed.
    fn await_end(&self, mut job: Job, output: &[String]) -> Result<(), String> {
        let deadline = Instant::now() + WAIT_MAX;
        while job.process.is_running() {
            if Instant::now() > deadline {
                return Err(format!("it does not end: {}", job.process.stdout_text()));
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let Job { process, stdout_at, stderr_at, is_report } = job;
        let ended = process.wait();
        let (stdout, stderr) = (ended.stdout_text(), ended.stderr.clone());
        if output.is_empty() {
            let is_good = ended.status.success();
            return if is_good { Ok(()) } else { Err(format!("{}: {stderr}", ended.status)) };
        }
        let (stdout, stderr) = (self.lines(&stdout), self.lines(&stderr));
        let at = compare(output, &stdout, &stderr, (stdout_at, stderr_at), is_report)?;
        match stdout.get(at.0) {
            Some(line) if !is_report => Err(format!("it also printed: {line}")),
            _ => Ok(()),
        }
    }

    /// Replaces the addresses of the page in a command with those of this session. New addresses
    /// are bound to port 0. `learned` are the addresses that the command prints, in the order of
    /// its endpoints.
    fn localised(&mut self, text: &str, is_unshown: bool) -> (String, Vec<String>) {
        let mut learned = Vec::new();
        let mut text = text.to_owned();
        for (page, here) in &self.places {
            text = text.replace(page.as_str(), here);
        }
        if let Some(arguments) = text.strip_prefix("resound serve") {
            let mut words: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
            let mut is_metrics = false;
            for word in &mut words {
                let is_network = word.starts_with("tcp://") || word.starts_with("udp://");
                let is_here = self.places.iter().any(|(_, here)| here == word);
                if (is_network || is_metrics) && !is_here {
                    let (host, _) = word.rsplit_once(':').unwrap_or((word, ""));
                    learned.push(format!("{}{word}", if is_metrics { "http://" } else { "" }));
                    *word = format!("{host}:0");
                } else if word.starts_with("unix") && word.contains(':') {
                    learned.push(word.clone());
                }
                is_metrics = word == "--metrics";
            }
            text = format!("resound serve{}", words.join(" "));
        }
        let is_endless = !["-t ", "-n ", "--help"].iter().any(|flag| text.contains(flag));
        if is_unshown && is_endless && text.starts_with("resound bench") {
            let (command, comment) = text.split_once(" #").unwrap_or((&text, ""));
            text = format!("{command} {UNSHOWN_MESSAGES} #{comment}");
        }
        for scheme in ["unix:@", "unixgram:@"] {
            let prefix = &scheme[..scheme.len() - 1];
            text = text.replace(scheme, &format!("{prefix}{}", self.name_prefix));
        }
        (text.replace("/tmp/", &self.tmp()), learned)
    }

    fn tmp(&self) -> String {
        format!("{}/", self.folder.path().display())
    }

    /// Takes the addresses that a server printed. Returns false while one is missing.
    fn learn(&mut self, learned: &[String], stdout: &str, stderr: &str) -> bool {
        let (metrics, endpoints): (Vec<_>, Vec<_>) =
            learned.iter().partition(|place| place.starts_with("http://"));
        let whole = stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let listening: Vec<&str> =
            whole.lines().filter_map(|line| line.strip_prefix("listening ")).collect();
        let found =
            stderr.split_once("metrics at ").and_then(|(_, rest)| rest.split_once("/metrics"));
        if listening.len() < endpoints.len() || (found.is_none() && !metrics.is_empty()) {
            return false;
        }
        for (page, here) in endpoints.iter().zip(listening) {
            self.add_place(page, here);
        }
        for page in metrics {
            self.add_place(page, found.map_or("", |(here, _)| here));
        }
        true
    }

    fn add_place(&mut self, page: &str, here: &str) {
        let is_network = page.contains("://");
        if is_network && !self.places.iter().any(|(known, _)| known == page) {
            self.places.push((page.to_owned(), here.to_owned()));
        }
    }

    /// Returns the lines of an output, with the addresses of the page.
    fn lines(&self, text: &str) -> Vec<String> {
        let text = text.replace(&self.tmp(), "/tmp/").replace(&self.name_prefix, "@");
        text.lines().map(str::to_owned).collect()
    }

    /// Returns a shell in the folder of this session that finds this build of the program.
    fn shell(&self, text: &str) -> System {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_resound"));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = System::new("bash");
        // A single command replaces the shell, and so receives its signals.
        let is_lone = text.starts_with("resound ") && !text.contains([';', '|', '<', '>']);
        let exec = if is_lone { "exec " } else { "set -o pipefail; " };
        shell.arg("-c").arg(format!("{exec}{text}")).current_dir(self.folder.path());
        shell.env("PATH", format!("{}:{path}", program.parent().unwrap().display()));
        shell
    }
}

impl Job {
    fn compare(
        &self,
        output: &[String],
        stdout: &[String],
        stderr: &[String],
    ) -> Result<(usize, usize), String> {
        compare(output, stdout, stderr, (self.stdout_at, self.stderr_at), self.is_report)
    }
}

/// Looks for each line of the page, in order: as the next line of stdout, or as a later line of
/// stderr, because the log differs among machines. Returns the position after the last match.
fn compare(
    output: &[String],
    stdout: &[String],
    stderr: &[String],
    (mut stdout_at, mut stderr_at): (usize, usize),
    is_report: bool,
) -> Result<(usize, usize), String> {
    for line in output {
        let expected = if is_report { label(line) } else { Some(shape(line)) };
        let Some(expected) = expected else { continue };
        let is_same = |came: &String| match is_report {
            true => label(came).as_ref() == Some(&expected),
            false => shape(came) == expected,
        };
        let reach = if is_report { stdout.len() } else { (stdout_at + 1).min(stdout.len()) };
        let next = stdout.get(stdout_at..reach).and_then(|rest| rest.iter().position(is_same));
        let later = stderr[stderr_at..].iter().position(|came| shape(came) == shape(line));
        match (next, later) {
            (Some(at), _) => stdout_at += at + 1,
            (None, Some(at)) => stderr_at += at + 1,
            (None, None) => {
                let rest = |lines: &[String], at: usize| lines[at..].join("\n");
                return Err(format!(
                    "not printed: {line}\nstdout from there:\n{}\nstderr from there:\n{}",
                    rest(stdout, stdout_at),
                    rest(stderr, stderr_at)
                ));
            }
        }
    }
    Ok((stdout_at, stderr_at))
}

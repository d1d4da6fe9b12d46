//! What is shown and written while a run goes on, on a thread of its own: the loop must not wait
//! for a terminal or a disk.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use resound::load::Observer;
use resound::measured::{Interval, Mode, PercentileList};
use resound::process::terminal::{can_redraw, columns};
use resound::process::{spawn_thread, standard};
use resound::reactor::Handle;
use resound::report::HlogWriter;

use super::arguments::Arguments;

/// Intervals that wait to be shown; each holds a histogram of some 300 KiB.
const WAITING_MAX: usize = 16;

/// How often the progress moves.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// Who shows a run.
#[derive(Debug)]
pub(super) struct Progress {
    observer: ProgressObserver,
    /// None where nothing is to be shown: a program of one thread makes cheaper system calls, for
    /// libc then knows that nobody cancels them.
    thread: Option<JoinHandle<Shown>>,
}

/// What came of showing it.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Lines that were lost.
    pub(super) lost: u64,
    /// Why a log is not whole, and which.
    pub(super) log_errors: Vec<(usize, io::Error)>,
    /// Whoever read stdout has left, and the run was ended for it.
    pub(super) is_unread: bool,
}

/// The loop's end of it.
#[derive(Clone, Debug)]
pub(super) struct ProgressObserver {
    sender: SyncSender<Interval>,
    lost: Arc<AtomicU64>,
}

impl Observer for ProgressObserver {
    fn interval(&mut self, interval: Interval) {
        if self.sender.try_send(interval).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where the lines of the intervals go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    None,
    Stdout,
    /// stdout is for the document.
    Stderr,
    JsonToStdout,
}

/// The thread's own.
struct Shower {
    lines: Lines,
    /// Some interval had an open connection, or an echo.
    has_begun: bool,
    mode: Mode,
    percentiles: PercentileList,
    bar: ProgressBar,
    /// Each with its place among the logs.
    logs: Vec<(usize, HlogWriter<BufWriter<File>>)>,
    lost: Arc<AtomicU64>,
    /// Ends the run, if nothing but stdout tells of it.
    stop: Option<Handle<Infallible>>,
    shown: Shown,
}

impl Progress {
    pub(super) fn start(
        arguments: &Arguments,
        logs: Vec<File>,
        stop: Handle<Infallible>,
    ) -> io::Result<Progress> {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let logs = logs
            .into_iter()
            .map(BufWriter::new)
            .map(|file| HlogWriter::new(file, SystemTime::now()))
            .enumerate();
        let logs = logs.map(|(place, log)| Ok((place, log?)));
        let shower = Shower {
            lines: lines(arguments),
            has_begun: false,
            mode: arguments.mode(),
            percentiles: arguments.percentiles.clone(),
            bar: progress_bar(arguments),
            logs: logs.collect::<io::Result<_>>()?,
            lost: Arc::clone(&lost),
            stop: arguments.output.is_empty().then_some(stop),
            shown: Shown::default(),
        };
        let observer = ProgressObserver { sender, lost };
        if shower.is_idle() {
            return Ok(Progress { observer, thread: None });
        }
        let thread = spawn_thread("console", move || shower.show(&receiver))?;
        Ok(Progress { observer, thread: Some(thread) })
    }

    /// Who is to hear of the run.
    pub(super) fn observer(&self) -> ProgressObserver {
        self.observer.clone()
    }

    /// Waits until all is shown, once every observer is gone.
    pub(super) fn end(self) -> Shown {
        let ProgressObserver { sender, lost } = self.observer;
        drop(sender);
        // Its panic has been printed.
        let shown = self.thread.map(JoinHandle::join).transpose();
        let shown = shown.ok().flatten().unwrap_or_default();
        Shown { lost: lost.load(Ordering::Relaxed), ..shown }
    }
}

/// Whether lines are printed, and where.
fn lines(arguments: &Arguments) -> Lines {
    if arguments.json_stream {
        Lines::JsonToStdout
    } else if arguments.json {
        if arguments.interval.is_some() { Lines::Stderr } else { Lines::None }
    } else if standard::is_stdout_closed() {
        Lines::None
    } else if arguments.interval.is_some() || io::stdout().is_terminal() {
        Lines::Stdout
    } else {
        Lines::None
    }
}

/// A live line on a terminal, none elsewhere.
fn progress_bar(arguments: &Arguments) -> ProgressBar {
    if !can_redraw(&io::stderr()) {
        return ProgressBar::hidden();
    }
    let style = match arguments.expected() {
        Some(_) => "{bar:20} {percent:>3}% {wide_msg}",
        None => "{spinner} {elapsed_precise} {wide_msg}",
    };
    let length_ms = arguments.expected().map_or(0, |time| time.as_millis());
    let bar = ProgressBar::new(u64::try_from(length_ms).unwrap_or(u64::MAX));
    bar.with_style(ProgressStyle::with_template(style).expect("the template is valid"))
}

impl Shower {
    /// Whether nothing is to be shown or written.
    fn is_idle(&self) -> bool {
        self.lines == Lines::None && self.bar.is_hidden() && self.logs.is_empty()
    }

    fn show(mut self, receiver: &Receiver<Interval>) -> Shown {
        let mut started_at = Instant::now();
        loop {
            match receiver.recv_timeout(REDRAW_INTERVAL) {
                Ok(interval) => {
                    // Connecting took time that is not of the run.
                    let end = Duration::from_nanos(interval.end_ns);
                    started_at = Instant::now().checked_sub(end).unwrap_or(started_at);
                    if let Err(error) = self.take(&interval) {
                        self.lost.fetch_add(1, Ordering::Relaxed);
                        self.leave_if_unread(&error);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let elapsed_ms = u64::try_from(started_at.elapsed().as_millis()).unwrap_or(u64::MAX);
            let length_ms = self.bar.length().unwrap_or(0);
            if length_ms > 0 {
                self.bar.set_position(elapsed_ms.min(length_ms));
            } else {
                self.bar.tick();
            }
        }
        self.bar.finish_and_clear();
        for (place, log) in self.logs {
            if let Err(error) = log.finish() {
                self.shown.log_errors.push((place, error));
            }
        }
        self.shown
    }

    /// Nobody would hear of a run that goes on without a reader.
    fn leave_if_unread(&mut self, error: &io::Error) {
        let is_stdout = matches!(self.lines, Lines::Stdout | Lines::JsonToStdout);
        if let Some(stop) = &self.stop
            && is_stdout
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            self.shown.is_unread = true;
            stop.stop();
        }
    }

    fn take(&mut self, interval: &Interval) -> io::Result<()> {
        self.bar.set_message(interval.to_progress(self.mode));
        self.has_begun |= interval.flows_open > 0 || interval.messages.received > 0;
        let log_errors = &mut self.shown.log_errors;
        self.logs.retain_mut(|(place, log)| match log.add(interval) {
            Ok(()) => true,
            Err(error) => {
                // Once is enough to know; the lines go on.
                log_errors.push((*place, error));
                false
            }
        });
        let line = |columns: Option<usize>| match columns {
            Some(columns) => interval.to_terminal_line(self.mode, columns),
            None => interval.to_text_line(self.mode),
        };
        match self.lines {
            // A server that is not there is told on a line of its own.
            Lines::Stdout | Lines::Stderr if !self.has_begun => Ok(()),
            Lines::None => Ok(()),
            Lines::Stdout => {
                self.bar.suspend(|| line_to(standard::stdout(), &line(columns(&io::stdout()))))
            }
            Lines::Stderr => {
                self.bar.suspend(|| line_to(standard::stderr(), &line(columns(&io::stderr()))))
            }
            Lines::JsonToStdout => {
                line_to(standard::stdout(), &interval.to_json_line(&self.percentiles))
            }
        }
    }
}

fn line_to(mut target: impl Write, line: &str) -> io::Result<()> {
    target.write_all(format!("{line}\n").as_bytes())
}

//! Progress lines and interval logs, on a thread of their own, because the loop must not wait for a
//! terminal or a disk.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use resound::load::{Command, Observer};
use resound::measured::{Interval, IntervalSum, Mode, PercentileList};
use resound::process::terminal::{can_redraw, columns};
use resound::process::{spawn_thread, standard};
use resound::reactor::Handle;
use resound::report::HlogWriter;

use super::arguments::Arguments;

/// The maximum number of intervals of each loop that wait for the thread. Each holds a histogram of
/// about 300 KiB.
const WAITING_MAX: usize = 16;

/// How often the progress bar is redrawn.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// Shows the progress of a run.
#[derive(Debug)]
pub(super) struct Progress {
    sender: SyncSender<Event>,
    lost: Arc<AtomicU64>,
    /// `None` if there is nothing to show. System calls of a process with one thread are cheaper,
    /// because libc then knows that no other thread can cancel them.
    thread: Option<JoinHandle<Shown>>,
}

/// What the thread reports at its end.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Intervals that were not shown.
    pub(super) lost: u64,
    /// The logs that are incomplete, by index, and why.
    pub(super) log_errors: Vec<(usize, io::Error)>,
    /// The reader of stdout closed its end, and the run was stopped for that reason.
    pub(super) is_unread: bool,
}

/// What a loop tells the thread: its number, and its next interval or, with `None`, its end.
type Event = (usize, Option<Interval>);

/// A loop's side: passes intervals to the thread without blocking.
#[derive(Debug)]
pub(super) struct ProgressObserver {
    index: usize,
    sender: SyncSender<Event>,
    lost: Arc<AtomicU64>,
}

impl Drop for ProgressObserver {
    fn drop(&mut self) {
        // The loop has ended, so it may wait. This fails only if there is no thread.
        let _ = self.sender.send((self.index, None));
    }
}

impl Observer for ProgressObserver {
    fn interval(&mut self, interval: Interval) {
        if self.sender.try_send((self.index, Some(interval))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where the line of each interval goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    None,
    Stdout,
    /// stdout carries the document.
    Stderr,
    JsonToStdout,
}

/// The thread's side.
struct Display {
    lines: Lines,
    /// True once an interval had an open connection or an echo.
    has_begun: bool,
    mode: Mode,
    percentiles: PercentileList,
    bar: ProgressBar,
    /// The logs that can still be written, each with its index.
    logs: Vec<(usize, HlogWriter<BufWriter<File>>)>,
    lost: Arc<AtomicU64>,
    /// Stops the run when stdout is closed. Present only if the result goes nowhere else.
    stop: Option<Vec<Handle<Command>>>,
    sum: IntervalSum,
    shown: Shown,
}

impl Progress {
    pub(super) fn start(
        arguments: &Arguments,
        logs: Vec<File>,
        stop: Vec<Handle<Command>>,
    ) -> io::Result<Progress> {
        let loops = stop.len();
        let (sender, receiver) = sync_channel(WAITING_MAX * loops);
        let lost = Arc::new(AtomicU64::new(0));
        let logs = logs
            .into_iter()
            .map(BufWriter::new)
            .map(|file| HlogWriter::new(file, SystemTime::now()))
            .enumerate();
        let logs = logs.map(|(place, log)| Ok((place, log?)));
        let display = Display {
            lines: lines(arguments),
            has_begun: false,
            mode: arguments.mode(),
            percentiles: arguments.percentiles.clone(),
            bar: progress_bar(arguments),
            logs: logs.collect::<io::Result<_>>()?,
            lost: Arc::clone(&lost),
            stop: arguments.output.is_empty().then_some(stop),
            sum: IntervalSum::of_loops(loops),
            shown: Shown::default(),
        };
        if display.is_idle() {
            return Ok(Progress { sender, lost, thread: None });
        }
        let thread = spawn_thread("console", move || display.show(&receiver))?;
        Ok(Progress { sender, lost, thread: Some(thread) })
    }

    /// Returns the observer for a loop.
    pub(super) fn observer(&self, index: usize) -> ProgressObserver {
        ProgressObserver { index, sender: self.sender.clone(), lost: Arc::clone(&self.lost) }
    }

    /// Waits until everything is shown. Every observer must be dropped before the call.
    pub(super) fn end(self) -> Shown {
        let Progress { sender, lost, thread } = self;
        drop(sender);
        // A panic of the thread has printed its message.
        let shown = thread.map(JoinHandle::join).transpose();
        let shown = shown.ok().flatten().unwrap_or_default();
        Shown { lost: lost.load(Ordering::Relaxed), ..shown }
    }
}

/// Returns where the line of each interval goes.
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

/// Returns a progress bar, hidden unless stderr is a terminal that can redraw a line.
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

impl Display {
    /// Returns true if there is nothing to show or write.
    fn is_idle(&self) -> bool {
        self.lines == Lines::None && self.bar.is_hidden() && self.logs.is_empty()
    }

    fn show(mut self, receiver: &Receiver<Event>) -> Shown {
        let mut started_at = Instant::now();
        loop {
            match receiver.recv_timeout(REDRAW_INTERVAL) {
                Ok(event) => {
                    match event {
                        (index, Some(interval)) => self.sum.push(index, interval),
                        (index, None) => self.sum.end(index),
                    }
                    while let Some(interval) = self.sum.next_sum() {
                        // The time to connect is not part of the run.
                        let end = Duration::from_nanos(interval.end_ns);
                        started_at = Instant::now().checked_sub(end).unwrap_or(started_at);
                        if let Err(error) = self.take(&interval) {
                            self.lost.fetch_add(1, Ordering::Relaxed);
                            self.stop_if_unread(&error);
                        }
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

    /// Stops a run whose only reader has closed its end of stdout.
    fn stop_if_unread(&mut self, error: &io::Error) {
        let is_stdout = matches!(self.lines, Lines::Stdout | Lines::JsonToStdout);
        if let Some(stop) = &self.stop
            && is_stdout
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            self.shown.is_unread = true;
            stop.iter().for_each(Handle::stop);
        }
    }

    fn take(&mut self, interval: &Interval) -> io::Result<()> {
        self.bar.set_message(interval.to_progress(self.mode));
        self.has_begun |= interval.flows_open > 0 || interval.messages.received > 0;
        let log_errors = &mut self.shown.log_errors;
        self.logs.retain_mut(|(place, log)| match log.add(interval) {
            Ok(()) => true,
            Err(error) => {
                // The log is reported once and dropped. The lines continue.
                log_errors.push((*place, error));
                false
            }
        });
        let line = |columns: Option<usize>| match columns {
            Some(columns) => interval.to_terminal_line(self.mode, columns),
            None => interval.to_text_line(self.mode),
        };
        match self.lines {
            // If the server is missing, stderr says so on a line of its own.
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

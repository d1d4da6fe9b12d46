//! Progress lines and interval logs, on a thread of their own, because the loop must not wait for a
//! terminal or a disk.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use indicatif::ProgressBar;

use super::HlogWriter;
use crate::measured::{Interval, IntervalSum, Mode, PercentileList};
use crate::process::spawn_thread;

/// The maximum number of intervals of each loop that wait for the thread. Each holds a histogram of
/// about 300 KiB.
const WAITING_MAX: usize = 16;

/// How often the progress bar is redrawn.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// Where the line of each interval goes.
pub enum IntervalLines {
    /// No line is written.
    None,
    /// Text, as wide as `columns` allows.
    Text {
        /// Gets the lines.
        output: Box<dyn Write + Send>,
        /// Returns the width of the output, or `None` if it is not a terminal.
        columns: fn() -> Option<usize>,
    },
    /// One JSON document per line.
    Json(Box<dyn Write + Send>),
}

/// What a [`Progress`] shows, and where.
pub struct ProgressOptions {
    /// What counts as a message.
    pub mode: Mode,
    /// The percentiles of the JSON lines.
    pub percentiles: PercentileList,
    /// Where the line of each interval goes.
    pub lines: IntervalLines,
    /// Shows how far the run is. Its length is in milliseconds; 0 is unknown.
    pub bar: ProgressBar,
    /// Files that get the histogram of each interval.
    pub logs: Vec<File>,
    /// The number of loops that report intervals.
    pub loops: usize,
    /// Called when the reader of the lines has closed its end.
    pub on_unread: Option<Box<dyn Fn() + Send>>,
}

/// Shows the progress of a run.
#[derive(Debug)]
pub struct Progress {
    sender: SyncSender<Event>,
    lost: Arc<AtomicU64>,
    /// `None` if there is nothing to show. System calls of a process with one thread are cheaper,
    /// because libc then knows that no other thread can cancel them.
    thread: Option<JoinHandle<Shown>>,
}

/// What the thread reports at its end.
#[derive(Debug, Default)]
pub struct Shown {
    /// Intervals that were not shown.
    pub lost: u64,
    /// The logs that are incomplete, by index, and why.
    pub log_errors: Vec<(usize, io::Error)>,
    /// The reader of the lines closed its end, and [`ProgressOptions::on_unread`] was called.
    pub is_unread: bool,
}

/// What a loop tells the thread: its number, and its next interval or, with `None`, its end.
type Event = (usize, Option<Interval>);

/// A loop's side: passes intervals to the thread without blocking.
#[derive(Debug)]
pub struct IntervalSender {
    index: usize,
    sender: SyncSender<Event>,
    lost: Arc<AtomicU64>,
}

impl Drop for IntervalSender {
    fn drop(&mut self) {
        // The loop has ended, so it may wait. This fails only if there is no thread.
        let _ = self.sender.send((self.index, None));
    }
}

impl IntervalSender {
    /// Passes an interval on, or counts it as lost if the thread is behind.
    pub fn send(&self, interval: Interval) {
        if self.sender.try_send((self.index, Some(interval))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The thread's side.
struct Display {
    lines: IntervalLines,
    /// True once an interval had an open connection or an echo.
    has_begun: bool,
    mode: Mode,
    percentiles: PercentileList,
    bar: ProgressBar,
    /// The logs that can still be written, each with its index.
    logs: Vec<(usize, HlogWriter<BufWriter<File>>)>,
    lost: Arc<AtomicU64>,
    on_unread: Option<Box<dyn Fn() + Send>>,
    sum: IntervalSum,
    shown: Shown,
}

impl Progress {
    /// Starts the thread, unless there is nothing to show.
    ///
    /// # Errors
    ///
    /// The thread could not be started, or the head of a log could not be written.
    pub fn start(options: ProgressOptions) -> io::Result<Progress> {
        let ProgressOptions { mode, percentiles, lines, bar, logs, loops, on_unread } = options;
        let (sender, receiver) = sync_channel(WAITING_MAX * loops);
        let lost = Arc::new(AtomicU64::new(0));
        let log = |file| HlogWriter::new(BufWriter::new(file), SystemTime::now());
        let logs = logs.into_iter().map(log).enumerate().map(|(place, log)| Ok((place, log?)));
        let display = Display {
            lines,
            has_begun: false,
            mode,
            percentiles,
            bar,
            logs: logs.collect::<io::Result<_>>()?,
            lost: Arc::clone(&lost),
            on_unread,
            sum: IntervalSum::of_loops(loops),
            shown: Shown::default(),
        };
        if display.is_idle() {
            return Ok(Progress { sender, lost, thread: None });
        }
        let thread = spawn_thread("console", move || display.show(&receiver))?;
        Ok(Progress { sender, lost, thread: Some(thread) })
    }

    /// Returns what passes on the intervals of a loop.
    pub fn sender(&self, index: usize) -> IntervalSender {
        IntervalSender { index, sender: self.sender.clone(), lost: Arc::clone(&self.lost) }
    }

    /// Waits until everything is shown. Every [`IntervalSender`] must be dropped before the call.
    pub fn end(self) -> Shown {
        let Progress { sender, lost, thread } = self;
        drop(sender);
        // A panic of the thread has printed its message.
        let shown = thread.map(JoinHandle::join).transpose();
        let shown = shown.ok().flatten().unwrap_or_default();
        Shown { lost: lost.load(Ordering::Relaxed), ..shown }
    }
}

impl Display {
    /// Returns true if there is nothing to show or write.
    fn is_idle(&self) -> bool {
        matches!(self.lines, IntervalLines::None) && self.bar.is_hidden() && self.logs.is_empty()
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
                            self.tell_if_unread(&error);
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

    /// Tells the caller that the reader of the lines has closed its end.
    fn tell_if_unread(&mut self, error: &io::Error) {
        if let Some(on_unread) = &self.on_unread
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            self.shown.is_unread = true;
            on_unread();
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
        let (output, line) = match &mut self.lines {
            IntervalLines::None => return Ok(()),
            // If the server is missing, stderr says so on a line of its own.
            IntervalLines::Text { .. } if !self.has_begun => return Ok(()),
            IntervalLines::Text { output, columns } => match columns() {
                Some(columns) => (output, interval.to_terminal_line(self.mode, columns)),
                None => (output, interval.to_text_line(self.mode)),
            },
            IntervalLines::Json(output) => (output, interval.to_json_line(&self.percentiles)),
        };
        self.bar.suspend(|| output.write_all((line + "\n").as_bytes()))
    }
}

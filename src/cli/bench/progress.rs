//! What `bench` shows while it runs, and on which stream.

use std::fs::File;
use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};
use resound::load::Command;
use resound::process::standard;
use resound::process::terminal::{can_redraw, columns};
use resound::reactor::Handle;
use resound::report::{IntervalLines, ProgressOptions};

use super::arguments::Arguments;

/// Returns what to show. Stops the run by `stop` if stdout is closed and the result goes nowhere
/// else.
pub(super) fn options(
    arguments: &Arguments,
    logs: Vec<File>,
    stop: Vec<Handle<Command>>,
) -> ProgressOptions {
    let loops = stop.len();
    let stop = move || stop.iter().for_each(Handle::stop);
    let is_document = arguments.json && !arguments.json_stream;
    let is_only_on_stdout = arguments.output.is_empty() && !is_document;
    ProgressOptions {
        mode: arguments.mode,
        percentiles: arguments.percentiles.clone(),
        lines: lines(arguments),
        bar: progress_bar(arguments),
        logs,
        loops,
        on_unread: is_only_on_stdout.then(|| Box::new(stop) as _),
    }
}

/// Returns where the line of each interval goes.
fn lines(arguments: &Arguments) -> IntervalLines {
    let has_interval = arguments.interval.is_some();
    let text = |output, columns| IntervalLines::Text { output, columns };
    match () {
        () if arguments.json_stream => IntervalLines::Json(Box::new(standard::stdout())),
        // Stdout carries the document.
        () if arguments.json && has_interval => {
            text(Box::new(standard::stderr()), || columns(&io::stderr()))
        }
        () if arguments.json || standard::is_stdout_closed() => IntervalLines::None,
        () if has_interval || io::stdout().is_terminal() => {
            text(Box::new(standard::stdout()), || columns(&io::stdout()))
        }
        () => IntervalLines::None,
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

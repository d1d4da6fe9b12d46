//! `resound sweep`: a benchmark per value of one flag, or in search of the highest rate at which a
//! condition holds.

mod arguments;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use resound::experiment::{Failure, Runner};
use resound::measured::{CommandLine, RunResult, Status, SweepResult};
use resound::process::standard;
use resound::process::terminal::columns;
use resound::report::{Output, OutputFile};

pub(super) use self::arguments::Arguments;
use super::bench::{ASSERT_FAILED, CORRUPTED};
use super::{FAILED, USAGE, print_error, print_report, typed_words};

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let mut outputs = Vec::new();
    let (result, code) = match measure(arguments, &mut outputs) {
        Ok((result, code)) => (result, code),
        Err(error) => {
            let mut result = arguments.sweep().end(Some(error.to_string()));
            Output::open_rest(&arguments.output, &mut outputs);
            result.options = options(arguments);
            (result, FAILED)
        }
    };
    if let Some(error) = &result.error {
        let hint = if code == USAGE { "; try 'resound sweep --help'" } else { "" };
        print_error(&format_args!("{error}{hint}"));
    }
    deliver(arguments, &result, code, outputs)
}

/// Returns the document of a command line that was refused.
pub(super) fn refusal_document(error: &str) -> String {
    SweepResult::refused(typed_words(), error)
}

/// Runs the sweep. Opens the output files first. Returns the result with its exit code.
fn measure(
    arguments: &Arguments,
    outputs: &mut Vec<OutputFile>,
) -> Result<(SweepResult, u8), resound::Error> {
    if arguments.output.is_empty() || arguments.json || arguments.json_stream {
        standard::check_stdout()?;
    }
    Output::open_all(&arguments.output, outputs)?;
    let runner = Runner::new()?;
    let mut sweep = arguments.sweep();
    let mut failure = None;
    while let Some(point) = sweep.next() {
        match runner.run(&arguments.words_of(point)) {
            Ok(run) => show(arguments, sweep.tell(run.result)),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let is_usage = matches!(failure, Some(Failure::Usage(_)));
    let is_interrupted = matches!(failure, Some(Failure::Interrupted));
    let mut result = sweep.end(failure.map(|failure| failure.to_string()));
    result.options = options(arguments);
    result.warnings.extend(arguments.warnings());
    print_corruption(&result);
    let code = match result.points.is_empty() {
        true if is_usage => USAGE,
        _ => exit_code(arguments, &result, is_interrupted),
    };
    Ok((result, code))
}

fn options(arguments: &Arguments) -> CommandLine {
    CommandLine { typed: typed_words(), meant: arguments.meant() }
}

/// Shows the last run: to a reader of text on stdout, else on a terminal.
fn show(arguments: &Arguments, result: &SweepResult) {
    let Some(line) = result.last_line() else { return };
    if let (true, Some(run)) = (arguments.json_stream, result.points.last()) {
        // A failure shows when the document is printed.
        let _ = standard::print(&format!("{{\"point\":{}}}\n", run.to_json_line()));
        return;
    }
    let line = format!("{line}\n");
    // A failure shows when the report is printed.
    let _ = if !arguments.json && !standard::is_stdout_closed() {
        standard::print(&line)
    } else if io::stderr().is_terminal() {
        io::Write::write_all(&mut standard::stderr(), line.as_bytes())
    } else {
        Ok(())
    };
}

/// Prints that an echo differed, which neither the table nor the knee shows.
fn print_corruption(result: &SweepResult) {
    let Some(run) = result.points.iter().find(|run| run.is_corrupted()) else { return };
    let difference = run.first_difference.as_ref().map(|first| format!(": {first}"));
    let difference = difference.unwrap_or_default();
    print_error(&format_args!("an echo differed from what was sent{difference}"));
}

fn exit_code(arguments: &Arguments, result: &SweepResult, is_interrupted: bool) -> u8 {
    let is_failed = |run: &RunResult| run.asserts.iter().any(|assert| !assert.held);
    // A search goes on to rates at which the user's asserts fail too, so only its answer counts.
    let answer = || result.answer().map(|place| &result.points[place]);
    if result.points.iter().any(RunResult::is_corrupted) {
        CORRUPTED
    } else if result.points.is_empty() || (result.error.is_some() && !is_interrupted) {
        FAILED
    } else if !result.swept.find.is_empty() {
        let least = arguments.at_least();
        match result.found {
            None => FAILED,
            Some(found) if found.rate < least => ASSERT_FAILED,
            Some(_) if answer().is_some_and(is_failed) => ASSERT_FAILED,
            Some(_) => 0,
        }
    } else if result.points.iter().any(is_failed) {
        ASSERT_FAILED
    } else if result.status == Status::Partial && !is_interrupted {
        FAILED
    } else {
        0
    }
}

/// Writes the files and prints the report. Returns the exit code of the sweep, or of a failed
/// delivery if that is greater.
fn deliver(
    arguments: &Arguments,
    result: &SweepResult,
    mut code: u8,
    outputs: Vec<OutputFile>,
) -> ExitCode {
    let text = if arguments.json {
        result.to_json()
    } else if arguments.json_stream {
        result.to_json_line() + "\n"
    } else if result.points.is_empty() {
        String::new() // the line on stderr says it all
    } else {
        result.to_text(columns(&io::stdout()))
    };
    for output in outputs {
        if let Err(error) = output.write_sweep(result) {
            print_error(&error);
            code = code.max(FAILED);
        }
    }
    print_report(&text, code)
}

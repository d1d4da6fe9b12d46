//! `resound compare`: makes pairs of runs, or reads saved ones, and says if the sides differ.

mod arguments;

use std::io;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use resound::experiment::{Failure, Runner, Turn, compare_runs, compare_sides};
use resound::measured::{Comparison, Status};
use resound::process::standard;
use resound::process::terminal::{can_redraw, columns};
use resound::report::{Format, Output, OutputFile, read_runs, series_page};

pub(super) use self::arguments::Arguments;
use self::arguments::Form;
use super::bench::{ASSERT_FAILED, CORRUPTED};
use super::{FAILED, USAGE, print_error, print_report, typed_words};

/// Why there is nothing to compare.
enum Refusal {
    Usage(String),
    Failed(String),
}

impl From<resound::Error> for Refusal {
    fn from(error: resound::Error) -> Refusal {
        Refusal::Failed(error.to_string())
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let mut outputs = Vec::new();
    let (comparison, code) = match compare(arguments, &mut outputs) {
        Ok(comparison) => {
            let code = exit_code(&comparison);
            (comparison, code)
        }
        Err(refusal) => {
            let (error, code) = match refusal {
                Refusal::Usage(error) => (format!("{error}; try 'resound compare --help'"), USAGE),
                Refusal::Failed(error) => (error, FAILED),
            };
            Output::open_rest(&arguments.output, &mut outputs);
            (Comparison { error: Some(error), ..Comparison::default() }, code)
        }
    };
    if let Some(error) = &comparison.error {
        print_error(error);
    }
    let comparison = Comparison { typed: typed_words(), ..comparison };
    deliver(arguments, &comparison, code, outputs)
}

fn compare(arguments: &Arguments, outputs: &mut Vec<OutputFile>) -> Result<Comparison, Refusal> {
    let form = arguments.form().map_err(Refusal::Usage)?;
    if arguments.output.is_empty() || arguments.json {
        standard::check_stdout()?;
    }
    Output::open_all(&arguments.output, outputs)?;
    let plan = arguments.plan(fastrand::u64(..));
    let [a, b] = match form {
        Form::Runs(sides) => {
            let runner = Runner::new()?;
            let bar = progress_bar();
            let rounds = plan.rounds;
            let show = |Turn { round, side }: Turn| {
                // Rounds that replace others come after the last one asked for.
                let rounds = rounds.max(round);
                bar.set_message(format!("round {round} of {rounds}: {}", side.title()));
            };
            let compared = compare_sides(&runner, plan, &sides[0], &sides[1], show);
            bar.finish_and_clear();
            return compared.map_err(|failure| match failure {
                Failure::Usage(error) => Refusal::Usage(error),
                failure => Refusal::Failed(failure.to_string()),
            });
        }
        Form::Saved(files) => files,
    };
    Ok(compare_runs(&plan, &read_runs(&a)?, &read_runs(&b)?))
}

/// Returns a line on the terminal that says what runs.
fn progress_bar() -> ProgressBar {
    if !can_redraw(&io::stderr()) {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

fn exit_code(comparison: &Comparison) -> u8 {
    let is_interrupted = comparison.error == Some(Failure::Interrupted.to_string());
    if comparison.is_corrupted() {
        CORRUPTED
    } else if comparison.rounds == 0 || (comparison.error.is_some() && !is_interrupted) {
        FAILED
    } else if comparison.regression.as_ref().is_some_and(|found| !found.worse.is_empty()) {
        ASSERT_FAILED
    } else {
        0
    }
}

/// Writes the files and prints the report. Returns the exit code of the comparison, or of a failed
/// delivery if that is greater.
fn deliver(
    arguments: &Arguments,
    comparison: &Comparison,
    mut code: u8,
    outputs: Vec<OutputFile>,
) -> ExitCode {
    let has_figures = comparison.rounds > 0;
    for output in outputs {
        let text = match output.output().format {
            Format::Csv => comparison.to_csv(),
            Format::Html => series_page(comparison),
            _ => comparison.to_json(),
        };
        if let Err(error) = output.write_text(text, has_figures) {
            print_error(&error);
            code = code.max(FAILED);
        }
    }
    let text = if arguments.json {
        comparison.to_json()
    } else if has_figures || comparison.status != Status::Error {
        comparison.to_text(columns(&io::stdout()))
    } else {
        String::new() // the line on stderr says it all
    };
    print_report(&text, code)
}

/// Returns the document of a command line that could not be parsed.
pub(super) fn refusal_document(error: &str) -> String {
    let error = Some(error.to_owned());
    Comparison { error, typed: typed_words(), ..Comparison::default() }.to_json()
}

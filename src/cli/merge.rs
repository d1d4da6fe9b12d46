//! `resound merge`: adds the results of the parts of one load.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use resound::measured::{Assertion, RunResult};
use resound::report::{Output, OutputFile, read_run};

use super::bench::{Form, deliver, exit_code};
use super::{FAILED, print_error, standard, typed_words};

/// Add the results of all parts of one load (bench --part I/N) that ran at the same time
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The documents of the parts, from bench -J or -o FILE.json; - is stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Print one JSON document instead of text
    #[arg(short = 'J', long)]
    json: bool,

    /// Also write the result to FILE (.json, .html, .csv, .hgrm, .hlog); repeatable
    #[arg(short, long = "output", value_name = "FILE")]
    output: Vec<Output>,

    /// Exit with 99 unless EXPR holds, such as 'p99<200us', 'rate>100k' or 'loss<0.1%'; repeatable
    #[arg(long = "assert", value_name = "EXPR")]
    asserts: Vec<Assertion>,

    /// Store TEXT in the result [default: the label of the first part]
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let form = if arguments.json { Form::Json } else { Form::Text };
    let mut outputs = Vec::new();
    match merged(arguments, &mut outputs) {
        Ok(result) => {
            let code = exit_code(&result);
            if let Some(error) = &result.error {
                print_error(error);
            }
            deliver(form, &result, code, outputs)
        }
        Err(error) => {
            print_error(&error);
            let result = RunResult::failed(typed_words(), &error);
            let others = arguments.output.iter().skip(outputs.len());
            outputs.extend(others.filter_map(Output::open_after_failure));
            deliver(form, &result, FAILED, outputs)
        }
    }
}

/// Reads the parts and adds them. Opens the output files first.
fn merged(arguments: &Arguments, outputs: &mut Vec<OutputFile>) -> Result<RunResult, String> {
    let text = |error: resound::Error| error.to_string();
    if arguments.json || arguments.output.is_empty() {
        standard::check_stdout().map_err(text)?;
    }
    for output in &arguments.output {
        outputs.push(output.open().map_err(text)?);
    }
    let mut parts = Vec::new();
    for path in &arguments.files {
        parts.push((path.display().to_string(), read_run(path).map_err(text)?));
    }
    let mut result = RunResult::merge(parts).map_err(|why| format!("cannot merge: {why}"))?;
    result.options.typed = typed_words();
    result.label = arguments.label.clone().or(result.label);
    result.asserts = arguments.asserts.iter().map(|assert| assert.check(&result)).collect();
    Ok(result)
}

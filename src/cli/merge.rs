//! `resound merge`: adds the results of the parts of one load.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use resound::measured::{Assertion, RunResult};
use resound::report::{Output, OutputFile, check_outputs, read_run};

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

impl Arguments {
    /// Checks that no file has two uses.
    pub(super) fn check(&self) -> Result<(), String> {
        check_outputs(&self.output, None, &self.files)
    }
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
            error.lines().for_each(|line| print_error(&line));
            let result = RunResult::failed(typed_words(), &error.replace('\n', "; "));
            Output::open_rest(&arguments.output, &mut outputs);
            deliver(form, &result, FAILED, outputs)
        }
    }
}

/// Reads the parts and adds them. Opens the output files first. An error has a line for each file.
fn merged(arguments: &Arguments, outputs: &mut Vec<OutputFile>) -> Result<RunResult, String> {
    let text = |error: resound::Error| error.to_string();
    if arguments.json || arguments.output.is_empty() {
        standard::check_stdout().map_err(text)?;
    }
    Output::open_all(&arguments.output, outputs).map_err(text)?;
    let mut parts = Vec::new();
    let mut faults = Vec::new();
    for path in &arguments.files {
        match read_run(path) {
            Ok(part) => parts.push((path.display().to_string(), part)),
            Err(error) => faults.push(error.to_string()),
        }
    }
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    let wrong = parts.iter().filter(|(_, part)| part.is_corrupted());
    let wrong: Vec<String> = wrong
        .map(|(name, part)| {
            let first = part.first_difference.as_ref();
            let first = first.map_or_else(String::new, |first| format!(": {first}"));
            format!("{name}: an echo differed from what was sent{first}")
        })
        .collect();
    let mut result = RunResult::merge(parts).map_err(|why| format!("cannot merge: {why}"))?;
    result.options.typed = typed_words();
    result.label = arguments.label.clone().or(result.label);
    result.asserts = arguments.asserts.iter().map(|assert| assert.check(&result)).collect();
    wrong.iter().for_each(|line| print_error(line));
    Ok(result)
}

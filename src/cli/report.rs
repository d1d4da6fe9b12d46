//! `resound report`: shows saved results as a page.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use resound::report::{Format, Output, check_outputs, read_page};

use super::{FAILED, print_error};

/// Show saved results as one page that loads nothing
///
/// The documents of several runs, or of several sweeps, share the axes of the figures.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Documents of bench, sweep or compare (-J, -o FILE.json), all of one command; - is stdin
    #[arg(value_name = "FILE.json", required = true)]
    files: Vec<PathBuf>,

    /// The page. An existing file is replaced only once the new one is complete
    #[arg(short, long, value_name = "FILE.html", value_parser = page)]
    output: Output,
}

/// Accepts a file for a page.
fn page(text: &str) -> Result<Output, String> {
    let output = text.parse::<Output>().ok().filter(|output| output.format == Format::Html);
    output.ok_or_else(|| "expected a file that ends in .html, such as run.html".to_owned())
}

impl Arguments {
    /// Checks that no file has two uses.
    pub(super) fn check(&self) -> Result<(), String> {
        check_outputs(std::slice::from_ref(&self.output), None, &self.files)
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let written = read_page(&arguments.files)
        .and_then(|page| arguments.output.open()?.write_text(page, true));
    let Err(error) = written else { return ExitCode::SUCCESS };
    print_error(&error);
    ExitCode::from(FAILED)
}

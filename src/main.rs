//! The program `resound`. It turns flags into options, and outcomes into exit codes.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}

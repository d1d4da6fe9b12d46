//! Wrong command lines: one line that says what was wrong and what was expected.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{Cli, USAGE, bench, complain, text};

/// Prints the help that was asked for, or the one line about what is wrong.
pub(super) fn report(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed stdout is no failure (`--help | head`).
            let _ = error.print();
            let _ = io::stdout().flush();
            ExitCode::SUCCESS
        }
        _ => {
            let line = one_line(error);
            complain(&line);
            if subcommand() == " bench" {
                bench::report_usage_failure(&line, wants_json());
            }
            ExitCode::from(USAGE)
        }
    }
}

/// Whether a document was asked for, as far as a command line that is wrong can tell: `-J` alone or
/// among other letters, or `--json`.
fn wants_json() -> bool {
    std::env::args_os().skip(2).any(|word| {
        let word = word.to_string_lossy();
        let is_letters = word.starts_with('-') && !word.starts_with("--");
        word == "--json" || word == "--json-stream" || (is_letters && word.contains('J'))
    })
}

/// clap's message without its usage, its advice on separate lines and its "error: ".
fn one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command given; expected one of: serve, send; try 'resound --help'".to_owned();
    }
    let mut rendered = error.render().to_string();
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) {
        // What was expected must not be lost behind it.
        rendered = rendered.replacen(value.as_str(), &text::shortened(value), 1);
    }
    let said = rendered.lines().map(str::trim).take_while(|line| {
        !line.starts_with("Usage:") && !line.starts_with("For more information")
    });
    let line = said.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line).to_owned();
    format!("{line}; try 'resound{} --help'", subcommand())
}

/// The subcommand that the mistake was made in, as ` NAME`: the first word, since no flag of the
/// program itself goes with a subcommand. clap tells it with some errors only.
fn subcommand() -> String {
    let typed = std::env::args_os().nth(1).unwrap_or_default();
    let command = Cli::command();
    let named = command.find_subcommand(typed);
    named.map_or_else(String::new, |command| format!(" {}", command.get_name()))
}

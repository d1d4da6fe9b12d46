//! Wrong command lines: one line that says what was wrong and what was expected.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{Cli, USAGE, bench, complain, ping, text};

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
            let is_json = wants_json(std::env::args_os().skip(2));
            match subcommand().trim() {
                "bench" => bench::report_usage_failure(&line, is_json),
                // Nobody reads it when it fails, and the line above says the same.
                "ping" if is_json => {
                    let _ = writeln!(io::stdout().lock(), "{}", ping::error_document(&line));
                }
                _ => {}
            }
            ExitCode::from(USAGE)
        }
    }
}

/// Whether a document was asked for, as far as a command line that is wrong can tell: `--json`,
/// or `-J`, alone or among other letters.
fn wants_json(words: impl Iterator<Item = OsString>) -> bool {
    let mut words = words.map(|word| word.to_string_lossy().into_owned());
    let has_letter =
        |word: &str| word.starts_with('-') && !word.starts_with("--") && word.contains('J');
    words
        .by_ref()
        .take_while(|word| word != "--")
        .any(|word| matches!(word.as_str(), "--json" | "--json-stream") || has_letter(&word))
}

/// clap's message without its usage, its advice on separate lines and its "error: ".
fn one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let command = Cli::command();
        let names: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        let names = names.join(", ");
        return format!("no command given; expected one of: {names}; try 'resound --help'");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_asked_for_by_its_letter_or_its_word_before_two_dashes() {
        let wants = |line: &str| wants_json(line.split(' ').map(OsString::from));
        for line in ["-J", "--json", "-qJ", "-Jq", "-c x tcp://a:1 -J", "--json-stream"] {
            assert!(wants(line), "{line}");
        }
        for line in ["", "-j", "--Json", "-- -J", "J", "-c x"] {
            assert!(!wants(line), "{line}");
        }
    }
}

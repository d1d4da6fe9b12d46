//! Invalid command lines: one line that says what is wrong and what was expected.

mod line;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, Command, CommandFactory};
use resound::report::ping::error_json;
use resound::report::{Format, Output};

pub(super) use self::line::one_line;
use super::environment::Words;
use super::{Cli, USAGE, bench, compare, fail, print_error, print_text, standard, sweep};

/// Prints the requested help, or one line about the mistake.
pub(super) fn report(mut error: clap::Error, words: &Words) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => print_help(&error),
        _ => {
            let line = one_line(&mut error, &words.all) + &words.blame(mistake_in);
            let words = &words.all;
            report_line(&line, words)
        }
    }
}

/// Prints the one line about flags that do not go together.
pub(super) fn refuse(error: &str, words: &Words) -> ExitCode {
    let variables = words.blame(mistake_in);
    let words = &words.all;
    let line = format!("{error}; try 'resound{} --help'{variables}", subcommand(words));
    report_line(&line, words)
}

/// Returns what is wrong with a command line.
pub(super) fn mistake_in(words: &[OsString]) -> Option<String> {
    match super::parse(words) {
        Ok(Cli { command: super::Command::Bench(arguments) }) => arguments.check().err(),
        Ok(cli) => cli.command.check().err(),
        Err(mut error) => Some(one_line(&mut error, words)),
    }
}

/// Prints the line about a mistake, and the document of a refused command if one is wanted.
fn report_line(line: &str, words: &[OsString]) -> ExitCode {
    print_error(&line);
    let wanted = Wanted::of(words);
    match subcommand(words).trim() {
        "bench" | "merge" => {
            let stdout = wanted.json.then_some(wanted.is_line);
            bench::report_usage_failure(line, stdout, &wanted.outputs);
        }
        "compare" => deliver(&compare::refusal_document(line), &wanted),
        // A failure is ignored, because the line above says the same.
        "ping" if wanted.json => {
            let _ = standard::print(&(error_json(line) + "\n"));
        }
        "sweep" => deliver(&sweep::refusal_document(line), &wanted),
        _ => {}
    }
    ExitCode::from(USAGE)
}

/// Writes the document of a refused command to where it is wanted. The line on stderr has named the
/// mistake, so failures here are ignored.
fn deliver(document: &str, wanted: &Wanted) {
    if wanted.json {
        let parsed = serde_json::from_str::<serde_json::Value>(document);
        let _ = standard::print(&match parsed {
            Ok(document) if wanted.is_line => format!("{document}\n"),
            _ => document.to_owned(),
        });
    }
    let paths = wanted.outputs.iter().filter_map(|path| path.to_str());
    for output in paths.filter_map(|path| path.parse::<Output>().ok()) {
        if output.format == Format::Json {
            let file = output.open_after_failure();
            let _ = file.map(|file| file.write_text(document.to_owned(), false));
        }
    }
}

fn print_help(help: &clap::Error) -> ExitCode {
    let text = help.render();
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    let has_colors = standard::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb;
    let text = if has_colors { text.ansi().to_string() } else { text.to_string() };
    match print_text(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Where an invalid command line asks for a document. clap stops at the first mistake, so this
/// reads the rest. It distinguishes options from their values as getopt(3) does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) json: bool,
    /// The document is one line, the last of a stream.
    is_line: bool,
    outputs: Vec<OsString>,
}

impl Wanted {
    /// Returns what a whole command line asks for.
    pub(super) fn of(words: &[OsString]) -> Wanted {
        Wanted::by(&subcommand(words), words.iter().skip(2).cloned())
    }

    fn by(subcommand: &str, words: impl Iterator<Item = OsString>) -> Wanted {
        let command = Cli::command();
        let Some(command) = command.find_subcommand(subcommand.trim()) else {
            return Wanted::default();
        };
        let mut wanted = Wanted::default();
        let mut words = words.map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next().filter(|word| word != "--") {
            for (option, joined) in options_in(command, &word) {
                let takes_value = option.get_action().takes_values();
                let value = if takes_value { joined.or_else(|| words.next()) } else { None };
                match option.get_id().as_str() {
                    "json" => wanted.json = true,
                    "json_stream" => (wanted.json, wanted.is_line) = (true, true),
                    "output" => wanted.outputs.extend(value.map(OsString::from)),
                    _ => {}
                }
            }
        }
        wanted
    }
}

/// Returns the options that a word holds, the last one with the value that is joined to it: `-qJ`,
/// `-c5`, `--count=5`. Returns none if the word is not an option or not a known one.
pub(super) fn options_in<'a>(command: &'a Command, word: &str) -> Vec<(&'a Arg, Option<String>)> {
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        let option = command.get_arguments().find(|option| option.get_long() == Some(name));
        return option.map(|option| (option, value)).into_iter().collect();
    }
    let mut options = Vec::new();
    let Some(letters) = word.strip_prefix('-') else { return options };
    for (at, letter) in letters.char_indices() {
        let option = command.get_arguments().find(|option| option.get_short() == Some(letter));
        let Some(option) = option else { break };
        let rest = &letters[at + letter.len_utf8()..];
        let is_last = option.get_action().takes_values();
        options.push((option, (is_last && !rest.is_empty()).then(|| rest.to_owned())));
        if is_last {
            break;
        }
    }
    options
}

/// Returns the subcommand of the command line as ` NAME`. It is the first word, because the program
/// itself has no flag that goes with a subcommand. clap names it in some errors only.
fn subcommand(words: &[OsString]) -> String {
    let command = Cli::command();
    named(&command, words).map_or_else(String::new, |command| format!(" {}", command.get_name()))
}

fn named<'a>(program: &'a Command, words: &[OsString]) -> Option<&'a Command> {
    program.find_subcommand(words.get(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(subcommand: &str, line: &str) -> Wanted {
        Wanted::by(subcommand, line.split(' ').map(OsString::from))
    }

    #[test]
    fn a_document_is_requested_by_the_short_or_the_long_flag_before_two_dashes() {
        for line in ["-J", "--json", "-qJ", "-Jq", "-c x tcp://a:1 -J", "--bogus -J"] {
            assert!(wanted("ping", line).json, "{line}");
        }
        for line in ["", "-j", "--Json", "-- -J", "J", "-c x", "-c -J", "-c5J"] {
            assert!(!wanted("ping", line).json, "{line}");
        }
        assert!(wanted("bench", "--json-stream -n x").json);
        assert_eq!(wanted("send", "-J"), Wanted::default());
        assert_eq!(wanted("nonsense", "-J"), Wanted::default());
    }

    #[test]
    fn a_file_is_requested_in_every_way_to_give_an_option_a_value() {
        for line in ["-o a.json -n x", "-oa.json", "--output a.json", "--output=a.json -J"] {
            assert_eq!(wanted("bench", line).outputs, ["a.json"], "{line}");
        }
        for line in ["--bogus -- -o a.json", "--label -o a.json --bogus", "-o", "a.json"] {
            assert!(wanted("bench", line).outputs.is_empty(), "{line}");
        }
    }
}

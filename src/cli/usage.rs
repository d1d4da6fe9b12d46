//! Wrong command lines: one line that says what was wrong and what was expected.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory};

use super::{Cli, FAILED, USAGE, bench, complain, escape, ping, standard};

/// The longest message without its hint at the help: with it, it is within what is printed of any.
const SAID_CHARS_MAX: usize = 550;

/// The longest advice of clap's: one that repeats a long word is no help.
const TIP_CHARS_MAX: usize = 150;

/// Prints the help that was asked for, or the one line about what is wrong.
pub(super) fn report(mut error: clap::Error, words: &[OsString]) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => print_help(&error),
        _ => {
            let line = one_line(&mut error, words);
            complain(&line);
            let wanted = Wanted::of(words);
            match subcommand(words).trim() {
                "bench" => {
                    let stdout = wanted.json.then_some(wanted.is_line);
                    bench::report_usage_failure(&line, stdout, &wanted.outputs);
                }
                // Nobody reads it when it fails, and the line above says the same.
                "ping" if wanted.json => {
                    let _ = standard::print(&(ping::error_document(&line) + "\n"));
                }
                _ => {}
            }
            ExitCode::from(USAGE)
        }
    }
}

fn print_help(help: &clap::Error) -> ExitCode {
    let text = help.render();
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    let printed = if standard::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb {
        standard::print(&text.ansi().to_string())
    } else {
        standard::print(&text.to_string())
    };
    match printed {
        // A reader that has left is no failure (`--help | head`).
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&resound::Error::new("write to", "stdout", error));
            ExitCode::from(FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Where a document was asked for, by a command line that is wrong and that clap has left at its
/// first mistake. Options are told from their values as getopt(3) does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) json: bool,
    /// On one line, the last of a stream.
    is_line: bool,
    outputs: Vec<OsString>,
}

impl Wanted {
    /// What a whole command line asks for.
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

/// The options that a word consists of, the last one with the value that is joined to it: `-qJ`,
/// `-c5`, `--count=5`. None in a word that is no option, or one that is not known.
fn options_in<'a>(command: &'a Command, word: &str) -> Vec<(&'a Arg, Option<String>)> {
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

/// clap's message on one line, its advice behind a semicolon, without its usage and its "error: ".
pub(super) fn one_line(error: &mut clap::Error, words: &[OsString]) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let command = Cli::command();
        let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        let names = names.join(", ");
        return format!("no command given; expected one of: {names}; try 'resound --help'");
    }
    shorten_typed(error);
    let rendered = error.render().to_string();
    let said = rendered.lines().map(str::trim).take_while(|line| {
        !line.starts_with("Usage:") && !line.starts_with("For more information")
    });
    let mut line = String::new();
    for said in said.filter(|line| !line.is_empty()) {
        // Advice is a clause of its own.
        let (separator, said) = match said.strip_prefix("tip: ") {
            Some(advice) => ("; ", advice),
            None => (" ", said),
        };
        line.push_str(if line.is_empty() { "" } else { separator });
        line.push_str(said);
    }
    let line = escape::bounded(line.strip_prefix("error: ").unwrap_or(&line), SAID_CHARS_MAX);
    let expected = expected(error, words).map_or(String::new(), |expected| format!("; {expected}"));
    format!("{line}{expected}; try 'resound{} --help'", subcommand(words))
}

/// What is expected where nothing was typed, of which clap says only that it is missing: what the
/// value's own parser says of an empty one.
fn expected(error: &clap::Error, words: &[OsString]) -> Option<String> {
    let missing = match (error.kind(), error.get(ContextKind::InvalidArg)?) {
        (ErrorKind::InvalidValue, ContextValue::String(option)) => {
            let typed = error.get(ContextKind::InvalidValue);
            let is_missing = typed.is_none_or(|typed| typed.to_string().is_empty());
            is_missing.then(|| option.split(' ').next())??
        }
        (ErrorKind::MissingRequiredArgument, ContextValue::Strings(names)) => names.first()?,
        _ => return None,
    };
    let option = missing.starts_with('-').then_some(missing);
    let name = subcommand(words);
    let probe = ["resound", name.trim()].into_iter().chain(option).chain([""]);
    let refused = Cli::command().try_get_matches_from(probe).err()?.render().to_string();
    let first_line = refused.lines().next()?;
    first_line.find("expected ").map(|at| first_line[at..].to_owned())
}

/// Shows of what was typed the beginning, escaped: what was expected must not be lost behind it,
/// and clap would leave out what looks like a terminal's escape sequence.
fn shorten_typed(error: &mut clap::Error) {
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidArg, ContextKind::InvalidSubcommand]
    {
        if let Some(ContextValue::String(typed)) = error.get(kind) {
            let shown = escape::shortened(&escape::one_line(typed));
            error.insert(kind, ContextValue::String(shown));
        }
    }
    let is_long = |tips: &ContextValue| tips.to_string().chars().count() > TIP_CHARS_MAX;
    if error.get(ContextKind::Suggested).is_some_and(is_long) {
        error.remove(ContextKind::Suggested);
    }
}

/// The subcommand that the mistake was made in, as ` NAME`: the first word, since no flag of the
/// program itself goes with a subcommand. clap tells it with some errors only.
fn subcommand(words: &[OsString]) -> String {
    let typed = words.get(1).cloned().unwrap_or_default();
    let command = Cli::command();
    let named = command.find_subcommand(typed);
    named.map_or_else(String::new, |command| format!(" {}", command.get_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(subcommand: &str, line: &str) -> Wanted {
        Wanted::by(subcommand, line.split(' ').map(OsString::from))
    }

    #[test]
    fn a_document_is_asked_for_by_its_letter_or_its_word_before_two_dashes() {
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
    fn a_file_is_asked_for_in_every_way_that_options_have_values() {
        for line in ["-o a.json -n x", "-oa.json", "--output a.json", "--output=a.json -J"] {
            assert_eq!(wanted("bench", line).outputs, ["a.json"], "{line}");
        }
        for line in ["--bogus -- -o a.json", "--label -o a.json --bogus", "-o", "a.json"] {
            assert!(wanted("bench", line).outputs.is_empty(), "{line}");
        }
    }
}

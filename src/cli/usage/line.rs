//! clap's messages as one line: what was wrong, what was expected, an example.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use super::super::{escape, manual};
use super::named;

/// The longest message with its hint at the help. It stays within the bound of
/// [`escape::one_line`], with the mark that it was cut.
const LINE_CHARS_MAX: usize = 590;

/// The longest tip of clap that is printed. A longer one repeats a long word and does not help.
const TIP_CHARS_MAX: usize = 150;

/// Returns clap's message as one line, with its tips behind semicolons, without "error: " and the
/// usage.
pub(in crate::cli) fn one_line(error: &mut clap::Error, words: &[OsString]) -> String {
    let line = Expectation::of(words).line(error, words);
    let hint = format!("; try 'resound{} --help'", super::subcommand(words));
    escape::bounded(&line, LINE_CHARS_MAX - hint.chars().count()) + &hint
}

/// Returns clap's message without what it cannot know: what was expected.
fn wrong(error: &mut clap::Error, words: &[OsString]) -> String {
    match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return "no command given".to_owned();
        }
        ErrorKind::InvalidUtf8 => return not_utf_8(words),
        _ => {}
    }
    shorten_typed(error);
    // It becomes a part of what was expected.
    error.remove(ContextKind::ValidValue);
    let rendered = error.render().to_string();
    let lines = rendered.lines().map(str::trim).take_while(|line| {
        !line.starts_with("Usage:") && !line.starts_with("For more information")
    });
    let mut line = String::new();
    for part in lines.filter(|line| !line.is_empty()) {
        // A tip becomes a clause of its own.
        let (separator, part) = match part.strip_prefix("tip: ") {
            Some(advice) => ("; ", advice),
            None => (" ", part),
        };
        line.push_str(if line.is_empty() { "" } else { separator });
        line.push_str(part);
    }
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    line.trim_end_matches("; no more were expected").to_owned()
}

/// Names the word that is not text. clap does not say which it is.
fn not_utf_8(words: &[OsString]) -> String {
    let word = words.iter().find(|word| word.to_str().is_none());
    let mut shown = Vec::new();
    escape::push_message(&mut shown, word.map_or(&[], |word| word.as_encoded_bytes()));
    format!("'{}' is not valid UTF-8", escape::shortened(&String::from_utf8_lossy(&shown)))
}

/// Escapes and shortens what was typed, so that the expected value is not lost behind it. clap
/// would drop text that looks like an escape sequence of a terminal.
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

/// What a command expects.
struct Expectation {
    program: Command,
    /// Its name, or none for the program itself.
    name: Option<String>,
}

impl Expectation {
    fn of(words: &[OsString]) -> Expectation {
        let mut program = super::super::command().disable_help_subcommand(true);
        program.build();
        let name = named(&program, words).map(|command| command.get_name().to_owned());
        Expectation { program, name }
    }

    fn command(&self) -> &Command {
        let name = self.name.as_deref();
        name.and_then(|name| self.program.find_subcommand(name)).unwrap_or(&self.program)
    }

    /// Returns the whole message.
    fn line(&self, error: &mut clap::Error, words: &[OsString]) -> String {
        // The parser of a value says what it expects.
        let is_complete = error.kind() == ErrorKind::ValueValidation;
        let expected = if is_complete { String::new() } else { self.expected(error) };
        let separator = if is_complete { "" } else { "; expected " };
        wrong(error, words) + separator + &expected
    }

    /// Returns what was expected, with an example.
    fn expected(&self, error: &clap::Error) -> String {
        let invalid = error.get(ContextKind::InvalidArg);
        let invalid = invalid.and_then(first).unwrap_or_default();
        let arg = self.arg(&invalid);
        match (error.kind(), arg) {
            (ErrorKind::InvalidValue | ErrorKind::MissingRequiredArgument, Some(arg)) => {
                self.value(arg)
            }
            (ErrorKind::TooManyValues, Some(arg)) if !arg.get_action().takes_values() => {
                format!("the flag alone, such as {}", typed(arg))
            }
            (ErrorKind::ArgumentConflict, Some(arg)) => self.alone(error, arg),
            (ErrorKind::UnknownArgument, _) if invalid.starts_with('-') => self.flag(),
            (ErrorKind::InvalidUtf8, _) => format!("text, {}", self.example("")),
            _ if self.name.is_none() => self.one_command(),
            _ => self.whole_line(),
        }
    }

    /// Returns what the value of a flag should be. If clap does not know, the parser of the value
    /// says it about an empty one.
    fn value(&self, arg: &Arg) -> String {
        let words: Vec<_> = arg.get_possible_values();
        if let Some(example) = words.first().filter(|_| arg.get_action().takes_values()) {
            let names: Vec<_> = words.iter().map(|word| word.get_name()).collect();
            return format!("one of: {}, such as {}", names.join(", "), example.get_name());
        }
        let option = arg.get_long().map(|long| format!("--{long}="));
        let name = self.name.as_deref().unwrap_or_default();
        let probe = ["resound".to_owned(), name.to_owned(), option.unwrap_or_default()];
        let refused = self.program.clone().try_get_matches_from(probe).err();
        let refused = refused.map(|error| error.render().to_string()).unwrap_or_default();
        let first_line = refused.lines().next().unwrap_or_default();
        match first_line.split_once("expected ") {
            Some((_, expected)) => expected.to_owned(),
            None if arg.is_positional() => self.whole_line(),
            None => format!("'{arg}', {}", self.example(&typed(arg))),
        }
    }

    /// Returns what a flag needs that is repeated, or goes with another.
    fn alone(&self, error: &clap::Error, arg: &Arg) -> String {
        let prior = error.get(ContextKind::PriorArg).and_then(first);
        if prior.is_some_and(|prior| prior != arg.to_string()) {
            return format!("only one of them, such as {}", typed(arg));
        }
        match arg.get_action().takes_values() {
            true => format!("it once, with {}", self.value(arg)),
            false => format!("it once, such as {}", typed(arg)),
        }
    }

    fn flag(&self) -> String {
        match &self.name {
            Some(name) => format!("a flag of 'resound {name}', {}", self.example("-")),
            None => self.one_command(),
        }
    }

    fn one_command(&self) -> String {
        let names: Vec<_> = self.program.get_subcommands().map(Command::get_name).collect();
        format!("one of: {}, such as 'resound serve'", names.join(", "))
    }

    /// Returns the form of the whole command line.
    fn whole_line(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        let places = self.command().get_positionals().map(|arg| format!(" {arg}"));
        format!("'resound {name}{}', {}", places.collect::<String>(), self.example(""))
    }

    /// Returns a whole command line: one with a word that begins like this, if there is one.
    fn example(&self, start: &str) -> String {
        let mut examples = manual::examples(self.name.as_deref().unwrap_or_default());
        let first = examples.next().map_or("resound serve", |(line, _)| line);
        let has_word = |line: &str| line.split(' ').any(|word| word.starts_with(start));
        let mut lines = std::iter::once(first).chain(examples.map(|(line, _)| line));
        let line = lines.find(|line| has_word(line)).unwrap_or(first);
        format!("as in \"{line}\"")
    }

    /// Returns the argument that clap calls `--rate <N>`, `<FILE>...` or `--ipv4`.
    fn arg(&self, shown: &str) -> Option<&Arg> {
        let is_named = |arg: &&Arg| {
            arg.to_string() == shown
                || (!arg.is_positional() && {
                    let flag = shown.split([' ', '=']).next().unwrap_or_default();
                    typed(arg) == flag
                })
        };
        self.command().get_arguments().find(is_named)
    }
}

/// Returns a flag as a user types it, without a value.
fn typed(arg: &Arg) -> String {
    arg.get_long().map(|long| format!("--{long}")).unwrap_or_default()
}

fn first(value: &ContextValue) -> Option<String> {
    match value {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

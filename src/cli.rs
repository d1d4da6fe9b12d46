//! The command line: flags, results on stdout, and exit codes.

mod bench;
mod bench_flags;
mod compare;
mod environment;
mod flags;
mod manual;
mod merge;
mod ping;
mod report;
mod send;
mod serve;
mod sweep;
mod usage;
mod values;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use resound::escape;
use resound::process::{standard, survive_file_size_limit};

use self::environment::Words;

/// Exit code: the command could not start, its loop failed, or no answer came.
const FAILED: u8 = 1;
/// Exit code: the command line is wrong.
const USAGE: u8 = 2;

/// The version, with the commit in a release build.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("RESOUND_COMMIT_SUFFIX"));

#[derive(Debug, Parser)]
#[command(name = "resound", version = VERSION, propagate_version = true)]
#[command(about = "An echo daemon and clients for four transports")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Arguments>),
    Bench(Box<bench::Arguments>),
    Sweep(Box<sweep::Arguments>),
    Compare(Box<compare::Arguments>),
    Merge(merge::Arguments),
    Ping(ping::Arguments),
    Send(send::Arguments),
    Report(report::Arguments),
    Completions(manual::Completions),
    Man(manual::Manual),
}

impl Command {
    /// What no flag can tell by itself. `bench` says it in its report as well.
    fn check(&self) -> Result<(), String> {
        match self {
            Command::Serve(arguments) => arguments.check(),
            Command::Bench(_) | Command::Sweep(_) | Command::Completions(_) => Ok(()),
            Command::Merge(arguments) => arguments.check(),
            Command::Compare(arguments) => arguments.check(),
            Command::Ping(arguments) => arguments.check(),
            Command::Send(arguments) => arguments.check(),
            Command::Report(arguments) => arguments.check(),
            Command::Man(arguments) => arguments.check(),
        }
    }
}

/// Parses a command line whose first word is the program's name.
///
/// As with getopt(3), the word after an option that takes a value is its value, even if it begins
/// with a dash: `--backlog -1` is a wrong number, not a missing value before `-1` (`--one-off`).
fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command().try_get_matches_from(words)?)
}

/// Lets the word behind an option be its value in any case.
fn take_any_value(arg: clap::Arg) -> clap::Arg {
    match arg.get_action().takes_values() {
        true if !arg.is_positional() => arg.allow_hyphen_values(true),
        _ => arg,
    }
}

/// Returns the program with its commands, as help, completions and manual pages show them.
fn command() -> clap::Command {
    Cli::command().mut_subcommands(|command| {
        let values = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let help = format!("{values}\n\n{}", environment::help(&command));
        command.mut_args(take_any_value).after_help(help.trim_start().to_owned())
    })
}

pub(crate) fn run() -> ExitCode {
    survive_file_size_limit();
    let typed = std::env::args_os().collect();
    let variable = |name: &str| std::env::var_os(name);
    let words = match Words::with_environment(&Cli::command(), typed, variable) {
        Ok(words) => words,
        Err((error, typed)) => return usage::refuse(&error, &Words::typed(typed)),
    };
    let cli = match parse(&words.all) {
        Ok(cli) => cli,
        Err(error) => return usage::report(error, &words),
    };
    if let Err(error) = cli.command.check() {
        return usage::refuse(&error, &words);
    }
    let outcome = match cli.command {
        Command::Serve(arguments) => return serve::run(&arguments),
        Command::Bench(arguments) => {
            return bench::run(&arguments, || words.blame(usage::mistake_in));
        }
        Command::Sweep(arguments) => return sweep::run(&arguments),
        Command::Compare(arguments) => return compare::run(&arguments),
        Command::Merge(arguments) => return merge::run(&arguments),
        Command::Ping(arguments) => return ping::run(&arguments),
        Command::Send(arguments) => send::run(arguments),
        Command::Report(arguments) => return report::run(&arguments),
        Command::Completions(arguments) => manual::print_completions(&arguments),
        Command::Man(arguments) => manual::print_pages(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Prints why the command failed. Returns its exit code.
fn fail(error: &resound::Error) -> ExitCode {
    print_error(error);
    ExitCode::from(FAILED)
}

/// Returns the words after the program's name, with invalid UTF-8 replaced.
fn typed_words() -> Vec<String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Prints one line to stderr. A failure is ignored, because nothing could report it.
fn print_error(message: &dyn std::fmt::Display) {
    let _ = print_note(message);
}

/// Prints the report of a command. Returns its exit code, or that of a failed write if that is
/// greater.
fn print_report(text: &str, code: u8) -> ExitCode {
    // A command that needs stdout is refused before its start if stdout is closed.
    match if standard::is_stdout_closed() { Ok(()) } else { print_text(text) } {
        Ok(()) => ExitCode::from(code),
        Err(error) => {
            print_error(&error);
            ExitCode::from(FAILED.max(code))
        }
    }
}

/// Prints text to stdout.
///
/// # Errors
///
/// The write failed. A reader that has closed its end (`BrokenPipe`) is not an error.
fn print_text(text: &str) -> Result<(), resound::Error> {
    unless_unread("stdout", standard::print(text))
}

/// Returns the error of a write to a stream, unless its reader has closed its end.
fn unless_unread(stream: &str, written: io::Result<()>) -> Result<(), resound::Error> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(resound::Error::new("write to", stream, error))
        }
        _ => Ok(()),
    }
}

/// Prints one line to stderr that is part of the result.
///
/// # Errors
///
/// The write to stderr failed. A reader that has closed its end (`BrokenPipe`) is not an error.
fn print_note(message: &dyn std::fmt::Display) -> Result<(), resound::Error> {
    // One write, so that lines of other processes do not interleave with this one.
    let line = format!("resound: {}\n", escape::one_line(&message.to_string()));
    unless_unread("stderr", standard::stderr().write_all(line.as_bytes()))
}

#[cfg(test)]
mod properties;

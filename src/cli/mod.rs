//! The command line. Only here are flags known, output printed and exit codes chosen.

mod bench;
mod cpus;
mod outlet;
mod ping;
mod send;
mod serve;
mod text;
mod usage;
mod values;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Could not start, or the loop failed, or no answer came.
const FAILED: u8 = 1;
/// The command line was wrong.
const USAGE: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "resound", version, about = "An echo daemon and clients for four transports")]
#[command(propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Arguments>),
    Bench(Box<bench::Arguments>),
    Ping(ping::Arguments),
    Send(send::Arguments),
}

/// Reads a command line, the program's name first.
///
/// What follows an option is its value whatever it looks like, as with getopt(3): `--backlog -1`
/// is a wrong number, not a missing one with `-1` (`--one-off`) behind it.
fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    let take_any_value = |arg: clap::Arg| match arg.get_action().takes_values() {
        true if !arg.is_positional() => arg.allow_hyphen_values(true),
        _ => arg,
    };
    let command = Cli::command().mut_subcommands(|command| command.mut_args(take_any_value));
    Cli::from_arg_matches(&command.try_get_matches_from(words)?)
}

/// The signals that end a run in good order: SIGHUP among them, unless somebody has asked for it to
/// be ignored (nohup(1)).
fn ending_signals() -> Vec<i32> {
    let mut signals = vec![libc::SIGINT, libc::SIGTERM];
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    if ignored & (1 << (libc::SIGHUP - 1)) == 0 {
        signals.push(libc::SIGHUP);
    }
    signals
}

pub(crate) fn run() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let outcome = match parse(&words) {
        Ok(Cli { command: Command::Serve(arguments) }) => match arguments.check() {
            Ok(()) => serve::run(&arguments),
            Err(error) => {
                complain(&format_args!("{error}; try 'resound serve --help'"));
                return ExitCode::from(USAGE);
            }
        },
        Ok(Cli { command: Command::Bench(arguments) }) => return bench::run(&arguments),
        Ok(Cli { command: Command::Ping(arguments) }) => return ping::run(arguments),
        Ok(Cli { command: Command::Send(arguments) }) => send::run(arguments),
        Err(error) => return usage::report(error, &words),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(FAILED)
        }
    }
}

/// Prints one line to stderr. Nobody can be told when even that fails.
fn complain(message: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "resound: {}", text::one_line(&message.to_string()));
}

#[cfg(test)]
mod properties;

//! The flags of `bench` as flags of a command that runs it again and again. They keep their names,
//! parsers and help, and are passed on as typed.

use std::ffi::OsString;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::{bench, usage};

/// Flags of `bench` that a series has its own of, or that have no meaning for one run of many.
const LEFT_OUT: &[&str] =
    &["endpoint", "json", "json_stream", "output", "asserts", "part", "start_at", "trace"];

/// The flags that were given, by name, each with its value.
#[derive(Clone, Debug, Default)]
pub(super) struct BenchFlags(Vec<(String, Option<OsString>)>);

fn bench_args() -> Vec<Arg> {
    let command = bench::Arguments::augment_args(Command::new("bench"));
    let args = command.get_arguments().filter(|arg| !LEFT_OUT.contains(&arg.get_id().as_str()));
    args.cloned().collect()
}

impl Args for BenchFlags {
    fn augment_args(command: Command) -> Command {
        command.args(bench_args().into_iter().map(|arg| arg.help_heading("Flags of bench")))
    }

    fn augment_args_for_update(command: Command) -> Command {
        BenchFlags::augment_args(command)
    }
}

impl FromArgMatches for BenchFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<BenchFlags, clap::Error> {
        let mut flags = Vec::new();
        for arg in bench_args() {
            let id = arg.get_id().as_str();
            let is_typed = matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine);
            let Some(name) = arg.get_long().filter(|_| is_typed) else { continue };
            if arg.get_action().takes_values() {
                let values = matches.get_raw(id).into_iter().flatten();
                flags.extend(values.map(|value| (name.to_owned(), Some(value.to_owned()))));
            } else {
                flags.push((name.to_owned(), None));
            }
        }
        Ok(BenchFlags(flags))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = BenchFlags::from_arg_matches(matches)?;
        Ok(())
    }
}

impl BenchFlags {
    /// Parses the flags in one word of a command line, split as a shell does.
    pub(super) fn parse(text: &str) -> Result<BenchFlags, String> {
        const EXPECTED: &str = "expected flags of bench, such as '-d 4 --nagle'";
        let words = shlex::split(text).ok_or_else(|| format!("a quote is open; {EXPECTED}"))?;
        let command = BenchFlags::augment_args(Command::new("bench"))
            .no_binary_name(true)
            .disable_help_flag(true)
            // Other flags name it as what they conflict with.
            .arg(Arg::new("endpoint"))
            .mut_args(super::take_any_value);
        let line = |mut error: clap::Error| {
            let line = usage::one_line(&mut error, &["resound".into(), "bench".into()]);
            line.split("; try '").next().unwrap_or_default().to_owned()
        };
        let matches = command.try_get_matches_from(words).map_err(line)?;
        match matches.get_raw("endpoint").and_then(|mut values| values.next()) {
            Some(word) => Err(format!("'{}' is no flag; {EXPECTED}", word.display())),
            None => BenchFlags::from_arg_matches(&matches).map_err(line),
        }
    }

    /// Returns true if a flag was given, by its long name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other == name)
    }

    /// Returns these flags with those of `over`, which replace flags of the same name.
    pub(super) fn with(&self, over: &BenchFlags) -> BenchFlags {
        let kept = self.0.iter().filter(|(name, _)| !over.has(name));
        BenchFlags(kept.chain(&over.0).cloned().collect())
    }

    /// Adds a flag, unless it was given.
    pub(super) fn default_to(&mut self, name: &str, value: &str) {
        if !self.has(name) {
            self.0.push((name.to_owned(), Some(value.into())));
        }
    }

    /// Returns the words of a command line.
    pub(super) fn words(&self) -> Vec<OsString> {
        let word = |(name, value): &(String, Option<OsString>)| {
            let mut word = OsString::from(format!("--{name}"));
            if let Some(value) = value {
                word.push("=");
                word.push(value);
            }
            word
        };
        self.0.iter().map(word).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let flags = BenchFlags::parse(text).unwrap();
        flags.words().into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn flags_are_passed_on_with_their_long_names() {
        assert_eq!(words("-d 4 --nagle -l 64KiB"), ["--length=64KiB", "--depth=4", "--nagle"]);
        assert_eq!(words("--label 'a b'"), ["--label=a b"]);
        assert_eq!(words(""), [""; 0]);
    }

    #[test]
    fn what_bench_would_refuse_is_refused() {
        for text in ["--bogus", "-d", "-d x", "tcp://127.0.0.1:7", "-J", "-o a.json", "'"] {
            assert!(BenchFlags::parse(text).is_err(), "{text}");
        }
        let error = BenchFlags::parse("-d x").unwrap_err();
        assert!(error.contains("'x' for '--depth <N>'") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn flags_of_a_side_replace_those_of_both() {
        let both = BenchFlags::parse("-d 4 -c 9").unwrap();
        let one = both.with(&BenchFlags::parse("-d 8").unwrap());
        let words: Vec<_> = one.words();
        assert_eq!(words, ["--connections=9", "--depth=8"]);
    }
}

//! The flags of `bench` as flags of a command that runs it again and again. They keep their names,
//! parsers and help, and are passed on as typed.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::{bench, usage};

/// The flags of `bench` that are about one run, each with what it does and what to use instead.
const REFUSED: [(&str, &str, &str); 5] = [
    ("assert", "judges", "a bound on how much worse B may be, such as --max-regression 5"),
    ("json-stream", "shows the course of", "the document of the comparison, such as --json"),
    ("part", "divides", "a run, such as 'resound bench --rate 10k --part 1/2'"),
    (
        "start-at",
        "sets the time of",
        "a run, such as 'resound bench --start-at 2030-01-01T12:00:00Z'",
    ),
    ("trace", "shows the turns of", "a run, such as 'resound bench --trace trace.json'"),
];

/// The ids of these flags, and of those for which a series has its own flag.
const LEFT_OUT: &[&str] =
    &["endpoint", "json", "json_stream", "output", "asserts", "part", "start_at", "trace"];

/// The flags that were given: the name of each, and its word of a command line.
#[derive(Clone, Debug, Default)]
pub(super) struct BenchFlags(Vec<(String, OsString)>);

/// Returns the words by which an argument was given on the command line, each with its name.
pub(super) fn given_words(arg: &Arg, matches: &ArgMatches) -> Vec<(String, OsString)> {
    let id = arg.get_id().as_str();
    if matches.value_source(id) != Some(ValueSource::CommandLine) {
        return Vec::new();
    }
    let flag = arg.get_long().map(|long| format!("--{long}"));
    if let Some(flag) = flag.as_ref().filter(|_| !arg.get_action().takes_values()) {
        return vec![(id.to_owned(), flag.into())];
    }
    let start = flag.map_or_else(String::new, |flag| flag + "=");
    let word = |value: &OsStr| {
        let mut word = OsString::from(&start);
        word.push(value);
        (id.to_owned(), word)
    };
    matches.get_raw(id).into_iter().flatten().map(word).collect()
}

/// Returns `bench` with its flags as they are parsed for one run.
pub(super) fn bench_command() -> Command {
    bench::Arguments::augment_args(Command::new("bench"))
}

/// Returns why a series of runs has no such flag.
pub(super) fn about_one_run(name: &str, does: &str, series: &str, instead: &str) -> String {
    format!("--{name} {does} one run, and {series} has many: expected {instead}")
}

/// Returns an error with the whole message.
pub(super) fn refused(error: String) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, error + "\n")
}

/// Returns the flags of a run by the words behind `bench`, once `bench` would accept them.
pub(super) fn checked_run(
    words: impl IntoIterator<Item = OsString>,
) -> Result<bench::Arguments, clap::Error> {
    let words = std::iter::once("bench".into()).chain(words);
    let matches = bench_command().try_get_matches_from(words)?;
    let arguments = bench::Arguments::from_arg_matches(&matches)?;
    arguments.check().map_err(refused)?;
    Ok(arguments)
}

/// Returns the message of an error on one line, without a hint at the help.
pub(super) fn line_of(mut error: clap::Error) -> String {
    let line = usage::one_line(&mut error, &["resound".into(), "bench".into()]);
    line.split("; try '").next().unwrap_or_default().to_owned()
}

fn bench_args() -> Vec<Arg> {
    let command = bench_command();
    let args = command.get_arguments().filter(|arg| !LEFT_OUT.contains(&arg.get_id().as_str()));
    args.cloned().collect()
}

impl Args for BenchFlags {
    fn augment_args(command: Command) -> Command {
        let refused = REFUSED.map(|(name, ..)| {
            let arg = Arg::new(name).long(name).hide(true).num_args(0..=1);
            arg.action(ArgAction::Append).value_parser(value_parser!(OsString))
        });
        let taken = bench_args().into_iter().map(|arg| arg.help_heading("Flags of bench"));
        command.args(taken).args(refused)
    }

    fn augment_args_for_update(command: Command) -> Command {
        BenchFlags::augment_args(command)
    }
}

impl FromArgMatches for BenchFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<BenchFlags, clap::Error> {
        let is_given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        if let Some((name, does, instead)) = REFUSED.iter().find(|(name, ..)| is_given(name)) {
            return Err(refused(about_one_run(name, does, "a comparison", instead)));
        }
        let flags = bench_args().into_iter().flat_map(|arg| given_words(&arg, matches));
        Ok(BenchFlags(flags.collect()))
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
        let matches = command.try_get_matches_from(words).map_err(line_of)?;
        match matches.get_raw("endpoint").and_then(|mut values| values.next()) {
            Some(word) => Err(format!("'{}' is no flag; {EXPECTED}", word.display())),
            None => BenchFlags::from_arg_matches(&matches).map_err(line_of),
        }
    }

    /// Returns true if a flag was given.
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
            self.0.push((name.to_owned(), format!("--{name}={value}").into()));
        }
    }

    /// Returns the words of a command line.
    pub(super) fn words(&self) -> Vec<OsString> {
        self.0.iter().map(|(_, word)| word.clone()).collect()
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
    fn what_is_about_one_run_is_refused_with_a_reason() {
        for (name, does, instead) in REFUSED {
            let message = about_one_run(name, does, "a comparison", instead);
            for text in [format!("--{name}"), format!("--{name}=1"), format!("-d 4 --{name} 1")] {
                assert_eq!(BenchFlags::parse(&text).unwrap_err(), message, "{text}");
            }
        }
        let expected = "--trace shows the turns of one run, and a comparison has many: expected a \
                        run, such as 'resound bench --trace trace.json'";
        assert_eq!(BenchFlags::parse("--trace x.json").unwrap_err(), expected);
    }

    #[test]
    fn flags_of_a_side_replace_those_of_both() {
        let both = BenchFlags::parse("-d 4 -c 9").unwrap();
        let one = both.with(&BenchFlags::parse("-d 8").unwrap());
        assert_eq!(one.words(), ["--connections=9", "--depth=8"]);
    }
}

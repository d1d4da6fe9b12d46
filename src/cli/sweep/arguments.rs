//! The flags of `resound sweep`: those of `bench`, one of them with many values, and its own.

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use resound::experiment::{POINTS_MAX, Point, Sweep, Values, short_times};
use resound::measured::{Assertion, SweptFlag, Warning};
use resound::report::{Format, Output, check_outputs};
use resound::units::{parse_count, parse_size};
use serde_json::{Map, Value, json};

use crate::cli::bench;
use crate::cli::bench_flags::{about_one_run, bench_command, checked_run, given_words, refused};
use crate::cli::values::at_least_one;

/// The flags of `bench` that the sweep handles itself.
const OWN: &[&str] = &["json", "json_stream", "output"];

/// The flags of `bench` that are about one run, each with what it does and what to use instead.
const OF_ONE_RUN: [(&str, &str, &str); 2] = [
    (
        "start-at",
        "sets the time of",
        "a run for each value, such as 'resound bench --rate 10k --start-at 2030-01-01T12:00:00Z'",
    ),
    ("trace", "shows the turns of", "a run, such as 'resound bench --rate 10k --trace trace.json'"),
];

/// The flags that `bench` does not have.
#[derive(Debug, Args)]
struct OwnFlags {
    /// Number of values that A..B becomes, each greater than the one before by the same factor
    #[arg(long, value_name = "N", default_value = "10", value_parser = steps)]
    steps: usize,

    /// Search the highest rate within --rate A..B at which EXPR holds, such as 'p99<1ms', by runs
    /// of a tenth of --duration; one of full length confirms it. Repeatable: all must hold
    #[arg(long, value_name = "EXPR", conflicts_with = "steps")]
    find: Vec<Assertion>,

    /// Stop the search when the server fails at a rate this much above the answer
    #[arg(
        long,
        value_name = "PERCENT",
        default_value = "5%",
        value_parser = precision,
        requires = "find"
    )]
    precision: Share,

    /// Exit with 99 if the rate found is below N
    #[arg(long, value_name = "N", value_parser = at_least_one, requires = "find")]
    at_least: Option<u64>,
}

/// A share, typed in percent.
#[derive(Clone, Copy, Debug)]
struct Share(f64);

#[derive(Debug)]
pub(in crate::cli) struct Arguments {
    own: OwnFlags,
    pub(super) json: bool,
    pub(super) json_stream: bool,
    pub(super) output: Vec<Output>,
    /// The flags of the first run.
    first: bench::Arguments,
    /// The words of `bench` that all runs have, each with the name of its flag.
    common: Vec<(String, OsString)>,
    flag: SweptFlag,
    values: Values,
}

impl Args for Arguments {
    fn augment_args(command: Command) -> Command {
        let command = OwnFlags::augment_args(bench::Arguments::augment_args(command))
            .about("Run a benchmark per value of a flag, or search the highest rate that holds")
            .mut_arg("json_stream", |arg| {
                arg.help(
                    "Print one line of JSON per run as it ends, and the document as the last line",
                )
            })
            .mut_arg("output", |arg| {
                arg.help(
                    "Also write the result to FILE (.json, .html, or .csv with a row per run); \
                     repeatable. An existing file is replaced only once the new one is complete, \
                     and is kept if nothing was measured",
                )
            });
        let command = command.mut_args(|arg| {
            let is_of_one_run = OF_ONE_RUN.iter().any(|(name, ..)| arg.get_long() == Some(name));
            if is_of_one_run { arg.hide(true) } else { arg }
        });
        SweptFlag::ALL.iter().fold(command, |command, flag| match has(&command, flag.name()) {
            true => command.mut_arg(flag.name(), |arg| {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                arg.value_parser(ValueParser::string())
                    .value_name("N|A..B|A,B")
                    .help(format!("{help}; with A..B or A,B: a run for each value"))
            }),
            false => command,
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Arguments::augment_args(command)
    }
}

fn has(command: &Command, id: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_id() == id)
}

impl FromArgMatches for Arguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Arguments, clap::Error> {
        let own = OwnFlags::from_arg_matches(matches)?;
        let output: Vec<Output> =
            matches.get_many("output").into_iter().flatten().cloned().collect();
        check_formats(&output).map_err(refused)?;
        check_outputs(&output, None, &[]).map_err(refused)?;
        let (flag, text) = swept(matches).map_err(refused)?;
        let parse = if flag == SweptFlag::Length { parse_size } else { parse_count };
        let values = Values::parse(&text, parse).map_err(|expected| {
            let flag = flag.name();
            refused(format!("invalid value '{text}' for '--{flag} <A..B|A,B>': {expected}"))
        })?;
        let has_steps = matches.value_source("steps") == Some(ValueSource::CommandLine);
        if has_steps && !matches!(values, Values::Range(_)) {
            return Err(refused(format!(
                "--steps divides a range, and --{} has a list: expected a range, such as --{0} \
                 1..1000",
                flag.name()
            )));
        }
        let is_range_of_rates = flag == SweptFlag::Rate && matches!(values, Values::Range(_));
        if !own.find.is_empty() && !is_range_of_rates {
            let expected =
                "--find searches a range of rates: expected one, such as --rate 1k..200k";
            return Err(refused(expected.to_owned()));
        }
        let is_part = matches.value_source("part") == Some(ValueSource::CommandLine);
        if !own.find.is_empty() && is_part {
            let expected = "--find cannot be used with --part, because each part would search on \
                            its own: expected a sweep without --find, such as --rate 1k..200k";
            return Err(refused(expected.to_owned()));
        }
        let common = words(matches, flag).map_err(refused)?;
        let first = first_run(&common, flag, &values.points(own.steps))?;
        Ok(Arguments {
            own,
            json: matches.get_flag("json"),
            json_stream: matches.get_flag("json_stream"),
            output,
            first,
            common,
            flag,
            values,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Arguments::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns the one flag with many values, and its text.
fn swept(matches: &ArgMatches) -> Result<(SweptFlag, String), String> {
    let text = |flag: SweptFlag| match matches.try_get_one::<String>(flag.name()) {
        Ok(Some(text)) if Values::is_meant(text) => Some((flag, text.clone())),
        _ => None,
    };
    let mut swept = SweptFlag::ALL.into_iter().filter_map(text);
    match (swept.next(), swept.next()) {
        (Some(swept), None) => Ok(swept),
        (Some((first, _)), Some((second, _))) => Err(format!(
            "--{} and --{} have many values: expected a range or a list for one flag, such as \
             --rate 1k..200k",
            first.name(),
            second.name()
        )),
        (None, _) => {
            let is_known = |flag: &SweptFlag| matches.try_contains_id(flag.name()).is_ok();
            let flags = SweptFlag::ALL.into_iter().filter(is_known);
            let flags: Vec<_> = flags.map(|flag| format!("--{}", flag.name())).collect();
            Err(format!(
                "no flag has many values: expected a range or a list for one of {}, such as \
                 --rate 1k..200k or --connections 1,10,100",
                flags.join(", ")
            ))
        }
    }
}

fn check_formats(outputs: &[Output]) -> Result<(), String> {
    let is_other = |output: &&Output| matches!(output.format, Format::Hgrm | Format::Hlog);
    outputs.iter().find(is_other).map_or(Ok(()), |other| {
        Err(format!(
            "invalid value '{}' for '--output <FILE>': expected a file that ends in .json, .html \
             or .csv, such as sweep.json",
            other.path.display()
        ))
    })
}

/// Returns the words of `bench` that were given, each with the name of its flag. Leaves out the
/// swept flag and the flags that the sweep handles itself.
fn words(matches: &ArgMatches, swept: SweptFlag) -> Result<Vec<(String, OsString)>, String> {
    let mut words = Vec::new();
    for arg in bench_command().get_arguments() {
        let id = arg.get_id().as_str();
        if id == swept.name() || OWN.contains(&id) {
            continue;
        }
        let given = given_words(arg, matches);
        match OF_ONE_RUN.iter().find(|(name, ..)| arg.get_long() == Some(name)) {
            Some((name, does, instead)) if !given.is_empty() => {
                return Err(about_one_run(name, does, "a sweep", instead));
            }
            _ => words.extend(given),
        }
    }
    Ok(words)
}

/// Checks the command line of every run. Returns the flags of the first.
fn first_run(
    common: &[(String, OsString)],
    flag: SweptFlag,
    values: &[u64],
) -> Result<bench::Arguments, clap::Error> {
    let parse = |value: &u64| {
        let own = OsString::from(format!("--{}={value}", flag.name()));
        checked_run(std::iter::once(own).chain(common.iter().map(|(_, word)| word.clone())))
    };
    let mut runs = values.iter().map(parse).collect::<Result<Vec<_>, clap::Error>>()?;
    Ok(runs.swap_remove(0))
}

impl Arguments {
    /// Returns what the reader should know about the flags of the runs.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        self.first.warnings()
    }

    pub(super) fn at_least(&self) -> u64 {
        self.own.at_least.unwrap_or(0)
    }

    /// Returns the sweep that was asked for.
    pub(super) fn sweep(&self) -> Sweep {
        match &self.values {
            Values::Range(rates) if !self.own.find.is_empty() => {
                let conditions = self.own.find.iter().map(|find| find.expression().to_owned());
                let rates = (*rates.start(), *rates.end());
                Sweep::find(conditions.collect(), rates, self.own.precision.0)
                    .with_least(self.at_least())
            }
            values => Sweep::over(self.flag, values.points(self.own.steps)),
        }
    }

    /// Returns the words behind `bench` for a run.
    pub(super) fn words_of(&self, point: Point) -> Vec<OsString> {
        let is_kept = |id: &str| point.is_full || !["duration", "warmup"].contains(&id);
        let kept = self.common.iter().filter(|(id, _)| is_kept(id));
        let mut words: Vec<OsString> = kept.map(|(_, word)| word.clone()).collect();
        words.push(format!("--{}={}", self.flag.name(), point.value).into());
        let conditions = self.own.find.iter();
        words.extend(conditions.map(|find| format!("--assert={}", find.expression()).into()));
        if !point.is_full {
            let (duration, warmup) = short_times(self.first.planned(), self.first.warmup);
            words.push(format!("--duration={}ns", duration.as_nanos()).into());
            words.push(format!("--warmup={}ns", warmup.as_nanos()).into());
        }
        words
    }

    /// Returns the options of the sweep and those that all runs share, with their values.
    pub(super) fn meant(&self) -> Map<String, Value> {
        let mut meant = self.first.meant();
        meant.shift_remove(self.flag.name());
        let find: Vec<_> = self.own.find.iter().map(Assertion::expression).collect();
        meant.insert("steps".to_owned(), json!(self.own.steps));
        meant.insert("find".to_owned(), json!(find));
        meant.insert("precision".to_owned(), json!(self.own.precision.0));
        meant.insert("at_least".to_owned(), json!(self.own.at_least));
        meant
    }
}

fn steps(text: &str) -> Result<usize, String> {
    match parse_count(text).ok().and_then(|count| usize::try_from(count).ok()) {
        Some(count @ 2..=POINTS_MAX) => Ok(count),
        _ => Err(format!("expected a count from 2 to {POINTS_MAX}, such as 10")),
    }
}

fn precision(text: &str) -> Result<Share, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match number.parse::<f64>() {
        Ok(percent) if is_number && (0.1..=50.0).contains(&percent) => Ok(Share(percent / 100.0)),
        _ => Err("expected a percentage from 0.1% to 50%, such as 5%".to_owned()),
    }
}

//! The flags of `resound compare`, and which of its forms they mean.

use std::path::{Path, PathBuf};

use clap::Args;
use resound::endpoint::Endpoint;
use resound::experiment::{Plan, ROUNDS_MAX, ROUNDS_MIN, ServerCommand, SideRuns};
use resound::report::{Format, Output, check_outputs, files_of};
use resound::units::parse_count;

use crate::cli::bench_flags::{BenchFlags, checked_run, line_of};
use crate::cli::flags::VALUES_HELP;

/// The duration and the warm-up of each run, unless they are given: many short runs tell more than
/// few long ones.
const DURATION: &str = "1s";
const DURATION_HELP: &str = "Measure each run for T [default: 1s, or until --count]";
const WARMUP: &str = "300ms";

/// The greatest percentage that a flag takes.
const PERCENT_MAX: f64 = 1_000.0;

/// Find out if B differs from A: pairs of runs in random order, or saved documents
///
/// Two endpoints (A B), one endpoint with two sets of flags (--a, --b) or with two servers
/// (--serve-a, --serve-b), or saved documents (OLD.json NEW.json, or --a GLOB --b GLOB). Flags of
/// bench hold for both sides.
#[derive(Debug, Args)]
#[command(after_help = VALUES_HELP)]
#[command(mut_arg("duration", |arg| arg.help(DURATION_HELP)))]
#[command(mut_arg("warmup", |arg| arg.default_value(WARMUP)))]
pub(in crate::cli) struct Arguments {
    /// Endpoints A and B, one endpoint, or two documents of bench -J [default: an echo server in
    /// the process of each run]
    #[arg(id = "endpoint", value_name = "A B", num_args = 0..=2)]
    places: Vec<String>,

    /// Flags of bench for the runs of A, such as '--congestion cubic'; without an endpoint, a
    /// pattern of documents, such as 'old/*.json'
    #[arg(long, value_name = "FLAGS|GLOB")]
    a: Option<String>,

    /// The same for B
    #[arg(long, value_name = "FLAGS|GLOB")]
    b: Option<String>,

    /// Start this command for each run of A, wait until it answers at the endpoint, and stop it
    /// after the run
    #[arg(long, value_name = "CMD", requires = "serve_b")]
    serve_a: Option<String>,

    /// The same for B
    #[arg(long, value_name = "CMD", requires = "serve_a")]
    serve_b: Option<String>,

    /// Run each side N times
    #[arg(long, value_name = "N", default_value = "11", value_parser = rounds)]
    rounds: u64,

    /// Count a change of up to PCT percent as none
    #[arg(long, value_name = "PCT", default_value = "2", value_parser = percent)]
    noise: f64,

    /// Compare A with itself as well, by a second run of A in each round
    #[arg(long)]
    control: bool,

    /// Exit with 99 if a figure of B is worse by more than PCT percent, with confidence
    #[arg(long, value_name = "PCT", value_parser = percent)]
    max_regression: Option<f64>,

    /// Print one JSON document instead of text
    #[arg(short = 'J', long)]
    pub(super) json: bool,

    /// Also write the result to FILE (.json, .html, .csv); repeatable. An existing file is replaced
    /// only once the new one is complete, and is kept if nothing was measured
    #[arg(short, long = "output", value_name = "FILE", value_parser = output)]
    pub(super) output: Vec<Output>,

    #[command(flatten)]
    flags: BenchFlags,
}

/// What is compared.
#[derive(Debug)]
pub(super) enum Form {
    /// Runs that are made now.
    Runs(Box<[SideRuns; 2]>),
    /// Runs that were made before.
    Saved([Vec<PathBuf>; 2]),
}

fn rounds(text: &str) -> Result<u64, String> {
    match parse_count(text) {
        Ok(rounds @ 1..=ROUNDS_MAX) => Ok(rounds),
        _ => Err(format!("expected a count from 1 to {ROUNDS_MAX}, such as 11")),
    }
}

/// Parses a percentage; returns a share.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match number.parse::<f64>() {
        Ok(percent) if is_number && (0.0..=PERCENT_MAX).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!("expected a percentage from 0 to {PERCENT_MAX}, such as 2")),
    }
}

fn output(text: &str) -> Result<Output, String> {
    match text.parse::<Output>() {
        Ok(output) if !matches!(output.format, Format::Hgrm | Format::Hlog) => Ok(output),
        _ => {
            Err("expected a file that ends in .json, .html or .csv, such as compare.json"
                .to_owned())
        }
    }
}

/// Returns true if a positional argument is a file and not an endpoint.
fn is_document(place: &str) -> bool {
    let is_endpoint = ["unix:", "unixgram:"].iter().any(|scheme| place.starts_with(scheme));
    let extension = Path::new(place).extension();
    !is_endpoint && extension.is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

/// Returns true if the value of `--a` or `--b` is not a pattern of files.
fn are_flags(text: &str) -> bool {
    text.trim().is_empty() || text.trim_start().starts_with('-')
}

impl Arguments {
    /// Checks what depends on more than one flag.
    pub(in crate::cli) fn check(&self) -> Result<(), String> {
        let form = self.form()?;
        if self.max_regression.is_some()
            && matches!(form, Form::Runs(_))
            && self.rounds < ROUNDS_MIN
        {
            return Err(format!(
                "--max-regression needs an interval: expected at least {ROUNDS_MIN} rounds, such \
                 as --rounds 11"
            ));
        }
        let read = match form {
            Form::Saved(files) => files.concat(),
            Form::Runs(_) => Vec::new(),
        };
        check_outputs(&self.output, None, &read)
    }

    /// Returns what is compared.
    pub(super) fn form(&self) -> Result<Form, String> {
        let documents = self.places.iter().filter(|place| is_document(place)).count();
        let given: Vec<&String> = self.a.iter().chain(&self.b).collect();
        let are_patterns = self.places.is_empty()
            && self.serve_a.is_none()
            && given.iter().any(|text| !are_flags(text));
        if documents == 2 || are_patterns {
            return self.saved();
        }
        if documents == 1 {
            return Err("expected two documents or two endpoints, such as old.json new.json".into());
        }
        let has_servers = self.serve_a.is_some();
        match self.places.as_slice() {
            [_, _] if has_servers => {
                Err("--serve-a and --serve-b serve one endpoint: expected one, \
                                          such as tcp://127.0.0.1:7007"
                    .to_owned())
            }
            [a, b] => self.runs([Some(a), Some(b)]),
            [] if has_servers => Err("--serve-a needs the endpoint that the command serves, such \
                                      as tcp://127.0.0.1:7007"
                .to_owned()),
            [] | [_] if given.is_empty() && !has_servers => {
                Err("nothing to compare: expected two endpoints, two documents, --a and --b, or \
                 --serve-a and --serve-b, such as tcp://127.0.0.1:7007 --a '-d 1' --b '-d 4'"
                    .to_owned())
            }
            places => self.runs([places.first(), places.first()]),
        }
    }

    fn saved(&self) -> Result<Form, String> {
        let is_run = self.flags.words().first().cloned();
        if let Some(flag) = is_run {
            let flag = flag.to_string_lossy().into_owned();
            let flag = flag.split('=').next().unwrap_or_default().to_owned();
            return Err(format!(
                "{flag} cannot be used with saved documents: expected endpoints, such as \
                 tcp://127.0.0.1:7007"
            ));
        }
        if self.control || self.serve_a.is_some() {
            return Err("--control and --serve-a need runs: expected endpoints instead of \
                        documents, such as tcp://127.0.0.1:7007"
                .to_owned());
        }
        match (self.places.as_slice(), &self.a, &self.b) {
            ([a, b], None, None) => Ok(Form::Saved([vec![a.into()], vec![b.into()]])),
            ([], Some(a), Some(b)) => Ok(Form::Saved([files_of(a)?, files_of(b)?])),
            _ => {
                Err("expected two documents, or a pattern for each side, such as --a 'old/*.json' \
                      --b 'new/*.json'"
                    .to_owned())
            }
        }
    }

    fn runs(&self, places: [Option<&String>; 2]) -> Result<Form, String> {
        let mut both = self.flags.clone();
        both.default_to("warmup", WARMUP);
        let side = |name, place: Option<&String>, own: &Option<String>, serve: &Option<String>| {
            let named = |error: String| match own {
                Some(_) => format!("--{name}: {error}"),
                None => error,
            };
            let own = BenchFlags::parse(own.as_deref().unwrap_or_default()).map_err(named)?;
            let mut flags = both.with(&own);
            if !flags.has("count") {
                flags.default_to("duration", DURATION);
            }
            let mut words = flags.words();
            if let Some(place) = place {
                place
                    .parse::<Endpoint>()
                    .map_err(|error| format!("invalid value '{place}' for '[A B]...': {error}"))?;
                words.push(place.into());
            }
            checked_run(words.clone()).map_err(|error| named(line_of(error)))?;
            let server = serve.clone().zip(place.cloned());
            let server = server.map(|(command, endpoint)| ServerCommand { command, endpoint });
            Ok::<_, String>(SideRuns { words, server })
        };
        Ok(Form::Runs(Box::new([
            side("a", places[0], &self.a, &self.serve_a)?,
            side("b", places[1], &self.b, &self.serve_b)?,
        ])))
    }

    /// Returns the plan of the rounds.
    pub(super) fn plan(&self, seed: u64) -> Plan {
        let (a, b) = (self.side(0, &self.a, &self.serve_a), self.side(1, &self.b, &self.serve_b));
        let (rounds, noise, control) = (self.rounds, self.noise, self.control);
        Plan { rounds, noise, max_regression: self.max_regression, control, seed, a, b }
    }

    /// Returns what a side is, in words.
    fn side(&self, at: usize, own: &Option<String>, serve: &Option<String>) -> String {
        let place = self.places.get(at).or_else(|| self.places.first()).cloned();
        let words = [serve.as_ref().map(|command| format!("'{command}' at")), place, own.clone()];
        let words: Vec<_> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
        if words.is_empty() { "a server in this process".to_owned() } else { words.join(" ") }
    }
}

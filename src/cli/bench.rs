//! `resound bench`: turns flags into a load, and its results into text and files.

mod arguments;
mod loops;
mod part;
mod progress;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use resound::daemon::EmbeddedServer;
use resound::endpoint::Endpoint;
use resound::load::{Cpus, Options, Team, client_folder, raise_descriptor_limit, resolve_target};
use resound::measured::{RunResult, Status, Warning};
use resound::process::terminal::columns;
use resound::process::{ending_signals, restore_ending_signals};
use resound::reactor::Spin;
use resound::report::{Format, Output, OutputFile, Progress};
use resound::socket::LocalAddrs;
use resound::trace::{Trace, WRITE_SIGNAL};

pub(super) use self::arguments::Arguments;
use super::{FAILED, USAGE, print_error, print_report, standard, typed_words};

/// Exit code: an echo differed from what was sent.
pub(super) const CORRUPTED: u8 = 3;
/// Exit code: an `--assert` did not hold.
pub(super) const ASSERT_FAILED: u8 = 99;

/// The form of the result on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    JsonLine,
}

/// Why there is no result.
enum Refusal {
    /// The command line asks for something impossible.
    Usage(String),
    /// The run could not start, or its loop failed.
    Failed(String),
    /// The reader of stdout has closed its end.
    Unread,
}

impl From<resound::Error> for Refusal {
    fn from(error: resound::Error) -> Refusal {
        Refusal::Failed(error.to_string())
    }
}

/// Measures. `blame` returns the end of a message about a command line that asks for something
/// impossible.
pub(super) fn run(arguments: &Arguments, blame: impl FnOnce() -> String) -> ExitCode {
    let mut outputs = Vec::new();
    match measure(arguments, &mut outputs) {
        Ok(result) => {
            let code = exit_code(&result);
            if !is_shown_by_report(arguments, &result, code) {
                print_error_of(&result);
            }
            deliver(arguments.form(), &result, code, outputs)
        }
        Err(refusal) => {
            let (error, code) = match refusal {
                Refusal::Unread => return ExitCode::SUCCESS,
                Refusal::Usage(error) => {
                    (format!("{error}; try 'resound bench --help'{}", blame()), USAGE)
                }
                Refusal::Failed(error) => (error, FAILED),
            };
            print_error(&error);
            let result = arguments.described(RunResult::failed(typed_words(), &error));
            Output::open_rest(&arguments.output, &mut outputs);
            deliver(arguments.form(), &result, code, outputs)
        }
    }
}

/// Writes the document of a command line that could not be parsed: to stdout if it was requested
/// there (on one line or on many), and to the requested files.
pub(super) fn report_usage_failure(
    error: &str,
    stdout_is_line: Option<bool>,
    outputs: &[OsString],
) {
    let result = RunResult::failed(typed_words(), error);
    // The line on stderr has named the mistake, so failures here are ignored.
    if let Some(is_line) = stdout_is_line {
        let text = if is_line { result.to_json_line() + "\n" } else { result.to_json() };
        let _ = standard::print(&text);
    }
    for output in outputs.iter().filter_map(|path| path.to_str()?.parse::<Output>().ok()) {
        if output.format == Format::Json {
            let _ = output.open_after_failure().map(|file| file.write(&result));
        }
    }
}

/// Returns the document that describes a command line alone.
#[cfg(test)]
pub(super) fn document_of(arguments: &Arguments) -> String {
    let error = arguments.check().err().unwrap_or_default();
    arguments.described(RunResult::failed(Vec::new(), &error)).to_json()
}

pub(super) fn exit_code(result: &RunResult) -> u8 {
    if result.is_corrupted() {
        CORRUPTED
    } else if result.is_too_late {
        USAGE
    } else if result.messages.received == 0 {
        FAILED
    } else if result.asserts.iter().any(|assert| !assert.held) {
        ASSERT_FAILED
    } else if result.status == Status::Partial && !result.is_interrupted {
        FAILED
    } else {
        0
    }
}

/// Runs the load and returns its report. Opens the output files first.
fn measure(arguments: &Arguments, outputs: &mut Vec<OutputFile>) -> Result<RunResult, Refusal> {
    arguments.check().map_err(Refusal::Usage)?;
    if arguments.needs_stdout() {
        standard::check_stdout()?;
    }
    Output::open_all(&arguments.output, outputs)?;
    let trace = arguments.trace.as_ref().map(|file| Trace::open(file, "bench")).transpose()?;
    let logs = outputs.iter_mut().filter_map(|output| output.start_log().transpose());
    let logs = logs.collect::<Result<Vec<_>, _>>()?;
    let limit_warning = raise_descriptor_limit(
        arguments.own_connections(),
        arguments.loops.threads,
        arguments.endpoint.is_none(),
    )?;
    let mut cpus = arguments.chosen_cpus();
    let cpu_warning = cpus.check()?;
    // A thread inherits the affinity of the thread that starts it, so the loops are pinned last.
    let embedded = match &arguments.endpoint {
        None => Some(EmbeddedServer::start(
            arguments.transport(),
            arguments.socket_options(),
            cpus.left_by_server(),
        )?),
        Some(_) => None,
    };
    let endpoint = match (&arguments.endpoint, &embedded) {
        (Some(endpoint), _) => endpoint,
        (None, Some(server)) => server.endpoint(),
        (None, None) => unreachable!("without an endpoint there is a server"),
    };
    let (socket_options, bind) = (arguments.socket_options(), arguments.bind.addrs());
    let target = resolve_target(endpoint, &socket_options, bind, arguments.timeout)?;
    arguments.check_length(&target).map_err(Refusal::Usage)?;
    let mut local_addrs = LocalAddrs::new(bind, &target)?;
    local_addrs.check(&socket_options, &target)?;
    let spin = arguments.spin.unwrap_or(Spin::Never);
    // Without a trace, WRITE_SIGNAL does nothing. Its default action would end the run.
    let signals = [ending_signals(), vec![WRITE_SIGNAL]].concat();
    let mut team = Team::new(arguments.loops.threads, spin, &signals)?;
    trace.iter().for_each(|trace| team.trace(trace.tracers(arguments.loops.threads)));
    team.pin(&cpus.of_loops);
    let folder = client_folder(&target)?;
    let folder_path = folder.as_ref().map(tempfile::TempDir::path);
    let interval = arguments.interval(io::stdout().is_terminal() || io::stderr().is_terminal());
    let options = arguments.options(&target, local_addrs, folder_path, interval);
    let progress =
        Progress::start(progress::options(arguments, logs, team.handles())).map_err(loop_failed)?;
    let outcome = team.run(&options, |index| {
        let sender = progress.sender(index);
        move |interval| sender.send(interval)
    });
    let traced = trace.map_or(Ok(()), Trace::finish);
    restore_ending_signals();
    let shown = progress.end();
    let mut result = facts(arguments, endpoint, &cpus, &options, outcome?);
    if shown.is_unread {
        return Err(Refusal::Unread);
    }
    if let Err(error) = traced {
        result.error.get_or_insert(error.to_string());
        result.status = Status::Partial;
    }
    result.generator.intervals_lost = shown.lost;
    result.warnings.extend(limit_warning.into_iter().chain(cpu_warning).map(Warning));
    result.server_drops = embedded.map(EmbeddedServer::stop).transpose()?;
    // An assert may be on any of the facts above.
    result.asserts = arguments.asserts.iter().map(|assert| assert.check(&result)).collect();
    end_logs(outputs, shown.log_errors);
    Ok(result)
}

/// Notes that the logs are complete, or why one is not.
fn end_logs(outputs: &mut [OutputFile], errors: Vec<(usize, io::Error)>) {
    outputs.iter_mut().for_each(OutputFile::log_ended);
    for (place, error) in errors {
        if let Some(log) = outputs.iter_mut().filter(|output| output.is_log()).nth(place) {
            log.log_failed(error);
        }
    }
}

fn loop_failed(error: io::Error) -> resound::Error {
    resound::Error::new("start", "the loop", error)
}

/// Adds the facts of the command line and of the place of the run to its result.
fn facts(
    arguments: &Arguments,
    endpoint: &Endpoint,
    cpus: &Cpus,
    options: &Options,
    result: RunResult,
) -> RunResult {
    let mut result = arguments.described(result);
    result.endpoint = endpoint.to_string();
    result.embedded_server = arguments.endpoint.is_none();
    result.options.typed = typed_words();
    result.environment.shared_cpus = result.environment.loopback && cpus.may_be_shared();
    result.warnings.extend(arguments.warnings().into_iter().chain(options.warnings()));
    if let Some(sockets) = &mut result.sockets {
        sockets.is_shown = arguments.socket.are_reported() || arguments.bind.given().is_some();
        if arguments.socket.mptcp && sockets.mptcp == Some(false) {
            let fell_back = "--mptcp without effect: the connections fell back to TCP";
            result.warnings.push(Warning(fell_back.to_owned()));
        }
    }
    result
}

/// Writes the files and prints the report. Returns the exit code of the run, or of a failed
/// delivery if that is greater.
pub(super) fn deliver(
    form: Form,
    result: &RunResult,
    code: u8,
    outputs: Vec<OutputFile>,
) -> ExitCode {
    let text = match form {
        Form::Json => result.to_json(),
        Form::JsonLine => result.to_json_line() + "\n",
        Form::Text if !has_figures(result, code) => String::new(), // the line on stderr says it all
        Form::Text => match columns(&io::stdout()) {
            Some(columns) => result.to_terminal_text(columns),
            None => result.to_string(),
        },
    };
    let mut are_written = true;
    for output in outputs {
        let Err(error) = output.write(result) else { continue };
        are_written = false;
        if result.error.as_ref() != Some(&error.to_string()) {
            print_error(&error);
        }
    }
    print_report(&text, if are_written { code } else { FAILED.max(code) })
}

/// Prints one line to stderr about what is wrong with a run.
fn print_error_of(result: &RunResult) {
    if let Some(error) = &result.error {
        print_error(error);
    } else if let Some(difference) = &result.first_difference {
        print_error(&format_args!("an echo differed from what was sent: {difference}"));
    }
}

/// Returns true if a report says more than that there was no run.
fn has_figures(result: &RunResult, code: u8) -> bool {
    code != USAGE && (code != FAILED || result.flows.opened > 0)
}

/// Returns true if the report shows the error of the run on the same terminal as stderr.
fn is_shown_by_report(arguments: &Arguments, result: &RunResult, code: u8) -> bool {
    let is_seen = io::stdout().is_terminal() && io::stderr().is_terminal();
    arguments.form() == Form::Text && is_seen && has_figures(result, code)
}

impl Arguments {
    fn form(&self) -> Form {
        match (self.json, self.json_stream) {
            (true, _) => Form::Json,
            (false, true) => Form::JsonLine,
            (false, false) => Form::Text,
        }
    }

    fn chosen_cpus(&self) -> Cpus {
        Cpus::chosen(self.loops.asked_cpus(), self.loops.threads, self.endpoint.is_none())
    }

    /// Returns true if the result goes only to stdout, or is requested there.
    fn needs_stdout(&self) -> bool {
        self.output.is_empty() || self.json || self.json_stream
    }
}

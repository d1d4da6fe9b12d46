//! The facts of a run put together: what the command line said, what was found, where it was.

use std::ffi::OsString;

use resound::endpoint::{Endpoint, ResolvedEndpoint, Transport};
use resound::load::Findings;
use resound::measured::{
    CommandLine, Distribution, Environment, Generator, LoadLoop, Mode, PROGRAM, Report, Signs,
    VERSION, Verdict, Warning,
};
use resound::process::standard;
use resound::report::Format;

use super::arguments::Arguments;
use super::cpus::Cpus;
use super::output::Output;
use super::ports;
use super::target::is_local;

/// From this share of the time on in which the generator ran or waited to run, a rate that was not
/// reached is put down to it.
const BUSY_SHARE: f64 = 0.9;

/// The words after the program's name, as far as they are text.
pub(in crate::cli) fn typed_words() -> Vec<String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect()
}

/// For a command line that could not even be read: the document to stdout, if one was asked for
/// there (on one line or on many), and to the files that were to have it.
pub(in crate::cli) fn report_usage_failure(
    error: &str,
    stdout_is_line: Option<bool>,
    outputs: &[OsString],
) {
    let report = Report::failed(typed_words(), error);
    // The line on stderr has said what matters: nothing is to be added when these fail.
    if let Some(is_line) = stdout_is_line {
        let text = if is_line { report.to_json_line() + "\n" } else { report.to_json() };
        let _ = standard::print(&text);
    }
    for output in outputs.iter().filter_map(|path| path.to_str()?.parse::<Output>().ok()) {
        if output.format == Format::Json {
            let _ = output.open_after_failure().map(|file| file.write(&report));
        }
    }
}

pub(super) fn load_loop(arguments: &Arguments) -> LoadLoop {
    if arguments.rate.is_some() { LoadLoop::Open } else { LoadLoop::Closed }
}

pub(super) fn compose(
    arguments: &Arguments,
    endpoint: &Endpoint,
    target: &ResolvedEndpoint,
    findings: &Findings,
    intervals_lost: u64,
    cpus: &Cpus,
) -> Report {
    let percentiles = &arguments.percentiles;
    let is_local = is_local(target);
    let is_shared = is_local && cpus.may_be_shared();
    let latency = &findings.latency;
    let [service_time, schedule_lag] =
        [findings.service_time.as_ref(), findings.schedule_lag.as_ref()];
    let summary = |values: &Distribution| values.summary(percentiles);
    let saturated = [Some(latency), service_time, schedule_lag];
    Report {
        version: VERSION,
        program: PROGRAM.to_owned(),
        status: findings.status,
        error: findings.error.clone(),
        endpoint: endpoint.to_string(),
        embedded_server: arguments.endpoint.is_none(),
        label: arguments.label.clone(),
        mode: arguments.mode(),
        load_loop: load_loop(arguments),
        depth: arguments.depth(),
        connections: arguments.connections,
        length: arguments.length,
        options: CommandLine { typed: typed_words(), meant: arguments.meant() },
        environment: Environment::here(is_local, is_shared),
        elapsed_ns: findings.elapsed_ns,
        planned_ns: findings.planned_ns,
        load_made: findings.load_made,
        is_interrupted: findings.is_interrupted,
        warmup_ns: findings.warmup_ns,
        drain_ns: findings.drain_ns,
        rate: findings.rate,
        messages: findings.messages,
        losses: findings.losses,
        warmup_messages: findings.warmup_messages,
        flows: findings.flows,
        bytes: findings.bytes,
        trains: findings.trains,
        latency_ns: latency.summary(percentiles),
        service_time_ns: service_time.map(summary),
        hiccups: findings.hiccups,
        generator: Generator {
            verdict: verdict(findings, schedule_lag),
            schedule_lag_ns: schedule_lag.map(summary),
            held_back: findings.held_back,
            unsent: findings.unsent,
            cpu_share: findings.cpu_share,
            wait_share: findings.wait_share,
            wait_ns_mean: findings.wait_ns_mean,
            cpu_ns_per_message: findings.cpu_ns_per_message,
            cpu_ns_process: findings.cpu_ns_process,
            pacing: findings.pacing,
            saturated_values: saturated.iter().flatten().map(|values| values.saturated()).sum(),
            intervals_lost,
        },
        first_difference: findings.first_difference.clone(),
        asserts: Vec::new(),
        warnings: warnings(arguments, findings, is_local),
        latency: Some(latency.clone()),
        service_time: service_time.cloned(),
        schedule_lag: schedule_lag.cloned(),
    }
}

fn verdict(findings: &Findings, schedule_lag: Option<&Distribution>) -> Verdict {
    let is_open_loop = schedule_lag.is_some();
    let sent = findings.messages.sent;
    let due = if is_open_loop { sent + findings.unsent } else { 0 };
    // One with time to spare waited for its connections: that is not its own doing.
    let is_busy = findings.cpu_share + findings.wait_share.unwrap_or(0.0) >= BUSY_SHARE;
    let offered = if is_busy { sent } else { due };
    let Findings { cpu_share, wait_share, wait_ns_mean, hiccups, elapsed_ns, .. } = *findings;
    Verdict::of(&Signs {
        schedule_lag,
        due,
        offered,
        cpu_share,
        wait_share,
        wait_ns_mean,
        hiccups,
        elapsed_ns,
    })
}

/// What the reader should know before quoting a figure.
fn warnings(arguments: &Arguments, findings: &Findings, is_local: bool) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |text: String| warnings.push(Warning(text));
    // What the error line says is not said again. That of an interrupted run says nothing else.
    let is_told = |error: &String| findings.error.as_ref() == Some(error);
    let failures = findings.failures.iter().map(|(error, times)| (error.to_string(), times));
    for (error, times) in failures.filter(|(error, _)| !is_told(error)) {
        warn(format!("a limit of this client, not of the server: {error} (times met: {times})"));
    }
    let lost_flows = findings.flows.reset + findings.flows.closed;
    let is_explained = findings.error.is_some() && !findings.is_interrupted;
    if lost_flows > 0 && arguments.mode() == Mode::Echo && !is_explained {
        let all = findings.flows.opened;
        let then = match findings.flows.reconnected {
            0 => "their load was not made".to_owned(),
            again => format!("{again} were opened again, and the load between was not made"),
        };
        warn(format!("{lost_flows} of {all} connections ended early; {then}"));
    }
    if findings.warmup_unsent > 0 {
        let unsent = findings.warmup_unsent;
        warn(format!(
            "{unsent} messages due in the warm-up were dropped at its end: it fell behind"
        ));
    }
    warn_of_idle_flows(arguments, findings, &mut warn);
    if arguments.mode() == Mode::Connect && arguments.transport() == Transport::Tcp {
        let range = std::fs::read_to_string(ports::RANGE_FILE).unwrap_or_default();
        ports::warning(&range, findings, is_local).into_iter().for_each(&mut warn);
    }
    if findings.unsent > 0 && !is_explained {
        let unsent = findings.unsent;
        warn(format!("{unsent} messages were never sent though due, and are in no percentile"));
    }
    if arguments.transport() != Transport::Tcp {
        let given = arguments.socket.of_tcp();
        for (name, _) in given.iter().filter(|(_, is_given)| *is_given) {
            warn(format!("{name} without effect: the endpoint is not TCP"));
        }
    }
    if arguments.reconnect && !arguments.transport().is_stream() {
        warn("--reconnect without effect: datagram sockets stay open in any case".to_owned());
    }
    let is_short = arguments.length < 8 && !arguments.transport().is_stream();
    if is_short && !arguments.no_verify {
        warn(format!(
            "messages of {} have no room for their whole number: an echo that is very late may \
             pass for another message's",
            if arguments.length == 1 {
                "1 byte".to_owned()
            } else {
                format!("{} bytes", arguments.length)
            }
        ));
    }
    warnings
}

/// In a closed loop a lost message keeps its place in flight until it is given up, and a full
/// socket keeps places empty.
fn warn_of_idle_flows(arguments: &Arguments, findings: &Findings, warn: &mut impl FnMut(String)) {
    /// Of all places, over all the time: less changes no figure that is read to a percent.
    const IDLE_SHARE_MIN: f64 = 0.01;
    /// Between an echo and the next message, places are empty for as long as the generator works.
    const FILLED_SHARE_MIN: f64 = 0.9;
    if arguments.rate.is_some() {
        return;
    }
    let places = arguments.connections as f64 * arguments.depth() as f64;
    let all_ns = places * findings.elapsed_ns.max(1) as f64;
    let lost_ns = findings.lost_wait_ns as f64;
    let share = (lost_ns / all_ns).min(1.0);
    if share >= IDLE_SHARE_MIN {
        let percent = share * 100.0;
        warn(format!(
            "lost messages kept {percent:.0} % of the {places:.0} places in flight waiting for \
             --timeout: the load was smaller by that"
        ));
    }
    // Little's law: messages in flight are their rate times how long each is.
    let echoes_ns = findings.latency.summary(&arguments.percentiles).mean as f64
        * findings.messages.received as f64;
    let filled = (echoes_ns + lost_ns) / all_ns;
    if findings.held_back > 0 && filled < FILLED_SHARE_MIN {
        let in_flight = filled * places;
        let full = match arguments.transport() {
            Transport::Unixgram => "the server's queue was full (net.unix.max_dgram_qlen)",
            _ => "a socket buffer was full (--sndbuf)",
        };
        warn(format!(
            "the depth was not reached: {in_flight:.1} of {places:.0} messages were in flight in \
             the mean, because {full}"
        ));
    }
}

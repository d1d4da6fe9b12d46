//! `resound ping`: prints one line per probe and a summary, or one JSON document.

use std::collections::HashSet;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Once;
use std::time::Duration;

use clap::Args;
use resound::endpoint::{Endpoint, HostPort, Scope, check_datagram, places};
use resound::ping::{Controls, Event, Options, Results, Target};
use resound::prober::{Prober, TARGETS_MAX};
use resound::process::SignalPipes;
use resound::process::descriptors::DescriptorLimit;
use resound::process::standard::SharedStdout;
use resound::report::ping::{error_json, figures_line, header, json, line, summaries};
use resound::units::{parse_time, parse_time_above_zero};

use super::flags::{
    BindFlags, FamilyFlags, PacketFlags, TimestampFlags, VALUES_HELP, client_options,
};
use super::values::{at_least_one, probe_length};
use super::{FAILED, fail, print_error, standard, unless_unread};

/// Measure round-trip times one probe at a time, like ping(8)
#[derive(Debug, Args)]
#[command(after_help = VALUES_HELP)]
pub(super) struct Arguments {
    /// tcp://HOST:PORT, udp://HOST:PORT, unix:PATH, unixgram:PATH, unix:@NAME, unixgram:@NAME; each
    /// of several is probed on its own, and none delays another
    #[arg(value_name = "ENDPOINT", required = true)]
    endpoints: Vec<Endpoint>,

    /// Stop after N probes of each endpoint [default: run until Ctrl-C]
    #[arg(short, long, value_name = "N", value_parser = at_least_one)]
    count: Option<u64>,

    /// Time from one probe to the next, however long replies take; 0 sends each probe as soon as
    /// the reply to the last one arrives
    #[arg(short, long, value_name = "T", default_value = "1s", value_parser = parse_time)]
    interval: Duration,

    /// Bytes per probe
    #[arg(short, long, visible_alias = "size", value_name = "SIZE", default_value = "64")]
    #[arg(value_parser = probe_length)]
    length: usize,

    /// Count a probe as lost after T without a reply; also limits name lookup and connecting
    #[arg(short = 'W', long, value_name = "T", default_value = "1s")]
    #[arg(value_parser = parse_time_above_zero)]
    timeout: Duration,

    /// Do not print a line for each probe
    #[arg(short, long)]
    quiet: bool,

    /// Print one JSON document and nothing else
    #[arg(short = 'J', long)]
    json: bool,

    /// Serve /metrics (Prometheus text, with the figures of each endpoint) and /healthz over HTTP;
    /// with port 0 the kernel picks a port, which is printed [default: off]
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<HostPort>,

    #[command(flatten)]
    timestamps: TimestampFlags,

    #[command(flatten)]
    bind: BindFlags,

    #[command(flatten)]
    family: FamilyFlags,

    #[command(flatten)]
    packets: PacketFlags,
}

impl Arguments {
    /// What no flag can tell by itself.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.endpoints.len() > TARGETS_MAX {
            let count = self.endpoints.len();
            return Err(format!(
                "{count} endpoints are too many: expected at most {TARGETS_MAX}, such as those of \
                 one of several commands"
            ));
        }
        let mut seen = HashSet::new();
        for endpoint in &self.endpoints {
            if !seen.insert(endpoint.to_string()) {
                return Err(format!(
                    "'{endpoint}' is given twice: expected each endpoint once, such as \
                     'udp://127.0.0.1:7007'"
                ));
            }
            self.family.check(endpoint)?;
            let (length, family) = (self.length as u64, self.family.likely(endpoint));
            check_datagram(length, "--length <SIZE>", endpoint.transport(), family)?;
            self.bind.check(Some(endpoint), &self.family)?;
        }
        self.bind.check_places(&places(&self.endpoints))
    }

    /// Returns a warning if some endpoints do not use each flag.
    fn warning(&self) -> Option<String> {
        let mut given = self.packets.given();
        given.extend(self.bind.given());
        given.extend(self.family.given());
        given.extend(self.timestamps.given());
        Scope::Ip.warning(&given, &places(&self.endpoints))
    }

    /// Returns what to do with each endpoint.
    fn targets(&self) -> Vec<Options> {
        let socket = client_options(self.packets.options(), &self.bind, &self.family);
        let target = |endpoint: &Endpoint| Options {
            endpoint: endpoint.clone(),
            count: self.count,
            interval: self.interval,
            length: self.length,
            timeout: self.timeout,
            socket: socket.clone(),
            bind: self.bind.addrs().to_vec(),
            timestamps: self.timestamps.timestamps,
            // A mistyped endpoint ends at once, also among others. A monitor waits for its targets.
            gives_up: self.metrics.is_none(),
            keeps_trying: self.endpoints.len() > 1 || self.metrics.is_some(),
        };
        self.endpoints.iter().map(target).collect()
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if let Err(error) = standard::check_stdout() {
        return fail(&error);
    }
    if let Some(warning) = arguments.warning() {
        print_error(&warning);
    }
    let options = arguments.targets();
    if options.len() > 1
        && let Some(warning) = DescriptorLimit::raise().warning
    {
        print_error(&warning);
    }
    let (results, printer) = match probe(arguments, &options) {
        Ok(outcome) => outcome,
        Err(error) => {
            if arguments.json {
                let _ = standard::print(&(error_json(&error.to_string()) + "\n"));
            }
            return fail(&error);
        }
    };
    let targets: Vec<Target> = options.iter().map(Options::target).collect();
    let text = match arguments.json {
        true => json(&targets, &results) + "\n",
        false => summaries(&targets, &results),
    };
    let _ = printer.print(&text);
    let has_come_back =
        results.iter().any(|result| result.as_ref().is_ok_and(Results::has_come_back));
    match unless_unread("stdout", printer.into_result()) {
        Ok(()) if has_come_back => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(FAILED),
        Err(error) => fail(&error),
    }
}

/// The results of each target, and stdout.
type Probed = (Vec<Result<Results, resound::Error>>, SharedStdout);

/// Probes the targets until all have ended, and prints what happens meanwhile.
fn probe(arguments: &Arguments, options: &[Options]) -> Result<Probed, resound::Error> {
    let signals = watch_signals(options.len())?;
    let printer = SharedStdout::new(signals.stopper);
    let prober = Prober::new(options.to_vec(), arguments.metrics.as_ref())?;
    if let Some((line, warning)) = prober.metrics_lines() {
        print_error(&line);
        if let Some(warning) = warning {
            print_error(&warning);
        }
    }
    let stop = signals.stop.as_fd();
    let reports = signals.reports.iter().map(AsFd::as_fd);
    let controls: Vec<_> = reports.map(|report| Controls { stop, report: Some(report) }).collect();
    let has_told = Once::new();
    let targets: Vec<Target> = options.iter().map(Options::target).collect();
    let results = prober.run(
        &controls,
        |index, event| {
            report(&targets[index], arguments, &event, &has_told)
                .map_or(ControlFlow::Continue(()), |text| printer.print(&text))
        },
        |_, result| {
            let _ = result.as_ref().inspect_err(|error| print_error(error));
        },
        |line| print_error(&line),
    )?;
    Ok((results, printer))
}

/// Returns what stdout shows of an event. Writes to stderr what belongs there.
fn report(
    target: &Target,
    arguments: &Arguments,
    event: &Event<'_>,
    has_told: &Once,
) -> Option<String> {
    let is_several = arguments.endpoints.len() > 1;
    match event {
        Event::Figures(figures) => {
            // To stderr, as ping(8) does, because stdout may carry a document. A failed write does
            // not stop the run.
            let line = figures_line(target, is_several, figures);
            let _ = standard::stderr().write_all(line.as_bytes());
            None
        }
        // One kernel serves all targets.
        Event::NoTimestamps(error) => {
            has_told.call_once(|| {
                print_error(&format_args!(
                    "--timestamps without effect: the kernel has no timestamps ({error})"
                ));
            });
            None
        }
        Event::Started if !arguments.json => Some(header(target)),
        event if !arguments.quiet && !arguments.json => line(target, is_several, event),
        _ => None,
    }
}

/// Watches the signals for this number of targets.
fn watch_signals(targets: usize) -> Result<SignalPipes, resound::Error> {
    SignalPipes::watch(targets).map_err(|error| {
        let is_limit = error.raw_os_error() == Some(libc::EMFILE);
        let error = resound::Error::new("watch", "signals", error);
        let hint = "raise ulimit -n: each endpoint takes up to 5 descriptors";
        if is_limit { error.hint(hint) } else { error }
    })
}

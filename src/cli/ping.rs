//! `resound ping`: prints one line per probe and a summary, or one JSON document.

mod document;
mod summary;

use std::io::{self, ErrorKind, PipeReader, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use resound::endpoint::Endpoint;
use resound::measured::Stretches;
use resound::ping::{Answer, AnswerKind, Controls, Event, Options, Results, ping};
use resound::report::time_text;
use resound::units::{duration_ns, parse_time, parse_time_above_zero};

pub(super) use self::document::error_document;
use self::document::json;
use self::summary::{figures_line, write_summary};
use super::flags::{
    BindFlags, FamilyFlags, PacketFlags, TimestampFlags, VALUES_HELP, client_options, without_use,
};
use super::values::{at_least_one, probe_length};
use super::{FAILED, print_error, standard};

/// Measure round-trip times one probe at a time, like ping(8)
#[derive(Debug, Args)]
#[command(after_help = VALUES_HELP)]
pub(super) struct Arguments {
    /// tcp://HOST:PORT, udp://HOST:PORT, unix:PATH, unixgram:PATH, unix:@NAME, unixgram:@NAME
    #[arg(value_name = "ENDPOINT")]
    endpoint: Endpoint,

    /// Stop after N probes [default: run until Ctrl-C]
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
        self.family.check(&self.endpoint)?;
        self.timestamps.check(Some(&self.endpoint), self.endpoint.transport())?;
        self.bind.check(Some(&self.endpoint), &self.family)
    }
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    if let Err(error) = standard::check_stdout() {
        print_error(&error);
        return ExitCode::from(FAILED);
    }
    let endpoint = arguments.endpoint;
    if let Some(warning) =
        without_use(&endpoint, Some(&arguments.packets), &arguments.bind, &arguments.family)
    {
        print_error(&warning);
    }
    let socket = client_options(arguments.packets.options(), &arguments.bind, &arguments.family);
    let options = Options {
        endpoint,
        count: arguments.count,
        interval: arguments.interval,
        length: arguments.length,
        timeout: arguments.timeout,
        socket,
        bind: arguments.bind.addrs().to_vec(),
        timestamps: arguments.timestamps.timestamps,
    };
    let mut printer = Printer { closed: None };
    let shows_probes = !arguments.quiet && !arguments.json;
    let outcome = watch_signals().and_then(|(stop, report)| {
        let controls = Controls { stop: stop.as_fd(), report: Some(report.as_fd()) };
        ping(&options, controls, |event| {
            let text = match event {
                Event::Figures(figures) => {
                    print_figures(&figures_line(figures));
                    None
                }
                Event::NoTimestamps(error) => {
                    print_error(&format_args!(
                        "--timestamps without effect: the kernel has no timestamps ({error})"
                    ));
                    None
                }
                Event::Started if !arguments.json => Some(header(&options)),
                event if shows_probes => line(&options, &event),
                _ => None,
            };
            text.map_or(ControlFlow::Continue(()), |text| printer.print(&text))
        })
    });
    let text = match &outcome {
        _ if arguments.json => json(&options, outcome.as_ref()) + "\n",
        Ok(outcome) => write_summary(&options, outcome),
        Err(_) => String::new(),
    };
    let _ = printer.print(&text);
    let has_come_back = outcome.as_ref().is_ok_and(Results::has_come_back);
    if let Err(error) = &outcome {
        print_error(error);
    }
    match printer.closed {
        // The reader has closed its end. That is not an error.
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            print_error(&resound::Error::new("write to", "stdout", error));
            ExitCode::from(FAILED)
        }
        _ if has_come_back => ExitCode::SUCCESS,
        _ => ExitCode::from(FAILED),
    }
}

/// Prints the figures so far to stderr, as ping(8) does, because stdout may carry a document.
fn print_figures(line: &str) {
    // A failed write does not stop the run.
    let _ = standard::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Returns two pipes. The first becomes readable when a signal asks the program to end, the second
/// at each SIGQUIT, which asks for the figures so far. A second ending signal ends the program at
/// once, as by default.
fn watch_signals() -> Result<(PipeReader, PipeReader), resound::Error> {
    let watch = || -> io::Result<(PipeReader, PipeReader)> {
        let (stop, stopper) = io::pipe()?;
        let is_second = Arc::new(AtomicBool::new(false));
        for signal in resound::process::ending_signals() {
            // The order matters: the first signal must not see the flag that it sets.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&is_second))?;
            signal_hook::flag::register(signal, Arc::clone(&is_second))?;
            signal_hook::low_level::pipe::register(signal, stopper.try_clone()?)?;
        }
        let (report, reporter) = io::pipe()?;
        signal_hook::low_level::pipe::register(libc::SIGQUIT, reporter)?;
        Ok((stop, report))
    };
    watch().map_err(|error| resound::Error::new("watch", "signals", error))
}

fn header(options: &Options) -> String {
    format!("PING {}: {}\n", options.endpoint, bytes(options.length))
}

fn bytes(length: usize) -> String {
    let plural = if length == 1 { "" } else { "s" };
    format!("{length} byte{plural}")
}

/// Returns the line about an event, if it has one.
fn line(options: &Options, event: &Event<'_>) -> Option<String> {
    let endpoint = &options.endpoint;
    let text = match event {
        Event::Started | Event::Figures(_) | Event::NoTimestamps(_) => return None,
        Event::Answer(answer) => {
            let Answer { number, length, .. } = *answer;
            let (time, remarks) = (time_text(duration_ns(answer.time)), remarks(answer));
            format!("{} from {endpoint}: seq={number} time={time}{remarks}", bytes(length))
        }
        Event::Lost { number, loss } if loss.is_timeout() => {
            let timeout = humantime::format_duration(options.timeout);
            format!("seq={number} {loss} within {timeout}")
        }
        Event::Lost { number, loss } => format!("seq={number} {loss}"),
        Event::Unasked(length) => {
            format!("{} from {endpoint}: no echo of any probe", bytes(*length))
        }
        Event::Disconnected(loss) => format!("{endpoint}: {loss}"),
    };
    Some(text + "\n")
}

fn remarks(answer: &Answer) -> String {
    let mut remarks = String::new();
    if let Some(Stretches { send_ns, away_ns, wake_ns }) = answer.stretches {
        let [send, away, wake] = [send_ns, away_ns, wake_ns].map(time_text);
        remarks += &format!(" (send {send}, away {away}, wake {wake})");
    }
    match answer.kind {
        AnswerKind::InTime => {}
        AnswerKind::Late => remarks += " (late)",
        AnswerKind::Duplicate => remarks += " (DUP!)",
    }
    if answer.is_reordered {
        remarks += " (out of order)";
    }
    if let Some(offset) = answer.difference {
        remarks += &format!(" (corrupted at byte {offset})");
    }
    remarks
}

/// Stdout, until a write to it fails.
struct Printer {
    closed: Option<io::Error>,
}

impl Printer {
    fn print(&mut self, text: &str) -> ControlFlow<()> {
        if self.closed.is_some() {
            return ControlFlow::Break(());
        }
        match standard::print(text) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.closed = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

//! `resound serve`: from the flags to loops that run, and to their end.

mod arguments;
mod console;
mod inquiry;
mod loops;
mod metrics;
mod passed;
mod sandbox;
mod supervisor;
mod warnings;

use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use resound::echo::{Bound, WAY_DESCRIPTORS_MAX};
use resound::endpoint::{Endpoint, Transport};
use tracing::{info, warn};

pub(super) use self::arguments::{Arguments, at_least_one, buf_size};
use self::console::{Console, WARNING_INTERVAL, print_stats};
use self::loops::{Loops, StopAll};
use self::metrics::Metrics;
use self::passed::Passed;
use self::sandbox::Needs;
use self::supervisor::Supervisor;
use super::descriptors::DescriptorLimit;
use super::outlet::Outlet;
use super::standard;

/// Descriptors for what is no connection: the standard streams, the selector, what wakes it, the
/// signals, the spare one, 16 for the pipes of bulk, and what libraries open for a moment.
const DESCRIPTORS_RESERVED: u64 = 32;

/// What each loop after the first has of these: the selector, what wakes it, the signals' two ends,
/// the spare one, 16 for the pipes of bulk.
const DESCRIPTORS_PER_LOOP: u64 = 21;

/// Connections that the advice of a descriptor limit leaves room for.
const CONNECTIONS_ADVISED: u64 = 512;

/// How long the last lines may take: somebody must be reading them.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: &Arguments) -> Result<(), resound::Error> {
    let started_at = Instant::now();
    let passed = passed::take();
    let log = Outlet::new(standard::stderr(), |_| {});
    if arguments.sandbox {
        // Its thread would start with the first line, and be outside.
        log.hold();
    }
    arguments.start_log(&log);
    let outcome = passed.and_then(|passed| serve(arguments, passed, started_at, &log));
    log.release();
    // One deadline for both: who has not read until then will not read more.
    let deadline = Instant::now() + FLUSH_TIMEOUT;
    let lost = log.flush(deadline);
    if lost > 0 {
        warn!(
            "up to {lost} lines of the log were lost: stderr took them too slowly, or not at all"
        );
        log.flush(deadline);
    }
    outcome
}

/// What to do, on the thread that prints, when stdout takes no more.
fn on_print_error(stop: StopAll) -> impl FnMut(io::Error) {
    let mut quiet_until = Instant::now();
    move |error| {
        let now = Instant::now();
        if error.kind() == io::ErrorKind::BrokenPipe {
            // Whoever read the messages has left: there is nothing left to serve for.
            stop.stop();
        } else if now >= quiet_until {
            quiet_until = now + WARNING_INTERVAL;
            warn!("cannot print to stdout: {}", resound::reason(&error));
        }
    }
}

fn serve(
    arguments: &Arguments,
    passed: Passed,
    started_at: Instant,
    log: &Outlet,
) -> Result<(), resound::Error> {
    passed.warn();
    let endpoints = arguments.endpoints(!passed.sockets.is_empty());
    let loops = loops::useful_count(arguments.threads, &endpoints);
    let set_aside = passed.sockets.len() as u64 + set_aside(arguments, &endpoints);
    let connections_max = connection_limit(arguments.max_connections, &endpoints, loops, set_aside);
    let (reactors, stop) = loops::reactors(loops, arguments.spin).map_err(|error| {
        let lacks_descriptors = error.raw_os_error() == Some(libc::EMFILE);
        match resound::Error::new("start", "the loop", error) {
            failed if lacks_descriptors && loops > 1 => failed.hint(format!(
                "{loops} loops take {} descriptors and more: ask for fewer by --threads",
                loops as u64 * DESCRIPTORS_PER_LOOP
            )),
            failed => failed,
        }
    })?;

    let print =
        arguments.print.then(|| Outlet::new(standard::stdout(), on_print_error(stop.clone())));
    let (events, heard) = mpsc::channel();
    let console =
        |label| Console::new(label, print.clone(), log.clone(), events.clone(), started_at);
    let options = arguments.options(connections_max);
    let mut loops = Loops::new((reactors, stop), options.clone(), console);
    loops.pin(arguments.affinity.as_ref().map_or(&[], |list| &list.0))?;
    let mut bound = loops.adopt(passed.sockets)?;
    let mut signals = resound::ending_signals();
    signals.push(libc::SIGUSR1);
    let umask = Umask::clear();
    bound.extend(loops.listen(&endpoints, &signals)?);
    drop(umask);
    bound.iter().for_each(log_bound);
    bound.iter().for_each(|bound| warnings::warn_of(bound, &options));
    arguments.warn_of_flags_without_use(&bound);
    let inquiry = loops.inquiry();
    let metrics = arguments.metrics.as_ref().map(Metrics::bind).transpose()?;
    if arguments.sandbox {
        // Here, where all is open and no thread has been started but this: landlock holds for the
        // thread that asks for it and for those that it starts from then on.
        let (process_figures, path_probe) = (metrics.is_some(), loops.path_probe());
        sandbox::enter(&Needs { process_figures, path_probe, ..Needs::of(&bound) });
        log.release();
    }
    if let Some(metrics) = metrics {
        loops.measure_turns();
        metrics.start(inquiry.clone(), setting(started_at, &bound, connections_max))?;
    }
    let running = loops.start()?;
    match print_listening(&bound) {
        // Nobody reads where it listens: a quiet end, as of any program in a pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        other => other.map_err(|error| resound::Error::new("write to", "stdout", error))?,
    }

    let supervisor = Supervisor::start((events, heard), &bound, inquiry);
    let (counters, outcome) = running.run();
    drop(supervisor);
    print_stats(log, "", started_at, &counters);
    let lost = print.map_or(0, |print| print.flush(Instant::now() + FLUSH_TIMEOUT));
    if lost > 0 {
        warn!("up to {lost} messages were not printed: stdout took them too slowly, or not at all");
    }
    outcome
}

/// Descriptors for the metrics, and for the ways back to Unix datagram senders.
fn set_aside(arguments: &Arguments, endpoints: &[Endpoint]) -> u64 {
    let of_metrics = if arguments.metrics.is_some() { metrics::DESCRIPTORS } else { 0 };
    let is_unixgram = |endpoint: &Endpoint| endpoint.transport() == Transport::Unixgram;
    let of_ways = if endpoints.iter().any(is_unixgram) { WAY_DESCRIPTORS_MAX } else { 0 };
    of_metrics + of_ways
}

/// What the metrics tell beside what changes.
fn setting(started_at: Instant, bound: &[Bound], connections_max: u64) -> metrics::Setting {
    let has = |transport: &Transport| bound.iter().any(|b| b.endpoint.transport() == *transport);
    metrics::Setting {
        started_at: SystemTime::now() - started_at.elapsed(),
        transports: Transport::ALL.into_iter().filter(has).collect(),
        connections_max,
    }
}

/// The umask of the process, while it is 0: a container's filter may refuse the library to bind on
/// a thread with a umask of its own, and a socket file must have its mode there too. No other
/// thread makes files meanwhile.
struct Umask(rustix::fs::Mode);

impl Umask {
    fn clear() -> Umask {
        Umask(rustix::process::umask(rustix::fs::Mode::empty()))
    }
}

impl Drop for Umask {
    fn drop(&mut self) {
        rustix::process::umask(self.0);
    }
}

/// All lines in one write: a reader that leaves after the first, as `head -1` does, must not make
/// it a matter of luck whether the server goes on.
fn print_listening(bound: &[Bound]) -> io::Result<()> {
    let line = |Bound { endpoint, .. }: &Bound| format!("listening {endpoint}\n");
    let lines: String = bound.iter().map(line).collect();
    standard::print(&lines)
}

fn log_bound(bound: &Bound) {
    let Bound { endpoint, granted, .. } = bound;
    if !granted.is_empty() {
        let granted: Vec<_> =
            granted.iter().map(|(name, value)| format!("{name}={value}")).collect();
        info!("{endpoint}: granted {}", granted.join(" "));
    }
}

/// Raises the descriptor limit as far as it goes, and fits the connection limit into it.
fn connection_limit(
    asked: Option<u64>,
    endpoints: &[Endpoint],
    loops: usize,
    set_aside: u64,
) -> u64 {
    let descriptors = DescriptorLimit::raise();
    let limit = descriptors.limit_or_usual();
    if let Some((soft, hard)) = descriptors.before.filter(|(soft, _)| limit > *soft) {
        info!("descriptor limit raised from {soft} to {limit} (hard limit {hard})");
    }
    if let Some(warning) = descriptors.warning {
        warn!("{warning}");
    }
    // An endpoint may be several sockets: two for every interface, one an address for a name.
    const SOCKETS_PER_ENDPOINT: u64 = 2;
    let sockets = SOCKETS_PER_ENDPOINT * endpoints.len() as u64;
    let of_first = DESCRIPTORS_RESERVED + set_aside + sockets;
    let of_each_other = DESCRIPTORS_PER_LOOP + sockets;
    let reserved = of_first + (loops as u64 - 1) * of_each_other;
    let most = limit.saturating_sub(reserved).max(1);
    if limit <= reserved {
        // A round figure that leaves at least some for connections.
        let enough = (reserved + CONNECTIONS_ADVISED).next_power_of_two();
        let fewer = match limit.checked_sub(of_first + 1) {
            Some(left) if loops > 1 => format!(", or --threads {}", 1 + left / of_each_other),
            _ => String::new(),
        };
        warn!(
            "the descriptor limit {limit} leaves none for connections: expected more than \
             {reserved}, such as by 'ulimit -n {enough}' (LimitNOFILE= of a service){fewer}"
        );
    }
    match asked {
        Some(asked) if asked > most => {
            warn!("--max-connections {asked} is beyond the descriptor limit {limit}: using {most}");
            most
        }
        Some(asked) => asked,
        None => {
            info!("at most {most} connections (descriptor limit {limit})");
            most
        }
    }
}

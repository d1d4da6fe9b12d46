//! The echo server as a service. It runs until a signal or its service manager ends it.
//!
//! [`run`] is its whole life. It takes the sockets that the service manager passed (`passed.rs`),
//! opens the endpoints on loops with a thread each (`loops.rs`), warns about what they let other
//! hosts do (`warnings.rs`), enters the sandbox (`sandbox.rs`), and runs the loops to their end.
//!
//! Meanwhile `console.rs` turns the reports of a loop into lines, and `outlet.rs` writes them
//! without blocking the loop. `log.rs` sets up the log. `handles.rs` asks the loops for their
//! counters, for `metrics.rs`, which the metrics server asks, and for `supervisor.rs`,
//! which reports to the service manager.
//!
//! [`EmbeddedServer`] is a smaller service: the server that `bench` measures in its own process.

mod console;
mod descriptors;
mod embedded;
mod handles;
mod log;
mod loops;
mod metrics;
mod outlet;
mod passed;
mod sandbox;
mod supervisor;
mod user;
mod warnings;

use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

pub use self::embedded::EmbeddedServer;
pub use self::log::{LogFormat, LogOptions, json_error};
pub use self::loops::LOOPS_MAX;
pub use self::user::UserName;

use self::console::{Console, WARNING_INTERVAL};
use self::handles::Handles;
use self::log::Log;
use self::loops::Loops;
use self::metrics::LoopFigures;
use self::outlet::Outlet;
use self::passed::Passed;
use self::sandbox::Needs;
use self::supervisor::Supervisor;
use self::user::{ServiceUser, StayingFiles};
use crate::echo::{self, Bound};
use crate::endpoint::{Endpoint, HostPort, Transport};
use crate::error::Error;
use crate::process::{ending_signals, standard};
use crate::reactor::Spin;
use crate::trace::{Trace, TraceFile, WRITE_SIGNAL};

/// What to serve, and how the process behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The endpoints to open besides the sockets that a service manager passes. Without either:
    /// `tcp://127.0.0.1:7007` and `udp://127.0.0.1:7007`.
    pub endpoints: Vec<Endpoint>,
    /// The options of each loop's server. [`connections_max`](Options::connections_max) replaces
    /// the server's own.
    pub server: echo::Options,
    /// The limit of connections. A limit beyond what the descriptor limit allows is lowered.
    /// Without one: as many as the descriptor limit allows.
    pub connections_max: Option<u64>,
    /// The number of loops, at most [`LOOPS_MAX`]. Each has its own thread and sockets.
    pub threads: usize,
    /// The CPUs of the loops, in order. Loops beyond the list are not pinned.
    pub affinity: Vec<usize>,
    /// How long each loop polls without sleeping.
    pub spin: Spin,
    /// Prints each message to stdout with time and peer.
    pub print: bool,
    /// The user that a server started by root becomes, once everything is open and before the first
    /// reply.
    pub user: Option<UserName>,
    /// Gives up the rights that serving does not need, once everything is open.
    pub sandbox: bool,
    /// The address at which metrics are served over HTTP.
    pub metrics: Option<HostPort>,
    /// The file to which the last turns of the loops are written, at the end and on SIGUSR2.
    pub trace: Option<TraceFile>,
    /// What is logged, and how.
    pub log: LogOptions,
}

/// The endpoints of a server without arguments and without passed sockets.
const DEFAULT_ENDPOINTS: [&str; 2] = ["tcp://127.0.0.1:7007", "udp://127.0.0.1:7007"];

/// How long the program waits at its end for a reader to take the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until a signal or the end of a one-off server, and logs to stderr. Calls `on_bound` once
/// all endpoints are open.
///
/// Call it while the process has a single thread: it removes variables from the environment and
/// changes the umask for a moment, and a sandbox covers only the calling thread and the threads
/// that start later.
///
/// # Errors
///
/// The user does not exist or cannot be changed to, a passed socket cannot be served, an endpoint
/// cannot be opened, a thread cannot be started, or a loop fails.
///
/// # Panics
///
/// The process already has a global `tracing` subscriber.
pub fn run(options: Options, on_bound: impl FnOnce(&[Bound])) -> Result<(), Error> {
    let started_at = Instant::now();
    let passed = passed::take();
    let outlet = Outlet::new(standard::stderr(), |_| {});
    if options.sandbox || options.user.is_some() {
        // The thread of the log would start with the first line, and stay outside the sandbox.
        outlet.hold();
    }
    let log = log::start(options.log, outlet);
    let outcome = passed.and_then(|passed| serve(options, on_bound, passed, started_at, &log));
    log.release();
    // One deadline for both flushes: a reader that has read nothing until then will not read more.
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

/// Returns what the printing thread does when a write to stdout fails.
fn on_print_error(handles: Handles) -> impl FnMut(io::Error) {
    let mut quiet_until = Instant::now();
    move |error| {
        let now = Instant::now();
        if error.kind() == io::ErrorKind::BrokenPipe {
            // The reader of the messages has closed its end, so the server has no purpose any more.
            handles.stop();
        } else if now >= quiet_until {
            quiet_until = now + WARNING_INTERVAL;
            warn!("cannot print to stdout: {}", crate::error::reason(&error));
        }
    }
}

fn serve(
    mut options: Options,
    on_bound: impl FnOnce(&[Bound]),
    passed: Passed,
    started_at: Instant,
    log: &Log,
) -> Result<(), Error> {
    passed.warn();
    let trace = options.trace.as_ref().map(|file| Trace::open(file, "serve")).transpose()?;
    let user = options.user.as_ref().map(ServiceUser::find).transpose()?;
    if options.endpoints.is_empty() && passed.sockets.is_empty() {
        options.endpoints =
            DEFAULT_ENDPOINTS.map(|text| text.parse().expect("the default parses")).to_vec();
    }
    let loops = loops::useful_count(options.threads, &options.endpoints);
    let (connections_max, log_lines) =
        descriptors::connection_limit(&options, loops, passed.sockets.len());
    options.server.connections_max = usize::try_from(connections_max).unwrap_or(usize::MAX);
    let (reactors, handles) = loops::reactors(loops, options.spin)?;
    let print =
        options.print.then(|| Outlet::new(standard::stdout(), on_print_error(handles.clone())));
    let (events, receiver) = mpsc::channel();
    let console =
        |label| Console::new(label, print.clone(), log.clone(), events.clone(), started_at);
    let mut loops = Loops::new((reactors, handles.clone()), &options.server, console);
    loops.pin(&options.affinity)?;
    let mut bound = loops.adopt(passed.sockets)?;
    // Without a trace, WRITE_SIGNAL does nothing. Its default action would end the server.
    let signals = [&ending_signals()[..], &[libc::SIGUSR1, WRITE_SIGNAL]].concat();
    let umask = Umask::clear();
    let own = loops.listen(&options.endpoints, &signals)?;
    drop(umask);
    let metrics = options.metrics.as_ref().map(metrics::bind).transpose()?;
    user.map(ServiceUser::take_over).transpose()?;
    let staying = options.user.as_ref().map(|user| StayingFiles::warned_of(&own, user));
    bound.extend(own);
    log_lines.iter().for_each(|line| info!("{line}"));
    bound.iter().for_each(log_bound);
    bound.iter().for_each(|bound| warnings::warn_of(bound, &options.server));
    on_bound(&bound);
    if options.sandbox {
        enter_sandbox(&options, &bound, loops.path_probe());
    }
    log.release();
    trace.iter().for_each(|trace| loops.trace(trace));
    if let Some(metrics) = metrics {
        loops.measure_turns();
        let constants = constants(started_at, &bound, connections_max);
        metrics.start(LoopFigures { handles: handles.clone(), constants })?;
    }
    let running = loops.start()?;
    match print_listening(&bound, options.print) {
        // The reader of stdout has closed its end. The program ends quietly, as any program in a
        // pipe does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        other => other.map_err(|error| Error::new("write to", "stdout", error))?,
    }

    let supervisor = Supervisor::start((events, receiver), &bound, handles);
    let (counters, outcome) = running.run();
    drop(supervisor);
    staying.unwrap_or_default().warn_at_end();
    let outcome = outcome.and(trace.map_or(Ok(()), Trace::finish));
    log.stats("", started_at, &counters);
    let lost = print.map_or(0, |print| print.flush(Instant::now() + FLUSH_TIMEOUT));
    if lost > 0 {
        warn!("up to {lost} messages were not printed: stdout took them too slowly, or not at all");
    }
    outcome
}

/// Enters the sandbox. Everything is open by now, and this is still the only thread: landlock
/// covers the thread that asks for it and the threads that it starts later.
fn enter_sandbox(options: &Options, bound: &[Bound], path_probe: Option<i32>) {
    sandbox::enter(&Needs {
        process_figures: options.metrics.is_some(),
        path_probe,
        multipath: options.server.socket.multipath,
        rewrites: options.trace.is_some(),
        ..Needs::of(bound)
    });
}

/// Returns the metrics that do not change.
fn constants(started_at: Instant, bound: &[Bound], connections_max: u64) -> metrics::Constants {
    let has =
        |transport: &Transport| bound.iter().any(|bound| bound.endpoint.transport() == *transport);
    metrics::Constants {
        started_at: SystemTime::now() - started_at.elapsed(),
        transports: Transport::ALL.into_iter().filter(has).collect(),
        connections_max,
    }
}

/// Sets the umask of the process to 0, and restores it when dropped. A container's filter may
/// refuse the library a thread with its own umask, and a socket file must have its mode there too.
/// No other thread creates files meanwhile.
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

/// Prints all lines in one write. A reader such as `head -1` leaves after the first line, and
/// chance must not decide whether the server goes on.
///
/// A server without `--print` works without a stdout.
fn print_listening(bound: &[Bound], needs_stdout: bool) -> io::Result<()> {
    if standard::is_stdout_closed() && !needs_stdout {
        return Ok(());
    }
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

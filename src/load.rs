//! The load generator: the client side of many connections at once.
//!
//! A second [`Handler`] on the same [reactor](crate::reactor) as the echo server. Each connection,
//! or client socket, is a *flow*. A slice of a flow receives echoes and then sends the messages
//! that may be sent:
//!
//! - In a *closed loop* a flow keeps a fixed number of messages in flight: each echo lets the next
//!   message go.
//! - In an *open loop* a message is sent when it is due by the clock. Its latency counts from the
//!   due time, whatever delayed it. The time from the actual send is reported as service time.
//!
//! A run has four phases. It connects all flows, sends the warm-up (counted apart), sends what is
//! measured, and then sends nothing more and waits for the last echoes.
//!
//! ```
//! use std::time::Duration;
//!
//! use resound::echo::{self, Server, Service};
//! use resound::endpoint::ResolvedEndpoint;
//! use resound::load::{Generator, Options};
//! use resound::reactor::Reactor;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::new(echo::Options::default());
//! let service = Service::start(server, &["tcp://127.0.0.1:0".parse()?])?;
//! let addr = service.bound()[0].addrs[0];
//!
//! let target = ResolvedEndpoint::Tcp(addr);
//! let options = Options { count: Some(1_000), ..Options::closed_loop(target, 4) };
//! let mut reactor = Reactor::new()?;
//! let mut generator = Generator::new(options);
//! reactor.run(&mut generator)?;
//! let result = generator.finish();
//! assert_eq!(result.messages.received, 1_000);
//! assert_eq!(result.latency_ns.summary.count, 1_000);
//! # Ok(())
//! # }
//! ```
//!
//! Where to look: `pacing.rs` decides from when latency counts, `run.rs` which message may be sent,
//! `window.rs` (datagrams) and `stream.rs` which message an echo answers. `phases.rs` holds the
//! phases.

mod clock;
mod cpus;
mod datagram;
mod descriptors;
mod ends;
mod fine_sleep;
mod hiccups;
mod lengths;
mod mover;
mod opening;
mod options;
mod outages;
mod pacing;
mod pattern;
mod phases;
mod ports;
mod recorder;
mod result;
mod run;
mod sampler;
mod share;
mod shortfall;
mod source;
mod start;
mod stream;
mod target;
mod team;
mod thirds;
mod thread_usage;
mod throttle;
mod timeline;
mod warnings;
mod window;

use std::io::{self, ErrorKind};
use std::time::Instant;

pub use self::cpus::Cpus;
pub use self::descriptors::raise_descriptor_limit;
pub use self::lengths::Lengths;
pub use self::options::Options;
pub use self::pacing::Spacing;
pub use self::share::Share;
pub use self::source::Source;
pub use self::start::{check_start, parse_start};
pub use self::target::{client_folder, resolve_target};
pub use self::team::{Command, LOOPS_MAX, Team};

use self::clock::Clock;
use self::ends::Ends;
use self::mover::Step;
use self::opening::{Opener, RETRY_NS};
use self::pacing::DueQueue;
use self::phases::Phases;
use self::run::Run;
use self::source::{Ending, Flow, Kind, is_reset};
use self::team::Arrival;
use self::thirds::Thirds;
use self::timeline::TimelineRecorder;
use crate::error::Error;
use crate::measured::{Interval, LossCause, Mode};
use crate::reactor::{Calls, Closed, Context, Handler, Moved, Next, SourceContext, Sources};
use crate::readiness::Readiness;
use crate::socket::{SocketFacts, out_of_ports};
use crate::trace::WRITE_SIGNAL;
use crate::units::duration_ns;

/// Receives the figures of a run while it goes on. The loop calls it on its own thread, so it must
/// not block.
pub trait Observer {
    /// Receives the figures since the previous interval.
    fn interval(&mut self, interval: Interval) {
        drop(interval);
    }
}

impl Observer for () {}

/// A closure is called with each interval.
impl<F: FnMut(Interval)> Observer for F {
    fn interval(&mut self, interval: Interval) {
        self(interval);
    }
}

/// The load generator. A [`Reactor`](crate::reactor::Reactor) of [`Source`]s runs it; the generator
/// stops the reactor at the end of the run.
#[derive(Debug)]
pub struct Generator<O: Observer = ()> {
    /// With the connections and the count of this generator's share; see [`Options::of_share`].
    options: Options,
    observer: O,
    run: Run,
    opener: Opener,
    /// Flows by the due time of their next message, in an open loop.
    due_queue: DueQueue,
    /// The kernel's figures of the sockets that have ended.
    ends: Ends,
    thirds: Thirds,
    timeline: TimelineRecorder,
    phases: Phases,
    /// The other loops of the team wait for this one; `None` once its flows are open.
    arrival: Option<Arrival>,
    /// This turn did more than poll.
    has_worked: bool,
    /// A connection was refused because its socket file does not exist.
    is_path_missing: bool,
    /// Errors of this host: the first of each kind, and how often that kind occurred.
    failures: Vec<(Error, u64)>,
    /// The settings of the first socket that was connected.
    settings: Option<SocketFacts>,
}

impl Generator {
    /// Creates a generator of this load without an observer. The time of the run starts now.
    pub fn new(options: Options) -> Generator {
        Generator::with_observer(options, ())
    }
}

impl<O: Observer> Generator<O> {
    /// Creates a generator of this load that reports its intervals to `observer`.
    pub fn with_observer(options: Options, observer: O) -> Generator<O> {
        Generator::in_team(options, observer, Clock::starting_at(Instant::now()), None)
    }

    /// Creates one of several generators that start together and share a clock.
    fn in_team(
        options: Options,
        observer: O,
        clock: Clock,
        arrival: Option<Arrival>,
    ) -> Generator<O> {
        let run = Run::new(&options, clock, duration_ns(options.timeout));
        let options = options.of_share();
        Generator {
            run,
            opener: Opener::new(&options),
            due_queue: DueQueue::with_flows(options.connections as usize),
            ends: Ends::default(),
            thirds: Thirds::default(),
            phases: Phases::new(&options, clock),
            timeline: TimelineRecorder::new(options.timeline, options.duration),
            options,
            observer,
            arrival,
            has_worked: false,
            is_path_missing: false,
            failures: Vec::new(),
            settings: None,
        }
    }

    /// Returns the observer.
    pub fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// Counts why a flow ended.
    fn count_ending(&mut self, flow: &Flow, cause: Closed) {
        let flows = &mut self.run.recorder.flows;
        match (&flow.ending, cause) {
            (Some(Ending::Done), _) => {}
            (Some(Ending::Closed), _) => flows.closed += 1,
            (Some(Ending::TimedOut), _) => flows.timed_out += 1,
            (Some(Ending::NotConnected(error) | Ending::Failed(error)), _) => {
                let error = copy_error(error);
                let operation = if flow.is_open() { "go on with" } else { "connect to" };
                self.count_failure(operation, error);
            }
            (None, Closed::Unregistered(error)) => self.count_failure("watch", error),
            (None, Closed::ByHandler) => {}
        }
    }

    /// Counts the error of a call by its cause, and keeps the error if this host caused it.
    fn count_failure(&mut self, operation: &'static str, error: io::Error) {
        self.is_path_missing |= error.kind() == ErrorKind::NotFound;
        let flows = &mut self.run.recorder.flows;
        match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => flows.refused += 1,
            ErrorKind::TimedOut => flows.timed_out += 1,
            _ if is_reset(&error) => flows.reset += 1,
            _ if is_network_error(&error) => flows.unreachable += 1,
            _ => {
                flows.failed_locally += 1;
                self.keep_failure(Error::new(operation, &self.options.target, error));
            }
        }
    }

    /// Counts a flow that could not be opened. Returns true if the peer refused it.
    fn count_open_failure(&mut self, error: Error) -> bool {
        self.is_path_missing |= error.kind() == ErrorKind::NotFound;
        if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) {
            self.run.recorder.flows.refused += 1;
            return true;
        }
        self.run.recorder.flows.failed_locally += 1;
        self.keep_failure(error);
        false
    }

    /// Reads the settings of the first flow that is connected. All others have the same.
    fn note_settings(&mut self, flow: &Flow) {
        self.settings.get_or_insert_with(|| match &flow.kind {
            Kind::Stream(stream, _) => SocketFacts::of(stream),
            Kind::Datagram(socket, _) => SocketFacts::of(socket),
        });
    }

    /// Decides what follows when the connection of a flow is gone.
    fn plan_next(&mut self, flow: &Flow, now_ns: u64) {
        if self.options.mode == Mode::Connect {
            // If the message was answered, `Mover::answered` has noted when the flow became free.
            let is_done = matches!(flow.ending, Some(Ending::Done));
            let again_ns = if is_done { now_ns } else { now_ns.saturating_add(RETRY_NS) };
            if !is_done {
                self.run.note_free(flow.id, again_ns);
                if !self.run.is_open_loop() {
                    self.run.outages.begin(flow.id, now_ns);
                }
            }
            self.opener.schedule(flow.id, again_ns);
        } else if self.opener.reopens() && self.phases.is_sending() {
            self.run.disconnected(flow.id, now_ns);
            self.opener.schedule_reopening(flow.id, flow.is_open(), flow.has_answered(), now_ns);
        } else {
            self.run.retire(flow.id, now_ns);
        }
    }

    fn keep_failure(&mut self, error: Error) {
        /// Kinds of errors that are kept. A host can fail in few ways.
        const FAILURES_MAX: usize = 16;
        let same = |(other, _): &&mut (Error, u64)| other.raw_os_error() == error.raw_os_error();
        if let Some((_, times)) = self.failures.iter_mut().find(same) {
            *times += 1;
        } else if self.failures.len() < FAILURES_MAX {
            self.failures.push((with_hint(error, self.options.lengths.greatest()), 1));
        }
    }
}

impl<O: Observer> Handler for Generator<O> {
    type Source = Source;
    type Message = Command;

    fn ready(
        &mut self,
        source: &mut Source,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
    ) -> Next {
        self.ready_traced(source, readiness, context, ())
    }

    fn ready_traced<C: Calls>(
        &mut self,
        source: &mut Source,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
        calls: C,
    ) -> Next {
        let now_ns = self.run.clock.ns(context.now());
        self.note_pause(now_ns);
        let flow = &mut source.0;
        let was_open = flow.is_open();
        self.has_worked = true;
        self.run.not_before_ns = None;
        let step = flow.advance(readiness, &mut self.run, now_ns, calls);
        if flow.is_open() && !was_open {
            self.note_settings(flow);
            self.phases.flow_settled();
        }
        match step {
            Ok(Step::Again) => Next::Again,
            Ok(_) => {
                if let Some(due_ns) = self.run.not_before_ns {
                    self.due_queue.push(flow.id, context.key(), due_ns);
                }
                Next::Wait
            }
            Err(ending) => {
                flow.ending = Some(ending);
                Next::Close
            }
        }
    }

    fn closed(&mut self, source: Source, cause: Closed, context: &mut SourceContext<'_, Source>) {
        let now_ns = self.run.clock.ns(context.now());
        let mut flow = source.0;
        self.has_worked = true;
        flow.give_up_all(&mut self.run);
        if !self.phases.is_done() {
            self.ends.add(&flow);
        }
        self.count_ending(&flow, cause);
        if flow.is_open() {
            self.run.recorder.flows_open -= 1;
        } else {
            self.phases.flow_settled();
        }
        self.plan_next(&flow, now_ns);
    }

    fn tick(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) -> Option<Instant> {
        self.advance_run(sources, context)
    }

    fn message(&mut self, command: Command, _: &Sources<Source>, _: &mut Context<'_, Source>) {
        let Command::Start(at) = command;
        self.phases.start_at(self.run.clock.ns(at));
    }

    fn moved(&self) -> Moved {
        self.run.recorder.moved()
    }

    /// The first signal ends the run and waits briefly for messages in flight. The next one does
    /// not wait.
    fn signalled(
        &mut self,
        signal: i32,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        // The tracer takes this signal.
        if signal != WRITE_SIGNAL {
            self.interrupt(sources, context);
        }
    }
}

/// Copies an error. A system error consists of its number; any other keeps its kind and its text.
fn copy_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Returns true if the network, and not a limit of this host, keeps a connection from its peer.
/// Routers and firewalls report that by ICMP.
fn is_network_error(error: &io::Error) -> bool {
    matches!(
        LossCause::of(error),
        LossCause::HostUnreachable | LossCause::NetworkUnreachable | LossCause::AccessDenied
    )
}

/// Adds what the user can do about an error that this host caused.
fn with_hint(error: Error, length_bytes: u64) -> Error {
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => error.hint(out_of_ports()),
        Some(libc::EMFILE | libc::ENFILE) => error
            .hint("this client is out of descriptors: raise ulimit -n, or use fewer connections"),
        Some(libc::EMSGSIZE) => {
            error.hint(format!("{length_bytes} bytes are too long for one datagram"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests;

//! The load generator: what to do with the client's side of many connections at once.
//!
//! A second [`Handler`] on the same [reactor](crate::reactor) that the echo server runs on. Each
//! connection, or client socket, is a *flow*; a slice of a flow takes echoes in and sends what may
//! be sent:
//!
//! - in a *closed loop*, a message for each that has come back, so many in flight;
//! - in an *open loop*, each message when it is due by the clock. Its latency counts from that
//!   moment, whatever held it up; the time from its real send stands beside it as service time.
//!
//! A run connects all flows, then sends: first the warm-up, which is counted apart, then what is
//! measured, then nothing more, while the last echoes are waited for.
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
//! let report = generator.finish();
//! assert_eq!(report.messages.received, 1_000);
//! assert_eq!(report.latency_ns.summary.count, 1_000);
//! # Ok(())
//! # }
//! ```
//!
//! Where to look: from when latency counts, `pacing.rs`; which message may be sent, `run.rs`; what
//! an echo is taken for, `window.rs` (datagrams) and `stream.rs`; the phases, `phases.rs`.

mod clock;
mod datagram;
mod findings;
mod hiccups;
mod mover;
mod opening;
mod options;
mod outages;
mod pacing;
mod pattern;
mod phases;
mod ports;
mod recorder;
mod run;
mod shortfall;
mod source;
mod stream;
mod thread_usage;
mod throttle;
mod warnings;
mod window;

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::time::Instant;

pub use self::options::Options;
pub use self::pacing::Spacing;
pub use self::source::Source;

use self::clock::Clock;
use self::mover::Step;
use self::opening::{Opener, RETRY_NS};
use self::pacing::DueLine;
use self::phases::Phases;
use self::run::Run;
use self::source::{Ending, Flow, is_reset};
use crate::error::Error;
use crate::measured::{Interval, LossCause, Mode};
use crate::reactor::{Closed, Context, Handler, Next, SourceContext, Sources};
use crate::readiness::Readiness;
use crate::socket::out_of_ports;
use crate::units::duration_ns;

/// Hears of a run while it goes on. Called on the loop's thread, so it must not block.
pub trait Observer {
    /// So much was measured since the last time.
    fn interval(&mut self, interval: Interval) {
        drop(interval);
    }
}

impl Observer for () {}

/// The load generator, to be run by a [`Reactor`](crate::reactor::Reactor) of [`Source`]s, which it
/// stops at its end.
#[derive(Debug)]
pub struct Generator<O: Observer = ()> {
    options: Options,
    observer: O,
    run: Run,
    opener: Opener,
    /// Who is due next, in an open loop.
    line: DueLine,
    phases: Phases,
    /// Something was done in this turn: it was no mere polling.
    has_worked: bool,
    /// A connection was refused because there is no such socket file.
    is_path_missing: bool,
    /// What this host could not do: the first error of each kind, with how often it came.
    failures: Vec<(Error, u64)>,
}

impl Generator {
    /// A generator of this load, observed by nobody. Its time begins now.
    pub fn new(options: Options) -> Generator {
        Generator::with_observer(options, ())
    }
}

impl<O: Observer> Generator<O> {
    /// A generator of this load that tells `observer` how it goes.
    pub fn with_observer(options: Options, observer: O) -> Generator<O> {
        let clock = Clock::starting_at(Instant::now());
        Generator {
            run: Run::new(&options, clock, duration_ns(options.timeout)),
            opener: Opener::new(&options),
            line: DueLine::with_flows(options.connections as usize),
            phases: Phases::new(&options),
            options,
            observer,
            has_worked: false,
            is_path_missing: false,
            failures: Vec::new(),
        }
    }

    /// Who hears of it.
    pub fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// A flow has come to its end: counts why.
    fn count_ending(&mut self, flow: &Flow, cause: Closed) {
        let flows = &mut self.run.recorder.flows;
        match (&flow.ending, cause) {
            (Some(Ending::Done), _) => {}
            (Some(Ending::Closed), _) => flows.closed += 1,
            (Some(Ending::TimedOut), _) => flows.timed_out += 1,
            (Some(Ending::NotConnected(error) | Ending::Failed(error)), _) => {
                let error = copy_of(error);
                let operation = if flow.is_open() { "go on with" } else { "connect to" };
                self.count_failure(operation, error);
            }
            (None, Closed::Unregistered(error)) => self.count_failure("watch", error),
            (None, Closed::ByHandler) => {}
        }
    }

    /// Counts an error of a call by its cause, and keeps it when it is this host's own.
    fn count_failure(&mut self, operation: &'static str, error: io::Error) {
        self.is_path_missing |= error.kind() == ErrorKind::NotFound;
        let flows = &mut self.run.recorder.flows;
        match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => flows.refused += 1,
            ErrorKind::TimedOut => flows.timed_out += 1,
            _ if is_reset(&error) => flows.reset += 1,
            _ if is_of_the_network(&error) => flows.unreachable += 1,
            _ => {
                flows.failed_locally += 1;
                self.keep_failure(Error::new(operation, &self.options.target, error));
            }
        }
    }

    /// A flow could not even be begun. Whether that was the peer's doing.
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

    /// What is to come of a flow whose connection is gone.
    fn plan_next(&mut self, flow: &Flow, now_ns: u64) {
        if self.options.mode == Mode::Connect {
            // Its answer has told since when the next may be begun.
            let is_done = matches!(flow.ending, Some(Ending::Done));
            let again_ns = if is_done { now_ns } else { now_ns.saturating_add(RETRY_NS) };
            if !is_done {
                self.run.freed(flow.id, again_ns);
                if !self.run.is_open_loop() {
                    self.run.outages.begin(flow.id, now_ns);
                }
            }
            self.opener.again(flow.id, again_ns);
        } else if self.opener.reopens() && self.phases.is_sending() {
            self.run.disconnected(flow.id, now_ns);
            self.opener.reopen(flow.id, flow.is_open(), flow.has_answered(), now_ns);
        } else {
            self.run.retire(flow.id, now_ns);
        }
    }

    fn keep_failure(&mut self, error: Error) {
        /// Kinds of errors that are kept; a host has only so many ways to fail.
        const FAILURES_MAX: usize = 16;
        let same = |(other, _): &&mut (Error, u64)| other.raw_os_error() == error.raw_os_error();
        if let Some((_, times)) = self.failures.iter_mut().find(same) {
            *times += 1;
        } else if self.failures.len() < FAILURES_MAX {
            self.failures.push((hinted(error, self.options.length_bytes), 1));
        }
    }
}

impl<O: Observer> Handler for Generator<O> {
    type Source = Source;
    type Message = Infallible;

    fn ready(
        &mut self,
        source: &mut Source,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
    ) -> Next {
        let now_ns = self.run.clock.ns(context.now());
        self.note_pause(now_ns);
        let flow = &mut source.0;
        let was_open = flow.is_open();
        self.has_worked = true;
        self.run.not_before_ns = None;
        let step = flow.advance(readiness, &mut self.run, now_ns);
        if flow.is_open() && !was_open {
            self.phases.settled();
        }
        match step {
            Ok(Step::Again) => Next::Again,
            Ok(_) => {
                if let Some(due_ns) = self.run.not_before_ns {
                    self.line.enter(flow.id, context.key(), due_ns);
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
        self.count_ending(&flow, cause);
        if flow.is_open() {
            self.run.recorder.flows_open -= 1;
        } else {
            self.phases.settled();
        }
        self.plan_next(&flow, now_ns);
    }

    fn tick(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) -> Option<Instant> {
        self.go_on(sources, context)
    }

    /// The first one ends the run, and waits briefly for what is in flight; the next does not wait.
    fn signalled(&mut self, _: i32, sources: &Sources<Source>, context: &mut Context<'_, Source>) {
        self.interrupt(sources, context);
    }
}

/// An error of the system has no more to it than its number and its kind.
fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Whether the network, and no limit of this host, keeps a connection from its peer: routers and
/// firewalls tell by ICMP.
fn is_of_the_network(error: &io::Error) -> bool {
    matches!(
        LossCause::of(error),
        LossCause::HostUnreachable | LossCause::NetworkUnreachable | LossCause::AccessDenied
    )
}

/// What the reader may do about an error of this host's own.
fn hinted(error: Error, length_bytes: usize) -> Error {
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => error.hint(out_of_ports()),
        Some(libc::EMFILE | libc::ENFILE) => {
            error.hint("this client is out of descriptors: ulimit -n, or fewer connections")
        }
        Some(libc::EMSGSIZE) => {
            error.hint(format!("{length_bytes} bytes are too long for one datagram"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests;

//! The sources of a load generator: each is one connection or one client socket.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use mio::Interest;

use super::datagram::{DatagramMover, LoggedWire};
use super::mover::{Mover, Step};
use super::recorder::InFlight;
use super::run::Run;
use super::sampler::{SampledDatagram, SampledStream, Sampler};
use super::stream::StreamMover;
use crate::measured::LossCause;
use crate::reactor::{self, CallLog, Calls, Logged};
use crate::readiness::Readiness;
use crate::socket::{Datagram, STREAM_INTEREST, Stream};

/// One source of a [`Generator`](super::Generator). The generator creates it, its reactor owns it.
#[derive(Debug)]
pub struct Source(pub(super) Flow);

/// One connection, or one client socket.
#[derive(Debug)]
pub(super) struct Flow {
    /// Its number, from 0.
    pub(super) id: u32,
    pub(super) kind: Kind,
    pub(super) stage: Stage,
    /// When the flow was created.
    pub(super) made_ns: u64,
    /// The flow had an earlier connection, which ended.
    pub(super) is_reopened: bool,
    /// Why the flow is closed.
    pub(super) ending: Option<Ending>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Stream(Stream, StreamMover),
    Datagram(Datagram, DatagramMover),
}

/// How far a flow is, and how it moves its bytes.
#[derive(Debug)]
pub(super) enum Stage {
    /// It is being connected until this time, when the attempt is given up.
    Connecting { until_ns: u64 },
    /// It is connected.
    Open,
    /// It is connected, and samples of its messages have timestamps.
    Sampled(Box<Sampler>),
}

/// Why a flow ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// It received its one echo, or gave its one message up.
    Done,
    /// The peer closed the connection.
    Closed,
    /// It was not connected in time.
    TimedOut,
    /// A call failed while it was being connected.
    NotConnected(io::Error),
    /// A call failed.
    Failed(io::Error),
}

impl Flow {
    /// Returns true if the flow is connected.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Connecting { .. })
    }

    /// Notes that the flow is connected.
    pub(super) fn opened(&mut self, run: &mut Run, now_ns: u64) {
        self.stage = run.sampler().map_or(Stage::Open, Stage::Sampled);
        run.connected(self.id, self.is_reopened, now_ns);
    }

    /// Runs one slice of the flow.
    ///
    /// # Errors
    ///
    /// Returns why the flow must be closed.
    pub(super) fn advance<C: Calls>(
        &mut self,
        readiness: &mut Readiness,
        run: &mut Run,
        now_ns: u64,
        calls: C,
    ) -> Result<Step, Ending> {
        if let Stage::Connecting { until_ns } = self.stage {
            let failure = match self.is_connected(readiness) {
                Ok(true) => None,
                Ok(false) => {
                    self.expire(run, now_ns);
                    // If the connection is part of a message, the message's timeout limits it too.
                    let has_time = self.has_time(until_ns, run, now_ns) && !self.is_finished();
                    return if has_time { Ok(Step::Wait) } else { Err(Ending::TimedOut) };
                }
                // Without a listener the kernel reports a refusal (tcp(7)). A reset means that the
                // connection was made, if only in the backlog of a listener that has closed since.
                Err(error) if is_reset(&error) => Some(error),
                Err(error) => return Err(Ending::NotConnected(error)),
            };
            self.opened(run, now_ns);
            if let Some(error) = failure {
                return Err(Ending::Failed(error));
            }
        }
        self.expire(run, now_ns);
        let step = match (&mut self.stage, calls.log()) {
            (Stage::Sampled(sampler), log) => {
                advance_sampled(&mut self.kind, sampler, readiness, run, log)
            }
            (_, Some(log)) => advance_logged(&mut self.kind, readiness, run, log),
            (_, None) => match &mut self.kind {
                Kind::Stream(stream, mover) => mover.advance(stream, readiness, run),
                Kind::Datagram(socket, mover) => mover.advance(socket, readiness, run),
            },
        };
        match step.map_err(Ending::Failed)? {
            // The peer may close directly after its echo.
            _ if self.is_finished() => Err(Ending::Done),
            Step::Closed => Err(Ending::Closed),
            step => Ok(step),
        }
    }

    /// Returns true while the connection may still be made. Time in which the generator could not
    /// run does not count, because it could not notice the connection.
    fn has_time(&self, until_ns: u64, run: &Run, now_ns: u64) -> bool {
        now_ns < until_ns
            || run.age_ns(self.made_ns, now_ns) < until_ns.saturating_sub(self.made_ns)
    }

    /// Gives up overdue messages.
    fn expire(&mut self, run: &mut Run, now_ns: u64) {
        match &mut self.kind {
            Kind::Stream(_, mover) => mover.expire(run, now_ns),
            Kind::Datagram(_, mover) => mover.expire(run, now_ns),
        }
    }

    fn is_connected(&self, readiness: &Readiness) -> io::Result<bool> {
        match &self.kind {
            _ if !readiness.is_writable() => Ok(false),
            Kind::Stream(stream, _) => stream.connected(),
            Kind::Datagram(..) => Ok(true),
        }
    }

    /// Returns true if the flow had a single message, which is answered or given up.
    fn is_finished(&self) -> bool {
        match &self.kind {
            Kind::Stream(_, mover) => mover.is_finished(),
            Kind::Datagram(..) => false,
        }
    }

    /// Returns true if the flow needs a slice that no event triggers: a message is overdue, the
    /// connection takes too long, or a message waits for the socket.
    pub(super) fn needs_slice(&self, run: &Run, now_ns: u64) -> bool {
        let is_too_slow = match self.stage {
            Stage::Connecting { until_ns } => !self.has_time(until_ns, run, now_ns),
            Stage::Open | Stage::Sampled(_) => false,
        };
        is_too_slow
            || self.oldest().is_some_and(|message| run.is_overdue(message, now_ns))
            || self.has_held()
    }

    fn oldest(&self) -> Option<InFlight> {
        match &self.kind {
            Kind::Stream(_, mover) => mover.oldest(),
            Kind::Datagram(_, mover) => mover.oldest(),
        }
    }

    /// Returns true if a message that was begun waits for the socket to take it.
    pub(super) fn has_held(&self) -> bool {
        self.held().is_some()
    }

    /// Returns the message that was begun and waits for the socket to take it.
    pub(super) fn held(&self) -> Option<InFlight> {
        match &self.kind {
            Kind::Stream(..) => None,
            Kind::Datagram(_, mover) => mover.held(),
        }
    }

    /// Counts the messages of a flow that ended as lost.
    pub(super) fn give_up_all(&mut self, run: &mut Run) {
        let cause = match &self.ending {
            Some(Ending::Done | Ending::Closed) => LossCause::Disconnected,
            Some(Ending::TimedOut) => LossCause::TimedOut,
            Some(Ending::NotConnected(error) | Ending::Failed(error)) => LossCause::of(error),
            None => LossCause::Other,
        };
        match &mut self.kind {
            Kind::Stream(_, mover) => mover.give_up_all(cause, run),
            Kind::Datagram(_, mover) => mover.give_up_all(cause, run),
        }
    }

    /// Returns true if a message was answered on this connection.
    pub(super) fn has_answered(&self) -> bool {
        match &self.kind {
            Kind::Stream(_, mover) => mover.has_answered(),
            Kind::Datagram(..) => false,
        }
    }
}

/// Moves the bytes of a slice with timestamps of samples.
#[inline(never)]
fn advance_sampled(
    kind: &mut Kind,
    sampler: &mut Sampler,
    readiness: &mut Readiness,
    run: &mut Run,
    log: Option<&CallLog>,
) -> io::Result<Step> {
    let step = match kind {
        Kind::Stream(stream, mover) => {
            let names = stream.call_names();
            let mut wire = SampledStream { stream, sampler: &mut *sampler };
            match log {
                None => mover.advance(&mut wire, readiness, run),
                Some(log) => {
                    mover.advance(&mut Logged { inner: &mut wire, log, names }, readiness, run)
                }
            }
        }
        Kind::Datagram(socket, mover) => {
            let wire = SampledDatagram { socket, sampler: RefCell::new(&mut *sampler) };
            match log {
                None => mover.advance(&wire, readiness, run),
                Some(log) => mover.advance(&LoggedWire { wire: &wire, log }, readiness, run),
            }
        }
    };
    run.take_sample(sampler);
    step
}

/// Moves the bytes of a slice and records its system calls.
fn advance_logged(
    kind: &mut Kind,
    readiness: &mut Readiness,
    run: &mut Run,
    log: &CallLog,
) -> io::Result<Step> {
    match kind {
        Kind::Stream(stream, mover) => {
            let names = stream.call_names();
            mover.advance(&mut Logged { inner: stream, log, names }, readiness, run)
        }
        Kind::Datagram(socket, mover) => {
            mover.advance(&LoggedWire { wire: socket, log }, readiness, run)
        }
    }
}

/// Returns true if an error says that the peer reset the connection.
pub(super) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}

impl reactor::Source for Source {
    fn kind(&self) -> &'static str {
        match &self.0.kind {
            Kind::Stream(..) => "connection",
            Kind::Datagram(..) => "socket",
        }
    }

    fn interest(&self) -> Interest {
        match &self.0.kind {
            Kind::Stream(..) => STREAM_INTEREST,
            Kind::Datagram(_, mover) if mover.wants_writable() => {
                Interest::READABLE | Interest::WRITABLE
            }
            Kind::Datagram(..) => Interest::READABLE,
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0.kind {
            Kind::Stream(stream, _) => stream.as_fd(),
            Kind::Datagram(socket, _) => socket.as_fd(),
        }
    }
}

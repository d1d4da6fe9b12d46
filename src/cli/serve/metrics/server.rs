//! The handler: whom it takes, whom it refuses, and for how long it bears with them.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use mio::Interest;
use resound::Readiness;
use resound::reactor::{self, Closed, Context, Handler, Key, LoopCounts, Next, Sources};
use resound::socket::{Listener, Stream};
use tracing::warn;

use super::asker::Asker;
use super::exchange::{Exchange, Step};
use super::http::{Asked, HEAD_BYTES_MAX, Page, Status, reasoned, response};
use super::text::{self, Setting};
use crate::cli::serve::console::WARNING_INTERVAL;
use crate::cli::serve::inquiry::Silent;

/// Connections at once. A few Prometheus servers, a supervisor and a person or two; the descriptors
/// are taken from those of the echo.
pub(super) const CONNECTIONS_MAX: usize = 16;

/// For a request and its response, all in all. Prometheus itself waits for 10 s unless told
/// otherwise.
pub(super) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the loops have to answer. A turn takes milliseconds at the worst.
pub(super) const LOOPS_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a peer may take to close once it has its response.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection keeps its place from a newer one: time for a request to arrive that was
/// sent along with the connection. All places turn over in this time at the most, so that a backlog
/// of 1,024 takes a second and a third.
pub(super) const YIELD_AFTER: Duration = Duration::from_millis(20);

/// How long a listener rests after a failed accept, say for want of descriptors: it is
/// edge-triggered, and no event comes for those who are queued already.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Everything that is in the reactor.
#[derive(Debug)]
pub(super) enum Source {
    Listener(Box<Listener>),
    Connection(Box<Connection>),
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    exchange: Exchange,
    placed_at: Instant,
    /// When it is closed at the latest, even in the middle of its exchange.
    deadline: Instant,
}

impl Connection {
    fn new(stream: Stream, now: Instant) -> Connection {
        let deadline = now + EXCHANGE_TIMEOUT;
        Connection { stream, exchange: Exchange::new(), placed_at: now, deadline }
    }

    /// Whether it can give its place to a newer one, and before which others: first one whose
    /// response is sent, then the oldest. One that waits for the loops keeps its place: it has
    /// asked, and has its answer soon.
    fn yields(&self) -> Option<(bool, Instant)> {
        match self.exchange {
            Exchange::Waiting { .. } => None,
            Exchange::Lingering { .. } => Some((false, self.placed_at)),
            Exchange::Request { .. } | Exchange::Response { .. } => Some((true, self.placed_at)),
        }
    }
}

/// Serves the pages.
#[derive(Debug)]
pub(super) struct Server {
    asker: Asker,
    setting: Setting,
    connections_open: usize,
    /// Connections that wait for a place: at most one of each listener, which accepts no more as
    /// long as its own waits.
    newcomers: Vec<(Key, Stream)>,
    /// The connection that gives up its place in its next slice, if it still yields then.
    yielding: Option<Key>,
    /// Listeners that rest, and until when.
    resting: Vec<(Key, Instant)>,
    /// When a failed accept may be logged again.
    quiet_until: Option<Instant>,
}

impl Server {
    pub(super) fn new(asker: Asker, setting: Setting) -> Server {
        Server {
            asker,
            setting,
            connections_open: 0,
            newcomers: Vec::new(),
            yielding: None,
            resting: Vec::new(),
            quiet_until: None,
        }
    }

    fn listener_ready(
        &mut self,
        listener: &Listener,
        readiness: &mut Readiness,
        context: &mut Context<'_, Source>,
    ) -> Next {
        if self.newcomers.iter().any(|(key, _)| *key == context.key()) {
            return Next::Wait; // it is woken when its newcomer has a place
        }
        // One a slice: of a burst that is served or gone at once, each has had a slice of its own
        // by the time its place is wanted.
        match listener.accept() {
            Ok((stream, _)) if self.connections_open < CONNECTIONS_MAX => {
                self.place(stream, context);
                Next::Again
            }
            Ok((stream, _)) => {
                self.newcomers.push((context.key(), stream));
                Next::Wait
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                readiness.clear_readable();
                Next::Wait
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Next::Again,
            Err(error) => {
                self.rest(&error, context);
                Next::Wait
            }
        }
    }

    fn place(&mut self, stream: Stream, context: &mut Context<'_, Source>) {
        self.connections_open += 1;
        let connection = Connection::new(stream, context.now());
        context.insert(Source::Connection(Box::new(connection)));
    }

    /// Finds the connection whose place a newcomer gets, and gives it a last slice. Returns when to
    /// look again: the oldest has had its time then.
    fn make_room(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) -> Option<Instant> {
        self.yielding = None;
        if self.newcomers.is_empty() {
            return None;
        }
        let yielding = |(key, source): (Key, &Source)| match source {
            Source::Connection(connection) => Some((connection.yields()?, key)),
            Source::Listener(_) => None,
        };
        let ((_, placed_at), key) =
            sources.iter().filter_map(yielding).min_by_key(|(order, _)| *order)?;
        let yields_at = placed_at + YIELD_AFTER;
        if context.now() < yields_at {
            return Some(yields_at);
        }
        self.yielding = Some(key);
        context.wake(key);
        None
    }

    fn rest(&mut self, error: &io::Error, context: &mut Context<'_, Source>) {
        let now = context.now();
        let key = context.key();
        self.resting.retain(|(resting, _)| *resting != key);
        self.resting.push((key, now + ACCEPT_RETRY));
        if self.quiet_until.is_none_or(|until| now >= until) {
            self.quiet_until = Some(now + WARNING_INTERVAL);
            let reason = resound::reason(error);
            warn!("metrics: cannot accept: {reason}; trying again every {ACCEPT_RETRY:?}");
        }
    }

    fn connection_ready(
        &mut self,
        connection: &mut Connection,
        readiness: &mut Readiness,
        context: &Context<'_, Source>,
    ) -> Next {
        let next = self.advance(connection, readiness, context.now());
        // Its last slice has read what had come. It keeps its place if that is a whole request.
        if next != Next::Close && self.yielding == Some(context.key()) {
            let yields = connection.yields().is_some();
            if yields && matches!(connection.exchange, Exchange::Request { .. }) {
                refuse(&mut connection.stream);
            }
            return if yields { Next::Close } else { next };
        }
        next
    }

    fn advance(
        &mut self,
        connection: &mut Connection,
        readiness: &mut Readiness,
        now: Instant,
    ) -> Next {
        let Connection { stream, exchange, deadline, .. } = connection;
        if now >= *deadline {
            return Next::Close;
        }
        if let Exchange::Waiting { asked, question } = *exchange
            && let Some(response) = self.response(asked, question)
        {
            *exchange = Exchange::respond(response);
        }
        match exchange.advance(stream, readiness) {
            Ok(Step::Wait) => Next::Wait,
            Ok(Step::Again) => Next::Again,
            Ok(Step::Asked(asked)) => {
                *exchange = Exchange::Waiting { asked, question: self.asker.next_question() };
                Next::Wait
            }
            Ok(Step::Sent) => {
                *exchange = Exchange::linger();
                *deadline = (now + LINGER_TIMEOUT).min(*deadline);
                if stream.shutdown_write().is_ok() { Next::Again } else { Next::Close }
            }
            // A peer that is gone is its own affair.
            Ok(Step::Finished) | Err(_) => Next::Close,
        }
    }

    /// When this source is to have a slice that no event brings: a connection has one when what it
    /// waits for is there, and at its deadline.
    fn due_at(&self, source: &Source, now: Instant) -> Option<Instant> {
        let Source::Connection(connection) = source else { return None };
        match connection.exchange {
            Exchange::Waiting { question, .. } if self.asker.outcome(question).is_some() => {
                Some(now)
            }
            _ => Some(connection.deadline),
        }
    }

    /// The response to what was asked; `None` while the question is underway.
    fn response(&self, asked: Asked, question: u64) -> Option<Vec<u8>> {
        let Asked { page, head_only } = asked;
        Some(match (self.asker.outcome(question)?, page) {
            (Err(Silent), _) => reasoned(Status::Unavailable, "a loop does not answer", head_only),
            (Ok(answers), Page::Health) if text::is_draining(answers) => {
                reasoned(Status::Unavailable, "draining", head_only)
            }
            (Ok(_), Page::Health) => reasoned(Status::Ok, "ok", head_only),
            (Ok(answers), Page::Metrics(format)) => {
                let body = text::page(&self.setting, answers, format);
                response(Status::Ok, format.content_type(), &body, head_only)
            }
        })
    }
}

/// Tells a peer that has lost its place, as far as that goes at once. What it has sent is read,
/// since a close with input unread resets the connection.
fn refuse(stream: &mut Stream) {
    let _ = stream.read(&mut [0; HEAD_BYTES_MAX]);
    let _ = stream.write(&reasoned(Status::Unavailable, "too many connections", false));
}

impl Handler for Server {
    type Source = Source;

    fn ready(
        &mut self,
        source: &mut Source,
        readiness: &mut Readiness,
        context: &mut Context<'_, Source>,
    ) -> Next {
        match source {
            Source::Listener(listener) => self.listener_ready(listener, readiness, context),
            Source::Connection(connection) => self.connection_ready(connection, readiness, context),
        }
    }

    fn closed(&mut self, source: Source, _: Closed, context: &mut Context<'_, Source>) {
        let Source::Connection(_) = source else { return };
        self.connections_open -= 1;
        if !self.newcomers.is_empty() {
            let (listener, stream) = self.newcomers.remove(0);
            self.place(stream, context);
            context.wake(listener);
        }
    }

    /// The loops have answered, or were given up. The tick behind this passes it on.
    fn asked(&mut self, _: &LoopCounts) {
        self.asker.hear();
    }

    fn tick(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) -> Option<Instant> {
        let now = context.now();
        let due = |(key, source)| Some((key, self.due_at(source, now)?));
        let connections = sources.iter().filter_map(due);
        let mut next: Option<Instant> = None;
        let mut wake_at = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
        for (key, at) in self.resting.iter().copied().chain(connections) {
            if at <= now {
                context.wake(key);
            } else {
                wake_at(at);
            }
        }
        if let Some(at) = self.make_room(sources, context) {
            wake_at(at);
        }
        self.resting.retain(|(_, until)| *until > now);
        next
    }
}

impl From<Listener> for Source {
    fn from(listener: Listener) -> Source {
        Source::Listener(Box::new(listener))
    }
}

impl reactor::Source for Source {
    fn interest(&self) -> Interest {
        match self {
            Source::Listener(_) => Interest::READABLE,
            Source::Connection(_) => Interest::READABLE | Interest::WRITABLE,
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Listener(listener) => listener.as_fd(),
            Source::Connection(connection) => connection.stream.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests;

//! The handler: which connections it accepts, refuses and closes, and when.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use mio::Interest;

use super::Figures;
use super::exchange::{Exchange, Step};
use super::http::{HEAD_BYTES_MAX, Page, PageRequest, Status, response, text_response};
use crate::reactor::{self, Closed, Context, Handle, Handler, Key, Next, SourceContext, Sources};
use crate::readiness::Readiness;
use crate::socket::{Listener, Stream};

/// The maximum number of connections at once: enough for a few Prometheus servers, a supervisor and
/// a person or two. Their descriptors are taken from those of the echo server.
pub(super) const CONNECTIONS_MAX: usize = 16;

/// The time for a request and its response together. Prometheus itself waits 10 s by default.
pub(super) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The time between two warnings about failed accepts.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// The time that a peer has to close after its response.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection keeps its place when a newer one waits: long enough for a request to
/// arrive that was sent right after the connection. All places turn over at least this often, so a
/// backlog of 1,024 takes 1.3 s.
pub(super) const YIELD_AFTER: Duration = Duration::from_millis(20);

/// How long a listener pauses after a failed accept, for example without a free descriptor. The
/// listener is edge-triggered, so no event comes for connections that are already queued.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A source of the reactor.
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
    /// When the connection is closed, even in the middle of its exchange.
    deadline: Instant,
}

impl Connection {
    fn new(stream: Stream, now: Instant) -> Connection {
        let deadline = now + EXCHANGE_TIMEOUT;
        Connection { stream, exchange: Exchange::new(), placed_at: now, deadline }
    }

    /// Returns the order in which connections give their places to newer ones, or `None` if this
    /// one keeps its place. Connections whose response is sent come first, then the oldest. A
    /// connection that waits for its figures keeps its place, because it has its reply soon.
    fn yields(&self) -> Option<(bool, Instant)> {
        match self.exchange {
            Exchange::Waiting { .. } => None,
            Exchange::Lingering { .. } => Some((false, self.placed_at)),
            Exchange::Request { .. } | Exchange::Response { .. } => Some((true, self.placed_at)),
        }
    }
}

/// The figures for the connection that asked.
#[derive(Debug)]
pub(super) struct Reply<S> {
    key: Key,
    snapshot: S,
}

/// The handler that serves the pages.
#[derive(Debug)]
pub(super) struct Server<F: Figures> {
    figures: F,
    /// How long the figures may take.
    timeout: Duration,
    /// Used by the source of the figures to send them to this handler.
    handle: Handle<Reply<F::Snapshot>>,
    /// The figures for connections that wait for them, until their next slice.
    replies: Vec<Reply<F::Snapshot>>,
    connections_open: usize,
    /// Connections that wait for a place: at most one per listener, which accepts no more while its
    /// connection waits.
    newcomers: Vec<(Key, Stream)>,
    /// The connection that gives up its place in its next slice, if it can still yield then.
    yielding: Option<Key>,
    /// When the next failed accept may be logged.
    quiet_until: Option<Instant>,
}

impl<F: Figures> Server<F> {
    pub(super) fn new(
        figures: F,
        timeout: Duration,
        handle: Handle<Reply<F::Snapshot>>,
    ) -> Server<F> {
        Server {
            figures,
            timeout,
            handle,
            replies: Vec::new(),
            connections_open: 0,
            newcomers: Vec::new(),
            yielding: None,
            quiet_until: None,
        }
    }

    /// Reports that the loop of the server has failed.
    pub(super) fn warn_of_end(&self, error: &io::Error) {
        let reason = crate::error::reason(error);
        self.figures.warn(&format!("the metrics server has failed: {reason}"));
    }

    fn listener_ready(
        &mut self,
        listener: &Listener,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
    ) -> Next {
        if self.newcomers.iter().any(|(key, _)| *key == context.key()) {
            return Next::Wait; // the listener is woken when its newcomer has a place
        }
        // One accept per slice: each connection of a burst has had a slice of its own before its
        // place is given away.
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

    fn place(&mut self, stream: Stream, context: &mut SourceContext<'_, Source>) {
        self.connections_open += 1;
        let connection = Connection::new(stream, context.now());
        let deadline = connection.deadline;
        let key = context.insert(Source::Connection(Box::new(connection)));
        context.wake_at(key, deadline);
    }

    /// Finds the connection whose place a newcomer gets, and gives it a last slice. Returns when to
    /// look again if the oldest connection has time left.
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

    fn rest(&mut self, error: &io::Error, context: &mut SourceContext<'_, Source>) {
        let now = context.now();
        context.wake_at(context.key(), now + ACCEPT_RETRY);
        if self.quiet_until.is_none_or(|until| now >= until) {
            self.quiet_until = Some(now + WARNING_INTERVAL);
            let reason = crate::error::reason(error);
            let pause = ACCEPT_RETRY;
            let line = format!("metrics: cannot accept: {reason}; trying again every {pause:?}");
            self.figures.warn(&line);
        }
    }

    fn connection_ready(
        &mut self,
        connection: &mut Connection,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
    ) -> Next {
        let next = self.advance(connection, readiness, context);
        // The last slice has read what had arrived. The connection keeps its place if that is a
        // whole request.
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
        context: &mut SourceContext<'_, Source>,
    ) -> Next {
        let Connection { stream, exchange, deadline, .. } = connection;
        let now = context.now();
        if now >= *deadline {
            return Next::Close;
        }
        if let Exchange::Waiting { request, until } = exchange
            && let Some(response) = self.response(*request, context.key(), now >= *until)
        {
            *exchange = Exchange::respond(response);
            context.wake_at(context.key(), *deadline);
        }
        match exchange.advance(stream, readiness) {
            Ok(Step::Wait) => Next::Wait,
            Ok(Step::Again) => Next::Again,
            Ok(Step::Requested(request)) => {
                self.ask(context.key());
                let until = now + self.timeout;
                context.wake_at(context.key(), until.min(*deadline));
                *exchange = Exchange::Waiting { request, until };
                Next::Wait
            }
            Ok(Step::Sent) => {
                *exchange = Exchange::linger();
                *deadline = (now + LINGER_TIMEOUT).min(*deadline);
                context.wake_at(context.key(), *deadline);
                if stream.shutdown_write().is_ok() { Next::Again } else { Next::Close }
            }
            // An error of the peer concerns no other connection.
            Ok(Step::Finished) | Err(_) => Next::Close,
        }
    }

    /// Asks for the figures, for the connection of this key.
    fn ask(&self, key: Key) {
        let handle = self.handle.clone();
        self.figures.ask(move |snapshot| {
            // If this reactor is gone, so is the connection.
            let _ = handle.send(Reply { key, snapshot });
        });
    }

    /// Returns the response for the connection of this key, or `None` while the figures may still
    /// come.
    fn response(&mut self, request: PageRequest, key: Key, is_late: bool) -> Option<Vec<u8>> {
        let PageRequest { page, head_only } = request;
        let unavailable = |reason| text_response(Status::Unavailable, reason, head_only);
        let Some(snapshot) = self.take_snapshot(key) else {
            return is_late.then(|| unavailable(F::LATE));
        };
        Some(match page {
            Page::Health => match F::health(&snapshot) {
                Ok(()) => text_response(Status::Ok, "ok", head_only),
                Err(reason) => unavailable(reason),
            },
            Page::Metrics(format) => {
                let body = self.figures.page(&snapshot, format);
                response(Status::Ok, format.content_type(), &body, head_only)
            }
        })
    }

    fn take_snapshot(&mut self, key: Key) -> Option<F::Snapshot> {
        let at = self.replies.iter().position(|reply| reply.key == key)?;
        Some(self.replies.swap_remove(at).snapshot)
    }
}

/// Sends a peer that lost its place the reason, if that is possible at once. Reads its input first,
/// because closing with unread input resets the connection.
fn refuse(stream: &mut Stream) {
    let _ = stream.read(&mut [0; HEAD_BYTES_MAX]);
    let _ = stream.write(&text_response(Status::Unavailable, "too many connections", false));
}

impl<F: Figures> Handler for Server<F> {
    type Source = Source;
    type Message = Reply<F::Snapshot>;

    fn ready(
        &mut self,
        source: &mut Source,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
    ) -> Next {
        match source {
            Source::Listener(listener) => self.listener_ready(listener, readiness, context),
            Source::Connection(connection) => self.connection_ready(connection, readiness, context),
        }
    }

    fn closed(&mut self, source: Source, _: Closed, context: &mut SourceContext<'_, Source>) {
        let Source::Connection(_) = source else { return };
        self.connections_open -= 1;
        self.take_snapshot(context.key());
        if !self.newcomers.is_empty() {
            let (listener, stream) = self.newcomers.remove(0);
            self.place(stream, context);
            context.wake(listener);
        }
    }

    fn message(
        &mut self,
        reply: Reply<F::Snapshot>,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        // The connection may be closed, or may have got its response because its figures were late.
        if let Some(Source::Connection(connection)) = sources.get(reply.key)
            && matches!(connection.exchange, Exchange::Waiting { .. })
        {
            context.wake(reply.key);
            self.replies.push(reply);
        }
    }

    fn tick(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) -> Option<Instant> {
        self.make_room(sources, context)
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

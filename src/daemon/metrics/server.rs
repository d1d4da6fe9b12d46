//! The handler: whom it takes, whom it refuses, and for how long it bears with them.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use mio::Interest;
use tracing::warn;

use super::exchange::{Exchange, Step};
use super::http::{Asked, HEAD_BYTES_MAX, Page, Status, reasoned, response};
use super::text::{self, Setting};
use crate::daemon::console::WARNING_INTERVAL;
use crate::daemon::handles::{Handles, Snapshots};
use crate::reactor::{self, Closed, Context, Handle, Handler, Key, Next, SourceContext, Sources};
use crate::readiness::Readiness;
use crate::socket::{Listener, Stream};

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
/// of 1,024 takes 1.3 s.
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

/// What the loops have counted, for the connection that asked.
#[derive(Debug)]
pub(super) struct Answers {
    key: Key,
    snapshots: Snapshots,
}

/// Serves the pages.
#[derive(Debug)]
pub(super) struct Server {
    handles: Handles,
    loops_timeout: Duration,
    /// By which the loops send their answers to this handler.
    handle: Handle<Answers>,
    /// For connections that wait for them, until their next slice.
    answers: Vec<Answers>,
    setting: Setting,
    connections_open: usize,
    /// Connections that wait for a place: at most one of each listener, which accepts no more as
    /// long as its own waits.
    newcomers: Vec<(Key, Stream)>,
    /// The connection that gives up its place in its next slice, if it still yields then.
    yielding: Option<Key>,
    /// When a failed accept may be logged again.
    quiet_until: Option<Instant>,
}

impl Server {
    pub(super) fn new(
        handles: Handles,
        loops_timeout: Duration,
        handle: Handle<Answers>,
        setting: Setting,
    ) -> Server {
        Server {
            handles,
            loops_timeout,
            handle,
            answers: Vec::new(),
            setting,
            connections_open: 0,
            newcomers: Vec::new(),
            yielding: None,
            quiet_until: None,
        }
    }

    fn listener_ready(
        &mut self,
        listener: &Listener,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
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

    fn place(&mut self, stream: Stream, context: &mut SourceContext<'_, Source>) {
        self.connections_open += 1;
        let connection = Connection::new(stream, context.now());
        let deadline = connection.deadline;
        let key = context.insert(Source::Connection(Box::new(connection)));
        context.wake_at(key, deadline);
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

    fn rest(&mut self, error: &io::Error, context: &mut SourceContext<'_, Source>) {
        let now = context.now();
        context.wake_at(context.key(), now + ACCEPT_RETRY);
        if self.quiet_until.is_none_or(|until| now >= until) {
            self.quiet_until = Some(now + WARNING_INTERVAL);
            let reason = crate::error::reason(error);
            warn!("metrics: cannot accept: {reason}; trying again every {ACCEPT_RETRY:?}");
        }
    }

    fn connection_ready(
        &mut self,
        connection: &mut Connection,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
    ) -> Next {
        let next = self.advance(connection, readiness, context);
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
        context: &mut SourceContext<'_, Source>,
    ) -> Next {
        let Connection { stream, exchange, deadline, .. } = connection;
        let now = context.now();
        if now >= *deadline {
            return Next::Close;
        }
        if let Exchange::Waiting { asked, until } = exchange
            && let Some(response) = self.response(*asked, context.key(), now >= *until)
        {
            *exchange = Exchange::respond(response);
            context.wake_at(context.key(), *deadline);
        }
        match exchange.advance(stream, readiness) {
            Ok(Step::Wait) => Next::Wait,
            Ok(Step::Again) => Next::Again,
            Ok(Step::Asked(asked)) => {
                self.ask(context.key());
                let until = now + self.loops_timeout;
                context.wake_at(context.key(), until.min(*deadline));
                *exchange = Exchange::Waiting { asked, until };
                Next::Wait
            }
            Ok(Step::Sent) => {
                *exchange = Exchange::linger();
                *deadline = (now + LINGER_TIMEOUT).min(*deadline);
                context.wake_at(context.key(), *deadline);
                if stream.shutdown_write().is_ok() { Next::Again } else { Next::Close }
            }
            // A peer that is gone is its own affair.
            Ok(Step::Finished) | Err(_) => Next::Close,
        }
    }

    /// Asks the loops, for the connection of this key.
    fn ask(&self, key: Key) {
        let handle = self.handle.clone();
        self.handles.ask(move |snapshots| {
            // Without this reactor, the connection is gone as well.
            let _ = handle.send(Answers { key, snapshots });
        });
    }

    /// The response for the connection of this key; `None` while the loops have time left to
    /// answer.
    fn response(&mut self, asked: Asked, key: Key, is_late: bool) -> Option<Vec<u8>> {
        let Asked { page, head_only } = asked;
        let unavailable = |reason| reasoned(Status::Unavailable, reason, head_only);
        let Some(answers) = self.take_answers(key) else {
            return is_late.then(|| unavailable("a loop does not answer"));
        };
        Some(match page {
            Page::Health if text::is_draining(&answers) => unavailable("draining"),
            Page::Health => reasoned(Status::Ok, "ok", head_only),
            Page::Metrics(format) => {
                let body = text::page(&self.setting, &answers, format);
                response(Status::Ok, format.content_type(), &body, head_only)
            }
        })
    }

    fn take_answers(&mut self, key: Key) -> Option<Snapshots> {
        let at = self.answers.iter().position(|answers| answers.key == key)?;
        Some(self.answers.swap_remove(at).snapshots)
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
    type Message = Answers;

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
        self.take_answers(context.key());
        if !self.newcomers.is_empty() {
            let (listener, stream) = self.newcomers.remove(0);
            self.place(stream, context);
            context.wake(listener);
        }
    }

    fn message(
        &mut self,
        answers: Answers,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        // A connection that is gone, or was told that a loop is silent, has no use for them.
        if let Some(Source::Connection(connection)) = sources.get(answers.key)
            && matches!(connection.exchange, Exchange::Waiting { .. })
        {
            context.wake(answers.key);
            self.answers.push(answers);
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

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
    /// When it is closed at the latest, be it in the middle of its exchange.
    deadline: Instant,
}

/// Serves the pages.
#[derive(Debug)]
pub(super) struct Server {
    asker: Asker,
    setting: Setting,
    connections_open: usize,
    /// Listeners that rest, and until when.
    resting: Vec<(Key, Instant)>,
    /// When a failed accept may be logged again.
    quiet_until: Option<Instant>,
}

impl Server {
    pub(super) fn new(asker: Asker, setting: Setting) -> Server {
        let (resting, quiet_until) = (Vec::new(), None);
        Server { asker, setting, connections_open: 0, resting, quiet_until }
    }

    fn listener_ready(
        &mut self,
        listener: &Listener,
        readiness: &mut Readiness,
        context: &mut Context<'_, Source>,
    ) -> Next {
        // One a slice: of a burst that is served or gone at once, each has had a slice of its own
        // by the time its place is wanted.
        match listener.accept() {
            Ok((stream, _)) if self.connections_open < CONNECTIONS_MAX => {
                self.connections_open += 1;
                let deadline = context.now() + EXCHANGE_TIMEOUT;
                let connection = Connection { stream, exchange: Exchange::new(), deadline };
                context.insert(Source::Connection(Box::new(connection)));
                Next::Again
            }
            // Left in the backlog, those who say nothing would keep out whoever comes behind them,
            // sixteen at a time and five seconds each.
            Ok((stream, _)) => {
                refuse(stream);
                Next::Again
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
        now: Instant,
    ) -> Next {
        let Connection { stream, exchange, deadline } = connection;
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
                *exchange = Exchange::Lingering;
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
            (Ok(_), Page::Health) => reasoned(Status::Ok, "ok", head_only),
            (Ok(answers), Page::Metrics(format)) => {
                let body = text::page(&self.setting, answers, format);
                response(Status::Ok, format.content_type(), &body, head_only)
            }
        })
    }
}

/// Tells a peer for which there is no place, as far as that goes at once. What it has asked is
/// read, since a close with input unread resets the connection.
fn refuse(mut stream: Stream) {
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
            Source::Connection(connection) => {
                self.connection_ready(connection, readiness, context.now())
            }
        }
    }

    fn closed(&mut self, source: Source, _: Closed, _: &mut Context<'_, Source>) {
        if let Source::Connection(_) = source {
            self.connections_open -= 1;
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
        for (key, at) in self.resting.iter().copied().chain(connections) {
            if at <= now {
                context.wake(key);
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
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

//! One slice of a connection, and the check whether its peer is overdue.

use std::borrow::Borrow;
use std::io::{self, Read, Write};

use super::Server;
use super::cause::{Cause, stream_cause};
use super::clock::Moment;
use super::observer::{Notice, Observer};
use super::options::Reply;
use super::source::{Connection, Source};
use super::stream::{ByteMover, Step, StreamWork};
use crate::reactor::{Calls, Logged, Next, SourceContext};
use crate::readiness::Readiness;
use crate::socket::{Peek, Splice, Stream};

impl<O: Observer> Server<O> {
    pub(super) fn connection_ready<C: Calls>(
        &mut self,
        connection: &mut Connection,
        readiness: &mut Readiness,
        context: &SourceContext<'_, Source>,
        calls: C,
    ) -> Next {
        let now = self.watch(context.now());
        if self.stage.is_finishing() {
            connection.mover.finish();
        }
        let is_due = self.timeouts.is_due(&connection.mover, now);
        if is_due {
            // Remembered readiness is not enough to judge a peer: a write and a read must find
            // nothing to do.
            readiness.merge(Readiness::WRITABLE);
            if self.timeouts.overdue(&connection.mover, now).is_some() {
                readiness.merge(Readiness::READABLE);
            }
        }
        let transport = connection.stream.transport();
        let is_recorded = !self.records.is_empty();
        let before = is_recorded.then(|| self.counters[transport].traffic);
        let Connection { stream, mover, .. } = &mut *connection;
        let step = match calls.log() {
            None => self.advance(stream, mover, readiness, now),
            Some(log) => {
                let names = stream.call_names();
                let mut logged = Logged { inner: stream, log, names };
                self.advance(&mut logged, mover, readiness, now)
            }
        };
        if let (Some(before), Some(record)) = (before, self.records.get_mut(&context.key())) {
            record.add(&before, &self.counters[transport].traffic);
        }
        let Connection { stream, mover, .. } = connection;
        let cause = match step {
            Ok(Step::Again) => return Next::Again,
            Ok(Step::Finished) => Cause::Finished,
            Ok(Step::Flushed) => match calls.make("shutdown", |()| 0, || stream.shutdown_write()) {
                Ok(()) => {
                    mover.linger();
                    return Next::Again;
                }
                Err(error) => stream_cause(&error),
            },
            Ok(Step::Wait) if is_due => match self.judge(connection, now) {
                Some(cause) => cause,
                None => return Next::Wait,
            },
            Ok(Step::Wait) => return Next::Wait,
            Err(error) => stream_cause(&error),
        };
        self.counters[transport].add(cause, 1);
        self.end_record(context.key(), cause);
        self.observer.notice(&Notice::StreamEnded { transport, cause });
        Next::Close
    }

    fn advance<T: Read + Write + Peek + Splice + Borrow<Stream>>(
        &mut self,
        stream: &mut T,
        mover: &mut ByteMover,
        readiness: &mut Readiness,
        now: Moment,
    ) -> io::Result<Step> {
        let transport = (*stream).borrow().transport();
        let mut work = StreamWork {
            scratch: &mut self.scratch,
            pipes: &mut self.pipes,
            splices: self.options.reply == Reply::Echo && !self.observer.wants_messages(),
            reply: &self.options.reply,
            unsent_bytes: &self.unsent_bytes,
            counters: &mut self.counters[transport],
            now,
        };
        let observer = &mut self.observer;
        mover.advance(stream, readiness, &mut work, |stream: &T, bytes| {
            if observer.wants_messages() {
                observer.message(transport, &stream.borrow().peer(), bytes);
            }
        })
    }

    /// Checks the send queue of a waiting connection. Returns the cause if the connection must
    /// close.
    fn judge(&self, connection: &mut Connection, now: Moment) -> Option<Cause> {
        let Connection { stream, mover, .. } = connection;
        if mover.is_waiting_for_peer()
            && let Some(queue) = stream.send_queue()
            && !mover.sample_send_queue(queue, now)
        {
            return None;
        }
        let cause = self.timeouts.overdue(mover, now)?;
        if cause == Cause::Stalled {
            stream.reset_at_close();
        }
        Some(cause)
    }
}

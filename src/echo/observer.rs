//! What a server tells whoever runs it. Nothing below the program prints.

use std::fmt;
use std::io;
use std::time::Duration;

use super::cause::Cause;
use super::counters::{Counters, TransportCounters};
use crate::endpoint::Transport;
use crate::error::reason;
use crate::socket::Peer;

/// Hears of messages and events. Statically dispatched: `()`, which hears nothing, costs nothing.
///
/// Called on the loop's thread, so an observer must not block.
pub trait Observer {
    /// Whether [`message`](Observer::message) is to be called. To name the peer of a stream takes
    /// a system call, which is saved when nobody looks.
    fn wants_messages(&self) -> bool {
        false
    }

    /// A message has arrived: a datagram, or a chunk read from a stream.
    fn message(&mut self, transport: Transport, peer: &Peer, bytes: &[u8]) {
        let _ = (transport, peer, bytes);
    }

    /// Something happened that an operator may want to read about. It may happen often.
    fn notice(&mut self, notice: &Notice<'_>) {
        let _ = notice;
    }

    /// The counters, asked for by a signal or due.
    fn report(&mut self, counters: &Counters) {
        let _ = counters;
    }
}

impl Observer for () {}

/// How much a [`Notice`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Of interest to a reader that follows every connection.
    Trace,
    /// Of interest to a reader that follows connections with trouble.
    Debug,
    /// Part of ordinary life.
    Info,
    /// Something was lost or refused.
    Warning,
}

/// Something that happened. Its [`Display`](fmt::Display) is one line for a log.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// accept failed and is tried again later.
    AcceptPaused {
        /// Of which listener.
        transport: Transport,
        /// The error of accept(2).
        error: &'a io::Error,
    },
    /// The connection limit was reached: whoever comes next waits in the backlog.
    ConnectionLimit {
        /// The limit.
        connections_max: usize,
    },
    /// A socket could not be registered.
    Unregistered {
        /// Of which transport.
        transport: Transport,
        /// Why.
        error: &'a io::Error,
    },
    /// Connections were accepted.
    Accepted {
        /// Over which transport.
        transport: Transport,
        /// How many at once.
        times: u64,
    },
    /// A stream ended.
    StreamEnded {
        /// Over which transport.
        transport: Transport,
        /// Why: [`Cause::Finished`] when its peer sent FIN.
        cause: Cause,
    },
    /// Connections were turned away, or datagrams or answers dropped, or not received.
    Dropped {
        /// Of which transport.
        transport: Transport,
        /// Why.
        cause: Cause,
        /// How many at once.
        times: u64,
    },
    /// A drain has begun.
    Draining {
        /// Connections that are still open.
        connections_open: u64,
        /// How long it waits for them.
        timeout: Duration,
    },
    /// A second signal came while draining: the loop stops at once.
    StoppedShort {
        /// Connections that are cut.
        connections_open: u64,
    },
    /// The drain's deadline came: what is still open is cut.
    DrainTimedOut {
        /// Connections that are cut.
        connections_open: u64,
    },
}

impl Notice<'_> {
    /// What sort of thing happened, and on which transport (empty for all): notices that are alike
    /// in both may be told in one.
    pub fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Notice::AcceptPaused { transport, .. } => ("accept_paused", transport.name()),
            Notice::ConnectionLimit { .. } => ("connection_limit", ""),
            Notice::Unregistered { transport, .. } => ("unregistered", transport.name()),
            Notice::StreamEnded { transport, cause } | Notice::Dropped { transport, cause, .. } => {
                (cause.name(), transport.name())
            }
            Notice::Accepted { transport, .. } => ("accepted", transport.name()),
            Notice::Draining { .. } => ("draining", ""),
            Notice::StoppedShort { .. } => ("stopped_short", ""),
            Notice::DrainTimedOut { .. } => ("drain_timed_out", ""),
        }
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Notice::Accepted { .. } | Notice::StreamEnded { cause: Cause::Finished, .. } => {
                Severity::Trace
            }
            Notice::StreamEnded { .. } => Severity::Debug,
            Notice::Draining { .. } => Severity::Info,
            _ => Severity::Warning,
        }
    }
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::AcceptPaused { transport, error } => {
                let reason = reason(error);
                write!(formatter, "{}: accepting pauses: {reason}", transport.name())
            }
            Notice::ConnectionLimit { connections_max } => {
                write!(
                    formatter,
                    "{connections_max} connections open, the limit: whoever comes next waits"
                )
            }
            Notice::Unregistered { transport, error } => {
                let reason = reason(error);
                write!(formatter, "{}: a socket was closed unserved: {reason}", transport.name())
            }
            Notice::Accepted { transport, times } => {
                write!(formatter, "{}: accepted ({times} at once)", transport.name())
            }
            Notice::StreamEnded { transport, cause } => {
                write!(formatter, "{}: connection closed: {}", transport.name(), cause.name())
            }
            // The kernel counts a train that comes whole as one.
            Notice::Dropped { transport, cause: cause @ Cause::Overflowed, times } => {
                let (transport, cause) = (transport.name(), cause.name());
                write!(formatter, "{transport}: {cause} ({times} datagrams or trains at once)")
            }
            Notice::Dropped { transport, cause, times } => {
                write!(formatter, "{}: {} ({times} at once)", transport.name(), cause.name())
            }
            Notice::Draining { connections_open, timeout } => write!(
                formatter,
                "draining: {connections_open} connections open, waiting for them up to {timeout:?}"
            ),
            Notice::StoppedShort { connections_open } => {
                write!(formatter, "second signal: {connections_open} connections are cut")
            }
            Notice::DrainTimedOut { connections_open } => {
                write!(formatter, "drain timed out: {connections_open} connections are cut")
            }
        }
    }
}

/// Tells of connections that were turned away and of datagrams that were lost between the two.
pub(super) fn notice_losses<O: Observer>(
    observer: &mut O,
    transport: Transport,
    before: &TransportCounters,
    after: &TransportCounters,
) {
    for &(cause, _) in Cause::ALL {
        let times = after.count(cause) - before.count(cause);
        if times > 0 && cause.is_loss() {
            observer.notice(&Notice::Dropped { transport, cause, times });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// case U16
    #[test]
    fn a_notice_of_an_overflow_says_what_its_count_is_of() {
        let dropped = |cause| Notice::Dropped { transport: Transport::Udp, cause, times: 3 };
        assert_eq!(
            dropped(Cause::Overflowed).to_string(),
            "udp: overflowed (3 datagrams or trains at once)"
        );
        assert_eq!(dropped(Cause::LoopPort).to_string(), "udp: loop_port (3 at once)");
    }
}

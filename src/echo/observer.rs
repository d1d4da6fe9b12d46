//! The interface by which a server reports to its caller. The server itself prints nothing.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::cause::Cause;
use super::counters::{Counters, Traffic, TransportCounters};
use crate::endpoint::Transport;
use crate::error::reason;
use crate::socket::Peer;
use crate::units::counted;

/// Receives messages and notices from a server. Calls are dispatched statically, so `()`, which
/// ignores everything, costs nothing.
///
/// The server calls it on the loop's thread, so an observer must not block.
pub trait Observer {
    /// Returns true if the server must call [`message`](Observer::message). Otherwise the server
    /// saves the system call that finds the peer of a stream, and may move bulk by splice(2).
    fn wants_messages(&self) -> bool {
        false
    }

    /// Receives a message that has arrived: a datagram, or a chunk read from a stream.
    fn message(&mut self, transport: Transport, peer: &Peer, bytes: &[u8]) {
        let _ = (transport, peer, bytes);
    }

    /// Returns true if the server must call [`connection_ended`](Observer::connection_ended). It
    /// then keeps a record of each connection.
    fn wants_records(&self) -> bool {
        false
    }

    /// Receives the record of a connection that has ended, and why.
    fn connection_ended(&mut self, record: &ConnectionRecord, cause: Cause) {
        let _ = (record, cause);
    }

    /// Receives a notice for the operator. Notices may be frequent.
    fn notice(&mut self, notice: &Notice<'_>) {
        let _ = notice;
    }

    /// Receives the counters, at the report interval or when a signal asks for them.
    fn report(&mut self, counters: &Counters) {
        let _ = counters;
    }
}

impl Observer for () {}

/// What a connection did, from its accept to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionRecord {
    /// The transport of the connection.
    pub transport: Transport,
    /// Its peer, as accept(2) returned it.
    pub peer: Peer,
    /// The turn in which it was accepted.
    pub accepted_at: Instant,
    /// The bytes received from the peer.
    pub bytes_in: u64,
    /// The bytes that the kernel took for the peer.
    pub bytes_out: u64,
}

impl ConnectionRecord {
    pub(super) fn new(transport: Transport, peer: Peer, accepted_at: Instant) -> ConnectionRecord {
        ConnectionRecord { transport, peer, accepted_at, bytes_in: 0, bytes_out: 0 }
    }

    /// Adds what the transport's traffic has grown by in a slice of this connection.
    pub(super) fn add(&mut self, before: &Traffic, after: &Traffic) {
        self.bytes_in += after.bytes_in - before.bytes_in;
        self.bytes_out += after.bytes_out - before.bytes_out;
    }
}

/// How much a [`Notice`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For a reader that follows every connection.
    Trace,
    /// For a reader that follows connections with problems.
    Debug,
    /// Ordinary operation.
    Info,
    /// Something was lost or refused.
    Warning,
}

/// Something that happened. Its [`Display`](fmt::Display) is one line for a log.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// accept(2) failed. The server tries again later.
    AcceptPaused {
        /// The transport of the listener.
        transport: Transport,
        /// The error of accept(2).
        error: &'a io::Error,
    },
    /// The connection limit was reached. Further clients wait in the backlog.
    ConnectionLimit {
        /// The limit.
        connections_max: usize,
    },
    /// A socket could not be registered.
    Unregistered {
        /// The transport of the socket.
        transport: Transport,
        /// The reason.
        error: &'a io::Error,
    },
    /// Connections were accepted.
    Accepted {
        /// The transport of the connections.
        transport: Transport,
        /// The number of connections.
        times: u64,
    },
    /// A stream ended.
    StreamEnded {
        /// The transport of the stream.
        transport: Transport,
        /// The reason: [`Cause::Finished`] when the peer sent FIN.
        cause: Cause,
    },
    /// Connections were turned away, datagrams or replies were dropped, or receives failed.
    Dropped {
        /// The transport of the connections or datagrams.
        transport: Transport,
        /// The reason.
        cause: Cause,
        /// The number of connections, datagrams, replies or receives.
        times: u64,
    },
    /// A drain has begun.
    Draining {
        /// The number of open connections.
        connections_open: u64,
        /// How long the drain waits for them.
        timeout: Duration,
    },
    /// A second signal came during the drain. The loop stops at once.
    StoppedShort {
        /// The number of connections that are cut.
        connections_open: u64,
    },
    /// The drain reached its deadline. The server cuts what is still open.
    DrainTimedOut {
        /// The number of connections that are cut.
        connections_open: u64,
    },
}

impl Notice<'_> {
    /// Returns the name of the notice's kind and the name of its transport, which is empty for a
    /// notice about all transports. A log may merge notices that are equal in both.
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

    /// Returns how much the notice matters.
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
                let open = counted(*connections_max as u64, "connection");
                write!(formatter, "{open} open, the limit: further clients wait")
            }
            Notice::Unregistered { transport, error } => {
                let reason = reason(error);
                write!(formatter, "{}: closed a socket unserved: {reason}", transport.name())
            }
            Notice::Accepted { transport, times } => {
                write!(formatter, "{}: accepted ({times} at once)", transport.name())
            }
            Notice::StreamEnded { transport, cause } => {
                write!(formatter, "{}: connection closed: {}", transport.name(), cause.name())
            }
            // The kernel counts a train that it receives whole as one datagram.
            Notice::Dropped { transport, cause: cause @ Cause::Overflowed, times } => {
                let (transport, cause) = (transport.name(), cause.name());
                write!(formatter, "{transport}: {cause} ({times} at once, datagrams or trains)")
            }
            Notice::Dropped { transport, cause, times } => {
                write!(formatter, "{}: {} ({times} at once)", transport.name(), cause.name())
            }
            Notice::Draining { connections_open, timeout } => {
                let open = counted(*connections_open, "connection");
                write!(formatter, "draining: {open} open, waiting up to {timeout:?}")
            }
            Notice::StoppedShort { connections_open } => {
                let open = counted(*connections_open, "connection");
                write!(formatter, "second signal: {open} cut")
            }
            Notice::DrainTimedOut { connections_open } => {
                let open = counted(*connections_open, "connection");
                write!(formatter, "drain timed out: {open} cut")
            }
        }
    }
}

/// Tells the observer of the connections turned away and the datagrams lost between two states of
/// the counters.
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
    fn a_notice_of_an_overflow_says_that_it_counts_datagrams_or_trains() {
        let dropped = |cause| Notice::Dropped { transport: Transport::Udp, cause, times: 3 };
        assert_eq!(
            dropped(Cause::Overflowed).to_string(),
            "udp: overflowed (3 at once, datagrams or trains)"
        );
        assert_eq!(dropped(Cause::LoopPort).to_string(), "udp: loop_port (3 at once)");
    }
}

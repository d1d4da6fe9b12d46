//! The sources of an echo server, which the reactor holds.

use std::os::fd::{AsFd, BorrowedFd};

use mio::Interest;

use super::cause::Cause;
use super::counters::{Counters, TransportCounters};
use super::datagram::{HeldReplies, HeldTrains, PacketMover, Policy};
use super::guard::ClientKey;
use super::stream::ByteMover;
use crate::endpoint::Transport;
use crate::reactor;
use crate::socket::{Datagram, Listener, STREAM_INTEREST, Stream};

/// One source of an echo [`Server`](super::Server): a connection, a listener or a datagram socket.
/// The server makes it and the reactor holds it.
#[derive(Debug)]
pub struct Source(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Connection(Connection),
    // Endpoints are few and connections are many. Boxed endpoints do not widen the entries of the
    // reactor's list of sources.
    Listener(Box<Listener>),
    Udp(Box<Packets<HeldTrains>>),
    Unixgram(Box<Packets<HeldReplies>>),
}

impl Kind {
    /// Returns the name that a Unix datagram socket is bound to.
    pub(super) fn unix_name(&self) -> Option<Box<[u8]>> {
        match self {
            Kind::Unixgram(packets) => packets.socket.unix_name(),
            Kind::Connection(_) | Kind::Listener(_) | Kind::Udp(_) => None,
        }
    }

    /// Returns the length of the longest datagram that a datagram socket can send.
    pub(super) fn datagram_bytes_max(&self) -> Option<usize> {
        match self {
            Kind::Udp(packets) => Some(packets.socket.datagram_bytes_max()),
            Kind::Unixgram(packets) => Some(packets.socket.datagram_bytes_max()),
            Kind::Connection(_) | Kind::Listener(_) => None,
        }
    }
}

/// An accepted stream and its mover.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) mover: ByteMover,
    /// The key of its client in the count of connections per address.
    pub(super) client: ClientKey,
}

/// A datagram socket and its mover.
#[derive(Debug)]
pub(super) struct Packets<P> {
    pub(super) socket: Datagram,
    pub(super) mover: PacketMover<P>,
    /// Other hosts can reach the socket, and may forge their source addresses.
    pub(super) is_exposed: bool,
}

impl<P: Policy> Packets<P> {
    /// Counts the datagrams that the kernel lost after the last received datagram, which reported
    /// earlier losses. Call it once, when the socket closes.
    pub(super) fn count_last_overflow(&self, counters: &mut TransportCounters) {
        if let Some(overflow) = self.socket.lost() {
            counters.add(Cause::Overflowed, self.mover.overflow_since(overflow));
        }
    }

    /// Counts the held replies as cut, and what the kernel lost after the last received datagram.
    pub(super) fn count_cut(&self, counters: &mut Counters) {
        let counters = &mut counters[self.socket.transport()];
        counters.add(Cause::ReplyStalled, self.mover.held() as u64);
        self.count_last_overflow(counters);
    }
}

impl Source {
    /// Returns the transport of the source.
    pub fn transport(&self) -> Transport {
        match &self.0 {
            Kind::Listener(listener) => listener.transport(),
            Kind::Connection(connection) => connection.stream.transport(),
            Kind::Udp(_) => Transport::Udp,
            Kind::Unixgram(_) => Transport::Unixgram,
        }
    }

    /// Returns true if the source is an accepted connection, and false if it is an endpoint.
    pub fn is_connection(&self) -> bool {
        matches!(self.0, Kind::Connection(_))
    }
}

impl reactor::Source for Source {
    fn interest(&self) -> Interest {
        match &self.0 {
            Kind::Listener(_) => Interest::READABLE,
            // Never changed, because each change would cost a system call.
            Kind::Connection(_) => STREAM_INTEREST,
            Kind::Udp(packets) if packets.mover.wants_writable() => {
                Interest::READABLE.add(Interest::WRITABLE)
            }
            Kind::Udp(_) | Kind::Unixgram(_) => Interest::READABLE,
        }
    }

    fn kind(&self) -> &'static str {
        let of_stream = |listener, connection| match self.is_connection() {
            true => connection,
            false => listener,
        };
        match self.transport() {
            Transport::Tcp => of_stream("tcp listener", "tcp connection"),
            Transport::Unix => of_stream("unix listener", "unix connection"),
            Transport::Udp => "udp socket",
            Transport::Unixgram => "unixgram socket",
        }
    }

    /// A listener rests at the connection limit. The next connection that closes wakes it.
    fn may_rest(&self) -> bool {
        matches!(self.0, Kind::Listener(_))
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Connection(connection) => connection.stream.as_fd(),
            Kind::Listener(listener) => listener.as_fd(),
            Kind::Udp(packets) => packets.socket.as_fd(),
            Kind::Unixgram(packets) => packets.socket.as_fd(),
        }
    }
}

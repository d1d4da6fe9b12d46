//! The sources of an echo server: what the reactor holds for it.

use std::os::fd::{AsFd, BorrowedFd};

use mio::Interest;

use super::cause::Cause;
use super::counters::TransportCounters;
use super::datagram::PacketMover;
use super::guard::ClientKey;
use super::stream::ByteMover;
use crate::endpoint::Transport;
use crate::reactor;
use crate::socket::{Datagram, Listener, Stream};

/// One source of an echo [`Server`](super::Server): made by it, held by its reactor.
#[derive(Debug)]
pub struct Source(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Connection(Connection),
    // Endpoints are few and connections many: boxed, they do not widen every slot of the slab.
    Listener(Box<Listener>),
    Packets(Box<Packets>),
}

impl Kind {
    /// The name that a Unix datagram socket is bound to.
    pub(super) fn unix_name(&self) -> Option<Box<[u8]>> {
        match self {
            Kind::Packets(packets) => packets.socket.unix_name(),
            Kind::Connection(_) | Kind::Listener(_) => None,
        }
    }

    /// The longest datagram that it can send.
    pub(super) fn datagram_bytes_max(&self) -> Option<usize> {
        match self {
            Kind::Packets(packets) => Some(packets.socket.datagram_bytes_max()),
            Kind::Connection(_) | Kind::Listener(_) => None,
        }
    }
}

/// An accepted stream and its part in the echo.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) mover: ByteMover,
    /// Whose connection it is, for the count by address.
    pub(super) client: ClientKey,
}

/// A datagram socket and its part in the echo.
#[derive(Debug)]
pub(super) struct Packets {
    pub(super) socket: Datagram,
    pub(super) mover: PacketMover,
    /// Other hosts can reach it, and may have forged their addresses.
    pub(super) is_exposed: bool,
}

impl Packets {
    /// Counts what was lost behind the last datagram that told of it. To be called at the end.
    pub(super) fn count_last_overflow(&self, counters: &mut TransportCounters) {
        if let Some(overflow) = self.socket.lost() {
            counters.add(Cause::Overflowed, self.mover.overflow_since(overflow));
        }
    }
}

impl Source {
    /// How its bytes travel.
    pub fn transport(&self) -> Transport {
        match &self.0 {
            Kind::Listener(listener) => listener.transport(),
            Kind::Connection(connection) => connection.stream.transport(),
            Kind::Packets(packets) => packets.socket.transport(),
        }
    }

    /// Whether it is an accepted connection, rather than an endpoint.
    pub fn is_connection(&self) -> bool {
        matches!(self.0, Kind::Connection(_))
    }
}

impl reactor::Source for Source {
    fn interest(&self) -> Interest {
        match &self.0 {
            Kind::Listener(_) => Interest::READABLE,
            // Once and for all: to change it would cost a system call each time.
            Kind::Connection(_) => STREAM_INTEREST,
            Kind::Packets(packets) if packets.mover.wants_writable() => {
                Interest::READABLE.add(Interest::WRITABLE)
            }
            Kind::Packets(_) => Interest::READABLE,
        }
    }

    /// A listener rests at the connection limit, and the next connection that closes wakes it.
    fn may_rest(&self) -> bool {
        matches!(self.0, Kind::Listener(_))
    }
}

/// Both directions, and out-of-band data: a read stops short at its mark, which must not be taken
/// for an empty socket.
#[cfg(any(target_os = "linux", target_os = "android"))]
const STREAM_INTEREST: Interest =
    Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const STREAM_INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Connection(connection) => connection.stream.as_fd(),
            Kind::Listener(listener) => listener.as_fd(),
            Kind::Packets(packets) => packets.socket.as_fd(),
        }
    }
}

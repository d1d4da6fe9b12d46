//! What load to make.

use std::path::PathBuf;
use std::time::Duration;

use super::pacing::Spacing;
use crate::endpoint::{ResolvedEndpoint, Transport};
use crate::measured::{Mode, PercentileList};
use crate::reactor::Spin;
use crate::socket::SocketOptions;

/// The load to make, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to.
    pub target: ResolvedEndpoint,
    /// Connections, or client sockets; at least 1.
    pub connections: u32,
    /// Bytes a message; at least 1.
    pub length_bytes: usize,
    /// Messages in flight on a connection, at most; at least 1.
    pub in_flight_max: usize,
    /// How long to measure; without it until `count` messages are sent.
    pub duration: Option<Duration>,
    /// How many messages to measure; without it until `duration` is over.
    pub count: Option<u64>,
    /// Messages a second in all, at least 1 (an open loop); without it each message waits for an
    /// earlier one's echo (a closed loop).
    pub rate: Option<u64>,
    /// The spacing of an open loop.
    pub spacing: Spacing,
    /// Whether a message is an echo, or a connection with one echo.
    pub mode: Mode,
    /// Open stream connections that end again, with growing pauses; what is due meanwhile is lost.
    /// Without effect where each message is a connection, and on datagram sockets, which stay open
    /// in any case.
    pub reconnect: bool,
    /// How long to go on before measuring.
    pub warmup: Duration,
    /// When a message without its echo is lost.
    pub timeout: Duration,
    /// Compare every echo with what was sent.
    pub verify: bool,
    /// At which percentiles times are summed up.
    pub percentiles: PercentileList,
    /// How often to tell the observer.
    pub interval: Option<Duration>,
    /// How long to poll without sleeping; without it as a rate needs it.
    pub spin: Option<Spin>,
    /// Let UDP messages of a connection that may have several in flight go together (`UDP_SEGMENT`)
    /// and come together (`UDP_GRO`), where the system can.
    pub offload: bool,
    /// Settings of the sockets.
    pub socket: SocketOptions,
    /// A folder for the socket files that Unix datagrams are answered to, which the caller
    /// removes; without it the system picks abstract names, which only Linux has.
    pub folder: Option<PathBuf>,
}

impl Options {
    /// A closed loop of 64-byte messages, one in flight a connection, measured from the first on.
    /// Its `duration` or its `count` is still to be set: without both it goes on until it is
    /// interrupted.
    pub fn closed_loop(target: ResolvedEndpoint, connections: u32) -> Options {
        Options {
            target,
            connections,
            length_bytes: 64,
            in_flight_max: 1,
            duration: None,
            count: None,
            rate: None,
            spacing: Spacing::Fixed,
            mode: Mode::Echo,
            reconnect: false,
            warmup: Duration::ZERO,
            timeout: Duration::from_secs(1),
            verify: true,
            percentiles: PercentileList::default(),
            interval: None,
            spin: None,
            offload: true,
            socket: SocketOptions::default(),
            folder: None,
        }
    }

    /// Whether datagrams are to go in trains: there are none of one message.
    pub(super) fn asks_for_trains(&self) -> bool {
        self.offload && self.transport() == Transport::Udp && self.in_flight_max > 1
    }

    /// Whether connections that end are opened again.
    pub(super) fn reconnects(&self) -> bool {
        self.reconnect && self.mode == Mode::Echo && self.transport().is_stream()
    }

    /// How bytes travel.
    pub(super) fn transport(&self) -> Transport {
        self.target.transport()
    }
}

//! Which load to make.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::lengths::Lengths;
use super::pacing::Spacing;
use super::share::Share;
use crate::endpoint::{ResolvedEndpoint, Transport};
use crate::measured::{Mode, PercentileList, Warning};
use crate::reactor::Spin;
use crate::socket::{LocalAddrs, SocketOptions};
use crate::units::duration_ns;

/// The load to make, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub target: ResolvedEndpoint,
    /// Which part of the load this generator makes. `connections`, `count` and `rate` are those of
    /// the whole load, of which each part has at least one connection and one message.
    pub share: Share,
    /// The number of connections or client sockets, at least 1.
    pub connections: u32,
    /// The lengths of messages.
    pub lengths: Lengths,
    /// The maximum number of messages in flight per connection, at least 1.
    pub in_flight_max: usize,
    /// How long to measure. If not set, the run ends when `count` messages are sent.
    pub duration: Option<Duration>,
    /// How many messages to measure. If not set, the run ends after `duration`.
    pub count: Option<u64>,
    /// Messages per second over all connections, at least 1 (an open loop). If not set, each
    /// message waits for the echo of an earlier one (a closed loop).
    pub rate: Option<u64>,
    /// The spacing of an open loop.
    pub spacing: Spacing,
    /// Whether a message is an echo on a lasting connection, or a connection with one echo.
    pub mode: Mode,
    /// Opens stream connections that end again, with growing pauses. Messages due in a pause are
    /// lost. Has no effect if each message is a connection, nor on datagram sockets, which stay
    /// open anyway.
    pub reconnect: bool,
    /// How long to send before the measurement starts.
    pub warmup: Duration,
    /// When the measurement starts, by the system's clock. The connections wait for the warm-up
    /// before it; if they are not open by then, nothing is sent and the result says so. If not set,
    /// the warm-up starts once the connections are open.
    pub start_at: Option<SystemTime>,
    /// How long to wait for an echo before its message counts as lost.
    pub timeout: Duration,
    /// Compares every echo with the message sent.
    pub verify: bool,
    /// The percentiles to report.
    pub percentiles: PercentileList,
    /// The interval at which the observer receives figures.
    pub interval: Option<Duration>,
    /// Records the course of the run, [`RunResult::timeline`](crate::measured::RunResult).
    pub timeline: bool,
    /// How long to poll without sleeping. If not set, as the rate requires.
    pub spin: Option<Spin>,
    /// Lets UDP messages of a flow with several in flight be sent together (`UDP_SEGMENT`) and
    /// received together (`UDP_GRO`), if the system supports it.
    pub offload: bool,
    /// Splits the round trip of samples of the messages by the kernel's timestamps, over TCP and
    /// UDP.
    pub timestamps: bool,
    /// Settings of the sockets.
    pub socket: SocketOptions,
    /// The addresses that the sockets leave from in turn; without any, the kernel picks one.
    pub local_addrs: LocalAddrs,
    /// The folder for the socket files to which Unix datagrams are answered; the caller removes it.
    /// If not set, the system picks abstract names, which only Linux has.
    pub folder: Option<PathBuf>,
}

impl Options {
    /// Creates options for a closed loop of 64-byte messages, one in flight per connection, without
    /// a warm-up. Set `duration` or `count` too; without both the run goes on until it is
    /// interrupted.
    pub fn closed_loop(target: ResolvedEndpoint, connections: u32) -> Options {
        Options {
            target,
            share: Share::WHOLE,
            connections,
            lengths: Lengths::from(64),
            in_flight_max: 1,
            duration: None,
            count: None,
            rate: None,
            spacing: Spacing::Fixed,
            mode: Mode::Echo,
            reconnect: false,
            warmup: Duration::ZERO,
            start_at: None,
            timeout: Duration::from_secs(1),
            verify: true,
            percentiles: PercentileList::default(),
            interval: None,
            timeline: false,
            spin: None,
            offload: true,
            timestamps: false,
            socket: SocketOptions::default(),
            local_addrs: LocalAddrs::default(),
            folder: None,
        }
    }

    /// Returns the options with the connections and the count of this share. The rate stays that of
    /// the whole load, because the schedule of a share is a part of the whole schedule.
    pub(super) fn of_share(self) -> Options {
        let connections = self.share.of_count(self.connections.into());
        Options {
            connections: u32::try_from(connections).expect("a share is no more than the whole"),
            count: self.own_count(),
            ..self
        }
    }

    /// Returns how many of the measured messages belong to this share. In an open loop these are
    /// the first ones that are due after the warm-up.
    pub(super) fn own_count(&self) -> Option<u64> {
        let of_warmup =
            self.rate.map_or(0, |rate| self.spacing.due_in_warmup(rate, duration_ns(self.warmup)));
        self.count.map(|count| self.share.of_messages(of_warmup, count))
    }

    /// Returns true if UDP messages may leave in trains, which needs at least two messages in
    /// flight.
    pub(super) fn asks_for_trains(&self) -> bool {
        self.offload && self.transport() == Transport::Udp && self.in_flight_max > 1
    }

    /// Returns true if samples of the messages have timestamps.
    pub(super) fn takes_samples(&self) -> bool {
        self.timestamps && matches!(self.transport(), Transport::Tcp | Transport::Udp)
    }

    /// Returns true if connections that end are opened again.
    pub(super) fn reconnects(&self) -> bool {
        self.reconnect && self.mode == Mode::Echo && self.transport().is_stream()
    }

    /// Returns what the reader should know about these options before quoting a figure.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |text: String| warnings.push(Warning(text));
        let is_stream = self.transport().is_stream();
        if self.reconnect && !is_stream {
            warn("--reconnect without effect: datagram sockets stay open in any case".to_owned());
        }
        let in_flight_max = u64::from(self.connections).saturating_mul(self.in_flight_max as u64);
        if let Spacing::Burst(burst) = self.spacing
            && u64::from(burst) > in_flight_max
        {
            warn(format!(
                "at most {in_flight_max} messages may be in flight, so the rest of each burst of \
                 {burst} waits for echoes: see --connections and --depth"
            ));
        }
        let least = self.lengths.least();
        if least < 8 && !is_stream && self.verify {
            warn(format!(
                "messages of {} are too short for their whole number: a very late echo may be \
                 taken for that of another message",
                if least == 1 { "1 byte".to_owned() } else { format!("{least} bytes") }
            ));
        }
        warnings
    }

    /// Returns the transport of the target.
    pub(super) fn transport(&self) -> Transport {
        self.target.transport()
    }
}

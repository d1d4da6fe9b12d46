//! What the server has done and what it has not, by transport and cause.

use std::fmt;
use std::iter::Sum;
use std::ops::{AddAssign, Index, IndexMut};

use crate::endpoint::Transport;

/// Messages and bytes of one transport. A message is a datagram, or a chunk read from a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages received.
    pub messages_in: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Messages answered: datagrams sent, or writes that took bytes of a stream.
    pub messages_out: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes sent that never entered user space: of a stream in bulk, by splice(2).
    pub bytes_spliced: u64,
}

/// Why something happened that is neither a message nor an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
#[non_exhaustive]
pub enum Cause {
    /// A connection was accepted.
    Accepted,
    /// A queued connection was gone before it was accepted, or accept met a network error.
    AcceptAborted,
    /// accept had no descriptor left, in the process or the system.
    AcceptNoDescriptor,
    /// accept had no memory left.
    AcceptNoMemory,
    /// accept failed for another reason.
    AcceptFailed,
    /// A queued connection was closed at once, for want of a descriptor to serve it.
    Shed,
    /// Who came may not, by address: a connection was closed at once, a datagram dropped unseen.
    Denied,
    /// A connection was closed at once: its address has as many open as it may have.
    AddressLimit,
    /// A socket could not be registered with the loop.
    Unregistered,
    /// A stream ended: the peer sent FIN and got all it was owed.
    Finished,
    /// The peer reset the connection.
    Reset,
    /// The peer had closed before it took its answer (EPIPE).
    BrokenPipe,
    /// Closed: no byte moved for the idle timeout.
    Idle,
    /// Closed: the peer did not take its answer for the stall timeout.
    Stalled,
    /// The peer's host was not there any more: neither keepalive probes nor sent bytes were
    /// answered (ETIMEDOUT), or the way to it was gone (EHOSTUNREACH, ENETUNREACH, ENETDOWN).
    TimedOut,
    /// Closed: there was no memory for what the peer was owed.
    NoMemory,
    /// Closed: the deadline of the drain came first.
    DrainCut,
    /// Another error ended a stream.
    StreamFailed,
    /// A datagram was longer than the buffer, and so not answered.
    Truncated,
    /// A datagram came from a Unix socket without a name, which cannot be answered.
    Unnamed,
    /// Not answered: from a port of services and not of clients (the loop guard).
    LoopPort,
    /// Not answered: from a port that one of this process's own UDP endpoints has (the loop guard).
    LoopOwnPort,
    /// Not answered: from an address that no single host has (the loop guard).
    LoopSource,
    /// Not answered: it was sent to a broadcast or multicast address (the loop guard).
    LoopGroup,
    /// Not answered: it came from one of this server's own Unix datagram sockets, or its sender's
    /// path leads to one (the loop guard).
    LoopOwnPath,
    /// Not answered: the path of its Unix sender leads to another socket (the loop guard).
    LoopPath,
    /// Not answered: the system could not tell all of the address that it was sent to, which may be
    /// a broadcast or multicast address (the loop guard).
    ControlTruncated,
    /// Not answered: its source has had as many answers this second as it may have.
    RateLimited,
    /// Not answered: the reply is longer than the datagram, and its source has had as many bytes
    /// more than it has sent this second as it may have.
    AmplificationLimited,
    /// Datagrams lost before they were read, for want of receive buffer. A train that came as one
    /// counts once, whatever it was made of: Linux tells no more (`SO_RXQ_OVFL`).
    Overflowed,
    /// A receive failed (an ICMP error among others); the next one goes on.
    ReceiveFailed,
    /// An answer had to wait for room.
    Held,
    /// Answers that were to leave together were refused, and left one by one.
    TrainRefused,
    /// An answer was dropped: too long for the socket or the path (EMSGSIZE).
    AnswerTooLong,
    /// An answer was dropped: forbidden (EPERM, EACCES), by a firewall or a file's mode.
    AnswerForbidden,
    /// An answer was dropped: no route, network down, invalid address.
    AnswerUnreachable,
    /// An answer was dropped: the system had no memory for it (ENOBUFS, ENOMEM).
    AnswerNoMemory,
    /// An answer was dropped: nobody has that address now (ECONNREFUSED, ENOENT, ECONNRESET).
    AnswerRefused,
    /// An answer was dropped: as much as the bound allows waits for that peer already.
    AnswerBacklogFull,
    /// An answer was dropped: its peer did not take it for the stall timeout, or the drain ended.
    AnswerStalled,
    /// An answer was dropped for another reason.
    AnswerFailed,
}

/// What a [`Cause`] tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A connection was accepted.
    Accepted,
    /// A connection was not served, or could not be accepted yet.
    Unserved,
    /// A connection has closed.
    Closed,
    /// A datagram or its answer was dropped.
    Dropped,
    /// Something went wrong with datagrams, and nothing was lost by it.
    Mended,
}

impl Cause {
    /// All of them, in the order of reports, each with its name there.
    pub const ALL: &'static [(Cause, &'static str)] = &[
        (Cause::Accepted, "accepted"),
        (Cause::AcceptAborted, "accept_aborted"),
        (Cause::AcceptNoDescriptor, "accept_no_descriptor"),
        (Cause::AcceptNoMemory, "accept_no_memory"),
        (Cause::AcceptFailed, "accept_failed"),
        (Cause::Shed, "shed"),
        (Cause::Denied, "denied"),
        (Cause::AddressLimit, "address_limit"),
        (Cause::Unregistered, "unregistered"),
        (Cause::Finished, "finished"),
        (Cause::Reset, "reset"),
        (Cause::BrokenPipe, "broken_pipe"),
        (Cause::Idle, "idle"),
        (Cause::Stalled, "stalled"),
        (Cause::TimedOut, "timed_out"),
        (Cause::NoMemory, "no_memory"),
        (Cause::DrainCut, "drain_cut"),
        (Cause::StreamFailed, "stream_failed"),
        (Cause::Truncated, "truncated"),
        (Cause::Unnamed, "unnamed"),
        (Cause::LoopPort, "loop_port"),
        (Cause::LoopOwnPort, "loop_own_port"),
        (Cause::LoopSource, "loop_source"),
        (Cause::LoopGroup, "loop_group"),
        (Cause::LoopOwnPath, "loop_own_path"),
        (Cause::LoopPath, "loop_path"),
        (Cause::ControlTruncated, "control_truncated"),
        (Cause::RateLimited, "rate_limited"),
        (Cause::AmplificationLimited, "amplification_limited"),
        (Cause::Overflowed, "overflowed"),
        (Cause::ReceiveFailed, "receive_failed"),
        (Cause::Held, "held"),
        (Cause::TrainRefused, "train_refused"),
        (Cause::AnswerTooLong, "answer_too_long"),
        (Cause::AnswerForbidden, "answer_forbidden"),
        (Cause::AnswerUnreachable, "answer_unreachable"),
        (Cause::AnswerNoMemory, "answer_no_memory"),
        (Cause::AnswerRefused, "answer_refused"),
        (Cause::AnswerBacklogFull, "answer_backlog_full"),
        (Cause::AnswerStalled, "answer_stalled"),
        (Cause::AnswerFailed, "answer_failed"),
    ];

    /// What it tells of on a transport; `None` where it does not occur.
    pub fn effect(self, transport: Transport) -> Option<Effect> {
        let (on_stream, on_datagram) = match self {
            Cause::Accepted => (Some(Effect::Accepted), None),
            Cause::AcceptAborted
            | Cause::AcceptNoDescriptor
            | Cause::AcceptNoMemory
            | Cause::AcceptFailed
            | Cause::Shed
            | Cause::AddressLimit
            | Cause::Unregistered => (Some(Effect::Unserved), None),
            Cause::Denied => (Some(Effect::Unserved), Some(Effect::Dropped)),
            Cause::Finished
            | Cause::Reset
            | Cause::BrokenPipe
            | Cause::Idle
            | Cause::Stalled
            | Cause::TimedOut
            | Cause::NoMemory
            | Cause::DrainCut
            | Cause::StreamFailed => (Some(Effect::Closed), None),
            Cause::ReceiveFailed | Cause::Held | Cause::TrainRefused => {
                (None, Some(Effect::Mended))
            }
            _ => (None, Some(Effect::Dropped)),
        };
        if transport.is_stream() { on_stream } else { on_datagram }
    }

    /// Whether somebody was turned away, or a datagram or an answer dropped.
    pub(super) fn is_loss(self) -> bool {
        match self {
            Cause::Denied | Cause::AddressLimit => true,
            Cause::Held | Cause::TrainRefused => false,
            datagram => datagram as usize >= Cause::Truncated as usize,
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        Cause::ALL[self as usize].1
    }
}

/// The counts of one transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Messages and bytes.
    pub traffic: Traffic,
    causes: [u64; Cause::ALL.len()],
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { traffic: Traffic::default(), causes: [0; Cause::ALL.len()] }
    }
}

impl Tally {
    /// How often this happened.
    pub fn count(&self, cause: Cause) -> u64 {
        self.causes[cause as usize]
    }

    /// Whether nothing has happened between the two but traffic.
    pub(super) fn has_same_causes(&self, other: &Tally) -> bool {
        self.causes == other.causes
    }

    /// Datagrams that were not for this server, by who or what sent them.
    pub(super) fn turned_away(&self) -> u64 {
        let of_guard = [
            Cause::Denied,
            Cause::LoopPort,
            Cause::LoopOwnPort,
            Cause::LoopSource,
            Cause::LoopGroup,
            Cause::LoopOwnPath,
            Cause::LoopPath,
            Cause::ControlTruncated,
            Cause::RateLimited,
            Cause::AmplificationLimited,
        ];
        of_guard.into_iter().map(|cause| self.count(cause)).sum()
    }

    pub(super) fn add(&mut self, cause: Cause, times: u64) {
        self.causes[cause as usize] += times;
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.received_many(1, bytes);
    }

    /// So many messages, of so many bytes in all.
    pub(super) fn received_many(&mut self, messages: usize, bytes: usize) {
        self.traffic.messages_in += messages as u64;
        self.traffic.bytes_in += bytes as u64;
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent_many(1, bytes);
    }

    /// So many messages, of so many bytes in all.
    pub(super) fn sent_many(&mut self, messages: usize, bytes: usize) {
        self.traffic.messages_out += messages as u64;
        self.traffic.bytes_out += bytes as u64;
    }

    /// Of what was [`sent`](Tally::sent).
    pub(super) fn spliced(&mut self, bytes: usize) {
        self.traffic.bytes_spliced += bytes as u64;
    }
}

/// The counts of a server, one [`Tally`] a [`Transport`].
///
/// Displays as one line of `name=value` words: the traffic of each transport that saw any, and
/// every cause that occurred, summed over its transports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    tallies: [Tally; Transport::ALL.len()],
    /// Connections open now.
    pub connections_open: u64,
}

impl Counters {
    /// Messages answered, on all transports.
    pub fn total_messages_out(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.traffic.messages_out).sum()
    }

    /// How often this happened, on all transports.
    pub fn total(&self, cause: Cause) -> u64 {
        self.tallies.iter().map(|tally| tally.count(cause)).sum()
    }
}

impl AddAssign<&Counters> for Counters {
    /// Adds what another server has done.
    fn add_assign(&mut self, other: &Counters) {
        // Taken apart by name: a new field cannot be forgotten.
        let Counters { tallies, connections_open } = self;
        *connections_open += other.connections_open;
        for (tally, other) in tallies.iter_mut().zip(&other.tallies) {
            let Tally { traffic, causes } = tally;
            let Traffic { messages_in, bytes_in, messages_out, bytes_out, bytes_spliced } = traffic;
            *messages_in += other.traffic.messages_in;
            *bytes_in += other.traffic.bytes_in;
            *messages_out += other.traffic.messages_out;
            *bytes_out += other.traffic.bytes_out;
            *bytes_spliced += other.traffic.bytes_spliced;
            causes.iter_mut().zip(other.causes).for_each(|(count, other)| *count += other);
        }
    }
}

impl<'a> Sum<&'a Counters> for Counters {
    fn sum<I: Iterator<Item = &'a Counters>>(counters: I) -> Counters {
        let mut sum = Counters::default();
        counters.for_each(|counters| sum += counters);
        sum
    }
}

impl Index<Transport> for Counters {
    type Output = Tally;

    fn index(&self, transport: Transport) -> &Tally {
        &self.tallies[transport as usize]
    }
}

impl IndexMut<Transport> for Counters {
    fn index_mut(&mut self, transport: Transport) -> &mut Tally {
        &mut self.tallies[transport as usize]
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "connections_open={}", self.connections_open)?;
        for transport in Transport::ALL {
            let traffic = self[transport].traffic;
            if traffic == Traffic::default() {
                continue;
            }
            let name = transport.name();
            write!(
                formatter,
                " {name}_messages_in={} {name}_bytes_in={} {name}_messages_out={} \
                 {name}_bytes_out={}",
                traffic.messages_in, traffic.bytes_in, traffic.messages_out, traffic.bytes_out
            )?;
            if traffic.bytes_spliced > 0 {
                write!(formatter, " {name}_bytes_spliced={}", traffic.bytes_spliced)?;
            }
        }
        for &(cause, name) in Cause::ALL {
            let total = self.total(cause);
            if total > 0 {
                write!(formatter, " {name}={total}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

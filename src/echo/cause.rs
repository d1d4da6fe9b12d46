//! Why things happen that are neither a message nor a reply, and what errors of the system mean.

mod errors;

pub(super) use self::errors::{accept_cause, answer_cause, stream_cause};
use crate::endpoint::Transport;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_stands_at_its_own_place() {
        for (place, &(cause, name)) in Cause::ALL.iter().enumerate() {
            assert_eq!(cause as usize, place, "{name}");
            assert_eq!(cause.name(), name);
        }
    }

    #[test]
    fn every_cause_has_an_effect_on_streams_or_on_datagrams_and_one_on_both() {
        let on = |cause: Cause| {
            [Transport::Tcp, Transport::Udp].map(|transport| cause.effect(transport).is_some())
        };
        let on_both = Cause::ALL.iter().filter(|(cause, _)| on(*cause) == [true; 2]);
        assert_eq!(on_both.map(|(cause, _)| *cause).collect::<Vec<_>>(), [Cause::Denied]);
        assert!(Cause::ALL.iter().all(|(cause, _)| on(*cause) != [false; 2]));
        let dropped = |cause: Cause| cause.effect(Transport::Udp) == Some(Effect::Dropped);
        for (cause, name) in Cause::ALL {
            let is_of_datagrams = cause.effect(Transport::Udp).is_some() && *cause != Cause::Denied;
            // What is dropped is a loss to be told of, and so is a receive that failed.
            let is_told = dropped(*cause) || *cause == Cause::ReceiveFailed;
            assert!(!is_of_datagrams || cause.is_loss() == is_told, "{name}");
        }
    }
}

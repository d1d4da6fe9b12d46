//! The causes that the server counts by, and which cause an error of the system belongs to.

mod errors;

pub(super) use self::errors::{accept_cause, reply_cause, stream_cause};
use crate::endpoint::Transport;

/// What happened, other than that a message was received or answered. The server counts by cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
#[non_exhaustive]
pub enum Cause {
    /// A connection was accepted.
    Accepted,
    /// A queued connection was gone before it was accepted, or accept(2) returned a network error.
    AcceptAborted,
    /// accept(2) failed: the process or the system has no descriptor left.
    AcceptNoDescriptor,
    /// accept(2) failed: the system has no memory left.
    AcceptNoMemory,
    /// accept(2) failed for another reason.
    AcceptFailed,
    /// The server closed a queued connection at once, because no descriptor was left to serve it.
    Shed,
    /// The access list denies the peer's address. The server closed the connection at once, or
    /// dropped the datagram without looking at its bytes.
    Denied,
    /// The server closed a connection at once, because its address has as many open connections as
    /// an address may have.
    AddressLimit,
    /// A socket could not be registered with the loop.
    Unregistered,
    /// A stream ended: the peer sent FIN and received its whole reply.
    Finished,
    /// The peer reset the connection.
    Reset,
    /// The peer closed before it took its reply (EPIPE).
    BrokenPipe,
    /// The server closed the connection: no byte moved for the idle timeout.
    Idle,
    /// The server closed the connection: the peer took none of its reply for the stall timeout.
    Stalled,
    /// The peer's host is gone: it answered neither keepalive probes nor sent bytes (ETIMEDOUT), or
    /// no route to it was left (EHOSTUNREACH, ENETUNREACH, ENETDOWN).
    TimedOut,
    /// The server closed the connection: it had no memory to keep the unsent reply.
    NoMemory,
    /// The server closed the connection at the deadline of the drain.
    DrainCut,
    /// Another error ended a stream.
    StreamFailed,
    /// A datagram was longer than the buffer. It was not answered.
    Truncated,
    /// A datagram came from a Unix socket without a name, which cannot receive a reply.
    Unnamed,
    /// Not answered: the datagram came from a port that services use and clients do not (the loop
    /// guard).
    LoopPort,
    /// Not answered: the datagram came from a port of one of this process's UDP endpoints (the loop
    /// guard).
    LoopOwnPort,
    /// Not answered: the source address does not belong to a single host (the loop guard).
    LoopSource,
    /// Not answered: the datagram was sent to a broadcast or multicast address (the loop guard).
    LoopGroup,
    /// Not answered: the datagram came from one of this server's own Unix datagram sockets, or the
    /// path of its sender leads to one (the loop guard).
    LoopOwnPath,
    /// Not answered: the path of the Unix sender leads to another socket (the loop guard).
    LoopPath,
    /// Not answered: the system did not give the whole address that the datagram was sent to, which
    /// may be a broadcast or multicast address (the loop guard).
    ControlTruncated,
    /// Not answered: the source has received its limit of replies for this second.
    RateLimited,
    /// Not answered: the reply is longer than the datagram, and in this second the source has
    /// already received its limit of bytes beyond what it sent.
    AmplificationLimited,
    /// Datagrams were lost before the server read them, because the receive buffer was full. A
    /// train that the kernel received whole counts once: Linux reports no more (`SO_RXQ_OVFL`).
    Overflowed,
    /// A receive failed, for example with an ICMP error. The next receive goes on.
    ReceiveFailed,
    /// A reply had to wait for room.
    Held,
    /// The system refused a train of replies. They left one by one.
    TrainRefused,
    /// A reply was dropped: it is too long for the socket or the path (EMSGSIZE).
    ReplyTooLong,
    /// A reply was dropped: a firewall or the mode of a file forbids it (EPERM, EACCES).
    ReplyForbidden,
    /// A reply was dropped: no route, network down, or invalid address.
    ReplyUnreachable,
    /// A reply was dropped: the system had no memory for it (ENOBUFS, ENOMEM).
    ReplyNoMemory,
    /// A reply was dropped: no socket has that address now (ECONNREFUSED, ENOENT, ECONNRESET).
    ReplyRefused,
    /// A reply was dropped: as many replies or bytes as the bound allows are held for that peer, or
    /// for all peers.
    ReplyBacklogFull,
    /// A reply was dropped: the peer did not take it for the stall timeout, or the drain ended.
    ReplyStalled,
    /// A reply was dropped for another reason.
    ReplyFailed,
}

/// What a [`Cause`] means for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A connection was accepted.
    Accepted,
    /// A connection was not served, or could not be accepted yet.
    Unserved,
    /// A connection closed.
    Closed,
    /// A datagram or its reply was dropped.
    Dropped,
    /// Something went wrong with a datagram, but nothing was lost.
    Mended,
}

impl Cause {
    /// All causes in the order of reports, each with its name in reports. The names of dropped
    /// replies begin with `answer_`: metrics and logs are read by them, so they stay.
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
        (Cause::ReplyTooLong, "answer_too_long"),
        (Cause::ReplyForbidden, "answer_forbidden"),
        (Cause::ReplyUnreachable, "answer_unreachable"),
        (Cause::ReplyNoMemory, "answer_no_memory"),
        (Cause::ReplyRefused, "answer_refused"),
        (Cause::ReplyBacklogFull, "answer_backlog_full"),
        (Cause::ReplyStalled, "answer_stalled"),
        (Cause::ReplyFailed, "answer_failed"),
    ];

    /// Returns the cause's effect on a transport. `None` if it does not occur on that transport.
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

    /// Returns true if a peer was turned away, or a datagram or a reply was lost, or a receive
    /// failed.
    pub(super) fn is_loss(self) -> bool {
        match self {
            Cause::Denied | Cause::AddressLimit => true,
            Cause::Held | Cause::TrainRefused => false,
            datagram => datagram as usize >= Cause::Truncated as usize,
        }
    }

    /// Returns the cause's name in reports.
    pub fn name(self) -> &'static str {
        Cause::ALL[self as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_causes_has_each_cause_at_its_own_index() {
        for (place, &(cause, name)) in Cause::ALL.iter().enumerate() {
            assert_eq!(cause as usize, place, "{name}");
            assert_eq!(cause.name(), name);
        }
    }

    #[test]
    fn every_cause_has_an_effect_and_only_denied_has_one_on_streams_and_on_datagrams() {
        let on = |cause: Cause| {
            [Transport::Tcp, Transport::Udp].map(|transport| cause.effect(transport).is_some())
        };
        let on_both = Cause::ALL.iter().filter(|(cause, _)| on(*cause) == [true; 2]);
        assert_eq!(on_both.map(|(cause, _)| *cause).collect::<Vec<_>>(), [Cause::Denied]);
        assert!(Cause::ALL.iter().all(|(cause, _)| on(*cause) != [false; 2]));
        let dropped = |cause: Cause| cause.effect(Transport::Udp) == Some(Effect::Dropped);
        for (cause, name) in Cause::ALL {
            let is_of_datagrams = cause.effect(Transport::Udp).is_some() && *cause != Cause::Denied;
            // A notice tells of each drop, and of each failed receive.
            let is_told = dropped(*cause) || *cause == Cause::ReceiveFailed;
            assert!(!is_of_datagrams || cause.is_loss() == is_told, "{name}");
        }
    }
}

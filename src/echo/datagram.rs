//! The packet mover: receives a batch, decides each reply, sends the replies, and holds those that
//! would block.

mod held_replies;
mod held_trains;
mod pressure;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::SockAddr;

pub(super) use self::held_replies::HeldReplies;
pub(super) use self::held_trains::HeldTrains;
use super::bounds::{
    BATCHES_PER_SLICE, RECEIVE_ERRORS_PER_SLICE, RECEIVE_RETRY, RECEIVED_BYTES_PER_SLICE,
};
use super::cause::Cause;
use super::counters::TransportCounters;
use super::guard::{Destination, Guard};
use super::reply_paths::ReplyPaths;
use crate::reactor::Next;
use crate::readiness::Readiness;
use crate::socket::batch::{Batch, Message, TrainLimit};
use crate::socket::unix_name;

/// Echoes the datagrams of one socket. The policy decides what waits while replies would block.
#[derive(Debug)]
pub(super) struct PacketMover<P> {
    policy: P,
    /// When to receive again after a slice that ended because receiving kept failing.
    receive_retry_at: Option<Instant>,
    /// The last overflow count that the socket reported.
    overflow_seen: u32,
}

/// What waits while replies would block, and how they leave later.
///
/// - [`HeldTrains`], for UDP: the socket itself has no room. The unsent rest of a batch waits, in
///   order, until the socket is writable. The mover receives nothing meanwhile, so it holds at most
///   one batch.
/// - [`HeldReplies`], for Unix datagrams: the receiver has no room. No event reports when it has
///   room again, because a unix(7) socket polls the queue of its peer only if it is connected. The
///   replies to that receiver wait for a retry; the replies to others are sent.
pub(super) trait Policy {
    /// Notes that a slice begins.
    fn begin_slice(&mut self) {}

    /// Returns how many replies are held.
    fn held(&self) -> usize;

    /// Returns true while held replies wait for the socket to become writable.
    fn wants_writable(&self) -> bool;

    /// Returns when held replies need a slice if no event comes before.
    fn retry_at(&self) -> Option<Instant>;

    /// Returns which replies may leave in trains.
    fn trains(&self) -> TrainLimit;

    /// Sends held replies. Returns false if the mover must receive nothing, because the socket has
    /// no room.
    fn send_held<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) -> bool;

    /// Notes that the sender of a message is running, so it may have made room for held replies.
    fn send_held_for<B: Batch>(
        &mut self,
        _index: usize,
        _batch: &mut B,
        _socket: &B::Socket,
        _work: &mut PacketWork<'_>,
    ) {
    }

    /// Returns how many trains from the front of the queue may be sent now.
    fn admit<B: Batch>(&mut self, batch: &B, socket: &B::Socket, now: Instant) -> usize;

    /// Takes the first train off the queue, because it may not be [sent now](Policy::admit).
    fn hold_back<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    );

    /// Takes the first train off the queue, because its send would block.
    fn hold_blocked<B: Batch>(
        &mut self,
        batch: &mut B,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    );

    /// Takes the first train off the queue, because its send failed.
    fn settle_failed<B: Batch>(
        &mut self,
        error: &io::Error,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    );

    /// Notes that the queue is empty.
    fn note_queue_empty<B: Batch>(
        &mut self,
        _batch: &mut B,
        _socket: &B::Socket,
        _work: &mut PacketWork<'_>,
    ) {
    }
}

/// How much a slice receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// Nothing. The slice only sends held replies.
    Nothing,
    /// One datagram, then the slice ends.
    One,
    /// As much as the bounds of a slice allow.
    Batches,
}

/// What the mover needs for one slice, besides its socket and batch.
pub(super) struct PacketWork<'a> {
    pub(super) receiving: Receiving,
    /// Whether the server replies at all.
    pub(super) answers: bool,
    /// Which senders get no reply. `None` for Unix sockets, because their peers have no IP address.
    pub(super) guard: Option<&'a Guard>,
    /// The length of every reply, if the server limits the bytes by which replies are longer than
    /// their requests.
    pub(super) limited_reply_bytes: Option<usize>,
    /// Finds where replies to Unix datagrams go. `None`: each goes to its sender's address.
    pub(super) reply_paths: Option<&'a mut ReplyPaths>,
    /// The longest time that replies are held for a peer that takes none.
    pub(super) stall_timeout: Duration,
    pub(super) counters: &'a mut TransportCounters,
    pub(super) now: Instant,
}

impl<P: Policy> PacketMover<P> {
    /// Creates the mover of a socket. `overflow_seen`: the overflow count of the socket so far.
    pub(super) fn new(policy: P, overflow_seen: u32) -> PacketMover<P> {
        PacketMover { policy, receive_retry_at: None, overflow_seen }
    }

    /// Returns true while the mover waits for the socket to become writable. The caller registers
    /// for writable events only then, because on Linux every UDP send triggers one.
    pub(super) fn wants_writable(&self) -> bool {
        self.policy.wants_writable()
    }

    /// Returns how many replies are held.
    pub(super) fn held(&self) -> usize {
        self.policy.held()
    }

    /// Returns when the mover needs its next slice if no event comes before.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.receive_retry_at.into_iter().chain(self.policy.retry_at()).min()
    }

    /// Echoes datagrams for one slice. Calls `on_message` with each message that was received
    /// whole.
    pub(super) fn advance<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
        mut on_message: impl FnMut(Message<'_>),
    ) -> Next {
        self.receive_retry_at = None;
        self.policy.begin_slice();
        let mut receive_errors = 0;
        let (mut batches, mut bytes) = (0, 0);
        while batches < BATCHES_PER_SLICE && bytes < RECEIVED_BYTES_PER_SLICE {
            if !self.policy.send_held(batch, socket, readiness, work) {
                return Next::Wait;
            }
            if !readiness.is_readable() || work.receiving == Receiving::Nothing {
                return Next::Wait;
            }
            if let Some(reply_paths) = &mut work.reply_paths {
                reply_paths.begin_batch();
            }
            let limit = if work.receiving == Receiving::One { 1 } else { usize::MAX };
            match batch.receive(socket, limit) {
                Ok(count) => {
                    batches += 1;
                    self.count_overflow(batch.message(count - 1).overflow, work);
                    bytes += self.decide(batch, socket, count, work, &mut on_message);
                    self.send(batch, socket, readiness, work);
                    if work.receiving == Receiving::One {
                        return Next::Again;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    readiness.clear_readable();
                    return Next::Wait;
                }
                Err(_) => {
                    work.counters.add(Cause::ReceiveFailed, 1);
                    receive_errors += 1;
                    if receive_errors == RECEIVE_ERRORS_PER_SLICE {
                        self.receive_retry_at = Some(work.now + RECEIVE_RETRY);
                        return Next::Wait;
                    }
                }
            }
        }
        Next::Again
    }

    /// Counts the datagrams that the socket had dropped before it received this batch. `overflow`
    /// is the count that came with the newest message. It includes all earlier drops, so it covers
    /// the whole batch. It wraps.
    fn count_overflow(&mut self, overflow: Option<u32>, work: &mut PacketWork<'_>) {
        if let Some(overflow) = overflow {
            work.counters.add(Cause::Overflowed, self.overflow_since(overflow));
            self.overflow_seen = overflow;
        }
    }

    /// Returns how many dropped datagrams an overflow count of the socket adds to those already
    /// counted.
    pub(super) fn overflow_since(&self, overflow: u32) -> u64 {
        u64::from(overflow.wrapping_sub(self.overflow_seen))
    }

    /// Queues a reply to each received message that may have one, and counts the others by cause.
    /// Returns the bytes received.
    fn decide<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        count: usize,
        work: &mut PacketWork<'_>,
        on_message: &mut impl FnMut(Message<'_>),
    ) -> usize {
        let mut bytes = 0;
        for index in 0..count {
            let message = batch.message(index);
            let answerable = message.answerable;
            bytes += message.bytes.len();
            let datagrams = message.count();
            let destination =
                Destination { to_group: message.to_group, is_unclear: message.control_truncated };
            work.counters.received_many(datagrams, message.bytes.len());
            if message.truncated {
                work.counters.add(Cause::Truncated, 1);
                continue;
            }
            let guarded = work.guard.and_then(|guard| Some((guard, message.from.as_socket()?)));
            if guarded.is_some_and(|(guard, from)| guard.denies(from)) {
                work.counters.add(Cause::Denied, datagrams as u64);
                continue;
            }
            on_message(message);
            if !work.answers {
                continue;
            }
            if !answerable {
                work.counters.add(Cause::Unnamed, 1);
                continue;
            }
            let refusal = match guarded {
                Some((guard, from)) => guard.refusal(from, destination, work.now),
                None => None,
            };
            if let Some(cause) = refusal.or_else(|| limited(guarded, message, work)) {
                work.counters.add(cause, datagrams as u64);
                continue;
            }
            match reply_path(message.from, &mut work.reply_paths, work.now) {
                Ok(to) => batch.queue_reply(index, to.as_ref(), self.policy.trains()),
                Err(cause) => {
                    work.counters.add(cause, 1);
                    continue;
                }
            }
            self.policy.send_held_for(index, batch, socket, work);
        }
        bytes
    }

    /// Sends the queued replies. The policy holds those that would block, and counts those that
    /// fail.
    #[inline(always)]
    fn send<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) {
        while !batch.queued().is_empty() {
            let limit = self.policy.admit(batch, socket, work.now);
            if limit == 0 {
                self.policy.hold_back(batch, socket, readiness, work);
                continue;
            }
            match batch.send(socket, limit) {
                Ok(count) => {
                    for train in &batch.queued()[..count] {
                        work.counters.sent_many(train.datagrams, train.bytes);
                    }
                    batch.dequeue(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.policy.hold_blocked(batch, readiness, work);
                }
                Err(error) => {
                    self.policy.settle_failed(&error, batch, socket, readiness, work);
                }
            }
        }
        self.policy.note_queue_empty(batch, socket, work);
    }
}

/// Returns a cause if the reply is longer than its request by more than the guard allows.
#[inline]
fn limited(
    guarded: Option<(&Guard, SocketAddr)>,
    message: Message<'_>,
    work: &PacketWork<'_>,
) -> Option<Cause> {
    let reply_bytes = work.limited_reply_bytes?;
    let (guard, from) = guarded?;
    let excess_bytes = reply_bytes.saturating_sub(message.bytes.len());
    guard.amplifies(from, excess_bytes, work.now).then_some(Cause::AmplificationLimited)
}

/// Returns the address to which the reply to a Unix datagram goes; `None` for the sender's own.
#[inline]
fn reply_path(
    from: &SockAddr,
    reply_paths: &mut Option<&mut ReplyPaths>,
    now: Instant,
) -> Result<Option<SockAddr>, Cause> {
    match reply_paths {
        Some(reply_paths) => reply_paths.follow(unix_name(from), now),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;

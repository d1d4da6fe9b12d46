//! The packet mover: receives a batch, decides each reply, sends the replies, and holds those that
//! would block.

mod errors;
mod held_replies;
mod parcels;
mod pressure;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::SockAddr;

use self::errors::length_refused;
use self::held_replies::HeldReplies;
use self::parcels::{hold_all, split_train};
use super::bounds::{
    BATCHES_PER_SLICE, RECEIVE_ERRORS_PER_SLICE, RECEIVE_RETRY, RECEIVED_BYTES_PER_SLICE,
};
use super::cause::{Cause, answer_cause};
use super::counters::TransportCounters;
use super::guard::{Destination, Guard};
use super::reply_paths::ReplyPaths;
use crate::reactor::Next;
use crate::readiness::Readiness;
use crate::socket::batch::{Batch, Message, Parcel, Train, TrainLimit};
use crate::socket::unix_name;

/// Echoes the datagrams of one socket.
#[derive(Debug)]
pub(super) struct PacketMover {
    held: Held,
    /// When to receive again after a slice that ended because receiving kept failing.
    receive_retry_at: Option<Instant>,
    /// The last overflow count that the socket reported.
    overflow_seen: u32,
    /// Which replies may leave in trains.
    trains: TrainLimit,
    /// The system refused a train of datagrams of this length. Whether it refused it because it is
    /// a train shows when the first of its datagrams is sent alone.
    refused_segment_bytes: Option<usize>,
}

/// Replies that would have blocked.
#[derive(Debug)]
enum Held {
    /// UDP: the socket itself has no room. The unsent rest of a batch waits, in order, until the
    /// socket is writable. The mover receives nothing meanwhile, so at most one batch is held.
    Socket(VecDeque<Parcel>),
    /// Unix: the receiver has no room. No event reports when it has room again, because a unix(7)
    /// socket polls the queue of its peer only if it is connected. The replies to that receiver
    /// wait for a retry; the replies to others are sent.
    Peers(Box<HeldReplies>),
}

/// What the mover needs for one slice, besides its socket and batch.
pub(super) struct PacketWork<'a> {
    /// The most datagrams that one call receives. With 0 the slice receives none; with 1 it
    /// receives one and ends.
    pub(super) receive_limit: usize,
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

impl PacketMover {
    /// Creates the mover of a UDP socket. Replies that would block wait for the socket.
    /// `overflow_seen`: the overflow count of the socket so far.
    pub(super) fn held_by_socket(overflow_seen: u32, trains: TrainLimit) -> PacketMover {
        PacketMover { overflow_seen, trains, ..PacketMover::new(Held::Socket(VecDeque::new())) }
    }

    /// Creates the mover of a Unix datagram socket. Replies that would block wait for their
    /// receiver.
    pub(super) fn held_by_peer() -> PacketMover {
        PacketMover::new(Held::Peers(Box::default()))
    }

    fn new(held: Held) -> PacketMover {
        PacketMover {
            held,
            receive_retry_at: None,
            overflow_seen: 0,
            trains: TrainLimit::NONE,
            refused_segment_bytes: None,
        }
    }

    /// Returns true while the mover waits for the socket to become writable. The caller registers
    /// for writable events only then, because on Linux every UDP send triggers one.
    pub(super) fn wants_writable(&self) -> bool {
        matches!(&self.held, Held::Socket(parcels) if !parcels.is_empty())
    }

    /// Returns how many replies are held.
    pub(super) fn held(&self) -> usize {
        match &self.held {
            Held::Socket(parcels) => parcels.iter().map(Parcel::count).sum(),
            Held::Peers(held) => held.len(),
        }
    }

    /// Returns when the mover needs its next slice if no event comes before.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        let held_retry_at = match &self.held {
            Held::Socket(_) => None,
            Held::Peers(held) => held.retry_at(),
        };
        self.receive_retry_at.into_iter().chain(held_retry_at).min()
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
        let mut receive_errors = 0;
        let (mut batches, mut bytes) = (0, 0);
        while batches < BATCHES_PER_SLICE && bytes < RECEIVED_BYTES_PER_SLICE {
            if !self.send_held(batch, socket, readiness, work) {
                return Next::Wait;
            }
            if !readiness.is_readable() || work.receive_limit == 0 {
                return Next::Wait;
            }
            if let Some(reply_paths) = &mut work.reply_paths {
                reply_paths.begin_batch();
            }
            match batch.receive(socket, work.receive_limit) {
                Ok(count) => {
                    batches += 1;
                    self.count_overflow(batch.message(count - 1).overflow, work);
                    bytes += self.decide(batch, socket, count, work, &mut on_message);
                    self.send(batch, socket, readiness, work);
                    if work.receive_limit == 1 {
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

    /// Counts the datagrams that the socket had dropped before it received this batch. `overflow`:
    /// the count that came with the newest message. It only grows, so it covers the whole batch.
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
                Ok(to) => batch.queue_reply(index, to.as_ref(), self.trains),
                Err(cause) => {
                    work.counters.add(cause, 1);
                    continue;
                }
            }
            if let Held::Peers(held) = &mut self.held
                && !held.is_empty()
            {
                // A peer that sends is running, so it may have made room. Replies held for it go
                // before the new one.
                let peer = batch.message(index).from.clone();
                held.send_to(&peer, batch, socket, work);
            }
        }
        bytes
    }

    /// Sends the queued replies. Holds those that would block, and counts those that fail.
    fn send<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) {
        while !batch.queued().is_empty() {
            let limit = match &mut self.held {
                Held::Socket(_) => match self.allowed_trains(batch.queued()) {
                    0 => {
                        self.send_split(None, batch, socket, readiness, work);
                        continue;
                    }
                    allowed => allowed,
                },
                Held::Peers(held) => held.sendable_replies(batch, socket, work.now),
            };
            if limit == 0 {
                // Replies are held for the same peer, and this one must follow them, or the socket
                // is under pressure.
                self.hold_first(batch, readiness, work);
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
                    if let Held::Peers(held) = &mut self.held {
                        held.note_blocked();
                    }
                    self.hold_first(batch, readiness, work);
                }
                Err(error) => match &mut self.held {
                    Held::Socket(_) if batch.queued()[0].datagrams > 1 => {
                        self.send_split(Some(&error), batch, socket, readiness, work);
                    }
                    Held::Peers(held)
                        if work.reply_paths.is_some()
                            && answer_cause(&error) == Cause::AnswerRefused =>
                    {
                        let parcel = batch.parcel();
                        batch.dequeue(1);
                        match parcel {
                            Some(parcel) => held.resend(parcel, batch, socket, work),
                            None => work.counters.add(Cause::AnswerNoMemory, 1),
                        }
                    }
                    _ => {
                        work.counters.add(answer_cause(&error), 1);
                        batch.dequeue(1);
                    }
                },
            }
        }
        if let Held::Peers(held) = &mut self.held
            && held.is_under_pressure()
        {
            held.retry(batch, socket, work);
        }
    }

    /// Returns how many trains from the front of the queue may leave as trains.
    fn allowed_trains(&self, queue: &[Train]) -> usize {
        queue.iter().take_while(|train| self.trains.allows(train)).count()
    }

    /// Sends the datagrams of the first queued train one by one, because the system refused this
    /// train (`refusal`) or one like it before. If one of them would block, the mover holds it and
    /// all that follows, the rest of the queue included.
    fn send_split<B: Batch>(
        &mut self,
        refusal: Option<&io::Error>,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) {
        let Held::Socket(parcels) = &mut self.held else { return };
        let datagrams = batch.queued()[0].datagrams;
        let train = batch.parcel();
        batch.dequeue(1);
        let Some(train) = train else {
            return work.counters.add(Cause::AnswerNoMemory, datagrams as u64);
        };
        split_train(&train, parcels, work.counters);
        self.refused_segment_bytes =
            refusal.and_then(|error| length_refused(&train, error, work.counters));
        // The socket may have room: a refusal does not report that it is full.
        readiness.merge(Readiness::WRITABLE);
        if !self.send_held(batch, socket, readiness, work) {
            work.counters.add(Cause::Held, self.held() as u64);
            self.hold_first(batch, readiness, work);
        }
    }

    /// Holds the first queued reply. If the socket itself has no room, holds the whole queue.
    fn hold_first<B: Batch>(
        &mut self,
        batch: &mut B,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) {
        match &mut self.held {
            Held::Socket(parcels) => {
                readiness.clear_writable();
                hold_all(batch, parcels, work.counters);
            }
            Held::Peers(held) => {
                held.hold(batch.parcel(), work);
                batch.dequeue(1);
            }
        }
    }

    /// Sends held replies. Returns false if the socket itself has no room.
    fn send_held<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) -> bool {
        let parcels = match &mut self.held {
            Held::Socket(parcels) => parcels,
            Held::Peers(held) => {
                held.retry(batch, socket, work);
                return true;
            }
        };
        while let Some(parcel) = parcels.front() {
            if !readiness.is_writable() {
                return false;
            }
            let sent = batch.send_parcel(socket, parcel);
            match &sent {
                Ok(()) => work.counters.sent_many(parcel.count(), parcel.bytes.len()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    readiness.clear_writable();
                    return false;
                }
                Err(error) if parcel.count() > 1 => {
                    let train = parcels.pop_front().expect("the loop looks at the front parcel");
                    split_train(&train, parcels, work.counters);
                    self.refused_segment_bytes = length_refused(&train, error, work.counters);
                    continue;
                }
                Err(error) => work.counters.add(answer_cause(error), 1),
            }
            // The first datagram of a refused train leaves alone, so the system refused the train
            // because it is one.
            if let Some(segment_bytes) = self.refused_segment_bytes.take()
                && sent.is_ok()
            {
                self.trains.forbid(segment_bytes);
            }
            parcels.pop_front();
        }
        true
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

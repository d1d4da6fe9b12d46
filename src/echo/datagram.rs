//! The packet mover: receive a batch, decide each answer, send a batch, hold what would block.

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
use self::parcels::{hold_all, put_apart};
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

/// One datagram socket's part in the echo.
#[derive(Debug)]
pub(super) struct PacketMover {
    held: Held,
    /// When to be given a slice again although no event may come.
    retry_at: Option<Instant>,
    /// The socket's overflow count when it was last seen.
    overflow_seen: u32,
    /// Which replies may leave in trains.
    trains: TrainLimit,
    /// A train of datagrams of this length was refused, and it is not known yet whether for being
    /// one.
    refused: Option<usize>,
}

/// Answers that would have blocked.
#[derive(Debug)]
enum Held {
    /// UDP: the socket itself has no room. The unsent rest of one batch waits, in order, until the
    /// socket is writable; nothing is read meanwhile, so it is never more than one batch.
    Socket(VecDeque<Parcel>),
    /// Unix: the receiver has no room, and its making room wakes nobody (unix(7) sockets poll the
    /// peer's queue only when connected). Its answers wait for a retry, others go on.
    Peers(Box<HeldReplies>),
}

/// What the mover needs besides its socket and batch.
pub(super) struct PacketWork<'a> {
    /// Datagrams to receive by one call at the most; 0 receives none, and 1 none after it.
    pub(super) receive_limit: usize,
    /// Whether messages are answered at all.
    pub(super) answers: bool,
    /// Who is not answered; none for Unix sockets, whose peers have no IP addresses.
    pub(super) guard: Option<&'a Guard>,
    /// The length of every reply, if the bytes of replies that are longer than their requests are
    /// limited.
    pub(super) limited_reply_bytes: Option<usize>,
    /// Where answers to Unix datagrams go; none where they go to any address that asks.
    pub(super) reply_paths: Option<&'a mut ReplyPaths>,
    /// How long a peer's answers are held at the most.
    pub(super) stall_timeout: Duration,
    pub(super) counters: &'a mut TransportCounters,
    pub(super) now: Instant,
}

impl PacketMover {
    /// For UDP, whose blocked answers wait for the socket, and which has lost so much before.
    pub(super) fn held_by_socket(overflow_seen: u32, trains: TrainLimit) -> PacketMover {
        PacketMover { overflow_seen, trains, ..PacketMover::new(Held::Socket(VecDeque::new())) }
    }

    /// For Unix datagrams, whose blocked answers wait for their receiver.
    pub(super) fn held_by_peer() -> PacketMover {
        PacketMover::new(Held::Peers(Box::default()))
    }

    fn new(held: Held) -> PacketMover {
        PacketMover {
            held,
            retry_at: None,
            overflow_seen: 0,
            trains: TrainLimit::NONE,
            refused: None,
        }
    }

    /// Whether to be told when the socket is writable. Asked for only then: on Linux every UDP
    /// send makes a new writable event.
    pub(super) fn wants_writable(&self) -> bool {
        matches!(&self.held, Held::Socket(parcels) if !parcels.is_empty())
    }

    /// How many answers wait.
    pub(super) fn held(&self) -> usize {
        match &self.held {
            Held::Socket(parcels) => parcels.iter().map(Parcel::count).sum(),
            Held::Peers(held) => held.len(),
        }
    }

    /// When to be given a slice without an event.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Moves datagrams for one slice. `on_message` sees each that came whole.
    pub(super) fn advance<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
        mut on_message: impl FnMut(Message<'_>),
    ) -> Next {
        self.retry_at = None;
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
                        self.retry_by(work.now + RECEIVE_RETRY);
                        return Next::Wait;
                    }
                }
            }
        }
        Next::Again
    }

    fn retry_by(&mut self, at: Instant) {
        self.retry_at = Some(self.retry_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Counts what was lost before the newest datagram: the count only grows.
    fn count_overflow(&mut self, overflow: Option<u32>, work: &mut PacketWork<'_>) {
        if let Some(overflow) = overflow {
            work.counters.add(Cause::Overflowed, self.overflow_since(overflow));
            self.overflow_seen = overflow;
        }
    }

    /// How many more the socket has lost, by its count, than have been counted.
    pub(super) fn overflow_since(&self, overflow: u32) -> u64 {
        u64::from(overflow.wrapping_sub(self.overflow_seen))
    }

    /// Puts in the line what can be answered; counts what cannot. Returns the bytes received.
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
                Ok(to) => batch.queue_reply(index, to, self.trains),
                Err(cause) => {
                    work.counters.add(cause, 1);
                    continue;
                }
            }
            if let Held::Peers(held) = &mut self.held
                && !held.is_empty()
            {
                // A peer that sends is awake: what is held for it goes first.
                let peer = batch.message(index).from.clone();
                held.send_to(&peer, batch, socket, work);
            }
        }
        bytes
    }

    /// Sends the line of answers; what would block is held, what fails is counted.
    fn send<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) {
        while !batch.queued().is_empty() {
            let limit = match &mut self.held {
                Held::Socket(_) => match self.allowed(batch.queued()) {
                    0 => {
                        self.send_apart(None, batch, socket, readiness, work);
                        continue;
                    }
                    allowed => allowed,
                },
                Held::Peers(held) => held.run_of_free_peers(batch, socket, work.now),
            };
            if limit == 0 {
                // Something is held for its peer, whose order must be kept, or there is pressure.
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
                        self.send_apart(Some(&error), batch, socket, readiness, work);
                    }
                    Held::Peers(held)
                        if work.reply_paths.is_some()
                            && answer_cause(&error) == Cause::AnswerRefused =>
                    {
                        let parcel = batch.parcel();
                        batch.dequeue(1);
                        match parcel {
                            Some(parcel) => held.send_anew(parcel, batch, socket, work),
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
        if let Held::Peers(held) = &mut self.held {
            if held.is_under_pressure() {
                held.retry(batch, socket, work);
            }
            if let Some(at) = held.retry_at() {
                self.retry_by(at);
            }
        }
    }

    /// How many trains from the front of the line may leave as they are.
    fn allowed(&self, line: &[Train]) -> usize {
        line.iter().take_while(|train| self.trains.allows(train)).count()
    }

    /// Sends the first train of the line one by one: it was refused, or one like it was before.
    /// If not even its datagrams have room, all of the line is held behind them.
    fn send_apart<B: Batch>(
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
        put_apart(&train, parcels, work.counters);
        self.refused = refusal.and_then(|error| length_refused(&train, error, work.counters));
        // A refusal says nothing of room.
        readiness.merge(Readiness::WRITABLE);
        if !self.send_held(batch, socket, readiness, work) {
            work.counters.add(Cause::Held, self.held() as u64);
            self.hold_first(batch, readiness, work);
        }
    }

    /// Holds the first answer of the line, and where the socket itself has no room all of them.
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

    /// Sends what is held; false while the socket itself has no room.
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
                if let Some(at) = held.retry_at() {
                    self.retry_by(at);
                }
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
                    let train = parcels.pop_front().expect("it is the front");
                    put_apart(&train, parcels, work.counters);
                    self.refused = length_refused(&train, error, work.counters);
                    continue;
                }
                Err(error) => work.counters.add(answer_cause(error), 1),
            }
            // If the first datagram of a train that was refused goes, it was for being a train.
            if let Some(segment_bytes) = self.refused.take()
                && sent.is_ok()
            {
                self.trains.forbid(segment_bytes);
            }
            parcels.pop_front();
        }
        true
    }
}

/// Why a reply is too long for its request, if it is.
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

/// The address that leads to the sender of a Unix datagram; `None` for its own.
#[inline]
fn reply_path<'a>(
    from: &SockAddr,
    reply_paths: &'a mut Option<&mut ReplyPaths>,
    now: Instant,
) -> Result<Option<&'a SockAddr>, Cause> {
    match reply_paths {
        Some(reply_paths) => reply_paths.follow(unix_name(from), now),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;

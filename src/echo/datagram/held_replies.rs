//! Holds replies to Unix datagram peers whose queues are full.
//!
//! A send to a full receiver fails with `WouldBlock`, and no event reports when the receiver has
//! room again. The replies are therefore retried when the peer sends a datagram, and on a timer
//! that backs off.

mod peer_queue;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use socket2::SockAddr;

use self::peer_queue::{Attempt, PeerQueue, reply_addr, send_one};
use super::pressure::{BufferPressure, ProbeResult};
use super::{PacketWork, Policy};
use crate::echo::bounds::{
    HELD_BYTES_MAX, HELD_BYTES_PER_PEER_MAX, HELD_PEERS_MAX, HELD_REPLIES_PER_PEER_MAX,
    RETRIED_PER_SLICE, RETRY_AFTER_MAX, RETRY_AFTER_MIN,
};
use crate::echo::cause::{Cause, reply_cause};
use crate::readiness::Readiness;
use crate::socket::batch::{Batch, Parcel, SendBuf, SendBufUse, TrainLimit};

/// Replies in one probe of a peer that read its last probe.
const PROBE_REPLIES: usize = 16;

/// Held replies by peer, in order.
#[derive(Debug, Default)]
pub(in crate::echo) struct HeldReplies {
    peers: HashMap<SockAddr, PeerQueue>,
    bytes: usize,
    /// How many more replies the retries of this slice may try to send.
    retries_left: usize,
    pressure: BufferPressure,
}

impl Policy for HeldReplies {
    fn begin_slice(&mut self) {
        self.retries_left = RETRIED_PER_SLICE;
    }

    fn held(&self) -> usize {
        self.peers.values().map(|queue| queue.parcels.len()).sum()
    }

    fn wants_writable(&self) -> bool {
        false
    }

    fn retry_at(&self) -> Option<Instant> {
        if let Some(at) = self.pressure.check_at() {
            return Some(at);
        }
        let held = self.peers.values().filter(|queue| !queue.parcels.is_empty());
        held.map(|queue| queue.retry_at).min()
    }

    /// Only UDP has trains.
    fn trains(&self) -> TrainLimit {
        TrainLimit::NONE
    }

    fn send_held<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        _readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) -> bool {
        self.retry(batch, socket, work);
        true
    }

    /// Sends the replies held for the sender, as far as it has room. They go before the new one.
    fn send_held_for<B: Batch>(
        &mut self,
        index: usize,
        batch: &mut B,
        socket: &B::Socket,
        work: &mut PacketWork<'_>,
    ) {
        if self.peers.is_empty() || self.pressure.is_under_pressure() {
            return;
        }
        let peer = batch.message(index).from.clone();
        let Some(queue) = self.peers.get_mut(&peer) else { return };
        let bytes_before = queue.bytes;
        if !queue.settle(&peer, HELD_REPLIES_PER_PEER_MAX, batch, socket, work).took_nothing() {
            queue.note_progress(work.now, RETRY_AFTER_MIN);
        }
        self.bytes -= bytes_before - queue.bytes;
        if queue.parcels.is_empty() {
            self.peers.remove(&peer);
        }
    }

    /// Stops before the first reply to a peer for which replies are held, because it must follow
    /// those. Under pressure none may be sent.
    fn admit<B: Batch>(&mut self, batch: &B, socket: &B::Socket, now: Instant) -> usize {
        if self.pressure.wants_check() {
            self.check(socket, now);
        }
        if self.pressure.is_under_pressure() {
            return 0;
        }
        let mut count = 0;
        for reply in batch.queued() {
            if count > 0 && self.pressure.wants_check() {
                break;
            }
            if !self.peers.is_empty() && self.peers.contains_key(batch.message(reply.index).from) {
                break;
            }
            self.pressure.charge(reply.bytes);
            count += 1;
        }
        count
    }

    fn hold_back<B: Batch>(
        &mut self,
        batch: &mut B,
        _socket: &B::Socket,
        _readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) {
        self.hold(batch.parcel(), work);
        batch.dequeue(1);
    }

    fn hold_blocked<B: Batch>(
        &mut self,
        batch: &mut B,
        _readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) {
        // The next check shows whether the peer's queue or the socket's own buffer is full.
        self.pressure.check_soon();
        self.hold(batch.parcel(), work);
        batch.dequeue(1);
    }

    /// A receiver's socket that refuses may have been replaced by another one on the same path.
    fn settle_failed<B: Batch>(
        &mut self,
        error: &io::Error,
        batch: &mut B,
        socket: &B::Socket,
        _readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) {
        let cause = reply_cause(error);
        if work.reply_paths.is_none() || cause != Cause::ReplyRefused {
            work.counters.add(cause, 1);
            return batch.dequeue(1);
        }
        let parcel = batch.parcel();
        batch.dequeue(1);
        match parcel {
            Some(parcel) => self.resend(parcel, batch, socket, work),
            None => work.counters.add(Cause::ReplyNoMemory, 1),
        }
    }

    fn note_queue_empty<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        work: &mut PacketWork<'_>,
    ) {
        if self.pressure.is_under_pressure() {
            self.retry(batch, socket, work);
        }
    }
}

impl HeldReplies {
    /// Holds a reply. Drops and counts it if a bound is reached or there is no memory. `None` is a
    /// reply that there was no memory to copy.
    fn hold(&mut self, parcel: Option<Parcel>, work: &mut PacketWork<'_>) {
        let Some(parcel) = parcel else { return work.counters.add(Cause::ReplyNoMemory, 1) };
        let length = parcel.bytes.len();
        let has_room = match self.peers.get(&parcel.peer) {
            Some(queue) if queue.is_deaf() => {
                work.counters.add(Cause::ReplyStalled, 1);
                return;
            }
            Some(queue) => {
                queue.parcels.len() < HELD_REPLIES_PER_PEER_MAX
                    && queue.bytes + length <= HELD_BYTES_PER_PEER_MAX
            }
            None => self.peers.len() < HELD_PEERS_MAX && length <= HELD_BYTES_PER_PEER_MAX,
        };
        if !has_room || self.bytes + length > HELD_BYTES_MAX {
            work.counters.add(Cause::ReplyBacklogFull, 1);
            return;
        }
        let mut parcels = VecDeque::new();
        let reserved = match self.peers.get_mut(&parcel.peer) {
            Some(queue) => queue.parcels.try_reserve(1),
            None => self.peers.try_reserve(1).and_then(|()| parcels.try_reserve(1)),
        };
        if reserved.is_err() {
            return work.counters.add(Cause::ReplyNoMemory, 1);
        }
        work.counters.add(Cause::Held, 1);
        self.bytes += length;
        // Under pressure the first try need not wait: the peer itself may have room.
        let wait = if self.pressure.is_under_pressure() { Duration::ZERO } else { RETRY_AFTER_MIN };
        let queue = self.peers.entry(parcel.peer.clone()).or_insert_with(|| PeerQueue {
            parcels,
            bytes: 0,
            blocked_since: work.now,
            retry_at: work.now + wait,
            retry_after: RETRY_AFTER_MIN,
            probes_unread: 0,
            reads_probes: false,
        });
        queue.bytes += length;
        queue.parcels.push_back(parcel);
    }

    /// Sends a reply once more after its receiver's socket refused it, because another socket may
    /// have the path by now. Holds the reply if that socket has no room.
    fn resend<B: Batch>(
        &mut self,
        mut parcel: Parcel,
        batch: &mut B,
        socket: &B::Socket,
        work: &mut PacketWork<'_>,
    ) {
        let peer = parcel.peer.clone();
        parcel.peer = match reply_addr(&peer, work) {
            Ok(to) => to,
            Err(cause) => return work.counters.add(cause, 1),
        };
        if send_one(&parcel, batch, socket, work) == Attempt::NoRoom {
            self.pressure.check_soon();
            self.hold(Some(Parcel { peer, ..parcel }), work);
        }
    }

    /// Retries the peers whose retry is due, and drops the replies to peers that have stalled.
    /// Peers for which the slice has no retry left stay due. The peer that has been due longest
    /// comes first: in the order of the map, peers that are due again after each turn would leave
    /// no retry to the peers behind them.
    fn retry<B: Batch>(&mut self, batch: &mut B, socket: &B::Socket, work: &mut PacketWork<'_>) {
        if self.retries_left == 0 {
            return;
        }
        if self.pressure.is_under_pressure() {
            return self.probe(batch, socket, work);
        }
        let due = self.peers.values().map(|queue| queue.retry_at).filter(|at| *at <= work.now);
        let mut earliest = due.min();
        let (bytes, retries_left) = (&mut self.bytes, &mut self.retries_left);
        // Peers of one slice that took nothing are mostly due at the same time, so the passes are
        // few. A peer that was retried is due after this slice.
        while let Some(at) = earliest.take().filter(|_| *retries_left > 0) {
            self.peers.retain(|peer, queue| {
                if queue.retry_at > at {
                    let is_due = queue.retry_at <= work.now;
                    if is_due && earliest.is_none_or(|other| queue.retry_at < other) {
                        earliest = Some(queue.retry_at);
                    }
                    return true;
                }
                if *retries_left == 0 {
                    return true;
                }
                let bytes_before = queue.bytes;
                let settled = queue.settle(peer, *retries_left, batch, socket, work);
                *retries_left = retries_left.saturating_sub(settled.tries());
                if settled.took_nothing() {
                    queue.back_off(work);
                } else {
                    // The peer may soon have room for more.
                    queue.note_progress(work.now, RETRY_AFTER_MIN);
                }
                *bytes -= bytes_before - queue.bytes;
                !queue.parcels.is_empty()
            });
        }
    }

    /// Finds out which peers read, one peer at a time, while the socket is under pressure.
    fn probe<B: Batch>(&mut self, batch: &mut B, socket: &B::Socket, work: &mut PacketWork<'_>) {
        let Some(buf) = self.check(socket, work.now) else { return };
        if !self.pressure.is_under_pressure() {
            return;
        }
        let (result, any_peer_reads) = self.pressure.probe_result(buf.used_bytes, work.now);
        match result {
            ProbeResult::Pending => return,
            ProbeResult::None => {}
            ProbeResult::Read(peer) => {
                if let Some(queue) = self.peers.get_mut(&peer) {
                    queue.note_progress(work.now, Duration::ZERO);
                    queue.reads_probes = true;
                    if queue.parcels.is_empty() {
                        self.peers.remove(&peer);
                    }
                }
            }
            ProbeResult::Unread(peer) => self.note_unread(&peer, work),
        }
        if any_peer_reads {
            self.peers.values_mut().for_each(|queue| queue.probes_unread = 0);
        }
        let due = |(_, queue): &(&SockAddr, &mut PeerQueue)| {
            !queue.parcels.is_empty() && queue.retry_at <= work.now
        };
        let first = self.peers.iter_mut().filter(due).min_by_key(|(_, queue)| queue.retry_at);
        let Some((peer, queue)) = first else { return };
        let peer = peer.clone();
        let limit = if queue.reads_probes { PROBE_REPLIES.min(self.retries_left) } else { 1 };
        let bytes_before = queue.bytes;
        let settled = queue.settle(&peer, limit, batch, socket, work);
        self.retries_left = self.retries_left.saturating_sub(settled.tries());
        if settled.took_nothing() {
            queue.back_off(work);
        }
        self.bytes -= bytes_before - queue.bytes;
        if settled.sent > 0 {
            // The result of the probe, not its sending, shows whether the peer reads.
            self.pressure.probe_sent(peer, buf.used_bytes, work.now);
        } else if queue.parcels.is_empty() {
            // Forget the peer. It had no room until the stall timeout or its socket refused the
            // replies, but it may still read.
            self.peers.remove(&peer);
        }
    }

    /// Notes that a peer left a probe unread. Its next probe comes later. A deaf peer gets none,
    /// and its replies are dropped.
    fn note_unread(&mut self, peer: &SockAddr, work: &mut PacketWork<'_>) {
        let Some(queue) = self.peers.get_mut(peer) else { return };
        queue.probes_unread += 1;
        queue.reads_probes = false;
        queue.retry_after = RETRY_AFTER_MAX;
        let bytes_before = queue.bytes;
        queue.back_off(work);
        if queue.is_deaf() {
            queue.drop_all(Cause::ReplyStalled, work);
        }
        self.bytes -= bytes_before - queue.bytes;
    }

    /// Checks the socket's send buffer. When the pressure ends, all peers are due for a retry, and
    /// no peer counts as deaf any more.
    fn check(&mut self, socket: &(impl SendBuf + ?Sized), now: Instant) -> Option<SendBufUse> {
        let buf = socket.send_buf_use()?;
        let was_under_pressure = self.pressure.is_under_pressure();
        self.pressure.update(buf);
        if was_under_pressure && !self.pressure.is_under_pressure() {
            self.peers.retain(|_, queue| {
                queue.note_progress(now, Duration::ZERO);
                !queue.parcels.is_empty()
            });
        }
        Some(buf)
    }
}

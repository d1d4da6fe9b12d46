//! Answers that wait for Unix datagram peers whose queues are full.
//!
//! A full receiver refuses with `WouldBlock` and nothing tells its sender when it has room again,
//! so the answers are tried again: when the peer sends something, and on a timer that backs off.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use socket2::SockAddr;

use super::PacketWork;
use super::pressure::{BufferPressure, ProbeResult};
use crate::echo::bounds::{
    HELD_BYTES_MAX, HELD_BYTES_PER_PEER_MAX, HELD_PEERS_MAX, HELD_REPLIES_PER_PEER_MAX,
    RETRIED_PER_SLICE, RETRY_AFTER_MAX, RETRY_AFTER_MIN,
};
use crate::echo::cause::{Cause, answer_cause};
use crate::socket::batch::{Batch, Parcel, SendBuf, SendBufUse};
use crate::socket::unix_name;

/// Answers of one probe of a peer that has read the one before.
const PROBE_REPLIES: usize = 16;

/// Probes that a peer may leave unread. The time between them doubles.
const PROBES_UNREAD_MAX: u32 = 4;

/// What is held, by peer, in order.
#[derive(Debug, Default)]
pub(super) struct HeldReplies {
    peers: HashMap<SockAddr, PeerQueue>,
    bytes: usize,
    pressure: BufferPressure,
}

#[derive(Debug)]
struct PeerQueue {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    /// When the peer last took one, or first did not.
    blocked_since: Instant,
    retry_at: Instant,
    /// Doubles with every retry that moved nothing.
    retry_after: Duration,
    /// Probes that it has not read, counted under pressure. An empty queue is kept for this count.
    probes_unread: u32,
    /// It has read its last probe.
    reads_probes: bool,
}

impl HeldReplies {
    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// How many answers are held.
    pub(super) fn len(&self) -> usize {
        self.peers.values().map(|queue| queue.parcels.len()).sum()
    }

    /// Whether anything is held for this peer; if so, its next answer must queue up behind.
    pub(super) fn holds(&self, peer: &SockAddr) -> bool {
        self.peers.contains_key(peer)
    }

    /// When the next retry is due.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        if let Some(at) = self.pressure.look_at() {
            return Some(at);
        }
        let held = self.peers.values().filter(|queue| !queue.parcels.is_empty());
        held.map(|queue| queue.retry_at).min()
    }

    /// How many answers from the front of the line may be sent: up to one that must queue up
    /// behind what is held for its peer, and none while the buffer is under pressure.
    pub(super) fn run_of_free_peers<B: Batch>(
        &mut self,
        batch: &B,
        socket: &B::Socket,
        now: Instant,
    ) -> usize {
        if self.pressure.wants_look() {
            self.look(socket, now);
        }
        if self.pressure.is_under_pressure() {
            return 0;
        }
        let mut free = 0;
        for answer in batch.queued() {
            if free > 0 && self.pressure.wants_look() {
                break;
            }
            if !self.is_empty() && self.holds(batch.message(answer.index).from) {
                break;
            }
            self.pressure.charge(answer.bytes);
            free += 1;
        }
        free
    }

    /// To be called when a send blocked: whether it was the peer's queue or the socket's own
    /// buffer, the next look tells.
    pub(super) fn note_blocked(&mut self) {
        self.pressure.look_soon();
    }

    pub(super) fn is_under_pressure(&self) -> bool {
        self.pressure.is_under_pressure()
    }

    /// Holds an answer, or drops and counts it when a bound is reached or memory is lacking. `None`
    /// is an answer that found no memory.
    pub(super) fn hold(&mut self, parcel: Option<Parcel>, work: &mut PacketWork<'_>) {
        let Some(parcel) = parcel else { return work.counters.add(Cause::AnswerNoMemory, 1) };
        let length = parcel.bytes.len();
        let has_room = match self.peers.get(&parcel.peer) {
            Some(queue) if queue.is_deaf() => {
                work.counters.add(Cause::AnswerStalled, 1);
                return;
            }
            Some(queue) => {
                queue.parcels.len() < HELD_REPLIES_PER_PEER_MAX
                    && queue.bytes + length <= HELD_BYTES_PER_PEER_MAX
            }
            None => self.peers.len() < HELD_PEERS_MAX && length <= HELD_BYTES_PER_PEER_MAX,
        };
        if !has_room || self.bytes + length > HELD_BYTES_MAX {
            work.counters.add(Cause::AnswerBacklogFull, 1);
            return;
        }
        let mut parcels = VecDeque::new();
        let reserved = match self.peers.get_mut(&parcel.peer) {
            Some(queue) => queue.parcels.try_reserve(1),
            None => self.peers.try_reserve(1).and_then(|()| parcels.try_reserve(1)),
        };
        if reserved.is_err() {
            return work.counters.add(Cause::AnswerNoMemory, 1);
        }
        work.counters.add(Cause::Held, 1);
        self.bytes += length;
        // Under pressure the queue may exist only because other peers wait.
        let wait = if self.is_under_pressure() { Duration::ZERO } else { RETRY_AFTER_MIN };
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

    /// Sends what is held for one peer, as far as it has room.
    pub(super) fn send_to<B: Batch>(
        &mut self,
        peer: &SockAddr,
        batch: &mut B,
        socket: &B::Socket,
        work: &mut PacketWork<'_>,
    ) {
        if self.is_under_pressure() {
            return;
        }
        let Some(queue) = self.peers.get_mut(peer) else { return };
        let bytes_before = queue.bytes;
        if queue.send(peer, HELD_REPLIES_PER_PEER_MAX, batch, socket, work) > 0 {
            queue.has_moved(work.now, RETRY_AFTER_MIN);
        }
        self.bytes -= bytes_before - queue.bytes;
        if queue.parcels.is_empty() {
            self.peers.remove(peer);
        }
    }

    /// Sends an answer that was refused at the end of its way: another socket may have the path by
    /// now. It is held if that one has no room.
    pub(super) fn send_anew<B: Batch>(
        &mut self,
        mut parcel: Parcel,
        batch: &mut B,
        socket: &B::Socket,
        work: &mut PacketWork<'_>,
    ) {
        let peer = parcel.peer.clone();
        parcel.peer = match way_to(&peer, work) {
            Ok(to) => to,
            Err(cause) => return work.counters.add(cause, 1),
        };
        if !send_one(&parcel, batch, socket, work) {
            self.note_blocked();
            self.hold(Some(Parcel { peer, ..parcel }), work);
        }
    }

    /// Tries the peers whose retry is due, and gives up those that have stalled. What the slice
    /// has no room for stays due.
    pub(super) fn retry<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        work: &mut PacketWork<'_>,
    ) {
        if self.is_under_pressure() {
            self.probe(batch, socket, work);
            return;
        }
        let mut room = RETRIED_PER_SLICE;
        let bytes = &mut self.bytes;
        self.peers.retain(|peer, queue| {
            if room == 0 || work.now < queue.retry_at {
                return true;
            }
            let bytes_before = queue.bytes;
            match queue.send(peer, room, batch, socket, work) {
                0 => queue.back_off(work),
                gone => {
                    room = room.saturating_sub(gone);
                    // It may soon have room for more.
                    queue.has_moved(work.now, RETRY_AFTER_MIN);
                }
            }
            *bytes -= bytes_before - queue.bytes;
            !queue.parcels.is_empty()
        });
    }

    /// Under pressure: finds out which peers read, one after the other.
    fn probe<B: Batch>(&mut self, batch: &mut B, socket: &B::Socket, work: &mut PacketWork<'_>) {
        let Some(buf) = self.look(socket, work.now) else { return };
        if !self.pressure.is_under_pressure() {
            return;
        }
        let (verdict, any_peer_reads) = self.pressure.probe_result(buf.used_bytes, work.now);
        match verdict {
            ProbeResult::Pending => return,
            ProbeResult::None => {}
            ProbeResult::Read(peer) => {
                if let Some(queue) = self.peers.get_mut(&peer) {
                    queue.has_moved(work.now, Duration::ZERO);
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
        let limit = if queue.reads_probes { PROBE_REPLIES } else { 1 };
        let bytes_before = queue.bytes;
        if queue.send(&peer, limit, batch, socket, work) > 0 {
            // Whether it is awake is for the verdict to say.
            self.bytes -= bytes_before - queue.bytes;
            self.pressure.probe(peer, buf.used_bytes, work.now);
            return;
        }
        queue.back_off(work);
        self.bytes -= bytes_before - queue.bytes;
        if queue.parcels.is_empty() {
            // Given up for want of room, which says nothing of whether it reads.
            self.peers.remove(&peer);
        }
    }

    /// A peer has left a probe unread: the next comes later, or none comes.
    fn note_unread(&mut self, peer: &SockAddr, work: &mut PacketWork<'_>) {
        let Some(queue) = self.peers.get_mut(peer) else { return };
        queue.probes_unread += 1;
        queue.reads_probes = false;
        queue.retry_after = queue.retry_after.max(RETRY_AFTER_MAX / 2);
        let bytes_before = queue.bytes;
        queue.back_off(work);
        if queue.is_deaf() {
            queue.give_up(work);
        }
        self.bytes -= bytes_before - queue.bytes;
    }

    /// Looks at the socket's buffer. When the pressure ends, all are tried again, and no peer
    /// counts as deaf any more.
    fn look(&mut self, socket: &(impl SendBuf + ?Sized), now: Instant) -> Option<SendBufUse> {
        let buf = socket.send_buf_use()?;
        let was_high = self.is_under_pressure();
        self.pressure.look(buf);
        if was_high && !self.is_under_pressure() {
            self.peers.retain(|_, queue| {
                queue.has_moved(now, Duration::ZERO);
                !queue.parcels.is_empty()
            });
        }
        Some(buf)
    }
}

impl PeerQueue {
    /// Sends up to `limit` answers to the peer, and returns how many are gone, sent or given up.
    fn send<B: Batch>(
        &mut self,
        peer: &SockAddr,
        limit: usize,
        batch: &mut B,
        socket: &B::Socket,
        work: &mut PacketWork<'_>,
    ) -> usize {
        if self.parcels.is_empty() {
            return 0;
        }
        let to = match way_to(peer, work) {
            Ok(to) => to,
            Err(cause) => {
                let gone = self.parcels.len();
                work.counters.add(cause, gone as u64);
                self.bytes = 0;
                self.parcels.clear();
                return gone;
            }
        };
        let mut gone = 0;
        while gone < limit
            && let Some(parcel) = self.parcels.front_mut()
        {
            parcel.peer = to.clone();
            if !send_one(parcel, batch, socket, work) {
                break;
            }
            gone += 1;
            self.bytes -= parcel.bytes.len();
            self.parcels.pop_front();
        }
        gone
    }

    /// It is awake.
    fn has_moved(&mut self, now: Instant, wait: Duration) {
        self.blocked_since = now;
        self.retry_after = RETRY_AFTER_MIN;
        self.retry_at = now + wait;
        self.probes_unread = 0;
    }

    /// It took nothing: the next try comes later, or none when it has stalled for too long.
    fn back_off(&mut self, work: &mut PacketWork<'_>) {
        self.retry_after = (self.retry_after * 2).min(RETRY_AFTER_MAX);
        self.retry_at = work.now + self.retry_after;
        if work.now.saturating_duration_since(self.blocked_since) >= work.stall_timeout {
            self.give_up(work);
        }
    }

    fn give_up(&mut self, work: &mut PacketWork<'_>) {
        work.counters.add(Cause::AnswerStalled, self.parcels.len() as u64);
        self.bytes = 0;
        self.parcels.clear();
    }

    fn is_deaf(&self) -> bool {
        self.probes_unread >= PROBES_UNREAD_MAX
    }
}

/// Where answers to a peer go that did not leave at once.
fn way_to(peer: &SockAddr, work: &mut PacketWork<'_>) -> Result<SockAddr, Cause> {
    let Some(reply_paths) = &mut work.reply_paths else { return Ok(peer.clone()) };
    let to = reply_paths.follow_anew(unix_name(peer), work.now)?;
    Ok(to.unwrap_or(peer).clone())
}

/// Sends one answer. Whether it is gone, sent or given up; else its receiver has no room.
fn send_one<B: Batch>(
    parcel: &Parcel,
    batch: &mut B,
    socket: &B::Socket,
    work: &mut PacketWork<'_>,
) -> bool {
    loop {
        match batch.send_parcel(socket, parcel) {
            Ok(()) => work.counters.sent(parcel.bytes.len()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => work.counters.add(answer_cause(&error), 1),
        }
        return true;
    }
}

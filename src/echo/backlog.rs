//! Answers that wait for Unix datagram peers whose queues are full.
//!
//! A full receiver refuses with `WouldBlock` and nothing tells its sender when it has room again,
//! so the answers are tried again: when the peer sends something, and on a timer that backs off.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use socket2::SockAddr;

use super::counters::Cause;
use super::datagram::{PacketWork, answer_cause};
use crate::socket::batch::{Batch, Parcel};

/// Peers that are waited for at once: their retries cost system calls, their lists memory.
const PEERS_MAX: usize = 256;

/// Answers held for one peer: several times the usual queue of 10 (`net.unix.max_dgram_qlen`).
pub(super) const PEER_ANSWERS_MAX: usize = 64;

/// Bytes held for one peer: two answers of the largest size, or all 64 of an ordinary one. Less
/// than the bound for all, so that one deaf peer does not use that up.
const PEER_BYTES_MAX: usize = 512 << 10;

/// Bytes held for all peers together.
const BYTES_MAX: usize = 16 << 20;

/// Answers up to this length may use all of a socket's send buffer, longer ones half of it: Unix
/// receivers of large answers that do not read them must not silence it for all others.
const SMALL_BYTES: usize = 4 << 10;

/// Answers sent by the retries of one slice: as many as two batches of UDP.
const RETRIED_PER_SLICE: usize = 128;

/// The first retry comes after a receiver had time to be scheduled, later ones back off: a peer
/// that has stopped reading costs 16 wake-ups a second.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(1);
const RETRY_AFTER_MAX: Duration = Duration::from_millis(64);

/// What is held, by peer, in order.
#[derive(Debug, Default)]
pub(super) struct PeerBacklog {
    peers: HashMap<SockAddr, Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    /// When the peer last took one, or first did not.
    blocked_since: Instant,
    retry_at: Instant,
    /// Doubles with every retry that moved nothing.
    retry_after: Duration,
}

impl PeerBacklog {
    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// How many answers are held.
    pub(super) fn len(&self) -> usize {
        self.peers.values().map(|waiting| waiting.parcels.len()).sum()
    }

    /// Whether anything is held for this peer; if so, its next answer must queue up behind.
    pub(super) fn holds(&self, peer: &SockAddr) -> bool {
        self.peers.contains_key(peer)
    }

    /// When the next retry is due.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.peers.values().map(|waiting| waiting.retry_at).min()
    }

    /// How many answers from the front of the line may be tried: up to one that must queue up
    /// behind what is held for its peer, or that is too large for what is left of the buffer.
    pub(super) fn run_of_free_peers<B: Batch>(&self, batch: &B, socket: &B::Socket) -> usize {
        let mut free = 0;
        while free < batch.unsent() {
            let index = batch.unsent_index(free);
            if !self.is_empty() && self.holds(&batch.peer(index)) {
                break;
            }
            if batch.answer(index).len() > SMALL_BYTES {
                // Looked at anew for each: those before it are in the buffer by then.
                let is_first = free == 0;
                return if is_first { usize::from(!batch.is_crowded(socket)) } else { free };
            }
            free += 1;
        }
        free
    }

    /// Holds an answer, or drops and counts it when a bound is reached.
    pub(super) fn hold(&mut self, parcel: Parcel, work: &mut PacketWork<'_>) {
        let length = parcel.bytes.len();
        let has_room = match self.peers.get(&parcel.peer) {
            Some(waiting) => {
                waiting.parcels.len() < PEER_ANSWERS_MAX && waiting.bytes + length <= PEER_BYTES_MAX
            }
            None => self.peers.len() < PEERS_MAX && length <= PEER_BYTES_MAX,
        };
        if !has_room || self.bytes + length > BYTES_MAX {
            work.tally.add(Cause::AnswerBacklogFull, 1);
            return;
        }
        work.tally.add(Cause::Held, 1);
        self.bytes += length;
        let waiting = self.peers.entry(parcel.peer.clone()).or_insert_with(|| Waiting {
            parcels: VecDeque::new(),
            bytes: 0,
            blocked_since: work.now,
            retry_at: work.now + RETRY_AFTER_MIN,
            retry_after: RETRY_AFTER_MIN,
        });
        waiting.bytes += length;
        waiting.parcels.push_back(parcel);
    }

    /// Sends what is held for one peer, as far as it has room.
    pub(super) fn send_to<B: Batch>(
        &mut self,
        peer: &SockAddr,
        batch: &mut B,
        socket: &B::Socket,
        work: &mut PacketWork<'_>,
    ) {
        let Some(waiting) = self.peers.get_mut(peer) else { return };
        let bytes_before = waiting.bytes;
        waiting.send(PEER_ANSWERS_MAX, batch, socket, work);
        self.bytes -= bytes_before - waiting.bytes;
        if waiting.parcels.is_empty() {
            self.peers.remove(peer);
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
        let mut room = RETRIED_PER_SLICE;
        let bytes = &mut self.bytes;
        self.peers.retain(|_, waiting| {
            if room == 0 || work.now < waiting.retry_at {
                return true;
            }
            let bytes_before = waiting.bytes;
            let sent = waiting.send(room, batch, socket, work);
            room -= sent;
            if sent == 0 {
                waiting.retry_after = (waiting.retry_after * 2).min(RETRY_AFTER_MAX);
                waiting.retry_at = work.now + waiting.retry_after;
            }
            if work.now.saturating_duration_since(waiting.blocked_since) >= work.stall_timeout {
                work.tally.add(Cause::AnswerStalled, waiting.parcels.len() as u64);
                waiting.bytes = 0;
                waiting.parcels.clear();
            }
            *bytes -= bytes_before - waiting.bytes;
            !waiting.parcels.is_empty()
        });
    }
}

impl Waiting {
    /// Sends up to `limit` answers, and returns how many are gone, sent or given up.
    fn send<B: Batch>(
        &mut self,
        limit: usize,
        batch: &mut B,
        socket: &B::Socket,
        work: &mut PacketWork<'_>,
    ) -> usize {
        let mut gone = 0;
        while gone < limit
            && let Some(parcel) = self.parcels.front()
        {
            if parcel.bytes.len() > SMALL_BYTES && batch.is_crowded(socket) {
                break;
            }
            match batch.send_parcel(socket, parcel) {
                Ok(()) => work.tally.sent(parcel.bytes.len()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => work.tally.add(answer_cause(&error), 1),
            }
            gone += 1;
            self.bytes -= parcel.bytes.len();
            self.parcels.pop_front();
        }
        if gone > 0 {
            // It is awake, and may soon have room for more.
            self.blocked_since = work.now;
            self.retry_after = RETRY_AFTER_MIN;
            self.retry_at = work.now + self.retry_after;
        }
        gone
    }
}

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

/// Peers that are waited for at once: each costs a system call a retry.
const PEERS_MAX: usize = 256;

/// Answers held for one peer: several times the usual queue of 10 (`net.unix.max_dgram_qlen`).
pub(super) const PEER_ANSWERS_MAX: usize = 64;

/// Bytes held for all peers together.
const BYTES_MAX: usize = 4 << 20;

/// The first retry comes after a receiver had time to be scheduled, later ones back off: a peer
/// that has stopped reading costs 16 wake-ups a second.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(1);
const RETRY_AFTER_MAX: Duration = Duration::from_millis(64);

/// What is held, by peer, in order.
#[derive(Debug)]
pub(super) struct PeerBacklog {
    peers: HashMap<SockAddr, Waiting>,
    bytes: usize,
    retry_at: Option<Instant>,
    retry_after: Duration,
}

impl Default for PeerBacklog {
    fn default() -> PeerBacklog {
        PeerBacklog {
            peers: HashMap::new(),
            bytes: 0,
            retry_at: None,
            retry_after: RETRY_AFTER_MIN,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    parcels: VecDeque<Parcel>,
    /// When the peer last took one, or first did not.
    blocked_since: Instant,
}

/// How far sending to one peer came.
#[derive(Debug, Default)]
struct Progress {
    /// Answers gone, sent or given up.
    answers: usize,
    bytes: usize,
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

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// How many answers from the front of the line go to peers nothing is held for.
    pub(super) fn run_of_free_peers<B: Batch>(&self, batch: &B) -> usize {
        if self.is_empty() {
            return batch.unsent();
        }
        let is_free = |nth: &usize| !self.holds(&batch.peer(batch.unsent_index(*nth)));
        (0..batch.unsent()).take_while(is_free).count()
    }

    /// Holds an answer, or drops and counts it when a bound is reached.
    pub(super) fn hold(&mut self, parcel: Parcel, work: &mut PacketWork<'_>) {
        let waiting = self.peers.get(&parcel.peer).map_or(0, |waiting| waiting.parcels.len());
        let is_full = waiting == PEER_ANSWERS_MAX
            || (waiting == 0 && self.peers.len() == PEERS_MAX)
            || self.bytes + parcel.bytes.len() > BYTES_MAX;
        if is_full {
            work.tally.add(Cause::AnswerBacklogFull, 1);
            return;
        }
        work.tally.add(Cause::Held, 1);
        self.bytes += parcel.bytes.len();
        let waiting = self
            .peers
            .entry(parcel.peer.clone())
            .or_insert_with(|| Waiting { parcels: VecDeque::new(), blocked_since: work.now });
        waiting.parcels.push_back(parcel);
        if self.retry_at.is_none() {
            self.retry_at = Some(work.now + self.retry_after);
        }
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
        self.bytes -= waiting.send(batch, socket, work).bytes;
        if waiting.parcels.is_empty() {
            self.peers.remove(peer);
        }
        if self.peers.is_empty() {
            self.rest();
        }
    }

    /// When a retry is due, tries every peer once.
    pub(super) fn retry<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        work: &mut PacketWork<'_>,
    ) {
        if self.retry_at.is_none_or(|at| work.now < at) {
            return;
        }
        let mut progressed = false;
        let bytes = &mut self.bytes;
        self.peers.retain(|_, waiting| {
            let progress = waiting.send(batch, socket, work);
            progressed |= progress.answers > 0;
            *bytes -= progress.bytes;
            if work.now.saturating_duration_since(waiting.blocked_since) >= work.stall_timeout {
                work.tally.add(Cause::AnswerStalled, waiting.parcels.len() as u64);
                *bytes -= waiting.parcels.iter().map(|parcel| parcel.bytes.len()).sum::<usize>();
                return false;
            }
            !waiting.parcels.is_empty()
        });
        if self.peers.is_empty() {
            self.rest();
            return;
        }
        let longer = self.retry_after.saturating_mul(2).min(RETRY_AFTER_MAX);
        self.retry_after = if progressed { RETRY_AFTER_MIN } else { longer };
        self.retry_at = Some(work.now + self.retry_after);
    }

    fn rest(&mut self) {
        self.retry_at = None;
        self.retry_after = RETRY_AFTER_MIN;
    }
}

impl Waiting {
    fn send<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        work: &mut PacketWork<'_>,
    ) -> Progress {
        let mut progress = Progress::default();
        while let Some(parcel) = self.parcels.front() {
            match batch.send_parcel(socket, parcel) {
                Ok(()) => work.tally.sent(parcel.bytes.len()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => work.tally.add(answer_cause(&error), 1),
            }
            progress.answers += 1;
            progress.bytes += parcel.bytes.len();
            self.blocked_since = work.now;
            self.parcels.pop_front();
        }
        progress
    }
}

//! The replies that wait for one peer.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use socket2::SockAddr;

use crate::echo::bounds::{RETRY_AFTER_MAX, RETRY_AFTER_MIN};
use crate::echo::cause::{Cause, reply_cause};
use crate::echo::datagram::PacketWork;
use crate::socket::batch::{Batch, Parcel};
use crate::socket::unix_name;

/// Unread probes after which a peer is deaf. They are [`RETRY_AFTER_MAX`] apart.
const PROBES_UNREAD_MAX: u32 = 4;

/// Held replies to one peer, in order.
#[derive(Debug)]
pub(super) struct PeerQueue {
    pub(super) parcels: VecDeque<Parcel>,
    pub(super) bytes: usize,
    /// When the peer last took a reply, or first had no room for one.
    pub(super) blocked_since: Instant,
    pub(super) retry_at: Instant,
    /// The time between two retries. It doubles with every retry in which the peer takes nothing.
    pub(super) retry_after: Duration,
    /// Probes that the peer has left unread under pressure. A queue without replies is kept for
    /// this count.
    pub(super) probes_unread: u32,
    /// The peer read its last probe.
    pub(super) reads_probes: bool,
}

/// What became of replies that the server tried to send.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settled {
    pub(super) sent: usize,
    /// Dropped and counted.
    pub(super) dropped: usize,
    /// The peer had no room for another one.
    pub(super) is_blocked: bool,
}

impl Settled {
    pub(super) fn took_nothing(self) -> bool {
        self.sent + self.dropped == 0
    }

    /// Returns the number of replies that the server tried to send.
    pub(super) fn tries(self) -> usize {
        self.sent + self.dropped + usize::from(self.is_blocked)
    }
}

impl PeerQueue {
    /// Sends up to `limit` replies to the peer, and drops those that fail. Stops when the peer has
    /// no room.
    pub(super) fn settle<B: Batch>(
        &mut self,
        peer: &SockAddr,
        limit: usize,
        batch: &mut B,
        socket: &B::Socket,
        work: &mut PacketWork<'_>,
    ) -> Settled {
        let mut settled = Settled::default();
        if self.parcels.is_empty() {
            return settled;
        }
        let to = match reply_addr(peer, work) {
            Ok(to) => to,
            Err(cause) => {
                settled.dropped = self.parcels.len();
                self.drop_all(cause, work);
                return settled;
            }
        };
        while settled.sent + settled.dropped < limit
            && let Some(parcel) = self.parcels.front_mut()
        {
            parcel.peer = to.clone();
            match send_one(parcel, batch, socket, work) {
                Attempt::Sent => settled.sent += 1,
                Attempt::Dropped => settled.dropped += 1,
                Attempt::NoRoom => {
                    settled.is_blocked = true;
                    break;
                }
            }
            self.bytes -= parcel.bytes.len();
            self.parcels.pop_front();
        }
        settled
    }

    /// Notes that the peer took or read something: the stall timeout and the back-off start over.
    /// The next retry is due after `wait`.
    pub(super) fn note_progress(&mut self, now: Instant, wait: Duration) {
        self.blocked_since = now;
        self.retry_after = RETRY_AFTER_MIN;
        self.retry_at = now + wait;
        self.probes_unread = 0;
    }

    /// Notes that the peer took nothing: its next retry comes later. Drops its replies if it has
    /// taken none for the stall timeout.
    pub(super) fn back_off(&mut self, work: &mut PacketWork<'_>) {
        self.retry_after = (self.retry_after * 2).min(RETRY_AFTER_MAX);
        self.retry_at = work.now + self.retry_after;
        if work.now.saturating_duration_since(self.blocked_since) >= work.stall_timeout {
            self.drop_all(Cause::ReplyStalled, work);
        }
    }

    pub(super) fn drop_all(&mut self, cause: Cause, work: &mut PacketWork<'_>) {
        work.counters.add(cause, self.parcels.len() as u64);
        self.bytes = 0;
        self.parcels.clear();
    }

    pub(super) fn is_deaf(&self) -> bool {
        self.probes_unread >= PROBES_UNREAD_MAX
    }
}

/// Returns the address for a reply that did not leave at once. The path of the peer may lead to
/// another socket by now, so it is checked again.
pub(super) fn reply_addr(peer: &SockAddr, work: &mut PacketWork<'_>) -> Result<SockAddr, Cause> {
    let Some(reply_paths) = &mut work.reply_paths else { return Ok(peer.clone()) };
    let to = reply_paths.recheck(unix_name(peer), work.now)?;
    Ok(to.unwrap_or_else(|| peer.clone()))
}

/// The result of an attempt to send one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Sent,
    /// The send failed. The reply is dropped and counted.
    Dropped,
    /// The receiver has no room.
    NoRoom,
}

/// Sends one reply.
pub(super) fn send_one<B: Batch>(
    parcel: &Parcel,
    batch: &mut B,
    socket: &B::Socket,
    work: &mut PacketWork<'_>,
) -> Attempt {
    loop {
        match batch.send_parcel(socket, parcel) {
            Ok(()) => {
                work.counters.sent(parcel.bytes.len());
                return Attempt::Sent;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Attempt::NoRoom,
            Err(error) => {
                work.counters.add(reply_cause(&error), 1);
                return Attempt::Dropped;
            }
        }
    }
}

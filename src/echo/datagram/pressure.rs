//! Detects that the socket's own send buffer fills with replies that Unix receivers do not read.
//!
//! Linux charges a Unix datagram to its sender's buffer until the receiver reads it. A unix(7)
//! socket checks the queue of its receiver, except of a receiver that is connected to it: that one
//! has no limit of its own. One peer that sends and never reads would in time fill the server's
//! send buffer, and no other peer would get a reply. The kernel reports only how much of the buffer
//! is in use, not which peers have not read.
//!
//! While more than half of the buffer is in use, the socket is under pressure. It then sends to one
//! peer at a time, as a probe. It sends nothing else until the use is back to what it was before
//! the probe, which means that the peer read it, or until the probe times out. A peer that leaves
//! several probes unread is deaf. It gets no reply until the use shows that a peer has read. The
//! other half of the buffer has room for the probes.

use std::time::{Duration, Instant};

use socket2::SockAddr;

use crate::socket::batch::SendBufUse;

/// How long a peer may take to read a probe. On a busy machine a process waits some milliseconds
/// before it runs.
const PROBE_TIMEOUT: Duration = Duration::from_millis(20);

/// How often the use of the buffer is checked while a probe is pending.
const PROBE_CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// The least that the system charges for a datagram besides its bytes.
const OVERHEAD_BYTES: usize = 768;

/// The use of one socket's send buffer, and the probe that is pending.
#[derive(Debug, Default)]
pub(super) struct BufferPressure {
    is_under_pressure: bool,
    /// Bytes charged since the last check: replies that were about to be sent.
    sent_bytes: usize,
    /// How many bytes may be sent between two checks.
    check_after_bytes: usize,
    /// The smallest use since this pressure began, without that of a pending probe: bytes that no
    /// peer reads.
    unread_bytes: usize,
    probe: Option<Probe>,
}

#[derive(Debug)]
struct Probe {
    peer: SockAddr,
    used_bytes_before: usize,
    sent_at: Instant,
    check_at: Instant,
}

/// What a check of the buffer shows about the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProbeResult {
    /// No probe is pending.
    None,
    /// The peer may still read the probe.
    Pending,
    /// This peer read the probe.
    Read(SockAddr),
    /// This peer did not read the probe in time.
    Unread(SockAddr),
}

impl BufferPressure {
    pub(super) fn is_under_pressure(&self) -> bool {
        self.is_under_pressure
    }

    /// Counts a reply that is about to be sent.
    pub(super) fn charge(&mut self, bytes: usize) {
        self.sent_bytes = self.sent_bytes.saturating_add(bytes + OVERHEAD_BYTES);
    }

    /// Returns true if the buffer must be checked before more is sent.
    pub(super) fn wants_check(&self) -> bool {
        self.is_under_pressure || self.sent_bytes >= self.check_after_bytes
    }

    /// Requests a check before the next send. Called when a send blocked, because the buffer may be
    /// full.
    pub(super) fn check_soon(&mut self) {
        self.check_after_bytes = 0;
    }

    /// Records how full the buffer is. Pressure begins above half of the buffer and ends at a
    /// quarter.
    pub(super) fn update(&mut self, buf: SendBufUse) {
        let SendBufUse { used_bytes, size_bytes } = buf;
        self.sent_bytes = 0;
        self.check_after_bytes = size_bytes / 8;
        let was_under_pressure = self.is_under_pressure;
        let limit = if was_under_pressure { size_bytes / 4 } else { size_bytes / 2 };
        self.is_under_pressure = used_bytes > limit;
        if !self.is_under_pressure {
            self.probe = None;
        } else if !was_under_pressure {
            self.unread_bytes = used_bytes;
        }
    }

    /// Returns the result of the probe, and whether any peer has read what was unread before.
    pub(super) fn probe_result(&mut self, used_bytes: usize, now: Instant) -> (ProbeResult, bool) {
        let result = match &mut self.probe {
            None => ProbeResult::None,
            Some(probe) if used_bytes <= probe.used_bytes_before => {
                ProbeResult::Read(probe.peer.clone())
            }
            Some(probe) if now >= probe.sent_at + PROBE_TIMEOUT => {
                ProbeResult::Unread(probe.peer.clone())
            }
            Some(probe) => {
                probe.check_at = now + PROBE_CHECK_INTERVAL;
                return (ProbeResult::Pending, false);
            }
        };
        self.probe = None;
        let any_peer_reads = used_bytes < self.unread_bytes;
        self.unread_bytes = self.unread_bytes.min(used_bytes);
        (result, any_peer_reads)
    }

    /// Records that a probe has been sent.
    pub(super) fn probe_sent(&mut self, peer: SockAddr, used_bytes_before: usize, now: Instant) {
        let check_at = now + PROBE_CHECK_INTERVAL;
        self.probe = Some(Probe { peer, used_bytes_before, sent_at: now, check_at });
    }

    /// Returns when to check the pending probe.
    pub(super) fn check_at(&self) -> Option<Instant> {
        self.probe.as_ref().map(|probe| probe.check_at)
    }
}

//! When the socket's own send buffer is full of what Unix receivers have not read.
//!
//! Linux charges a Unix datagram to its sender until it is read, and a receiver that is connected
//! to the sender has no limit of its own (unix(7) sockets check the queue of all others). So one
//! peer that sends and never reads would, given time, use the server's buffer up, and all others
//! with it. Nothing tells who has not read; only the sum is known.
//!
//! So while more than half of the buffer is taken, answers go out one peer at a time, as probes:
//! nothing else is sent until the sum is back where it was, which means that the probe was read,
//! or the probe's time is over. A peer that fails several probes is deaf, and gets no answer until
//! the sum tells that somebody has read. The other half of the buffer is left for the probes.

use std::time::{Duration, Instant};

use socket2::SockAddr;

use crate::socket::batch::SendBufUse;

/// How long a peer may take to read a probe: a busy machine lets a process wait for some
/// milliseconds.
const PROBE_TIMEOUT: Duration = Duration::from_millis(20);

/// How often the sum is looked at while a probe is out.
const PROBE_LOOK: Duration = Duration::from_millis(1);

/// What the system charges for a datagram besides its bytes, at the least.
const OVERHEAD_BYTES: usize = 768;

/// Watches the send buffer of one socket.
#[derive(Debug, Default)]
pub(super) struct BufferPressure {
    is_under_pressure: bool,
    /// Bytes sent since the buffer was last looked at, and how many may be before the next look.
    sent_bytes: usize,
    look_after_bytes: usize,
    /// The least that was in use under this pressure with no probe out: what no peer reads.
    unread_bytes: usize,
    probe: Option<Probe>,
}

#[derive(Debug)]
struct Probe {
    peer: SockAddr,
    used_bytes_before: usize,
    sent_at: Instant,
    look_at: Instant,
}

/// What a look at the buffer says of the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProbeResult {
    /// No probe is out.
    None,
    /// It may still be read.
    Pending,
    /// It was read.
    Read(SockAddr),
    /// It was not, in its time.
    Unread(SockAddr),
}

impl BufferPressure {
    pub(super) fn is_under_pressure(&self) -> bool {
        self.is_under_pressure
    }

    /// Counts an answer that is about to be sent.
    pub(super) fn charge(&mut self, bytes: usize) {
        self.sent_bytes = self.sent_bytes.saturating_add(bytes + OVERHEAD_BYTES);
    }

    /// Whether the buffer had better be looked at before more is sent.
    pub(super) fn wants_look(&self) -> bool {
        self.is_under_pressure || self.sent_bytes >= self.look_after_bytes
    }

    /// To be called when a send blocked: the buffer may be the reason.
    pub(super) fn look_soon(&mut self) {
        self.look_after_bytes = 0;
    }

    /// Takes note of how full the buffer is. Pressure begins at a half and ends at a quarter.
    pub(super) fn look(&mut self, buf: SendBufUse) {
        let SendBufUse { used_bytes, size_bytes } = buf;
        self.sent_bytes = 0;
        self.look_after_bytes = size_bytes / 8;
        let was_high = self.is_under_pressure;
        let limit = if was_high { size_bytes / 4 } else { size_bytes / 2 };
        self.is_under_pressure = used_bytes > limit;
        if !self.is_under_pressure {
            self.probe = None;
        } else if !was_high {
            self.unread_bytes = used_bytes;
        }
    }

    /// What has become of the probe. True beside it when somebody has read of what nobody read.
    pub(super) fn probe_result(&mut self, used_bytes: usize, now: Instant) -> (ProbeResult, bool) {
        let verdict = match &mut self.probe {
            None => ProbeResult::None,
            Some(probe) if used_bytes <= probe.used_bytes_before => {
                ProbeResult::Read(probe.peer.clone())
            }
            Some(probe) if now >= probe.sent_at + PROBE_TIMEOUT => {
                ProbeResult::Unread(probe.peer.clone())
            }
            Some(probe) => {
                probe.look_at = now + PROBE_LOOK;
                return (ProbeResult::Pending, false);
            }
        };
        self.probe = None;
        let has_less = used_bytes < self.unread_bytes;
        self.unread_bytes = self.unread_bytes.min(used_bytes);
        (verdict, has_less)
    }

    /// A probe has been sent.
    pub(super) fn probe(&mut self, peer: SockAddr, used_bytes_before: usize, now: Instant) {
        self.probe =
            Some(Probe { peer, used_bytes_before, sent_at: now, look_at: now + PROBE_LOOK });
    }

    /// When the probe is to be looked at.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.probe.as_ref().map(|probe| probe.look_at)
    }
}

//! Decides which peers are refused: by address, by the loop guard, or by the rate of their
//! datagrams.
//!
//! One datagram with a forged source can make an echo server that replies to every source exchange
//! datagrams with another echo server without end (CVE-1999-0103, CVE-2024-2169). The loop guard
//! sends no reply to datagrams that no client sends: see
//! [`Options::loop_guard`](super::Options::loop_guard).

mod client_key;
mod loops;
mod quota;
mod rate;

use std::net::SocketAddr;
use std::time::Instant;

pub(super) use self::client_key::ClientKey;
pub(super) use self::loops::Destination;
use self::loops::LoopGuard;
pub(super) use self::quota::Quota;
pub(super) use self::rate::RateLimit;
use super::access::Access;
use super::cause::Cause;

/// The checks that each datagram and each accepted connection passes. A check that is switched off
/// costs one branch.
#[derive(Debug)]
pub(super) struct Guard {
    /// `None` if it admits every address.
    access: Option<Access>,
    loops: Option<LoopGuard>,
    rate: Option<RateLimit>,
    /// Limits the bytes by which replies are longer than their requests.
    excess: Option<RateLimit>,
    quota: Option<Quota>,
}

impl Guard {
    pub(super) fn new(access: &Access, has_loop_guard: bool) -> Guard {
        Guard {
            access: Some(access.clone()).filter(|access| !access.is_open()),
            loops: has_loop_guard.then(LoopGuard::new),
            rate: None,
            excess: None,
            quota: None,
        }
    }

    /// Sets the limits by address of datagrams and connections. Guards with clones of one limit
    /// share it.
    pub(super) fn set_limits(&mut self, rate: Option<RateLimit>, quota: Option<Quota>) {
        self.rate = rate;
        self.quota = quota;
    }

    /// Sets the limit by address of the bytes by which replies are longer than their requests.
    /// Guards with clones of one limit share it.
    pub(super) fn set_excess_limit(&mut self, excess: Option<RateLimit>) {
        self.excess = excess;
    }

    /// Adds the port of a UDP endpoint of this process.
    pub(super) fn note_own_port(&mut self, port: u16) {
        if let Some(loops) = &mut self.loops {
            loops.note_own_port(port);
        }
    }

    /// Returns true if the access list refuses this address.
    #[inline]
    pub(super) fn denies(&self, from: SocketAddr) -> bool {
        self.access.as_ref().is_some_and(|access| !access.admits(from.ip()))
    }

    /// Returns the cause if a datagram gets no reply. Counts a datagram that gets one against the
    /// rate limit.
    #[inline(always)]
    pub(super) fn refusal(
        &self,
        from: SocketAddr,
        destination: Destination,
        now: Instant,
    ) -> Option<Cause> {
        if let Some(loops) = &self.loops
            && loops.refuses(from, destination)
        {
            return Some(loops.cause(from, destination));
        }
        let rate = self.rate.as_ref()?;
        (!rate.allows(ClientKey::of(from.ip()), now)).then_some(Cause::RateLimited)
    }

    /// Returns true if a reply that is `excess_bytes` longer than its request exceeds the limit of
    /// its source, whose address may be forged. Counts the bytes otherwise.
    #[inline]
    pub(super) fn amplifies(&self, from: SocketAddr, excess_bytes: usize, now: Instant) -> bool {
        excess_bytes > 0
            && self.excess.as_ref().is_some_and(|excess| {
                !excess.allows_many(ClientKey::of(from.ip()), excess_bytes as u64, now)
            })
    }

    /// Returns true if a connection of this client may be kept, and counts it. Call
    /// [`Guard::connection_closed`] when it closes.
    pub(super) fn admits_connection(&self, client: ClientKey) -> bool {
        self.quota.as_ref().is_none_or(|quota| quota.acquire(client))
    }

    /// Stops counting a kept connection that has closed.
    pub(super) fn connection_closed(&self, client: ClientKey) {
        if let Some(quota) = &self.quota {
            quota.release(client);
        }
    }
}

//! Who is turned away: by address, by the loop guard, by the rate of its datagrams.
//!
//! An echo that answers whoever asks can be made to answer another echo, for ever, by one datagram
//! with a forged source (CVE-1999-0103, CVE-2024-2169). The loop guard leaves unanswered what no
//! client sends: see [`Options::loop_guard`](super::Options::loop_guard).

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

/// What is asked of each datagram, and of each connection that was accepted. What is switched off
/// costs a branch.
#[derive(Debug)]
pub(super) struct Guard {
    /// None when it shuts nobody out.
    access: Option<Access>,
    loops: Option<LoopGuard>,
    rate: Option<RateLimit>,
    /// Bytes by which replies are longer than their requests.
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

    /// Counts datagrams and connections by address along with whoever else has these.
    pub(super) fn count_by(&mut self, rate: Option<RateLimit>, quota: Option<Quota>) {
        self.rate = rate;
        self.quota = quota;
    }

    /// Counts by how much replies are longer than their requests, by address along with others.
    pub(super) fn count_excess_by(&mut self, excess: Option<RateLimit>) {
        self.excess = excess;
    }

    /// One of this process's own UDP endpoints has this port.
    pub(super) fn note_own_port(&mut self, port: u16) {
        if let Some(loops) = &mut self.loops {
            loops.note_own_port(port);
        }
    }

    /// Whether nothing that comes from there is to be looked at.
    #[inline]
    pub(super) fn denies(&self, from: SocketAddr) -> bool {
        self.access.as_ref().is_some_and(|access| !access.admits(from.ip()))
    }

    /// Why a datagram gets no answer, if it gets none. A datagram that would be answered is counted
    /// against the rate.
    #[inline]
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

    /// Whether a reply that is so many bytes longer than its request goes too far for its source,
    /// whose address may be forged. If not, the bytes are counted.
    #[inline]
    pub(super) fn amplifies(&self, from: SocketAddr, excess_bytes: usize, now: Instant) -> bool {
        excess_bytes > 0
            && self.excess.as_ref().is_some_and(|excess| {
                !excess.allows_many(ClientKey::of(from.ip()), excess_bytes as u64, now)
            })
    }

    /// Whether a connection from there may be kept; if so, it is to be [let go](Guard::let_go).
    pub(super) fn keeps(&self, client: ClientKey) -> bool {
        self.quota.as_ref().is_none_or(|quota| quota.take(client))
    }

    /// A connection that was kept has closed.
    pub(super) fn let_go(&self, client: ClientKey) {
        if let Some(quota) = &self.quota {
            quota.give_back(client);
        }
    }
}

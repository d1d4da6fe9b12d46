//! A limit on the datagrams or bytes per second of each source, in a table of fixed size.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::client_key::ClientKey;
use crate::echo::bounds::{RATE_SETS, RATE_WAYS};

const SECOND_NS: u64 = 1_000_000_000;

/// A token bucket for each source. A source may use a number of units per second, and as many at
/// once. A unit is a datagram or a byte, as the caller counts. The table stores the time at which
/// each bucket is full again (GCRA, the generic cell rate algorithm of ATM).
///
/// Clones share one table, so servers with clones share one limit. When more sources fall into one
/// set than it has buckets, the table forgets one of them. That source starts again with a full
/// bucket.
#[derive(Clone)]
pub(in crate::echo) struct RateLimit(Arc<Table>);

struct Table {
    /// The time that refills one unit.
    interval_ns: u64,
    started_at: Instant,
    /// Has a random key, so that an attacker cannot choose sources that fall into one set.
    hasher: RandomState,
    /// Each set has its own lock, which is held for a few nanoseconds.
    sets: Box<[Mutex<[Bucket; RATE_WAYS]>]>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    client: ClientKey,
    /// When the bucket is full again, as the time since the table's start.
    full_at_ns: u64,
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table { interval_ns, .. } = &*self.0;
        formatter
            .debug_struct("RateLimit")
            .field("interval_ns", interval_ns)
            .finish_non_exhaustive()
    }
}

impl RateLimit {
    /// Creates a table without sources. A limit of 0 units per second counts as 1.
    pub(in crate::echo) fn new(units_per_second: u64) -> RateLimit {
        let interval_ns = SECOND_NS / units_per_second.max(1);
        let empty = Bucket { client: ClientKey::NONE, full_at_ns: 0 };
        RateLimit(Arc::new(Table {
            interval_ns,
            started_at: Instant::now(),
            hasher: RandomState::new(),
            sets: (0..RATE_SETS).map(|_| Mutex::new([empty; RATE_WAYS])).collect(),
        }))
    }

    /// Returns true if this source may use one more unit, and counts it.
    pub(in crate::echo) fn allows(&self, client: ClientKey, now: Instant) -> bool {
        self.allows_many(client, 1, now)
    }

    /// Returns true if this source may use this many units at once, and counts them. A full bucket
    /// allows any number. The more units it gives, the longer it takes to fill again.
    pub(in crate::echo) fn allows_many(&self, client: ClientKey, units: u64, now: Instant) -> bool {
        let Table { interval_ns, started_at, hasher, sets } = &*self.0;
        let cost_ns = interval_ns.saturating_mul(units);
        let now_ns = now.saturating_duration_since(*started_at).as_nanos();
        let now_ns = u64::try_from(now_ns).unwrap_or(u64::MAX);
        let hash = hasher.hash_one(client);
        let set = &sets[usize::try_from(hash % RATE_SETS as u64).unwrap_or(0)];
        // A thread that panicked with the lock has left no change half done.
        let mut buckets = set.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = find_or_replace(&mut buckets, client);
        let full_at_ns = bucket.full_at_ns.max(now_ns);
        let missing_ns = (full_at_ns - now_ns).saturating_add(cost_ns);
        let is_allowed = missing_ns <= SECOND_NS.max(cost_ns);
        if is_allowed {
            bucket.full_at_ns = full_at_ns.saturating_add(cost_ns);
        }
        is_allowed
    }
}

/// Returns the bucket of this source. A source without one replaces the source that has been quiet
/// for longest, whose bucket has the earliest time of being full.
fn find_or_replace(buckets: &mut [Bucket; RATE_WAYS], client: ClientKey) -> &mut Bucket {
    let key = |bucket: &&mut Bucket| match bucket.client == client {
        true => (false, 0),
        false => (true, bucket.full_at_ns),
    };
    let bucket = buckets.iter_mut().min_by_key(key).expect("a set has buckets");
    if bucket.client != client {
        *bucket = Bucket { client, full_at_ns: 0 };
    }
    bucket
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn client(number: u32) -> ClientKey {
        ClientKey::of(Ipv4Addr::from_bits(number).into())
    }

    fn allowed(limit: &RateLimit, client: ClientKey, now: Instant, tries: usize) -> usize {
        (0..tries).filter(|_| limit.allows(client, now)).count()
    }

    #[test]
    fn the_units_of_one_second_are_allowed_at_once_and_then_one_per_interval() {
        let limit = RateLimit::new(10);
        let mut now = Instant::now();
        assert_eq!(allowed(&limit, client(1), now, 100), 10);
        for _ in 0..5 {
            now += Duration::from_millis(100);
            assert_eq!(allowed(&limit, client(1), now, 100), 1);
        }
        assert_eq!(allowed(&limit, client(2), now, 100), 10, "another source has its own bucket");
        now += Duration::from_secs(3600);
        assert_eq!(allowed(&limit, client(1), now, 100), 10, "a bucket holds no more");
    }

    #[test]
    fn a_limit_of_one_allows_one_unit_per_second() {
        let limit = RateLimit::new(1);
        let now = Instant::now();
        assert_eq!(allowed(&limit, client(1), now, 10), 1);
        assert_eq!(allowed(&limit, client(1), now + Duration::from_millis(900), 10), 0);
        assert_eq!(allowed(&limit, client(1), now + Duration::from_secs(1), 10), 1);
    }

    #[test]
    fn units_that_come_together_are_allowed_up_to_those_of_one_second() {
        let limit = RateLimit::new(1000);
        let mut now = Instant::now();
        let many = |units, now| limit.allows_many(client(1), units, now);
        assert!(many(600, now) && !many(401, now) && many(400, now) && !many(1, now));
        now += Duration::from_millis(500);
        assert!(!many(501, now) && many(500, now) && !many(1, now));
    }

    #[test]
    fn a_full_bucket_allows_more_units_than_it_holds_and_takes_longer_to_fill_again() {
        let limit = RateLimit::new(1000);
        let now = Instant::now();
        assert!(limit.allows_many(client(1), 3000, now));
        let later = |ms| now + Duration::from_millis(ms);
        assert!(!limit.allows_many(client(1), 1, later(1999)));
        assert!(!limit.allows_many(client(1), 3000, later(2999)));
        assert!(limit.allows_many(client(1), 3000, later(3000)));
    }

    #[test]
    fn a_limit_above_one_datagram_per_nanosecond_allows_every_datagram() {
        let limit = RateLimit::new(u64::MAX);
        assert_eq!(allowed(&limit, client(1), Instant::now(), 10_000), 10_000);
    }

    #[test]
    fn clones_share_one_table() {
        let limit = RateLimit::new(10);
        let now = Instant::now();
        assert_eq!(allowed(&limit.clone(), client(1), now, 7), 7);
        assert_eq!(allowed(&limit, client(1), now, 7), 3);
    }

    /// Any number of forged sources leaves the table at its size, and a busy source in a full set
    /// is not forgotten.
    #[test]
    fn a_full_set_forgets_the_source_that_has_been_quiet_for_longest() {
        let mut buckets = [Bucket { client: ClientKey::NONE, full_at_ns: 0 }; RATE_WAYS];
        for (number, full_at_ns) in [(1, 50), (2, 40), (3, 30), (4, 60)] {
            find_or_replace(&mut buckets, client(number)).full_at_ns = full_at_ns;
        }
        assert_eq!(
            find_or_replace(&mut buckets, client(3)).full_at_ns,
            30,
            "source 3 has a bucket"
        );
        assert_eq!(find_or_replace(&mut buckets, client(5)).full_at_ns, 0, "source 5 is new");
        let has_bucket = |number| buckets.iter().any(|bucket| bucket.client == client(number));
        assert_eq!([1, 2, 3, 4, 5].map(has_bucket), [true, true, false, true, true]);
    }

    proptest! {
        /// Whatever the steps, the table allows at most one bucket plus the units that refill it.
        #[test]
        fn no_more_units_are_allowed_than_the_rate_and_the_time_give(
            rate in 1_u64..2_000,
            steps in prop::collection::vec((0_u64..400_000_000, 0_usize..50), 1..50),
        ) {
            let limit = RateLimit::new(rate);
            let start = limit.0.started_at;
            let (mut elapsed_ns, mut count, mut tried) = (0_u64, 0, 0);
            for (step_ns, tries) in steps {
                elapsed_ns += step_ns;
                let now = start + Duration::from_nanos(elapsed_ns);
                count += allowed(&limit, client(1), now, tries) as u64;
                tried += tries as u64;
                // The interval is rounded down to whole nanoseconds.
                let given = rate + elapsed_ns / limit.0.interval_ns;
                prop_assert!(count <= given, "{count} of {given}");
            }
            prop_assert!(count >= tried.min(rate), "at least one bucket of units is allowed");
        }
    }
}

//! What each source has had per second, datagrams or bytes, in a table of fixed size.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::client_key::ClientKey;
use crate::echo::bounds::{RATE_SETS, RATE_WAYS};

const SECOND_NS: u64 = 1_000_000_000;

/// So many units per second for each source, and as many at once: a token bucket, kept as
/// the time at which it will be full again (GCRA, as of ATM's cells). A unit is a datagram or a
/// byte, as the caller counts.
///
/// Clones are one table: servers that share it have one limit. A source that was forgotten, because
/// others fell into its set, begins anew with a full bucket.
#[derive(Clone)]
pub(in crate::echo) struct RateLimit(Arc<Table>);

struct Table {
    /// What one unit takes from a bucket, as time.
    interval_ns: u64,
    started_at: Instant,
    /// Keyed at random: nobody can choose sources that fall into one set.
    hasher: RandomState,
    /// Locked set by set, for a few nanoseconds each.
    sets: Box<[Mutex<[Bucket; RATE_WAYS]>]>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    client: ClientKey,
    /// When it is full, if nothing more comes; counted from the table's start.
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
    /// A table that has seen nobody yet.
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

    /// Whether this source may have one unit more; if so, it is counted.
    pub(in crate::echo) fn allows(&self, client: ClientKey, now: Instant) -> bool {
        self.allows_many(client, 1, now)
    }

    /// Whether this source may have so many units more at once; if so, they are counted. A full
    /// bucket gives any number, which then takes as much longer to fill it again.
    pub(in crate::echo) fn allows_many(&self, client: ClientKey, units: u64, now: Instant) -> bool {
        let Table { interval_ns, started_at, hasher, sets } = &*self.0;
        let cost_ns = interval_ns.saturating_mul(units);
        let now_ns = now.saturating_duration_since(*started_at).as_nanos();
        let now_ns = u64::try_from(now_ns).unwrap_or(u64::MAX);
        let hash = hasher.hash_one(client);
        let set = &sets[usize::try_from(hash % RATE_SETS as u64).unwrap_or(0)];
        // Whoever panicked with it in hand has left nothing half done.
        let mut buckets = set.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = find_or_forget(&mut buckets, client);
        let full_at_ns = bucket.full_at_ns.max(now_ns);
        let missing_ns = (full_at_ns - now_ns).saturating_add(cost_ns);
        let is_allowed = missing_ns <= SECOND_NS.max(cost_ns);
        if is_allowed {
            bucket.full_at_ns = full_at_ns.saturating_add(cost_ns);
        }
        is_allowed
    }
}

/// The bucket of this source: its own, or that of the one which has been quiet for longest.
fn find_or_forget(buckets: &mut [Bucket; RATE_WAYS], client: ClientKey) -> &mut Bucket {
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
    fn a_second_worth_is_allowed_at_once_and_then_one_an_interval() {
        let limit = RateLimit::new(10);
        let mut now = Instant::now();
        assert_eq!(allowed(&limit, client(1), now, 100), 10);
        for _ in 0..5 {
            now += Duration::from_millis(100);
            assert_eq!(allowed(&limit, client(1), now, 100), 1);
        }
        assert_eq!(allowed(&limit, client(2), now, 100), 10, "another source has its own bucket");
        now += Duration::from_secs(3600);
        assert_eq!(allowed(&limit, client(1), now, 100), 10, "a bucket holds no more than that");
    }

    #[test]
    fn a_limit_of_one_allows_one_a_second() {
        let limit = RateLimit::new(1);
        let now = Instant::now();
        assert_eq!(allowed(&limit, client(1), now, 10), 1);
        assert_eq!(allowed(&limit, client(1), now + Duration::from_millis(900), 10), 0);
        assert_eq!(allowed(&limit, client(1), now + Duration::from_secs(1), 10), 1);
    }

    #[test]
    fn of_units_that_come_together_a_second_worth_is_allowed_at_once() {
        let limit = RateLimit::new(1000);
        let mut now = Instant::now();
        let many = |units, now| limit.allows_many(client(1), units, now);
        assert!(many(600, now) && !many(401, now) && many(400, now) && !many(1, now));
        now += Duration::from_millis(500);
        assert!(!many(501, now) && many(500, now) && !many(1, now));
    }

    #[test]
    fn more_units_than_a_bucket_holds_are_allowed_when_it_is_full_and_paid_for_afterwards() {
        let limit = RateLimit::new(1000);
        let now = Instant::now();
        assert!(limit.allows_many(client(1), 3000, now));
        let later = |ms| now + Duration::from_millis(ms);
        assert!(!limit.allows_many(client(1), 1, later(1999)));
        assert!(!limit.allows_many(client(1), 3000, later(2999)));
        assert!(limit.allows_many(client(1), 3000, later(3000)));
    }

    #[test]
    fn a_limit_beyond_a_datagram_a_nanosecond_limits_nothing() {
        let limit = RateLimit::new(u64::MAX);
        assert_eq!(allowed(&limit, client(1), Instant::now(), 10_000), 10_000);
    }

    #[test]
    fn clones_are_one_table() {
        let limit = RateLimit::new(10);
        let now = Instant::now();
        assert_eq!(allowed(&limit.clone(), client(1), now, 7), 7);
        assert_eq!(allowed(&limit, client(1), now, 7), 3);
    }

    /// Forged sources without number: the table stays as large as it is, and the busy source whose
    /// set is full is not the one that is forgotten.
    #[test]
    fn of_a_full_set_the_one_that_is_quiet_for_longest_is_forgotten() {
        let mut buckets = [Bucket { client: ClientKey::NONE, full_at_ns: 0 }; RATE_WAYS];
        for (number, full_at_ns) in [(1, 50), (2, 40), (3, 30), (4, 60)] {
            find_or_forget(&mut buckets, client(number)).full_at_ns = full_at_ns;
        }
        assert_eq!(find_or_forget(&mut buckets, client(3)).full_at_ns, 30, "it is there");
        assert_eq!(find_or_forget(&mut buckets, client(5)).full_at_ns, 0, "it is new");
        let there = |number| buckets.iter().any(|bucket| bucket.client == client(number));
        assert_eq!([1, 2, 3, 4, 5].map(there), [true, true, false, true, true]);
    }

    proptest! {
        /// In whatever steps they come: in any time no more than a bucket and what fills it then.
        #[test]
        fn no_more_are_allowed_than_time_gives(
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
                // The interval is cut to whole nanoseconds.
                let given = rate + elapsed_ns / limit.0.interval_ns;
                prop_assert!(count <= given, "{count} of {given}");
            }
            prop_assert!(count >= tried.min(rate), "a bucketful at least is allowed");
        }
    }
}

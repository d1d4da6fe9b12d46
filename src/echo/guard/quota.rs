//! A limit on the open connections of each address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client_key::ClientKey;

/// The limit and the open connections by address. Clones share one count, so servers with clones
/// share one limit.
///
/// The map has an entry for each address with a connection, so the connection limit bounds it.
/// Accepting and closing a connection lock it for a few nanoseconds.
#[derive(Clone, Debug)]
pub(in crate::echo) struct Quota {
    limit: usize,
    open: Arc<Mutex<HashMap<ClientKey, usize>>>,
}

impl Quota {
    pub(in crate::echo) fn new(limit: usize) -> Quota {
        Quota { limit, open: Arc::default() }
    }

    /// Counts one more connection of a client. Returns false if the client has as many as it may
    /// have, or if there is no memory to count it. A client without an address is not counted.
    pub(super) fn acquire(&self, client: ClientKey) -> bool {
        if client == ClientKey::NONE {
            return true;
        }
        let mut open = self.open();
        if open.try_reserve(1).is_err() {
            return false;
        }
        let count = open.entry(client).or_default();
        let is_below_limit = *count < self.limit;
        *count += usize::from(is_below_limit);
        // With a limit of 0 the new entry counts no connection.
        if *count == 0 {
            open.remove(&client);
        }
        is_below_limit
    }

    /// Counts one connection less.
    pub(super) fn release(&self, client: ClientKey) {
        if let Entry::Occupied(mut count) = self.open().entry(client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<ClientKey, usize>> {
        // A thread that panicked with the lock has left no change half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ip: &str) -> ClientKey {
        ClientKey::of(ip.parse().unwrap())
    }

    /// case A6
    #[test]
    fn each_address_may_have_as_many_connections_as_the_limit() {
        let quota = Quota::new(2);
        let (one, other) = (of("192.0.2.1"), of("192.0.2.2"));
        assert!(quota.acquire(one) && quota.acquire(one) && !quota.acquire(one));
        assert!(quota.clone().acquire(other), "clones share one count");
        assert!(quota.acquire(other) && !quota.acquire(other));
        quota.release(one);
        assert!(quota.acquire(one) && !quota.acquire(one));
    }

    #[test]
    fn a_client_without_an_address_is_not_counted() {
        let quota = Quota::new(1);
        assert!((0..10).all(|_| quota.acquire(ClientKey::NONE)));
        quota.release(ClientKey::NONE);
        assert!(quota.open().is_empty());
    }

    #[test]
    fn addresses_without_connections_are_forgotten() {
        let quota = Quota::new(1);
        for number in 0..1000 {
            let client = ClientKey::of(std::net::Ipv4Addr::from_bits(number).into());
            assert!(quota.acquire(client));
            quota.release(client);
        }
        assert!(quota.open().is_empty());
        let none_allowed = Quota::new(0);
        assert!(!none_allowed.acquire(of("192.0.2.1")));
        assert!(none_allowed.open().is_empty());
    }
}

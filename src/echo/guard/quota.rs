//! Connections open at once, by address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client_key::ClientKey;

/// So many connections of each address. Clones are one count: servers that share it have one limit.
///
/// It grows with the addresses that have connections, and so no further than the connection limit.
/// Locked for a few nanoseconds at an accept and a close.
#[derive(Clone, Debug)]
pub(in crate::echo) struct Quota {
    limit: usize,
    open: Arc<Mutex<HashMap<ClientKey, usize>>>,
}

impl Quota {
    pub(in crate::echo) fn new(limit: usize) -> Quota {
        Quota { limit, open: Arc::default() }
    }

    /// Counts one more, if that is not too many. Who has no address is not counted.
    pub(super) fn take(&self, client: ClientKey) -> bool {
        if client == ClientKey::NONE {
            return true;
        }
        let mut open = self.open();
        if open.try_reserve(1).is_err() {
            return false;
        }
        let count = open.entry(client).or_default();
        // It may be that nobody may have any.
        let is_free = *count < self.limit;
        *count += usize::from(is_free);
        if *count == 0 {
            open.remove(&client);
        }
        is_free
    }

    pub(super) fn give_back(&self, client: ClientKey) {
        if let Entry::Occupied(mut count) = self.open().entry(client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<ClientKey, usize>> {
        // Whoever panicked with it in hand has left nothing half done.
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
    fn each_address_has_as_many_as_the_limit() {
        let quota = Quota::new(2);
        let (one, other) = (of("192.0.2.1"), of("192.0.2.2"));
        assert!(quota.take(one) && quota.take(one) && !quota.take(one));
        assert!(quota.clone().take(other), "a clone is the same count");
        assert!(quota.take(other) && !quota.take(other));
        quota.give_back(one);
        assert!(quota.take(one) && !quota.take(one));
    }

    #[test]
    fn who_has_no_address_is_not_counted() {
        let quota = Quota::new(1);
        assert!((0..10).all(|_| quota.take(ClientKey::NONE)));
        quota.give_back(ClientKey::NONE);
        assert!(quota.open().is_empty());
    }

    #[test]
    fn addresses_without_connections_are_forgotten() {
        let quota = Quota::new(1);
        for number in 0..1000 {
            let client = ClientKey::of(std::net::Ipv4Addr::from_bits(number).into());
            assert!(quota.take(client));
            quota.give_back(client);
        }
        assert!(quota.open().is_empty());
        let nobody_may = Quota::new(0);
        assert!(!nobody_may.take(of("192.0.2.1")));
        assert!(nobody_may.open().is_empty());
    }
}

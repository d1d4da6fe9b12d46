//! Slices that no event will bring: retries of listeners and datagram sockets.

use std::time::Instant;

use super::source::Source;
use crate::reactor::{Context, Key};

/// At most one alarm an endpoint. Endpoints are few: a list is searched faster than a heap.
#[derive(Debug, Default)]
pub(super) struct Alarms(Vec<(Key, Instant)>);

impl Alarms {
    /// Wakes the key at the time given, unless an earlier alarm comes first.
    pub(super) fn set(&mut self, key: Key, at: Instant) {
        match self.0.iter_mut().find(|(other, _)| *other == key) {
            Some((_, earlier)) => *earlier = at.min(*earlier),
            None => self.0.push((key, at)),
        }
    }

    /// Wakes those that are due, and returns when the next one is.
    pub(super) fn ring(&mut self, context: &mut Context<'_, Source>) -> Option<Instant> {
        let now = context.now();
        self.0.retain(|(key, at)| {
            let due = *at <= now;
            if due {
                context.wake(*key);
            }
            !due
        });
        self.0.iter().map(|(_, at)| *at).min()
    }
}

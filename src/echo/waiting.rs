//! Listeners that wait for a place: they rest, and are woken one a place.

use super::bounds::PLACE_RETRY;
use super::observer::{Notice, Observer};
use super::{Server, Source};
use crate::reactor::{Key, SourceContext};

impl<O: Observer> Server<O> {
    /// Without a place: until a connection closes, or (the last one may close in another server)
    /// for a while.
    pub(super) fn rest(&mut self, context: &mut SourceContext<'_, Source>) {
        let key = context.key();
        // Once: each client that queues up meanwhile makes a new event.
        if !self.resting.contains(&key) {
            let connections_max = self.places.limit();
            self.observer.notice(&Notice::ConnectionLimit { connections_max });
            self.places.note_waiting(!self.resting.is_empty(), true);
            self.resting.push_back(key);
        }
        if self.places.are_shared() {
            context.wake_at(key, context.now() + PLACE_RETRY);
        }
    }

    /// It found a place on its own account, and everybody who was queued has one.
    pub(super) fn stop_resting(&mut self, key: Key) {
        let before = !self.resting.is_empty();
        self.resting.retain(|other| *other != key);
        self.places.note_waiting(before, !self.resting.is_empty());
    }

    /// There is room for a connection: the listener that has rested longest may have it. One that
    /// has no use for it passes it on.
    pub(super) fn wake_resting(&mut self, context: &mut SourceContext<'_, Source>) {
        if let Some(key) = self.resting.pop_front() {
            self.places.note_waiting(true, !self.resting.is_empty());
            context.wake(key);
        }
    }
}

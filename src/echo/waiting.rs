//! Listeners that wait for a permit. Each permit that becomes free wakes one listener.

use super::bounds::PERMIT_RETRY;
use super::observer::{Notice, Observer};
use super::{Server, Source};
use crate::reactor::{Key, SourceContext};

impl<O: Observer> Server<O> {
    /// Makes a listener that found no permit wait until a connection closes. Where permits are
    /// shared, the last connection may close in another server, so the listener also looks by a
    /// timer.
    pub(super) fn wait_for_permit(&mut self, context: &mut SourceContext<'_, Source>) {
        let key = context.key();
        // Each client that queues up meanwhile causes an event, and so another call.
        if !self.waiting.contains(&key) {
            let connections_max = self.permits.limit();
            self.observer.notice(&Notice::ConnectionLimit { connections_max });
            self.permits.note_waiting(!self.waiting.is_empty(), true);
            self.waiting.push_back(key);
        }
        if self.permits.are_shared() {
            context.wake_at(key, context.now() + PERMIT_RETRY);
        }
    }

    /// Removes a listener that has accepted every queued client from the waiting listeners.
    pub(super) fn stop_waiting(&mut self, key: Key) {
        let before = !self.waiting.is_empty();
        self.waiting.retain(|other| *other != key);
        self.permits.note_waiting(before, !self.waiting.is_empty());
    }

    /// Wakes the listener that has waited longest, because a permit may be free. A listener that
    /// does not need the permit wakes the next.
    pub(super) fn wake_waiting(&mut self, context: &mut SourceContext<'_, Source>) {
        if let Some(key) = self.waiting.pop_front() {
            self.permits.note_waiting(true, !self.waiting.is_empty());
            context.wake(key);
        }
    }
}

//! What a handler may ask of the loop while it runs.

use std::time::Instant;

use super::key::Key;
use super::meter::LoopCounts;
use super::slots::Slots;
use super::sources::Source;
use crate::readiness::Readiness;

/// What a handler may ask of the loop, in a [tick](super::Handler::tick), a
/// [message](super::Handler::message), a [timer](super::Handler::timer_due) or a signal.
///
/// Keys of dead sources are ignored everywhere, so a handler may keep a key without asking whether
/// its source still lives.
#[derive(Debug)]
pub struct Context<'a, S, K = ()> {
    core: &'a mut Core<S>,
    key: K,
}

/// The context of one source, in its [slice](super::Handler::ready) and when it has
/// [closed](super::Handler::closed): it has a [key](Context::key) besides.
pub type SourceContext<'a, S> = Context<'a, S, Key>;

/// All of a reactor that a context reaches: everything but the sources, because one may run.
#[derive(Debug)]
pub(super) struct Core<S> {
    pub(super) slots: Slots,
    pub(super) counts: LoopCounts,
    pub(super) now: Instant,
    /// The handler's own timer.
    pub(super) timer: Option<Instant>,
    pub(super) is_stopped: bool,
    /// Sources that have a slot, and are stored when the handler returns.
    pub(super) inserted: Vec<(Key, S)>,
    /// Sources that are closed when the handler returns.
    pub(super) closing: Vec<Key>,
}

impl<S> Core<S> {
    pub(super) fn new(now: Instant) -> Core<S> {
        Core {
            slots: Slots::new(),
            counts: LoopCounts::default(),
            now,
            timer: None,
            is_stopped: false,
            inserted: Vec::new(),
            closing: Vec::new(),
        }
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        match (self.slots.first_timer(), self.timer) {
            (Some(of_source), Some(own)) => Some(of_source.min(own)),
            (of_source, own) => of_source.or(own),
        }
    }

    /// Whether there is nothing to carry out when a handler has returned: nearly always.
    pub(super) fn is_settled(&self) -> bool {
        self.inserted.is_empty() && self.closing.is_empty()
    }

    /// For a call that belongs to no source.
    pub(super) fn context(&mut self) -> Context<'_, S> {
        Context { core: self, key: () }
    }

    /// For a call on account of this source.
    pub(super) fn source_context(&mut self, key: Key) -> SourceContext<'_, S> {
        Context { core: self, key }
    }
}

impl<S> SourceContext<'_, S> {
    /// The key of the source that runs, or that has just been closed.
    pub fn key(&self) -> Key {
        self.key
    }
}

impl<S: Source, K> Context<'_, S, K> {
    /// Adds a source and returns its key, which names it from here on. The loop registers the
    /// source when the call returns; if that fails, the source comes back by
    /// [`Handler::closed`](super::Handler::closed).
    pub fn insert(&mut self, source: S) -> Key {
        let key = self.core.slots.claim(source.interest());
        self.core.inserted.push((key, source));
        key
    }
}

impl<S, K> Context<'_, S, K> {
    /// The time of this turn, read once when its events arrived.
    pub fn now(&self) -> Instant {
        self.core.now
    }

    /// What the loop has counted since its start, this turn included so far. The
    /// [measures](LoopCounts::measures) have only turns that are over.
    pub fn counts(&self) -> &LoopCounts {
        &self.core.counts
    }

    /// Gives a source a slice, in this turn or the next, with the readiness it has.
    ///
    /// A woken source keeps the loop from sleeping. Two sources that wake each other after every
    /// slice, or one that wakes itself, keep it busy for good. Wake a source only for something
    /// that has changed.
    pub fn wake(&mut self, key: Key) {
        self.core.slots.mark(key, Readiness::NONE);
    }

    /// Closes a source when the call returns, as if it had answered
    /// [`Next::Close`](super::Next::Close).
    pub fn close(&mut self, key: Key) {
        if self.core.slots.get(key).is_some() {
            self.core.closing.push(key);
        }
    }

    /// Sets the timer of a source: [wakes](Context::wake) it in the first turn at or after `at`.
    ///
    /// A source has one timer. Setting it again replaces the time, whether the new one is earlier
    /// or later, so each setting fires at most once. A slice before that leaves the timer set. It
    /// is gone with its source, and so never fires for the next tenant of the slot.
    ///
    /// Timers are as fine as the system's poll timeout: a millisecond.
    pub fn wake_at(&mut self, key: Key, at: Instant) {
        self.core.slots.wake_at(key, at);
    }

    /// Takes back the timer of a source.
    pub fn cancel_wake(&mut self, key: Key) {
        self.core.slots.cancel_wake(key);
    }

    /// Sets the handler's own timer: calls [`Handler::timer_due`](super::Handler::timer_due) in the
    /// first turn at or after `at`, once. There is one, too: setting it again replaces the time.
    pub fn set_timer(&mut self, at: Instant) {
        self.core.timer = Some(at);
    }

    /// Takes back the handler's own timer.
    pub fn cancel_timer(&mut self) {
        self.core.timer = None;
    }

    /// As the loop has it for this source.
    #[cfg(test)]
    pub(crate) fn of(&mut self, key: Key) -> SourceContext<'_, S> {
        self.core.source_context(key)
    }

    /// When the first timer is due, of any source or of the handler.
    pub fn next_timer(&self) -> Option<Instant> {
        self.core.next_timer()
    }

    /// Ends the loop after this turn.
    pub fn stop(&mut self) {
        self.core.is_stopped = true;
    }
}

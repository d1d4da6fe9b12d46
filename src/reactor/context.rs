//! The requests that a handler can make of the loop while it runs.

use std::time::Instant;

use super::key::Key;
use super::meter::LoopCounts;
use super::slots::Slots;
use super::sources::Source;
use super::timers::earlier;
use crate::readiness::Readiness;

/// The handler's access to the loop in a [tick](super::Handler::tick), a
/// [message](super::Handler::message), a [timer](super::Handler::timer_due) or a signal.
///
/// Every method ignores the key of a removed source, so a handler may keep a key without checking
/// whether its source still exists.
#[derive(Debug)]
pub struct Context<'a, S, K = ()> {
    core: &'a mut Core<S>,
    key: K,
}

/// The context of one source, in its [slice](super::Handler::ready) and after it has
/// [closed](super::Handler::closed). It also has the source's [key](Context::key).
pub type SourceContext<'a, S> = Context<'a, S, Key>;

/// The part of a reactor that a context can reach: everything but the sources, because one of them
/// is borrowed while it runs.
#[derive(Debug)]
pub(super) struct Core<S> {
    pub(super) slots: Slots,
    pub(super) counts: LoopCounts,
    pub(super) now: Instant,
    /// The handler's own timer.
    pub(super) timer: Option<Instant>,
    pub(super) is_stopped: bool,
    /// Sources that have a slot. The loop stores them when the handler returns.
    pub(super) inserted: Vec<(Key, S)>,
    /// Sources that the loop closes when the handler returns.
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
        earlier(self.slots.first_timer(), self.timer)
    }

    /// Returns true if the handler has requested an insertion or a close. Most calls request
    /// neither.
    pub(super) fn has_requests(&self) -> bool {
        !self.inserted.is_empty() || !self.closing.is_empty()
    }

    /// Returns the context of a call that belongs to no source.
    pub(super) fn context(&mut self) -> Context<'_, S> {
        Context { core: self, key: () }
    }

    /// Returns the context of a call that belongs to this source.
    pub(super) fn source_context(&mut self, key: Key) -> SourceContext<'_, S> {
        Context { core: self, key }
    }
}

impl<S> SourceContext<'_, S> {
    /// Returns the key of the source that runs or has just closed.
    pub fn key(&self) -> Key {
        self.key
    }
}

impl<S: Source, K> Context<'_, S, K> {
    /// Adds a source and returns its key, which is valid at once. The loop registers the source
    /// when the handler returns. If that fails, the loop passes the source to
    /// [`Handler::closed`](super::Handler::closed).
    pub fn insert(&mut self, source: S) -> Key {
        let key = self.core.slots.claim(source.interest());
        self.core.inserted.push((key, source));
        key
    }
}

impl<S, K> Context<'_, S, K> {
    /// Returns the time of this turn, which the loop reads once when its events arrive.
    pub fn now(&self) -> Instant {
        self.core.now
    }

    /// Returns the counts of the loop since its start, including this turn so far. The
    /// [measures](LoopCounts::measures) include only completed turns.
    pub fn counts(&self) -> &LoopCounts {
        &self.core.counts
    }

    /// Gives a source a slice in this turn or the next, with its remembered readiness.
    ///
    /// The loop does not sleep while a woken source waits for its slice. Two sources that wake each
    /// other in every slice, or one that wakes itself, therefore keep the loop busy. Wake a source
    /// only when something has changed for it.
    pub fn wake(&mut self, key: Key) {
        self.core.slots.mark(key, Readiness::NONE);
    }

    /// Closes a source when the handler returns, as [`Next::Close`](super::Next::Close) does.
    pub fn close(&mut self, key: Key) {
        if self.core.slots.get(key).is_some() {
            self.core.closing.push(key);
        }
    }

    /// Sets the timer of a source, which [wakes](Context::wake) it in the first turn at or after
    /// `at`.
    ///
    /// A source has one timer. Setting it again replaces the time with an earlier or a later one,
    /// and each setting fires at most once. A slice before that time leaves the timer set. Closing
    /// the source removes the timer, so it never fires for the next tenant of the slot.
    ///
    /// The timer may fire late by a millisecond, to which the poll timeout is rounded, and by the
    /// length of one slice. A busy loop fires it after the turn that runs.
    pub fn wake_at(&mut self, key: Key, at: Instant) {
        self.core.slots.wake_at(key, at);
    }

    /// Cancels the timer of a source.
    pub fn cancel_wake(&mut self, key: Key) {
        self.core.slots.cancel_wake(key);
    }

    /// Sets the handler's own timer. It calls [`Handler::timer_due`](super::Handler::timer_due)
    /// once, in the first turn at or after `at`. Setting it again replaces the time.
    pub fn set_timer(&mut self, at: Instant) {
        self.core.timer = Some(at);
    }

    /// Cancels the handler's own timer.
    pub fn cancel_timer(&mut self) {
        self.core.timer = None;
    }

    /// Returns the context that the loop would pass for this source.
    #[cfg(test)]
    pub(crate) fn of(&mut self, key: Key) -> SourceContext<'_, S> {
        self.core.source_context(key)
    }

    /// Returns when the first timer of any source or of the handler is due.
    pub fn next_timer(&self) -> Option<Instant> {
        self.core.next_timer()
    }

    /// Ends the loop after this turn.
    pub fn stop(&mut self) {
        self.core.is_stopped = true;
    }
}

//! What the loop asks of a handler, what it answers, and what it may ask in return.

use std::io;
use std::time::Instant;

use super::LoopCounts;
use super::key::Key;
use super::sources::{Source, Sources};
use crate::readiness::Readiness;

/// What to do with each source of a [`Reactor`](super::Reactor).
///
/// All methods run on the reactor's thread. They must not block and must not sleep: every other
/// source waits meanwhile.
pub trait Handler: Sized {
    /// Everything this handler has in the reactor, usually an enum: one `match` a slice.
    type Source: Source;

    /// Gives a source one bounded slice of work.
    ///
    /// `readiness` is what the loop remembers of the source. The handler clears a bit when it has
    /// seen `WouldBlock`. A slice may come with nothing ready: when the key was
    /// [woken](Context::wake), when the system was mistaken, or when a [spinning](super::Spin) loop
    /// tries a source in place of a poll.
    fn ready(
        &mut self,
        source: &mut Self::Source,
        readiness: &mut Readiness,
        context: &mut Context<'_, Self::Source>,
    ) -> Next;

    /// Takes back a source that the loop has let go of. Dropping it closes it.
    fn closed(
        &mut self,
        source: Self::Source,
        cause: Closed,
        context: &mut Context<'_, Self::Source>,
    ) {
        let _ = (source, cause, context);
    }

    /// Called at the end of every turn. Returns when to be called again at the latest; later
    /// deadlines of the handler's own are its own to remember. `None` sleeps until an event.
    fn tick(
        &mut self,
        sources: &Sources<Self::Source>,
        context: &mut Context<'_, Self::Source>,
    ) -> Option<Instant> {
        let _ = (sources, context);
        None
    }

    /// Somebody wants to know how the loop fares, by an [`AskHandle`](super::AskHandle). `counts`
    /// has the turn that ends here, but for its [measures](LoopCounts::measures). To answer is the
    /// handler's own affair, and must not block either. [`tick`](Handler::tick) comes behind it.
    fn asked(&mut self, counts: &LoopCounts) {
        let _ = counts;
    }

    /// A signal asked for by [`Reactor::watch_signals`](super::Reactor::watch_signals) has
    /// arrived. Called when the events are read and before any source runs; what it
    /// [wakes](Context::wake) runs in this turn.
    #[cfg(feature = "signals")]
    fn signalled(
        &mut self,
        signal: i32,
        sources: &Sources<Self::Source>,
        context: &mut Context<'_, Self::Source>,
    ) {
        let _ = (signal, sources, context);
    }
}

/// A handler's answer to a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more to do before the next event. The handler has seen `WouldBlock` for all that the
    /// source still wants, or will [wake](Context::wake) it: no event comes for what was left.
    ///
    /// Debug builds panic when the loop would sleep without a deadline while a source that was left
    /// readable is readable, and [may not rest](Source::may_rest).
    Wait,
    /// The slice is used up, work is left: to the back of the ready list, and no sleep before.
    Again,
    /// Remove the source and close it.
    Close,
}

/// Why a source came back to its handler.
#[derive(Debug)]
#[non_exhaustive]
pub enum Closed {
    /// The handler answered [`Next::Close`].
    ByHandler,
    /// The system would not register it (out of memory, or of watches).
    Unregistered(io::Error),
}

/// What a handler can ask of the loop. Requests are carried out when the call returns.
#[derive(Debug)]
pub struct Context<'a, S> {
    now: Instant,
    key: Option<Key>,
    requests: &'a mut Requests<S>,
}

/// What was asked for and is still to be carried out.
#[derive(Debug)]
pub(super) struct Requests<S> {
    pub(super) insert: Vec<S>,
    pub(super) wake: Vec<Key>,
    pub(super) stop: bool,
}

impl<S> Requests<S> {
    pub(super) fn none() -> Requests<S> {
        Requests { insert: Vec::new(), wake: Vec::new(), stop: false }
    }

    /// Whether the loop has only to go on, or to stop: nearly always.
    pub(super) fn are_none(&self) -> bool {
        self.insert.is_empty() && self.wake.is_empty()
    }

    /// What a handler is called with, for the source of this key or for none.
    pub(super) fn context(&mut self, now: Instant, key: Option<Key>) -> Context<'_, S> {
        Context { now, key, requests: self }
    }
}

impl<S> Context<'_, S> {
    /// The time of this turn, read once when its events arrived.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The key of the source that runs, or that has just been closed.
    ///
    /// # Panics
    ///
    /// In a tick and in a signal, which belong to no source, and for a source that never was
    /// registered.
    pub fn key(&self) -> Key {
        self.key.expect("a source runs")
    }

    /// Adds a source. Should that fail, it comes back by [`Handler::closed`].
    pub fn insert(&mut self, source: S) {
        self.requests.insert.push(source);
    }

    /// Gives a source a slice, in this turn or the next, with the readiness it has. A key that is
    /// dead by then is ignored.
    ///
    /// A woken source keeps the loop from sleeping. Two sources that wake each other after every
    /// slice, or one that wakes itself, keep it busy for good. Wake a source only for something
    /// that has changed.
    pub fn wake(&mut self, key: Key) {
        self.requests.wake.push(key);
    }

    /// Ends the loop after this turn.
    pub fn stop(&mut self) {
        self.requests.stop = true;
    }
}

//! What a loop tells about its turns while it runs, for a trace.

use std::time::Duration;

use super::calls::Calls;
use super::handler::{Handler, Next};
use super::key::Key;
use crate::readiness::Readiness;

/// Receives every step of a loop, on the loop's thread.
///
/// The probe is a type parameter of the [`Reactor`](super::Reactor). `()` is the probe that does
/// nothing: a reactor with it contains no trace of these calls. Every method but
/// [`calls`](Probe::calls) does nothing by default.
pub trait Probe {
    /// Where the handler reports the system calls of a slice: `()` for a probe that does not want
    /// them, otherwise `&'a CallLog`.
    type Calls<'a>: Calls
    where
        Self: 'a;

    /// Returns where the handler reports the system calls of the slice that begins.
    fn calls(&self) -> Self::Calls<'_>;

    /// A turn begins. `ready` keys are on the ready list, and the loop has `sources` sources.
    fn turn_begins(&mut self, ready: usize, sources: usize) {
        let _ = (ready, sources);
    }

    /// The loop polls and sleeps for at most `timeout`; without one, until an event comes.
    fn wait_begins(&mut self, timeout: Option<Duration>) {
        let _ = timeout;
    }

    /// The poll has returned, or the loop has skipped it.
    fn wait_ends(&mut self, waited: Waited) {
        let _ = waited;
    }

    /// The loop has marked a source, or found that it is gone.
    fn marked(&mut self, mark: Mark) {
        let _ = mark;
    }

    /// Every source with work is marked: `ready` keys are on the ready list.
    fn run_begins(&mut self, ready: usize) {
        let _ = ready;
    }

    /// The process received a signal that the reactor watches.
    fn signalled(&mut self, signal: i32) {
        let _ = signal;
    }

    /// A source is about to get a slice.
    fn slice_begins<H: Handler>(&mut self, handler: &H) {
        let _ = handler;
    }

    /// A slice has ended. `readiness` is what the source's handler left of its remembered
    /// readiness.
    fn slice_ends<H: Handler>(
        &mut self,
        (key, source): (Key, &H::Source),
        next: Next,
        readiness: Readiness,
        handler: &H,
    ) {
        let _ = (key, source, next, readiness, handler);
    }

    /// The loop is about to store and register a new source. If that fails, the loop reports it as
    /// closed.
    fn opened<S: super::Source>(&mut self, key: Key, source: &S) {
        let _ = (key, source);
    }

    /// The loop has removed a source.
    fn closed(&mut self, key: Key) {
        let _ = key;
    }

    /// The turn ends. `ready` keys are on the ready list, and the loop has `sources` sources.
    fn turn_ends(&mut self, ready: usize, sources: usize) {
        let _ = (ready, sources);
    }
}

impl Probe for () {
    type Calls<'a> = ();

    #[inline(always)]
    fn calls(&self) {}
}

/// How the wait of a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The poll returned, with events or at its timeout.
    Polled,
    /// A signal interrupted the poll.
    Interrupted,
    /// A [spinning](super::Spin) loop skipped the poll and tries its last active sources.
    Skipped,
}

/// An event, a due timer, or a try of a spinning loop, and the source that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The source.
    pub key: Key,
    /// What put it on the ready list.
    pub by: MarkedBy,
    /// The readiness that the event reported.
    pub readiness: Readiness,
    /// The source was gone: the event is stale and marks nothing.
    pub is_stale: bool,
}

/// What marked a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkedBy {
    /// An event of the poll.
    Event,
    /// The source's timer.
    Timer,
    /// A [spinning](super::Spin) loop that tries the source instead of polling.
    Spin,
}

/// What a handler has moved since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
}

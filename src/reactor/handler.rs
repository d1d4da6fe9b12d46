//! What the loop asks of a handler, and what the handler answers.

use std::io;
use std::time::Instant;

use super::context::{Context, SourceContext};
use super::sources::{Source, Sources};
use crate::readiness::Readiness;

/// What to do with each source of a [`Reactor`](super::Reactor).
///
/// All methods run on the reactor's thread. They must not block and must not sleep: every other
/// source waits meanwhile.
pub trait Handler: Sized {
    /// Everything this handler has in the reactor, usually an enum: one `match` a slice.
    type Source: Source;

    /// What other threads [send](super::Handle::send) to this handler. A handler that receives
    /// nothing says [`Infallible`](std::convert::Infallible).
    type Message;

    /// Gives a source one bounded slice of work.
    ///
    /// `readiness` is what the loop remembers of the source. The handler clears a bit when it has
    /// seen `WouldBlock`. A slice may come with nothing ready: when the key was
    /// [woken](Context::wake), when its [timer](Context::wake_at) was due, when the system was
    /// mistaken, or when a [spinning](super::Spin) loop tries a source instead of a poll.
    fn ready(
        &mut self,
        source: &mut Self::Source,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Self::Source>,
    ) -> Next;

    /// Takes back a source that the loop has let go of. Dropping it closes it. The context's key is
    /// the one that the source had; it names nothing any more.
    fn closed(
        &mut self,
        source: Self::Source,
        cause: Closed,
        context: &mut SourceContext<'_, Self::Source>,
    ) {
        let _ = (source, cause, context);
    }

    /// Called at the end of every turn, for policy that looks at all sources or at the turn.
    /// Returns when it is called again at the latest; `None` sleeps until an event or a timer.
    ///
    /// What is due at one moment is better a [timer](Context::set_timer).
    fn tick(
        &mut self,
        sources: &Sources<Self::Source>,
        context: &mut Context<'_, Self::Source>,
    ) -> Option<Instant> {
        let _ = (sources, context);
        None
    }

    /// Another thread has sent this by a [`Handle`](super::Handle). Called when the sources of the
    /// turn have had their slices, and before [`tick`](Handler::tick).
    fn message(
        &mut self,
        message: Self::Message,
        sources: &Sources<Self::Source>,
        context: &mut Context<'_, Self::Source>,
    ) {
        let _ = (message, sources, context);
    }

    /// The handler's own [timer](Context::set_timer) is due, and no longer set. Called when the
    /// events are read and before any source runs; what it [wakes](Context::wake) runs in this
    /// turn.
    fn timer_due(
        &mut self,
        sources: &Sources<Self::Source>,
        context: &mut Context<'_, Self::Source>,
    ) {
        let _ = (sources, context);
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
    /// source still wants, has set its [timer](Context::wake_at), or will
    /// [wake](Context::wake) it: no event comes for what was left.
    ///
    /// Debug builds panic when the loop would sleep without a deadline while a source that was left
    /// readable is readable, and [may not rest](Source::may_rest). They do not look while any timer
    /// or [tick](Handler::tick) is pending, or the turn has a timeout, because what runs then may
    /// wake the source. A handler with a steady timer is therefore never checked: run it once
    /// without the timer.
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
    /// The handler answered [`Next::Close`], or called [`Context::close`].
    ByHandler,
    /// The system would not register it (out of memory, or of watches).
    Unregistered(io::Error),
}

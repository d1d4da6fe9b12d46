//! The methods that the loop calls on a handler, and what the handler returns.

use std::io;
use std::time::Instant;

use super::calls::Calls;
use super::context::{Context, SourceContext};
use super::probe::Moved;
use super::sources::{Source, Sources};
use crate::readiness::Readiness;

/// Decides what to do with each source of a [`Reactor`](super::Reactor).
///
/// All methods run on the reactor's thread. They must not block or sleep, because every other
/// source waits until they return.
pub trait Handler: Sized {
    /// The type of everything that this handler keeps in the reactor. It is usually an enum, and
    /// each slice has one `match` on it.
    type Source: Source;

    /// The type of the messages that other threads [send](super::Handle::send) to this handler. A
    /// handler without messages uses [`Infallible`](std::convert::Infallible).
    type Message;

    /// Gives a source one bounded slice of work.
    ///
    /// `readiness` is the source's remembered readiness. The handler clears a bit after
    /// `WouldBlock`. A slice may come with nothing ready: the key was [woken](Context::wake), its
    /// [timer](Context::wake_at) was due, the system sent a spurious event, or a
    /// [spinning](super::Spin) loop tries the source instead of polling.
    fn ready(
        &mut self,
        source: &mut Self::Source,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Self::Source>,
    ) -> Next;

    /// Gives a source one slice, as [`ready`](Handler::ready) does, and reports the slice's system
    /// calls to `calls`. The loop calls this method, which by default reports none. A handler that
    /// implements it calls it from `ready` with `()`.
    fn ready_traced<C: Calls>(
        &mut self,
        source: &mut Self::Source,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Self::Source>,
        calls: C,
    ) -> Next {
        let _ = calls;
        self.ready(source, readiness, context)
    }

    /// Takes back a source that the loop has removed. Dropping it closes it. The context's key is
    /// the key that the source had; it no longer names a source.
    ///
    /// A handler must not answer every [`Closed::Unregistered`] with a replacement: as long as each
    /// replacement fails too, the turn does not end.
    fn closed(
        &mut self,
        source: Self::Source,
        cause: Closed,
        context: &mut SourceContext<'_, Self::Source>,
    ) {
        let _ = (source, cause, context);
    }

    /// Called at the end of every turn, for policy that depends on all sources or on the turn.
    /// Returns the latest time of the next call; with `None` the loop sleeps until an event or a
    /// timer.
    ///
    /// For work that is due at one time, prefer a [timer](Context::set_timer).
    fn tick(
        &mut self,
        sources: &Sources<Self::Source>,
        context: &mut Context<'_, Self::Source>,
    ) -> Option<Instant> {
        let _ = (sources, context);
        None
    }

    /// Receives a message that another thread sent through a [`Handle`](super::Handle). Called
    /// after the slices of the turn and before [`tick`](Handler::tick).
    fn message(
        &mut self,
        message: Self::Message,
        sources: &Sources<Self::Source>,
        context: &mut Context<'_, Self::Source>,
    ) {
        let _ = (message, sources, context);
    }

    /// Returns what the handler has moved since its start. A [`Probe`](super::Probe) reads it
    /// before and after each slice, to say what the slice moved.
    fn moved(&self) -> Moved {
        Moved::default()
    }

    /// Called when the handler's own [timer](Context::set_timer) is due; the timer is no longer
    /// set. The call comes after the events are read and before any source runs, so the sources
    /// that it [wakes](Context::wake) run in this turn.
    fn timer_due(
        &mut self,
        sources: &Sources<Self::Source>,
        context: &mut Context<'_, Self::Source>,
    ) {
        let _ = (sources, context);
    }

    /// Called when a signal that [`Reactor::watch_signals`](super::Reactor::watch_signals) names
    /// has arrived. The call comes after the events are read and before any source runs, so the
    /// sources that it [wakes](Context::wake) run in this turn.
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

/// What a handler returns from a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The source waits for its next event. The handler has seen `WouldBlock` for everything that
    /// the source still wants, has set its [timer](Context::wake_at), or will [wake](Context::wake)
    /// it. No event comes for data that the handler left unread.
    ///
    /// Debug builds panic when the loop is about to sleep without a deadline while a source that a
    /// handler left readable is still readable and [may not rest](Source::may_rest). They do not
    /// check while a timer or [tick](Handler::tick) is pending or the turn has a timeout, because
    /// the handler may wake the source at that time. A handler with a steady timer is therefore
    /// never checked: run it once without the timer.
    Wait,
    /// The slice is used up and work is left. The source goes to the back of the ready list, and
    /// the loop does not sleep before its next slice.
    Again,
    /// The loop removes the source and closes it.
    Close,
}

/// Why a source came back to its handler.
#[derive(Debug)]
#[non_exhaustive]
pub enum Closed {
    /// The handler returned [`Next::Close`] or called [`Context::close`].
    ByHandler,
    /// The system refused to register the source, because memory or epoll watches ran out.
    Unregistered(io::Error),
}

//! A rig: a handler on its own reactor, which the test turns step by step.

use std::thread;
use std::time::{Duration, Instant};

use super::WAIT_MAX;
use crate::reactor::{Closed, Context, Handler, LoopState, Next, Reactor, SourceContext, Sources};
use crate::readiness::Readiness;

/// The longest sleep of a turn, so that a test can check its condition between turns.
const SLEEP_MAX: Duration = Duration::from_millis(2);

/// A handler that a rig can run.
pub(crate) trait Tested: Handler {
    /// Every tick must return a deadline.
    const ALWAYS_HAS_DEADLINE: bool;

    /// Returns the text that a failed wait prints.
    fn state(&self) -> String;
}

/// A function that a test runs on a handler from inside the loop.
type Request<H> =
    fn(&mut H, &Sources<<H as Handler>::Source>, &mut Context<'_, <H as Handler>::Source>);

/// A wrapper around a handler that limits every sleep to [`SLEEP_MAX`].
pub(crate) struct LimitedSleep<H: Handler> {
    pub(crate) inner: H,
    /// The deadline that the inner handler returned from its last tick.
    pub(crate) deadline: Option<Instant>,
    /// The time from that tick to the deadline.
    pub(crate) sleep: Option<Duration>,
    /// Runs at the end of the next turn.
    pub(crate) request: Option<Request<H>>,
}

impl<H: Tested> Handler for LimitedSleep<H> {
    type Source = H::Source;
    type Message = H::Message;

    fn ready(
        &mut self,
        source: &mut H::Source,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, H::Source>,
    ) -> Next {
        self.inner.ready(source, readiness, context)
    }

    fn closed(
        &mut self,
        source: H::Source,
        cause: Closed,
        context: &mut SourceContext<'_, H::Source>,
    ) {
        self.inner.closed(source, cause, context);
    }

    fn message(
        &mut self,
        message: H::Message,
        sources: &Sources<H::Source>,
        context: &mut Context<'_, H::Source>,
    ) {
        self.inner.message(message, sources, context);
    }

    fn timer_due(&mut self, sources: &Sources<H::Source>, context: &mut Context<'_, H::Source>) {
        self.inner.timer_due(sources, context);
    }

    fn tick(
        &mut self,
        sources: &Sources<H::Source>,
        context: &mut Context<'_, H::Source>,
    ) -> Option<Instant> {
        if let Some(request) = self.request.take() {
            request(&mut self.inner, sources, context);
        }
        let now = context.now();
        self.deadline = self.inner.tick(sources, context);
        self.sleep = self.deadline.map(|deadline| deadline.saturating_duration_since(now));
        assert!(self.deadline.is_some() || !H::ALWAYS_HAS_DEADLINE, "{}", self.inner.state());
        let soon = now + SLEEP_MAX;
        Some(self.deadline.map_or(soon, |deadline| deadline.min(soon)))
    }
}

/// A reactor, its handler, and `bound`: what the handler listens on or connects to, if the test
/// needs it.
pub(crate) struct Rig<H: Handler, B = ()> {
    pub(crate) reactor: Reactor<H::Source, H::Message>,
    pub(crate) handler: LimitedSleep<H>,
    pub(crate) bound: B,
    /// The handler has ended the loop, perhaps while the test awaited another condition.
    is_stopped: bool,
}

impl<H: Tested, B> Rig<H, B> {
    pub(crate) fn of(reactor: Reactor<H::Source, H::Message>, inner: H, bound: B) -> Rig<H, B> {
        let handler = LimitedSleep { inner, deadline: None, sleep: None, request: None };
        Rig { reactor, handler, bound, is_stopped: false }
    }

    pub(crate) fn turn(&mut self) -> LoopState {
        if !self.is_stopped {
            self.is_stopped = self.reactor.turn(&mut self.handler).unwrap() == LoopState::Stopped;
        }
        if self.is_stopped { LoopState::Stopped } else { LoopState::Running }
    }

    /// Turns until the condition holds.
    #[track_caller]
    pub(crate) fn turn_until(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&mut Rig<H, B>) -> bool,
    ) {
        let deadline = Instant::now() + WAIT_MAX;
        while !condition(self) {
            assert!(Instant::now() < deadline, "{what}: {}", self.handler.inner.state());
            if self.turn() == LoopState::Stopped {
                // A peer may still have to receive what the handler did last.
                thread::sleep(SLEEP_MAX);
            }
        }
    }

    /// Turns until the handler ends the loop.
    #[track_caller]
    pub(crate) fn turn_until_stopped(&mut self) {
        self.turn_until("the end of the loop", |rig| rig.is_stopped);
    }

    /// Runs one turn, and the request at its end.
    pub(crate) fn request(&mut self, request: Request<H>) -> LoopState {
        self.handler.request = Some(request);
        self.turn()
    }
}

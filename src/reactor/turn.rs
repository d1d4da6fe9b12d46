//! A turn of the loop: wait, mark, run.

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use super::context::Core;
use super::timers::earlier;
use super::{
    Closed, Handler, INBOX, Key, LoopState, MESSAGES_PER_TURN, Mark, MarkedBy, Next, Probe,
    Reactor, SIGNALS, Source, Sources, Waited,
};
use crate::readiness::Readiness;

impl<S: Source, M, P: Probe> Reactor<S, M, P> {
    /// Runs one turn, which sleeps for at most `sleep_max`.
    pub(super) fn turn_within<H: Handler<Source = S, Message = M>>(
        &mut self,
        handler: &mut H,
        sleep_max: Option<Duration>,
    ) -> io::Result<LoopState> {
        // Wait for events, a timer or a message.
        self.inbox.resume();
        self.probe.turn_begins(self.core.slots.ready_len(), self.sources.len());
        self.wait(sleep_max)?;

        // Mark every source that has work.
        self.mark();

        // Run each marked source once, and make the other calls of the handler.
        self.run_signals_and_timer(handler);
        self.run_ready(handler);
        self.run_messages(handler);
        self.run_tick(handler);
        if let Some(meter) = &mut self.meter {
            meter.end_turn(&mut self.core.counts, self.core.now);
        }
        self.probe.turn_ends(self.core.slots.ready_len(), self.sources.len());
        Ok(self.state_after_turn())
    }

    /// Polls for events. Sleeps only if no work is left and the loop does not spin.
    #[inline(always)]
    fn wait(&mut self, sleep_max: Option<Duration>) -> io::Result<()> {
        self.core.counts.turns += 1;
        let has_work = self.has_work();
        if !has_work && self.mark_hot() {
            self.events.clear();
            self.core.now = Instant::now();
            self.probe.wait_ends(Waited::Skipped);
            return Ok(());
        }
        let timeout = if has_work || self.spinning.is_on(self.core.now) {
            Some(Duration::ZERO)
        } else {
            // `core.now` was read before the slices of the last turn. A single slice takes less
            // than the millisecond to which mio rounds, so the loop then saves the reading.
            if self.is_now_old {
                self.renew_now();
            }
            earlier(self.until_due(self.core.now), sleep_max)
        };
        #[cfg(debug_assertions)]
        if timeout.is_none() {
            self.left_readable.assert_none_is_readable(&self.sources);
        }
        self.probe.wait_begins(timeout);
        let polled = self.poll.poll(&mut self.events, timeout);
        self.core.now = Instant::now();
        self.spinning.polled_at = self.core.now;
        self.core.counts.polls += 1;
        match polled {
            // A signal interrupted the poll. The rest of the turn runs as usual.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                self.probe.wait_ends(Waited::Interrupted);
                Ok(())
            }
            other => {
                self.probe.wait_ends(Waited::Polled);
                other
            }
        }
    }

    /// Reads the clock again. Not inlined, because most sleeps follow a single slice.
    #[cold]
    #[inline(never)]
    fn renew_now(&mut self) {
        self.is_now_old = false;
        self.core.now = Instant::now();
    }

    /// Returns true if there is work that no event announces.
    pub(super) fn has_work(&self) -> bool {
        self.core.slots.ready_len() > 0 || self.inbox.is_notified() || self.inbox.is_stopped()
    }

    /// Returns the time until the first timer or tick is due.
    pub(super) fn until_due(&self, now: Instant) -> Option<Duration> {
        earlier(self.core.next_timer(), self.tick_at).map(|at| at.saturating_duration_since(now))
    }

    /// Marks the hot sources as readable, so that a spinning loop can skip a poll. Returns false if
    /// the loop must poll.
    #[inline(always)]
    fn mark_hot(&mut self) -> bool {
        let mut is_any_alive = false;
        for key in self.spinning.hot_instead_of_poll(self.core.now) {
            let readiness = Readiness::READABLE;
            let is_alive = self.core.slots.mark(*key, readiness);
            self.probe.marked(Mark {
                key: *key,
                by: MarkedBy::Spin,
                readiness,
                is_stale: !is_alive,
            });
            is_any_alive |= is_alive;
        }
        is_any_alive
    }

    /// Marks every source that has an event or a due timer. Touches no source.
    #[inline(always)]
    fn mark(&mut self) {
        let Core { slots, counts, now, .. } = &mut self.core;
        for event in &self.events {
            match event.token() {
                INBOX => self.inbox.notify(),
                SIGNALS => self.has_signal = true,
                token => {
                    let (key, readiness) = (Key::from_token(token), Readiness::from_event(event));
                    let is_stale = !slots.mark(key, readiness);
                    if is_stale {
                        counts.events_stale += 1;
                    } else {
                        counts.events += 1;
                    }
                    let by = MarkedBy::Event;
                    self.probe.marked(Mark { key, by, readiness, is_stale });
                }
            }
        }
        self.spinning.note_events(&self.events, *now);
        slots.mark_due(*now, |key| {
            let (by, readiness) = (MarkedBy::Timer, Readiness::NONE);
            self.probe.marked(Mark { key, by, readiness, is_stale: false });
        });
        #[cfg(debug_assertions)]
        debug_assert!(slots.is_consistent(), "{slots:?}");
        self.probe.run_begins(slots.ready_len());
    }

    /// Passes signals and the handler's own timer to the handler, before any source runs.
    fn run_signals_and_timer<H: Handler<Source = S, Message = M>>(&mut self, handler: &mut H) {
        if mem::take(&mut self.has_signal) {
            self.is_now_old = true;
            self.take_signals(handler);
        }
        if self.core.timer.is_some_and(|at| at <= self.core.now) {
            self.is_now_old = true;
            self.core.timer = None;
            handler.timer_due(&self.sources, &mut self.core.context());
            self.apply_requests(handler);
        }
    }

    /// Gives each source on the ready list one slice.
    fn run_ready<H: Handler<Source = S, Message = M>>(&mut self, handler: &mut H) {
        // A key that joins the list during these slices runs in the next turn.
        let slices = self.core.slots.ready_len();
        if slices > 1 {
            self.is_now_old = true;
        }
        for _ in 0..slices {
            if let Some((key, readiness)) = self.core.slots.next_ready() {
                self.run_slice(handler, key, readiness);
                self.apply_requests(handler);
            }
        }
    }

    /// Gives one source its slice, and registers it again if its interest has changed.
    #[inline]
    fn run_slice<H: Handler<Source = S, Message = M>>(
        &mut self,
        handler: &mut H,
        key: Key,
        mut readiness: Readiness,
    ) {
        let Some(source) = self.sources.get_mut(key) else {
            debug_assert!(false, "{key:?} has a slot but no source");
            return;
        };
        self.probe.slice_begins(handler);
        let (context, calls) = (&mut self.core.source_context(key), self.probe.calls());
        let next = handler.ready_traced(source, &mut readiness, context, calls);
        self.probe.slice_ends((key, &*source), next, readiness, handler);
        self.core.counts.slices += 1;
        if next == Next::Close {
            return self.close(handler, key, Closed::ByHandler);
        }
        let slots = &mut self.core.slots;
        if next == Next::Again {
            self.core.counts.slices_used_up += 1;
            slots.mark(key, Readiness::NONE);
        }
        let Some(slot) = slots.get_mut(key) else {
            debug_assert!(false, "{key:?} lost its slot while it ran");
            return;
        };
        slot.readiness = readiness;
        let interest = source.interest();
        #[cfg(debug_assertions)]
        if next == Next::Wait {
            self.left_readable.note(key, interest, readiness);
        }
        if mem::replace(&mut slot.interest, interest) != interest {
            let registry = self.poll.registry();
            if let Err(error) = Sources::reregister(registry, key, source, interest) {
                self.close(handler, key, Closed::Unregistered(error));
            }
        }
    }

    /// Passes the messages of other threads to the handler, up to [`MESSAGES_PER_TURN`].
    fn run_messages<H: Handler<Source = S, Message = M>>(&mut self, handler: &mut H) {
        if !self.inbox.is_notified() {
            return;
        }
        self.is_now_old = true;
        for _ in 0..MESSAGES_PER_TURN {
            let Some(message) = self.inbox.next() else { return };
            handler.message(message, &self.sources, &mut self.core.context());
            self.apply_requests(handler);
            if self.core.is_stopped {
                // The caller can take the remaining messages with `into_messages`.
                return;
            }
        }
    }

    fn run_tick<H: Handler<Source = S, Message = M>>(&mut self, handler: &mut H) {
        self.tick_at = handler.tick(&self.sources, &mut self.core.context());
        self.apply_requests(handler);
    }

    /// Returns whether the loop continues after this turn.
    fn state_after_turn(&mut self) -> LoopState {
        if mem::take(&mut self.core.is_stopped) {
            self.inbox.pause();
            return LoopState::Stopped;
        }
        if self.inbox.is_stopped() { LoopState::Stopped } else { LoopState::Running }
    }

    /// Carries out what the handler requested. Most calls of a handler request nothing, so the
    /// check is inlined alone.
    #[inline]
    fn apply_requests<H: Handler<Source = S, Message = M>>(&mut self, handler: &mut H) {
        if self.core.has_requests() {
            self.apply_all_requests(handler);
        }
    }

    /// Inserts and closes the sources that the handler requested, until no request is left:
    /// `closed` may make more.
    fn apply_all_requests<H: Handler<Source = S, Message = M>>(&mut self, handler: &mut H) {
        while self.core.has_requests() {
            // Insertions come first, because one call may insert and close the same source.
            while let Some((key, source)) = self.core.inserted.pop() {
                if let Err((source, error)) = self.store(key, source) {
                    let cause = Closed::Unregistered(error);
                    handler.closed(source, cause, &mut self.core.source_context(key));
                }
            }
            if let Some(key) = self.core.closing.pop() {
                self.close(handler, key, Closed::ByHandler);
            }
        }
    }

    /// Stores and registers a source that already has a slot. On failure frees the slot and returns
    /// the source.
    pub(super) fn store(&mut self, key: Key, source: S) -> Result<(), (S, io::Error)> {
        let interest = source.interest();
        self.probe.opened(key, &source);
        if self.core.slots.make_room().is_err() {
            self.core.slots.free(key);
            self.probe.closed(key);
            return Err((source, io::ErrorKind::OutOfMemory.into()));
        }
        let stored = self.sources.store(self.poll.registry(), key, source, interest);
        if stored.is_err() {
            self.core.slots.free(key);
            self.probe.closed(key);
        }
        debug_assert_eq!(self.sources.get(key).is_some(), self.core.slots.get(key).is_some());
        stored
    }

    /// Removes a source and gives it back to the handler.
    fn close<H: Handler<Source = S, Message = M>>(
        &mut self,
        handler: &mut H,
        key: Key,
        cause: Closed,
    ) {
        if let Some(source) = self.remove(key) {
            handler.closed(source, cause, &mut self.core.source_context(key));
        }
    }

    #[cfg(feature = "signals")]
    fn take_signals<H: Handler<Source = S, Message = M>>(&mut self, handler: &mut H) {
        let Some(signals) = &mut self.signals else { return };
        for signal in signals.pending() {
            self.probe.signalled(signal);
            handler.signalled(signal, &self.sources, &mut self.core.context());
        }
        self.apply_requests(handler);
    }

    #[cfg(not(feature = "signals"))]
    fn take_signals<H: Handler<Source = S, Message = M>>(&mut self, _: &mut H) {}
}

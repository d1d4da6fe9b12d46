//! The timeouts of connections: which connection is looked at, and when the loop comes back.

use std::time::{Duration, Instant};

use super::Server;
use super::bounds::LOOKS_PER_SWEEP;
use super::cause::Cause;
use super::clock::{Clock, Moment};
use super::observer::Observer;
use super::options::Options;
use super::source::{Connection, Kind, Source};
use super::stream::ByteMover;
use crate::reactor::{Context, Sources};

/// A timeout is noticed at most an eighth of its length too late: connections are not timed one by
/// one, but looked at together.
pub(super) const SWEEPS_PER_TIMEOUT: u32 = 8;

/// A connection whose peer has a reply to take is looked at after this share of the timeout, so
/// that an ordinary connection is looked at seldom and a deaf one several times.
const LOOKS_PER_TIMEOUT: u32 = 4;

/// A sweep looks at every source, some 20 us for 20,000 of them: a small share of the shortest
/// interval, none of the longest.
pub(super) const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(5);
pub(super) const SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// The clock that peers are judged by, and the sweep over all connections.
#[derive(Debug)]
pub(super) struct Timeouts {
    stall_timeout: Duration,
    idle_timeout: Option<Duration>,
    /// How long a peer may leave its reply untaken, or a connection be quiet, before the connection
    /// is looked at.
    look_after: Duration,
    pub(super) clock: Clock,
    interval: Duration,
    sweep: Sweep,
}

#[derive(Debug)]
enum Sweep {
    /// No peer can be overdue.
    Off,
    At {
        at: Moment,
        /// How many sources the last sweep has seen, if it did not come to the end.
        from: usize,
    },
}

impl Timeouts {
    pub(super) fn new(options: &Options, now: Instant) -> Timeouts {
        let shortest =
            options.idle_timeout.map_or(options.stall_timeout, |t| t.min(options.stall_timeout));
        let interval =
            (shortest / SWEEPS_PER_TIMEOUT).clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX);
        Timeouts {
            stall_timeout: options.stall_timeout,
            idle_timeout: options.idle_timeout,
            look_after: shortest / LOOKS_PER_TIMEOUT,
            clock: Clock::new(now, interval),
            interval,
            sweep: Sweep::Off,
        }
    }

    /// When the next sweep is due.
    pub(super) fn sweep_at(&self) -> Option<Moment> {
        match self.sweep {
            Sweep::Off => None,
            Sweep::At { at, .. } => Some(at),
        }
    }

    /// Makes sure that there will be a sweep. Whether there was none to come.
    #[inline]
    fn arm(&mut self, now: Moment) -> bool {
        let was_off = matches!(self.sweep, Sweep::Off);
        if was_off {
            self.sweep = Sweep::At { at: now.after(self.interval), from: 0 };
        }
        was_off
    }

    /// Whether peers may be judged in this turn: not while a halt of the process is fresh.
    pub(super) fn may_judge(&mut self, turn_at: Instant) -> bool {
        self.clock.at(turn_at);
        self.clock.is_settled()
    }

    /// Whether to look at a connection: its peer may be overdue.
    #[inline]
    pub(super) fn is_due(&self, mover: &ByteMover, now: Moment) -> bool {
        mover.is_waiting_for_peer() && mover.untaken_for(now) >= self.look_after
            || self.idle_timeout.is_some_and(|timeout| mover.quiet_for(now) >= timeout)
    }

    /// Why to close a connection that waits; `None` keeps it.
    pub(super) fn overdue(&self, mover: &ByteMover, now: Moment) -> Option<Cause> {
        if !self.clock.is_settled() {
            return None;
        }
        if mover.is_waiting_for_peer() && mover.untaken_for(now) >= self.stall_timeout {
            return Some(Cause::Stalled);
        }
        let is_idle = self.idle_timeout.is_some_and(|timeout| mover.quiet_for(now) >= timeout);
        is_idle.then_some(Cause::Idle)
    }

    /// Whether the connection may become overdue without another event.
    fn is_watched(&self, mover: &ByteMover) -> bool {
        mover.is_waiting_for_peer() || self.idle_timeout.is_some()
    }
}

impl<O: Observer> Server<O> {
    /// The time of a turn in which a connection has a slice, and so may have to be looked at later.
    #[inline]
    pub(super) fn watch(&mut self, turn_at: Instant) -> Moment {
        let now = self.timeouts.clock.at(turn_at);
        if self.timeouts.arm(now) {
            let sweep_at = turn_at + self.timeouts.interval;
            self.due_at = Some(self.due_at.map_or(sweep_at, |at| at.min(sweep_at)));
        }
        now
    }

    /// Gives a slice to every connection whose peer may be overdue, if a sweep is due.
    pub(super) fn sweep(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
        now: Moment,
    ) {
        let Sweep::At { at, from } = self.timeouts.sweep else { return };
        if now < at {
            return;
        }
        let (mut looks, mut is_any_watched) = (0, from > 0);
        for (nth, (key, source)) in sources.iter().enumerate().skip(from) {
            let Kind::Connection(Connection { mover, .. }) = &source.0 else { continue };
            is_any_watched |= self.timeouts.is_watched(mover);
            if self.timeouts.is_due(mover, now) {
                context.wake(key);
                looks += 1;
            }
            if looks == LOOKS_PER_SWEEP {
                self.timeouts.sweep =
                    Sweep::At { at: now.after(SWEEP_INTERVAL_MIN), from: nth + 1 };
                return;
            }
        }
        let next = Sweep::At { at: now.after(self.timeouts.interval), from: 0 };
        self.timeouts.sweep = if is_any_watched { next } else { Sweep::Off };
    }
}

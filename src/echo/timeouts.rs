//! The timeouts of connections: when the server checks which connection, and why it closes one.

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

/// Sweeps per shortest timeout. A sweep checks all connections together, so the server notices a
/// timeout at most an eighth of its length too late.
pub(super) const SWEEPS_PER_TIMEOUT: u32 = 8;

/// A connection whose peer has a reply to take is checked after the timeout divided by this, so
/// that the server checks an ordinary connection seldom and a deaf one several times.
const LOOKS_PER_TIMEOUT: u32 = 4;

/// The bounds of the interval between sweeps. A sweep visits every source and takes about 20 us for
/// 20,000 sources: a small share of the shortest interval, and a negligible one of the longest.
pub(super) const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(5);
pub(super) const SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// The clock for the timeouts of peers, and the sweep over all connections.
#[derive(Debug)]
pub(super) struct Timeouts {
    stall_timeout: Duration,
    idle_timeout: Option<Duration>,
    /// How long a peer may take none of its reply before the server checks the connection.
    look_after: Duration,
    pub(super) clock: Clock,
    interval: Duration,
    sweep: Sweep,
}

#[derive(Debug)]
enum Sweep {
    /// No peer can become overdue.
    Off,
    At {
        at: Moment,
        /// How many sources the last sweep has visited, if it stopped at its bound.
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

    /// Returns when the next sweep is due.
    pub(super) fn sweep_at(&self) -> Option<Moment> {
        match self.sweep {
            Sweep::Off => None,
            Sweep::At { at, .. } => Some(at),
        }
    }

    /// Schedules a sweep if none is scheduled, and returns true if it did.
    #[inline]
    fn arm(&mut self, now: Moment) -> bool {
        let was_off = matches!(self.sweep, Sweep::Off);
        if was_off {
            self.sweep = Sweep::At { at: now.after(self.interval), from: 0 };
        }
        was_off
    }

    /// Returns true if the server may judge peers in this turn. It may not soon after a halt of the
    /// process.
    pub(super) fn may_judge(&mut self, turn_at: Instant) -> bool {
        self.clock.at(turn_at);
        self.clock.is_settled()
    }

    /// Returns true if the peer of a connection may be overdue, so that the server must check it.
    #[inline]
    pub(super) fn is_due(&self, mover: &ByteMover, now: Moment) -> bool {
        mover.is_waiting_for_peer() && mover.stalled_for(now) >= self.look_after
            || self.idle_timeout.is_some_and(|timeout| mover.quiet_for(now) >= timeout)
    }

    /// Returns the cause if a waiting connection must close, or `None` to keep it.
    pub(super) fn overdue(&self, mover: &ByteMover, now: Moment) -> Option<Cause> {
        if !self.clock.is_settled() {
            return None;
        }
        if mover.is_waiting_for_peer() && mover.stalled_for(now) >= self.stall_timeout {
            return Some(Cause::Stalled);
        }
        let is_idle = self.idle_timeout.is_some_and(|timeout| mover.quiet_for(now) >= timeout);
        is_idle.then_some(Cause::Idle)
    }

    /// Returns true if the connection may become overdue without another event.
    fn is_watched(&self, mover: &ByteMover) -> bool {
        mover.is_waiting_for_peer() || self.idle_timeout.is_some()
    }
}

impl<O: Observer> Server<O> {
    /// Returns the time of a turn in which a connection has a slice, and makes sure that a sweep
    /// will check the connection.
    #[inline]
    pub(super) fn watch(&mut self, turn_at: Instant) -> Moment {
        let now = self.timeouts.clock.at(turn_at);
        if self.timeouts.arm(now) {
            let sweep_at = turn_at + self.timeouts.interval;
            self.due_at = Some(self.due_at.map_or(sweep_at, |at| at.min(sweep_at)));
        }
        now
    }

    /// If a sweep is due, wakes every connection whose peer may be overdue.
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
        if from == 0 {
            self.check_sums(sources);
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

    /// Compares the server's counts with the sums over its connections, in debug builds.
    fn check_sums(&self, sources: &Sources<Source>) {
        if !cfg!(debug_assertions) {
            return;
        }
        let (mut connections, mut copies, mut bytes) = (0, 0, 0);
        for (_, source) in sources.iter() {
            let Kind::Connection(Connection { mover, .. }) = &source.0 else { continue };
            connections += 1;
            if let Some(length) = mover.counted_bytes() {
                (copies, bytes) = (copies + 1, bytes + length);
            }
        }
        debug_assert_eq!(self.counters.connections_open, connections);
        // Other servers may have taken permits as well.
        debug_assert!(self.permits.taken() as u64 >= connections);
        debug_assert!(self.unsent_bytes.agrees_with(copies, bytes));
    }
}

//! The course of a server's life: serving, one-off, draining; and what is due by the clock.

use std::time::{Duration, Instant};

use super::bounds::LINGER_MAX;
use super::counters::Cause;
use super::observer::{Notice, Observer};
use super::options::Options;
use super::source::{Connection, Kind, Source};
use super::stream::ByteMover;
use super::{Server, Transport};
use crate::reactor::{Context, Sources};

/// A timeout is noticed at most an eighth of its length too late: connections are not timed one by
/// one, but looked at together.
const SWEEPS_PER_TIMEOUT: u32 = 8;

/// A sweep looks at every source, some 20 us for 20,000 of them: a small share of the shortest
/// interval, none of the longest.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(5);
const SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Where a server is in its life.
#[derive(Debug)]
pub(super) struct Life {
    /// Listeners and datagram sockets that are open.
    endpoints: usize,
    one_off_taken: bool,
    drain: Option<Drain>,
    /// What was open at the end is counted as cut.
    is_cut_counted: bool,
    /// Every source is to be given a slice, to find out how the times have changed.
    wakes_all: bool,
    stall_timeout: Duration,
    idle_timeout: Option<Duration>,
    /// Connections whose peer has yet to take some of its answer.
    owing: usize,
    sweep_interval: Duration,
    sweep_at: Option<Instant>,
    report_at: Option<Instant>,
}

#[derive(Debug)]
struct Drain {
    /// From here on connections are ended by this side.
    finish_at: Instant,
    /// What is open then is cut.
    deadline: Instant,
    is_finishing: bool,
    /// By a second call: the deadline is now.
    is_cut_short: bool,
}

impl Life {
    pub(super) fn new(options: &Options) -> Life {
        let shortest =
            options.idle_timeout.map_or(options.stall_timeout, |t| t.min(options.stall_timeout));
        let interval = shortest / SWEEPS_PER_TIMEOUT;
        Life {
            endpoints: 0,
            one_off_taken: false,
            drain: None,
            is_cut_counted: false,
            wakes_all: false,
            stall_timeout: options.stall_timeout,
            idle_timeout: options.idle_timeout,
            owing: 0,
            sweep_interval: interval.clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX),
            sweep_at: None,
            report_at: options.report_interval.map(|interval| Instant::now() + interval),
        }
    }

    pub(super) fn endpoint_opened(&mut self) {
        self.endpoints += 1;
    }

    pub(super) fn endpoint_closed(&mut self) {
        self.endpoints -= 1;
    }

    /// The one connection or datagram of a one-off server is there: all endpoints close.
    pub(super) fn take_one_off(&mut self) {
        self.one_off_taken = true;
        self.wakes_all = true;
    }

    /// Whether what is queued is taken. In a drain it is: those are peers already.
    pub(super) fn takes_more(&self) -> bool {
        !self.one_off_taken
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether connections are to be ended by this side.
    pub(super) fn is_finishing(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.is_finishing)
    }

    /// Whether a second call has ended the drain.
    pub(super) fn is_cut_short(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.is_cut_short)
    }

    /// Whether there is nothing left to live for.
    pub(super) fn is_over(&self, connections_open: u64) -> bool {
        let ends = self.one_off_taken || self.drain.is_some();
        ends && self.endpoints == 0 && connections_open == 0
    }

    /// Keeps count of the connections that owe: only they can stall.
    pub(super) fn note_owing(&mut self, before: bool, after: bool, now: Instant) {
        match (before, after) {
            (false, true) => self.owing += 1,
            (true, false) => self.owing -= 1,
            _ => return,
        }
        if self.owing > 0 && self.sweep_at.is_none() {
            self.sweep_at = Some(now + self.sweep_interval);
        }
    }

    /// Whether a connection that waits owes and has sent nothing for so long that its peer is to be
    /// looked at: it may take its answer unseen, more slowly than makes the socket writable.
    pub(super) fn may_be_slow(&self, mover: &ByteMover, now: Instant) -> bool {
        mover.owes() && mover.quiet_for(now) >= self.sweep_interval
    }

    /// Why a connection that waits is to be closed, if it is.
    pub(super) fn overdue(&self, mover: &ByteMover, now: Instant) -> Option<Cause> {
        // Asked after every slice that waits, and nearly always nothing can be overdue.
        if !mover.owes() && self.idle_timeout.is_none() {
            return None;
        }
        let quiet_for = mover.quiet_for(now);
        if mover.owes() && quiet_for >= self.stall_timeout {
            return Some(Cause::Stalled);
        }
        self.idle_timeout.is_some_and(|timeout| quiet_for >= timeout).then_some(Cause::Idle)
    }

    /// Whether connections are to be looked at now.
    fn sweep_is_due(&mut self, now: Instant) -> bool {
        if self.owing == 0 && self.idle_timeout.is_none() {
            self.sweep_at = None;
            return false;
        }
        let due = self.sweep_at.is_some_and(|at| at <= now);
        if due || self.sweep_at.is_none() {
            self.sweep_at = Some(now + self.sweep_interval);
        }
        due
    }
}

impl<O: Observer> Server<O> {
    /// Ends the server's life in peace: accepts what is queued, stops listening, goes on echoing
    /// until its peers finish, ends what is left shortly before
    /// [`drain_timeout`](Options::drain_timeout), and stops the loop. Called a second time, stops
    /// the loop at once.
    pub fn drain(&mut self, sources: &Sources<Source>, context: &mut Context<'_, Source>) {
        let connections_open = self.counters.connections_open;
        if let Some(drain) = &mut self.life.drain {
            // At the end of this turn, which may yet finish some.
            drain.deadline = context.now();
            drain.is_cut_short = true;
            return;
        }
        let timeout = self.options.drain_timeout;
        let deadline = context.now() + timeout;
        let linger = (timeout / 4).min(LINGER_MAX);
        self.life.drain = Some(Drain {
            finish_at: deadline - linger,
            deadline,
            is_finishing: false,
            is_cut_short: false,
        });
        self.observer.notice(&Notice::Draining { connections_open, timeout });
        sources.iter().for_each(|(key, _)| context.wake(key));
        if self.life.is_over(connections_open) {
            context.stop();
        }
    }

    /// Whether [`drain`](Server::drain) was called a second time, as by a second signal.
    pub fn is_cut_short(&self) -> bool {
        self.life.is_cut_short()
    }

    /// Sees to what is due, and returns when to be asked again.
    pub(super) fn live_on(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) -> Option<Instant> {
        let now = context.now();
        if std::mem::take(&mut self.life.wakes_all) {
            sources.iter().for_each(|(key, _)| context.wake(key));
        }
        if self.life.sweep_is_due(now) {
            self.wake_overdue(sources, context);
        }
        if let (Some(at), Some(interval)) = (self.life.report_at, self.options.report_interval)
            && at <= now
        {
            self.observer.report(&self.counters);
            self.life.report_at = Some(now + interval);
        }
        let drain_at = self.go_on_draining(sources, context);
        [self.life.sweep_at, self.life.report_at, drain_at].into_iter().flatten().min()
    }

    fn wake_overdue(&self, sources: &Sources<Source>, context: &mut Context<'_, Source>) {
        let now = context.now();
        for (key, source) in sources.iter() {
            if let Kind::Connection(Connection { mover, .. }) = &source.0
                && (self.life.may_be_slow(mover, now) || self.life.overdue(mover, now).is_some())
            {
                context.wake(key);
            }
        }
    }

    fn go_on_draining(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) -> Option<Instant> {
        let drain = self.life.drain.as_mut()?;
        let now = context.now();
        if now >= drain.deadline {
            let connections_open = self.counters.connections_open;
            if drain.is_cut_short {
                self.observer.notice(&Notice::StoppedShort { connections_open });
            } else if connections_open > 0 {
                self.observer.notice(&Notice::DrainTimedOut { connections_open });
            }
            self.cut(sources, context);
            return None;
        }
        if now >= drain.finish_at && !drain.is_finishing {
            drain.is_finishing = true;
            sources.iter().for_each(|(key, _)| context.wake(key));
        }
        Some(if drain.is_finishing { drain.deadline } else { drain.finish_at })
    }

    /// Stops the loop; what is open is counted as cut.
    fn cut(&mut self, sources: &Sources<Source>, context: &mut Context<'_, Source>) {
        self.count_cut(sources);
        context.stop();
    }

    /// Counts what is open as cut, and what was lost behind the last datagrams. To be called when
    /// somebody else has stopped the loop, whose sources are dropped next; a server that has ended
    /// its drain has done it.
    pub fn count_cut(&mut self, sources: &Sources<Source>) {
        if std::mem::replace(&mut self.life.is_cut_counted, true) {
            return;
        }
        for (_, source) in sources.iter() {
            match &source.0 {
                Kind::Connection(connection) => {
                    self.counters[connection.stream.transport()].add(Cause::DrainCut, 1);
                }
                Kind::Packets(packets) => {
                    let held = packets.mover.held() as u64;
                    let tally = &mut self.counters[packets.socket.transport()];
                    tally.add(Cause::AnswerStalled, held);
                    packets.count_last_overflow(tally);
                }
                Kind::Listener(_) => {}
            }
        }
    }

    /// Counts an endpoint in. A wildcard endpoint is two sockets, and so two of these.
    pub(super) fn endpoint_opened(&mut self, transport: Transport) {
        if transport.is_stream() {
            self.spare.refill();
        }
        self.life.endpoint_opened();
    }
}

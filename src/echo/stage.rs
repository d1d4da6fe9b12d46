//! The course of a server's life: serving, one-off, draining; and what is due by the clock.

use std::time::{Duration, Instant};

use super::bounds::{LINGER_MAX, LOOKS_PER_SWEEP, PERMIT_RETRY};
use super::cause::Cause;
use super::clock::{Clock, Moment};
use super::observer::{Notice, Observer};
use super::options::Options;
use super::source::{Connection, Kind, Source};
use super::stream::ByteMover;
use super::{Server, Transport};
use crate::reactor::{Context, SourceContext, Sources};

/// A timeout is noticed at most an eighth of its length too late: connections are not timed one by
/// one, but looked at together.
const SWEEPS_PER_TIMEOUT: u32 = 8;

/// A connection whose peer has an answer to take is looked at after this share of the timeout, so
/// that an ordinary connection is looked at seldom and a deaf one several times.
const LOOKS_PER_TIMEOUT: u32 = 4;

/// A sweep looks at every source, some 20 us for 20,000 of them: a small share of the shortest
/// interval, none of the longest.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(5);
const SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Where a server is in its life.
#[derive(Debug)]
pub(super) struct Life {
    /// Listeners and datagram sockets that are open.
    endpoints: usize,
    /// The listeners among them.
    listeners: usize,
    one_off_taken: bool,
    drain: Option<Drain>,
    /// What was open at the end is counted as cut.
    is_cut_counted: bool,
    /// Every source is to be given a slice, to find out how the times have changed.
    wakes_all: bool,
    stall_timeout: Duration,
    idle_timeout: Option<Duration>,
    /// How long a peer may leave its answer untaken, or a connection be quiet, before the
    /// connection is looked at.
    look_after: Duration,
    clock: Clock,
    sweep_interval: Duration,
    /// When connections are looked at next; none when no peer can be overdue.
    sweep_at: Option<Moment>,
    /// How many sources the last sweep has seen, if it did not come to the end.
    sweep_from: usize,
    report_at: Option<Instant>,
}

#[derive(Debug)]
struct Drain {
    /// From here on connections are ended by this side.
    finish_at: Moment,
    /// What is open then is cut.
    deadline: Moment,
    /// How often the loop comes back meanwhile, so that the clock notices a halt.
    step: Duration,
    is_finishing: bool,
    /// The deadline has come: datagram sockets answer what is queued, and all else is cut.
    is_last_turn: bool,
    /// By a second call: the deadline is now.
    is_cut_short: bool,
}

impl Life {
    pub(super) fn new(options: &Options) -> Life {
        let shortest =
            options.idle_timeout.map_or(options.stall_timeout, |t| t.min(options.stall_timeout));
        let interval = shortest / SWEEPS_PER_TIMEOUT;
        let sweep_interval = interval.clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX);
        let now = Instant::now();
        Life {
            endpoints: 0,
            listeners: 0,
            one_off_taken: false,
            drain: None,
            is_cut_counted: false,
            wakes_all: false,
            stall_timeout: options.stall_timeout,
            idle_timeout: options.idle_timeout,
            look_after: shortest / LOOKS_PER_TIMEOUT,
            clock: Clock::new(now, sweep_interval),
            sweep_interval,
            sweep_at: None,
            sweep_from: 0,
            report_at: options.report_interval.map(|interval| now + interval),
        }
    }

    pub(super) fn endpoint_opened(&mut self) {
        self.endpoints += 1;
    }

    pub(super) fn endpoint_closed(&mut self) {
        self.endpoints -= 1;
    }

    pub(super) fn listener_closed(&mut self) {
        self.listeners -= 1;
        self.endpoint_closed();
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

    /// The time of a turn in which a connection has a slice, and so may have to be looked at later.
    #[inline]
    pub(super) fn watch(&mut self, turn_at: Instant) -> Moment {
        let now = self.clock.at(turn_at);
        if self.sweep_at.is_none() {
            self.sweep_at = Some(now.after(self.sweep_interval));
        }
        now
    }

    /// Notes when the loop is to come back. Must be called at the end of every turn.
    pub(super) fn expect(&mut self, due_at: Option<Instant>) {
        self.clock.expect(due_at);
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
    /// Ends the server's life in peace: accepts what is queued, stops listening, goes on echoing
    /// until the peers of its streams finish, ends what is left shortly before
    /// [`drain_timeout`](Options::drain_timeout), and stops the loop. Called a second time, stops
    /// the loop at once.
    ///
    /// Datagram sockets go on answering until the last stream is done, those of servers that
    /// [share limits](Server::share_limits) with this one included. Then they answer what is queued
    /// and close.
    pub fn drain(&mut self, sources: &Sources<Source>, context: &mut Context<'_, Source>) {
        let connections_open = self.counters.connections_open;
        let now = self.life.clock.at(context.now());
        if let Some(drain) = &mut self.life.drain {
            // At the end of this turn, which may yet finish some.
            drain.deadline = now;
            drain.is_cut_short = true;
            return;
        }
        let timeout = self.options.drain_timeout;
        let deadline = now.after(timeout);
        let linger = (timeout / 4).min(LINGER_MAX);
        let step = (timeout / SWEEPS_PER_TIMEOUT).clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX);
        self.life.clock.tighten(step);
        self.life.drain = Some(Drain {
            finish_at: deadline.before(linger),
            deadline,
            step,
            is_finishing: false,
            is_last_turn: false,
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
        let turn_at = context.now();
        let now = self.life.clock.at(turn_at);
        if std::mem::take(&mut self.life.wakes_all) {
            sources.iter().for_each(|(key, _)| context.wake(key));
        }
        if self.life.sweep_at.is_some_and(|at| at <= now) {
            self.life.sweep_at = self.sweep(sources, context, now);
        }
        if let (Some(at), Some(interval)) = (self.life.report_at, self.options.report_interval)
            && at <= turn_at
        {
            self.observer.report(&self.counters);
            self.life.report_at = Some(turn_at + interval);
        }
        let drain_at = self.go_on_draining(sources, context, now);
        let next = [self.life.sweep_at, drain_at].into_iter().flatten().min();
        let next_at = next.map(|moment| self.life.clock.instant_of(moment));
        [next_at, self.life.report_at].into_iter().flatten().min()
    }

    /// Gives a slice to every connection whose peer may be overdue. Returns the time of the next
    /// sweep, if any connection may be overdue then.
    fn sweep(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
        now: Moment,
    ) -> Option<Moment> {
        let (mut looks, mut is_any_watched) = (0, self.life.sweep_from > 0);
        for (key, source) in sources.iter().skip(self.life.sweep_from) {
            self.life.sweep_from += 1;
            let Kind::Connection(Connection { mover, .. }) = &source.0 else { continue };
            is_any_watched |= self.life.is_watched(mover);
            if self.life.is_due(mover, now) {
                context.wake(key);
                looks += 1;
            }
            if looks == LOOKS_PER_SWEEP {
                return Some(now.after(SWEEP_INTERVAL_MIN));
            }
        }
        self.life.sweep_from = 0;
        is_any_watched.then(|| now.after(self.life.sweep_interval))
    }

    fn go_on_draining(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
        now: Moment,
    ) -> Option<Moment> {
        let may_judge = self.life.clock.is_settled();
        let drain = self.life.drain.as_mut()?;
        if now >= drain.deadline && (may_judge || drain.is_cut_short) {
            if !drain.is_cut_short && !std::mem::replace(&mut drain.is_last_turn, true) {
                let is_packets = |source: &Source| matches!(source.0, Kind::Packets(_));
                let packets = sources.iter().filter(|(_, source)| is_packets(source));
                packets.for_each(|(key, _)| context.wake(key));
                return Some(now);
            }
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
        let next = if drain.is_finishing { drain.deadline } else { drain.finish_at };
        // Past the deadline, after a halt, the loop comes back when that is over for long enough.
        let step_at = now.after(drain.step);
        Some(if next > now { next.min(step_at) } else { step_at })
    }

    /// Whether datagram sockets that have answered all may close, in a drain. If other servers are
    /// not done, the socket of the context looks again soon.
    pub(super) fn ends_datagrams(&mut self, context: &mut SourceContext<'_, Source>) -> bool {
        if self.life.drain.as_ref().is_some_and(|drain| drain.is_last_turn) {
            return true;
        }
        if self.life.listeners > 0 || self.counters.connections_open > 0 {
            return false;
        }
        let others_go_on = self.permits.are_shared() && self.permits.is_any_taken();
        if others_go_on {
            context.wake_at(context.key(), context.now() + PERMIT_RETRY);
        }
        !others_go_on
    }

    /// A connection or a listener has closed. The last one in a drain lets datagram sockets close.
    pub(super) fn note_stream_closed(&mut self) {
        let is_last = self.life.listeners == 0 && self.counters.connections_open == 0;
        if is_last && self.life.is_draining() {
            self.life.wakes_all = true;
        }
    }

    /// Stops the loop; what is open is counted as cut.
    fn cut(&mut self, sources: &Sources<Source>, context: &mut Context<'_, Source>) {
        self.count_cut(sources);
        context.stop();
    }

    /// Counts what is open as cut, and what was lost behind the last datagrams. Call it when
    /// something else than this server has stopped the loop, before the sources are dropped. A
    /// server that has ended its drain has done it.
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
                    let counters = &mut self.counters[packets.socket.transport()];
                    counters.add(Cause::AnswerStalled, held);
                    packets.count_last_overflow(counters);
                }
                Kind::Listener(_) => {}
            }
        }
    }

    /// Counts an endpoint in. A wildcard endpoint is two sockets, and so two of these.
    pub(super) fn endpoint_opened(&mut self, transport: Transport) {
        if transport.is_stream() {
            self.spare.refill();
            self.life.listeners += 1;
        }
        self.life.endpoint_opened();
    }
}

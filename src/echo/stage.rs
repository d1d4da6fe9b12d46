//! The stages of a server: it serves, closes after the one peer of a one-off server, or drains.

use std::time::{Duration, Instant};

use super::bounds::{LINGER_MAX, PERMIT_RETRY};
use super::cause::Cause;
use super::clock::Moment;
use super::observer::{Notice, Observer};
use super::source::{Kind, Source};
use super::timeouts::{SWEEP_INTERVAL_MAX, SWEEP_INTERVAL_MIN, SWEEPS_PER_TIMEOUT};
use super::{Server, Transport};
use crate::reactor::{Context, Key, SourceContext, Sources};
use crate::socket::Listener;

/// The stage of a server.
#[derive(Debug)]
pub(super) enum Stage {
    /// The server accepts connections and receives datagrams.
    Serving,
    /// A one-off server has its one connection or datagram. All endpoints close.
    OneOffTaken,
    Draining(Drain),
    /// The loop stops. What was open has been counted as cut.
    Ended {
        was_draining: bool,
        is_cut_short: bool,
    },
}

/// A graceful shutdown: see [`Server::drain`].
#[derive(Debug)]
pub(super) struct Drain {
    /// Endpoints serve what is queued, because queued clients count as peers. False for a one-off
    /// server that has its one peer.
    takes_queued: bool,
    phase: Phase,
    /// The server cuts what is open at this moment.
    deadline: Moment,
    /// How often the loop comes back during the drain, so that the clock notices a halt.
    step: Duration,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Until this moment, listeners that another process keeps go on accepting. Peers that connect
    /// just before it have the time of the next phase to finish.
    Accepting { until: Moment },
    /// Until this moment, the server waits for peers to finish.
    Waiting { until: Moment },
    /// The server ends the remaining connections.
    Finishing,
}

/// The reason why a drain ends before all peers have finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The deadline has passed. In this turn datagram sockets answer what is queued; at its end the
    /// server cuts everything.
    LastTurn,
    /// `drain` was called a second time. The server cuts everything at the end of this turn.
    CutShort,
}

impl Stage {
    /// Returns true if the server accepts queued connections and receives queued datagrams.
    pub(super) fn takes_more(&self) -> bool {
        match self {
            Stage::Serving | Stage::Ended { .. } => true,
            Stage::OneOffTaken => false,
            Stage::Draining(drain) => drain.takes_queued,
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        matches!(self, Stage::Draining(_) | Stage::Ended { was_draining: true, .. })
    }

    /// Returns true if the server ends the remaining connections.
    pub(super) fn is_finishing(&self) -> bool {
        matches!(self, Stage::Draining(Drain { phase: Phase::Finishing, .. }))
    }

    /// Returns true if listeners that another process keeps may still accept during this drain.
    fn is_accepting(&self) -> bool {
        matches!(self, Stage::Draining(Drain { phase: Phase::Accepting { .. }, .. }))
    }

    /// Returns true if a second call of `drain` has ended the drain.
    fn is_cut_short(&self) -> bool {
        match self {
            Stage::Draining(drain) => drain.end == Some(End::CutShort),
            Stage::Ended { is_cut_short, .. } => *is_cut_short,
            Stage::Serving | Stage::OneOffTaken => false,
        }
    }
}

/// The keys of the open endpoints, by kind.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    listeners: Vec<Key>,
    datagrams: Vec<Key>,
}

impl Endpoints {
    fn of(&mut self, transport: Transport) -> &mut Vec<Key> {
        if transport.is_stream() { &mut self.listeners } else { &mut self.datagrams }
    }
}

/// Returns the part of a drain of this time that peers have for their last bytes after FIN.
fn linger(drain_timeout: Duration) -> Duration {
    (drain_timeout / 4).min(LINGER_MAX)
}

impl<O: Observer> Server<O> {
    /// Shuts the server down gracefully. It accepts what is queued, stops listening, and goes on
    /// echoing until the peers of its streams finish. Shortly before
    /// [`drain_timeout`](super::Options::drain_timeout) it ends the remaining connections, and then
    /// stops the loop. A second call stops the loop at once.
    ///
    /// A listener that [another process keeps](crate::socket::Listener::is_shared) goes on
    /// accepting while a stream is open, until shortly before the remaining connections end: the
    /// next process may not start before this one has ended, and new peers would have to wait.
    ///
    /// Datagram sockets go on answering until the last stream has ended, including the streams of
    /// servers that [share limits](Server::share_limits) with this one. Then they answer what is
    /// queued and close.
    pub fn drain(&mut self, sources: &Sources<Source>, context: &mut Context<'_, Source>) {
        // The drain begins at the end of this turn, because some peers may finish in it.
        self.due_at = Some(context.now());
        let now = self.timeouts.clock.at(context.now());
        let takes_queued = match &mut self.stage {
            Stage::Draining(drain) => {
                drain.end = Some(End::CutShort);
                return;
            }
            Stage::Ended { .. } => return,
            Stage::Serving => true,
            Stage::OneOffTaken => false,
        };
        let (timeout, connections_open) =
            (self.options.drain_timeout, self.counters.connections_open);
        let deadline = now.after(timeout);
        let until = deadline.before(2 * linger(timeout));
        let step = (timeout / SWEEPS_PER_TIMEOUT).clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX);
        self.timeouts.clock.tighten(step);
        let phase = Phase::Accepting { until };
        self.stage = Stage::Draining(Drain { takes_queued, phase, deadline, step, end: None });
        self.observer.notice(&Notice::Draining { connections_open, timeout });
        sources.iter().for_each(|(key, _)| context.wake(key));
        if self.is_over() {
            context.stop();
        }
    }

    /// Returns true if [`drain`](Server::drain) was called a second time, for example because of a
    /// second signal.
    pub fn is_cut_short(&self) -> bool {
        self.stage.is_cut_short()
    }

    /// Does what is due: the sweep, the report and the drain. Returns when to call it again.
    pub(super) fn run_due_work(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) -> Option<Instant> {
        let turn_at = context.now();
        let now = self.timeouts.clock.at(turn_at);
        self.sweep(sources, context, now);
        if let (Some(at), Some(interval)) = (self.report_at, self.options.report_interval)
            && at <= turn_at
        {
            self.observer.report(&self.counters);
            self.report_at = Some(turn_at + interval);
        }
        let drain_at = self.advance_drain(sources, context, now);
        let next = [self.timeouts.sweep_at(), drain_at].into_iter().flatten().min();
        let next_at = next.map(|moment| self.timeouts.clock.instant_of(moment));
        [next_at, self.report_at].into_iter().flatten().min()
    }

    /// Advances a drain to the phase of this moment. Returns when to call it again.
    fn advance_drain(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
        now: Moment,
    ) -> Option<Moment> {
        let Stage::Draining(drain) = &mut self.stage else { return None };
        let connections_open = self.counters.connections_open;
        match (drain.phase, drain.end) {
            (_, Some(End::CutShort)) => {
                self.observer.notice(&Notice::StoppedShort { connections_open });
                self.cut(sources, context);
                return None;
            }
            (_, None) if now >= drain.deadline && self.timeouts.clock.is_settled() => {
                drain.end = Some(End::LastTurn);
                self.endpoints.datagrams.iter().for_each(|key| context.wake(*key));
                return Some(now);
            }
            (_, Some(End::LastTurn)) if self.timeouts.clock.is_settled() => {
                if connections_open > 0 {
                    self.observer.notice(&Notice::DrainTimedOut { connections_open });
                }
                self.cut(sources, context);
                return None;
            }
            (Phase::Accepting { until }, _) if now >= until => {
                let until = drain.deadline.before(linger(self.options.drain_timeout));
                drain.phase = Phase::Waiting { until };
                self.endpoints.listeners.iter().for_each(|key| context.wake(*key));
            }
            (Phase::Waiting { until }, _) if now >= until => {
                drain.phase = Phase::Finishing;
                sources.iter().for_each(|(key, _)| context.wake(key));
            }
            _ => {}
        }
        let next = match drain.phase {
            Phase::Accepting { until } | Phase::Waiting { until } => until,
            Phase::Finishing => drain.deadline,
        };
        // After a halt the deadline may have passed before the clock is settled. Then the loop
        // comes back once per step until the clock is settled.
        let step_at = now.after(drain.step);
        Some(if next > now { next.min(step_at) } else { step_at })
    }

    /// Returns true if a datagram socket that has answered everything may close during a drain. If
    /// streams of other servers are still open, sets a timer for the socket to check again.
    pub(super) fn ends_datagrams(&mut self, context: &mut SourceContext<'_, Source>) -> bool {
        if matches!(&self.stage, Stage::Draining(drain) if drain.end == Some(End::LastTurn)) {
            return true;
        }
        self.has_ended_streams() && !self.others_have_streams(context)
    }

    /// Returns true if a listener goes on accepting during a drain. One that this process opened
    /// does not: once it has closed, new peers learn that nothing listens.
    pub(super) fn accepts_in_drain(
        &self,
        listener: &Listener,
        context: &mut SourceContext<'_, Source>,
    ) -> bool {
        listener.is_shared()
            && self.stage.is_accepting()
            && (self.counters.connections_open > 0 || self.others_have_streams(context))
    }

    /// Returns true if streams of other servers are still open. Then sets a timer for the source
    /// to check again.
    fn others_have_streams(&self, context: &mut SourceContext<'_, Source>) -> bool {
        let others_go_on = self.permits.are_shared() && self.permits.taken() > 0;
        if others_go_on {
            context.wake_at(context.key(), context.now() + PERMIT_RETRY);
        }
        others_go_on
    }

    /// Notes that a one-off server has its one connection or datagram, and makes all endpoints
    /// close.
    pub(super) fn take_one_off(&mut self, context: &mut SourceContext<'_, Source>) {
        match &mut self.stage {
            Stage::Draining(drain) => drain.takes_queued = false,
            stage => *stage = Stage::OneOffTaken,
        }
        let Endpoints { listeners, datagrams } = &self.endpoints;
        listeners.iter().chain(datagrams).for_each(|key| context.wake(*key));
    }

    /// Adds the key of an endpoint's socket. A wildcard endpoint has two sockets, and so two keys.
    pub(super) fn endpoint_opened(&mut self, transport: Transport, key: Key) {
        if transport.is_stream() {
            self.spare.refill();
        }
        self.endpoints.of(transport).push(key);
    }

    pub(super) fn endpoint_closed(&mut self, transport: Transport, key: Key) {
        self.endpoints.of(transport).retain(|other| *other != key);
    }

    /// Notes that a connection or a listener has closed. During a drain, the last connection to
    /// close lets listeners close, and the last of both lets datagram sockets close.
    pub(super) fn stream_closed(&self, context: &mut SourceContext<'_, Source>) {
        if self.counters.connections_open > 0 || !self.stage.is_draining() {
            return;
        }
        let Endpoints { listeners, datagrams } = &self.endpoints;
        let waiting = if listeners.is_empty() { datagrams } else { listeners };
        waiting.iter().for_each(|key| context.wake(*key));
    }

    fn has_ended_streams(&self) -> bool {
        self.endpoints.listeners.is_empty() && self.counters.connections_open == 0
    }

    /// Returns true if nothing is left to serve.
    pub(super) fn is_over(&self) -> bool {
        let ends = !matches!(self.stage, Stage::Serving);
        ends && self.has_ended_streams() && self.endpoints.datagrams.is_empty()
    }

    /// Counts what is open as cut, and stops the loop.
    fn cut(&mut self, sources: &Sources<Source>, context: &mut Context<'_, Source>) {
        self.count_cut(sources);
        context.stop();
    }

    /// Counts open connections and held replies as cut, and the datagrams that the kernel lost
    /// after the last received one. Call it when something other than a drain has stopped the loop,
    /// before the sources are dropped. After a drain that was cut short or timed out it counts
    /// nothing, because the drain has counted already.
    pub fn count_cut(&mut self, sources: &Sources<Source>) {
        if matches!(self.stage, Stage::Ended { .. }) {
            return;
        }
        self.stage = Stage::Ended {
            was_draining: self.stage.is_draining(),
            is_cut_short: self.stage.is_cut_short(),
        };
        for (key, source) in sources.iter() {
            match &source.0 {
                Kind::Connection(connection) => {
                    self.counters[connection.stream.transport()].add(Cause::DrainCut, 1);
                    self.end_record(key, Cause::DrainCut);
                }
                Kind::Udp(packets) => packets.count_cut(&mut self.counters),
                Kind::Unixgram(packets) => packets.count_cut(&mut self.counters),
                Kind::Listener(_) => {}
            }
        }
    }
}

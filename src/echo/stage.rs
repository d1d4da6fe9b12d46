//! The stages of a server: it serves, closes after its one peer, or drains.

use std::time::{Duration, Instant};

use super::bounds::{LINGER_MAX, PERMIT_RETRY};
use super::cause::Cause;
use super::clock::Moment;
use super::observer::{Notice, Observer};
use super::source::{Kind, Source};
use super::timeouts::{SWEEP_INTERVAL_MAX, SWEEP_INTERVAL_MIN, SWEEPS_PER_TIMEOUT};
use super::{Server, Transport};
use crate::reactor::{Context, Key, SourceContext, Sources};

/// Where a server is in its life.
#[derive(Debug)]
pub(super) enum Stage {
    /// It takes what comes.
    Serving,
    /// A one-off server has its one connection or datagram: all endpoints close.
    OneOffTaken,
    Draining(Drain),
    /// What was open has been counted as cut.
    Ended {
        was_draining: bool,
        is_cut_short: bool,
    },
}

/// The end in peace: see [`Server::drain`].
#[derive(Debug)]
pub(super) struct Drain {
    /// Whether endpoints take what is queued: those are peers already. A one-off server that has
    /// its one takes nothing.
    takes_queued: bool,
    phase: Phase,
    /// What is open then is cut.
    deadline: Moment,
    /// How often the loop comes back meanwhile, so that the clock notices a halt.
    step: Duration,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Peers finish by themselves, until then.
    Waiting { until: Moment },
    /// This side ends connections.
    Finishing,
}

/// Why the loop stops before all peers have finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The deadline has come. In this turn datagram sockets answer what is queued; then all is cut.
    LastTurn,
    /// By a second call: all is cut at the end of this turn.
    CutShort,
}

impl Stage {
    /// Whether what is queued is taken.
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

    /// Whether this side ends connections.
    pub(super) fn is_finishing(&self) -> bool {
        matches!(self, Stage::Draining(Drain { phase: Phase::Finishing, .. }))
    }

    /// Whether a second call has ended the drain.
    fn is_cut_short(&self) -> bool {
        match self {
            Stage::Draining(drain) => drain.end == Some(End::CutShort),
            Stage::Ended { is_cut_short, .. } => *is_cut_short,
            Stage::Serving | Stage::OneOffTaken => false,
        }
    }
}

/// The endpoints that are open, by kind.
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

impl<O: Observer> Server<O> {
    /// Ends the server's life in peace: accepts what is queued, stops listening, goes on echoing
    /// until the peers of its streams finish, ends what is left shortly before
    /// [`drain_timeout`](super::Options::drain_timeout), and stops the loop. Called a second time,
    /// stops the loop at once.
    ///
    /// Datagram sockets go on answering until the last stream is done, those of servers that
    /// [share limits](Server::share_limits) with this one included. Then they answer what is queued
    /// and close.
    pub fn drain(&mut self, sources: &Sources<Source>, context: &mut Context<'_, Source>) {
        // At the end of this turn, which may yet finish some.
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
        let until = deadline.before((timeout / 4).min(LINGER_MAX));
        let step = (timeout / SWEEPS_PER_TIMEOUT).clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX);
        self.timeouts.clock.tighten(step);
        let phase = Phase::Waiting { until };
        self.stage = Stage::Draining(Drain { takes_queued, phase, deadline, step, end: None });
        self.observer.notice(&Notice::Draining { connections_open, timeout });
        sources.iter().for_each(|(key, _)| context.wake(key));
        if self.is_over() {
            context.stop();
        }
    }

    /// Whether [`drain`](Server::drain) was called a second time, as by a second signal.
    pub fn is_cut_short(&self) -> bool {
        self.stage.is_cut_short()
    }

    /// Sees to what is due, and returns when to be asked again.
    pub(super) fn live_on(
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
        let drain_at = self.go_on_draining(sources, context, now);
        let next = [self.timeouts.sweep_at(), drain_at].into_iter().flatten().min();
        let next_at = next.map(|moment| self.timeouts.clock.instant_of(moment));
        [next_at, self.report_at].into_iter().flatten().min()
    }

    /// What a drain does by the clock. Returns when it goes on.
    fn go_on_draining(
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
            (Phase::Waiting { until }, _) if now >= until => {
                drain.phase = Phase::Finishing;
                sources.iter().for_each(|(key, _)| context.wake(key));
            }
            _ => {}
        }
        let next = match drain.phase {
            Phase::Waiting { until } => until,
            Phase::Finishing => drain.deadline,
        };
        // Past the deadline, after a halt, the loop comes back when that is over for long enough.
        let step_at = now.after(drain.step);
        Some(if next > now { next.min(step_at) } else { step_at })
    }

    /// Whether datagram sockets that have answered all may close, in a drain. If other servers are
    /// not done, the socket of the context looks again soon.
    pub(super) fn ends_datagrams(&mut self, context: &mut SourceContext<'_, Source>) -> bool {
        if matches!(&self.stage, Stage::Draining(drain) if drain.end == Some(End::LastTurn)) {
            return true;
        }
        if !self.has_ended_streams() {
            return false;
        }
        let others_go_on = self.permits.are_shared() && self.permits.is_any_taken();
        if others_go_on {
            context.wake_at(context.key(), context.now() + PERMIT_RETRY);
        }
        !others_go_on
    }

    /// The one connection or datagram of a one-off server is there: all endpoints close.
    pub(super) fn take_one_off(&mut self, context: &mut SourceContext<'_, Source>) {
        match &mut self.stage {
            Stage::Draining(drain) => drain.takes_queued = false,
            stage => *stage = Stage::OneOffTaken,
        }
        let Endpoints { listeners, datagrams } = &self.endpoints;
        listeners.iter().chain(datagrams).for_each(|key| context.wake(*key));
    }

    /// Counts an endpoint in. A wildcard endpoint is two sockets, and so two of these.
    pub(super) fn endpoint_opened(&mut self, transport: Transport, key: Key) {
        if transport.is_stream() {
            self.spare.refill();
        }
        self.endpoints.of(transport).push(key);
    }

    pub(super) fn endpoint_closed(&mut self, transport: Transport, key: Key) {
        self.endpoints.of(transport).retain(|other| *other != key);
    }

    /// A connection or a listener has closed. The last one in a drain lets datagram sockets close.
    pub(super) fn stream_closed(&self, context: &mut SourceContext<'_, Source>) {
        if self.has_ended_streams() && self.stage.is_draining() {
            self.endpoints.datagrams.iter().for_each(|key| context.wake(*key));
        }
    }

    fn has_ended_streams(&self) -> bool {
        self.endpoints.listeners.is_empty() && self.counters.connections_open == 0
    }

    /// Whether nothing is left to serve.
    pub(super) fn is_over(&self) -> bool {
        let ends = !matches!(self.stage, Stage::Serving);
        ends && self.has_ended_streams() && self.endpoints.datagrams.is_empty()
    }

    /// Stops the loop; what is open is counted as cut.
    fn cut(&mut self, sources: &Sources<Source>, context: &mut Context<'_, Source>) {
        self.count_cut(sources);
        context.stop();
    }

    /// Counts what is open as cut, and what was lost behind the last datagrams. Call it when
    /// something else has stopped the loop, and before the sources are dropped. A server that has
    /// ended its drain has done it, and does not count twice.
    pub fn count_cut(&mut self, sources: &Sources<Source>) {
        if matches!(self.stage, Stage::Ended { .. }) {
            return;
        }
        self.stage = Stage::Ended {
            was_draining: self.stage.is_draining(),
            is_cut_short: self.stage.is_cut_short(),
        };
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
}

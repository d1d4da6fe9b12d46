//! Opening connections: at a limited rate, and again after a failure if the run allows it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::io::ErrorKind;
use std::path::PathBuf;

use super::datagram::DatagramMover;
use super::options::Options;
use super::pattern::MessageId;
use super::run::Admission;
use super::share::Share;
use super::source::{Flow, Kind, Source, Stage};
use super::stream::StreamMover;
use super::{Generator, Observer};
use crate::endpoint::ResolvedEndpoint;
use crate::error::Error;
use crate::measured::LossCause;
use crate::reactor::Context;
use crate::socket::{Datagram, LocalAddrs, SocketOptions, Stream};
use crate::units::duration_ns;

/// Connections opened in one step, and the time between two steps. A server with a listen backlog
/// of 128 accepts one step's connections while the generator waits for the next. A burst larger
/// than the backlog would wait for SYN retransmits of one second and more. 10,000 connections take
/// 160 ms.
const OPENED_PER_STEP: u64 = 64;
const STEP_NS: u64 = 1_000_000;

/// The shortest time that a connection has to be made: the kernel repeats a lost SYN after 1 s
/// (tcp(7)).
const CONNECT_TIMEOUT_NS_MIN: u64 = 3_000_000_000;

/// The pause before a failed operation is repeated, so that a port that refuses costs no busy loop.
pub(super) const RETRY_NS: u64 = 10_000_000;

/// The pause before a connection that ended is opened again. The first pause is that of any retry.
/// Each attempt that fails, or ends without an echo, doubles it. While a server is away for long,
/// each connection tries once per second.
const RECONNECT_NS_MIN: u64 = RETRY_NS;
const RECONNECT_NS_MAX: u64 = 1_000_000_000;

/// Opens flows, each at its time.
#[derive(Debug)]
pub(super) struct Opener {
    target: ResolvedEndpoint,
    socket: SocketOptions,
    /// Where the sockets leave from.
    pub(super) local_addrs: LocalAddrs,
    folder: Option<PathBuf>,
    wants_trains: bool,
    /// A socket does not support receiving trains (UDP_GRO).
    pub(super) are_trains_refused: bool,
    pub(super) connect_timeout_ns: u64,
    /// Flows to open, by time.
    scheduled: BinaryHeap<Reverse<(u64, u32)>>,
    /// Sockets created so far.
    created: u64,
    share: Share,
    /// When the last flow was opened; before that, when the first was scheduled.
    begun_ns: u64,
    /// By flow; empty if connections are not opened again.
    reopenings: Vec<Reopening>,
}

/// The state of a flow whose connection ended.
#[derive(Clone, Copy, Debug, Default)]
struct Reopening {
    /// The pause before the last attempt; 0 before the first.
    pause_ns: u64,
    /// It had a connection.
    was_open: bool,
}

/// Why a flow was not opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The backlog of the peer is full (Unix). A later attempt can succeed.
    Busy,
    /// A call failed.
    Failed(Error),
}

impl Opener {
    pub(super) fn new(options: &Options) -> Opener {
        Opener {
            target: options.target.clone(),
            socket: options.socket.clone(),
            local_addrs: options.local_addrs.clone(),
            folder: options.folder.clone(),
            wants_trains: options.asks_for_trains(),
            are_trains_refused: false,
            connect_timeout_ns: duration_ns(options.timeout).max(CONNECT_TIMEOUT_NS_MIN),
            scheduled: BinaryHeap::with_capacity(options.connections as usize),
            created: 0,
            share: options.share,
            begun_ns: 0,
            reopenings: match options.reconnects() {
                true => vec![Reopening::default(); options.connections as usize],
                false => Vec::new(),
            },
        }
    }

    /// Schedules the opening of all flows, a limited number per step.
    pub(super) fn schedule_all(&mut self, flows: u32, now_ns: u64) {
        self.begun_ns = now_ns;
        for flow in 0..flows {
            self.schedule(flow, now_ns + u64::from(flow) / OPENED_PER_STEP * STEP_NS);
        }
    }

    /// Schedules the opening of a flow.
    pub(super) fn schedule(&mut self, flow: u32, at_ns: u64) {
        self.scheduled.push(Reverse((at_ns, flow)));
    }

    /// Returns true if connections that end are opened again.
    pub(super) fn reopens(&self) -> bool {
        !self.reopenings.is_empty()
    }

    /// Schedules a flow whose connection ended or could not be opened again. `was_useful`: a
    /// message was answered on it.
    pub(super) fn schedule_reopening(
        &mut self,
        flow: u32,
        was_open: bool,
        was_useful: bool,
        now_ns: u64,
    ) {
        let Some(reopening) = self.reopenings.get_mut(flow as usize) else { return };
        reopening.was_open |= was_open;
        let before_ns = if was_useful { 0 } else { reopening.pause_ns };
        reopening.pause_ns = (before_ns * 2).clamp(RECONNECT_NS_MIN, RECONNECT_NS_MAX);
        // Connections that ended together are opened again in steps, as at the start.
        let step_ns = u64::from(flow) / OPENED_PER_STEP * STEP_NS;
        let pause_ns = reopening.pause_ns + step_ns;
        self.schedule(flow, now_ns.saturating_add(pause_ns));
    }

    /// Returns when the next flow must be opened.
    pub(super) fn first_ns(&self) -> Option<u64> {
        self.scheduled.peek().map(|Reverse((at_ns, _))| *at_ns)
    }

    /// Takes the next flow that must be opened by `now_ns`.
    pub(super) fn next(&mut self, now_ns: u64) -> Option<u32> {
        let Reverse((at_ns, flow)) = *self.scheduled.peek()?;
        if at_ns > now_ns {
            return None;
        }
        self.scheduled.pop();
        Some(flow)
    }

    /// Returns true while another attempt is worthwhile: a flow was opened recently, so the peer
    /// still accepts, if slowly.
    fn may_retry(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.begun_ns) < self.connect_timeout_ns
    }

    /// Gives connections `paused_ns` more time, because the generator could not run for that long.
    pub(super) fn extend(&mut self, paused_ns: u64) {
        self.begun_ns = self.begun_ns.saturating_add(paused_ns);
    }

    /// Starts to open a flow.
    pub(super) fn open(
        &mut self,
        flow: u32,
        first_number: u64,
        now_ns: u64,
    ) -> Result<Flow, OpenError> {
        let target = &self.target;
        self.created += 1;
        let result = if self.target.transport().is_stream() {
            let connect = |options: &SocketOptions| Stream::connect(target, options);
            let stream = self.local_addrs.open(&mut self.socket, connect);
            stream.map(|stream| Kind::Stream(stream, StreamMover::new(flow, first_number)))
        } else {
            // Other loops create files in the same folder.
            let (number, _) = self.share.flow((self.created, 0));
            let own = self.folder.as_ref().map(|folder| folder.join(number.to_string()));
            let connect =
                |options: &SocketOptions| Datagram::connect(target, own.as_deref(), options);
            self.local_addrs.open(&mut self.socket, connect).map(|socket| {
                let takes_trains = self.wants_trains && socket.receive_trains(true).is_ok();
                self.are_trains_refused |= self.wants_trains && !takes_trains;
                Kind::Datagram(socket, DatagramMover::new(flow, takes_trains))
            })
        };
        match result {
            Ok(kind) => {
                self.begun_ns = now_ns;
                let until_ns = now_ns.saturating_add(self.connect_timeout_ns);
                let reopening = self.reopenings.get(flow as usize);
                let is_reopened = reopening.is_some_and(|reopening| reopening.was_open);
                Ok(Flow {
                    id: flow,
                    kind,
                    stage: match self.target.transport().is_stream() {
                        true => Stage::Connecting { until_ns },
                        false => Stage::Open,
                    },
                    made_ns: now_ns,
                    is_reopened,
                    ending: None,
                })
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(OpenError::Busy),
            Err(error) => Err(OpenError::Failed(error)),
        }
    }
}

impl<O: Observer> Generator<O> {
    /// Opens the flows that are scheduled by now.
    pub(super) fn open_some(&mut self, now_ns: u64, context: &mut Context<'_, Source>) {
        while let Some(id) = self.opener.next(now_ns) {
            match self.opener.open(id, 0, now_ns) {
                Ok(mut flow) => {
                    self.run.recorder.trains.refused |= self.opener.are_trains_refused;
                    if flow.is_open() {
                        self.note_settings(&flow);
                        flow.opened(&mut self.run, now_ns);
                        self.phases.flow_settled();
                    }
                    context.insert(Source(flow));
                }
                Err(OpenError::Busy) if self.opener.may_retry(now_ns) => {
                    self.opener.schedule(id, now_ns + STEP_NS);
                }
                Err(OpenError::Busy) => {
                    self.run.recorder.flows.timed_out += 1;
                    self.phases.flow_settled();
                }
                Err(OpenError::Failed(error)) => {
                    self.count_open_failure(error);
                    self.phases.flow_settled();
                }
            }
        }
    }

    /// Gives each open flow its part of the load. If connections are opened again and at least one
    /// was opened, the flows that failed get a part too.
    pub(super) fn start_flows(&mut self, now_ns: u64, open: &[u32]) {
        let flows = self.options.connections;
        let measure_from_ns = self.phases.measure_from_ns;
        if !self.opener.reopens() || self.run.recorder.flows.opened == 0 {
            return self.run.start(now_ns, measure_from_ns, open, flows);
        }
        let all: Vec<u32> = (0..flows).collect();
        self.run.start(now_ns, measure_from_ns, &all, flows);
        let open: HashSet<u32> = open.iter().copied().collect();
        for flow in all.into_iter().filter(|flow| !open.contains(flow)) {
            self.run.disconnected(flow, now_ns);
            self.opener.schedule_reopening(flow, false, false, now_ns);
        }
    }

    /// Opens connections that ended again.
    pub(super) fn reopen_some(&mut self, now_ns: u64, context: &mut Context<'_, Source>) {
        while let Some(id) = self.opener.next(now_ns) {
            self.has_worked = true;
            // A message of the earlier connection must not share its number with one of this
            // connection.
            let number = self.run.recorder.sent_in_all();
            match self.opener.open(id, number, now_ns) {
                Ok(flow) => _ = context.insert(Source(flow)),
                Err(OpenError::Busy) => self.opener.schedule_reopening(id, false, false, now_ns),
                Err(OpenError::Failed(error)) => {
                    self.count_open_failure(error);
                    self.opener.schedule_reopening(id, false, false, now_ns);
                }
            }
        }
    }

    /// Opens the connections of `Mode::Connect` that may start now: each is a message.
    pub(super) fn connect_some(&mut self, now_ns: u64, context: &mut Context<'_, Source>) {
        while let Some(id) = self.opener.next(now_ns) {
            self.has_worked = true;
            let begin_ns = self.run.clock.now_ns();
            let intended_ns = match self.run.admission(id, 0, begin_ns) {
                Admission::Begin(intended_ns) => intended_ns,
                Admission::NotBefore(due_ns) => {
                    self.opener.schedule(id, due_ns);
                    continue;
                }
                Admission::Closed => continue,
            };
            let number = self.run.recorder.sent_in_all();
            match self.opener.open(id, number, begin_ns) {
                Ok(mut flow) => {
                    let message = self.run.begin(id, intended_ns, begin_ns);
                    if let Kind::Stream(_, mover) = &mut flow.kind {
                        mover.begin_only(message, &mut self.run);
                    }
                    context.insert(Source(flow));
                }
                Err(OpenError::Busy) => {
                    // The peer delays the messages that become due meanwhile, not the generator.
                    self.run.note_free(id, now_ns + STEP_NS);
                    self.opener.schedule(id, now_ns + STEP_NS);
                }
                Err(OpenError::Failed(error)) => {
                    let was_refused = self.count_open_failure(error);
                    if was_refused {
                        // A refusal by connect(2) counts like a later one: a message without an
                        // echo.
                        let message = self.run.begin(id, intended_ns, begin_ns);
                        self.run.recorder.sent_and_lost(message, LossCause::Refused, begin_ns);
                        let id = MessageId { flow: id, number };
                        self.run.note_class_sent(id, intended_ns);
                    }
                    if !was_refused || !self.run.is_open_loop() {
                        self.run.outages.begin(id, now_ns);
                    }
                    self.run.note_free(id, now_ns + RETRY_NS);
                    self.opener.schedule(id, now_ns + RETRY_NS);
                }
            }
        }
    }
}

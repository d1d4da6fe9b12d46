//! The echo server: a handler that echoes (RFC 862), sends a fixed reply, or discards (RFC 863).
//!
//! The server owns what its sources share: one scratch buffer, one batch for UDP, one batch for
//! Unix datagrams, and the counters. Each source owns only its own state, so an idle connection
//! costs its entries in the reactor's lists and nothing else.
//!
//! Where to look: `stream.rs` moves the bytes of a stream, and handles a slow reader and a
//! half-close. `datagram.rs` receives, decides and sends; `datagram/held_replies.rs` handles a full
//! receiver. `accept.rs` accepts, `timeouts.rs` closes, and `stage.rs` drains. The reactor drops
//! late events of closed sources, so the server never sees them.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{Shutdown, TcpStream};
//!
//! use resound::echo::{Options, Server};
//! use resound::reactor::Reactor;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut reactor = Reactor::new()?;
//! let mut server = Server::new(Options::default());
//! let bound = server.listen(&mut reactor, &"tcp://127.0.0.1:0".parse()?)?;
//! let stop = reactor.handle();
//! let thread = std::thread::spawn(move || reactor.run(&mut server).map(|()| server));
//!
//! let mut stream = TcpStream::connect(bound.addrs[0])?;
//! stream.write_all(b"Are you talking to me?")?;
//! stream.shutdown(Shutdown::Write)?;
//! let mut reply = String::new();
//! stream.read_to_string(&mut reply)?;
//! assert_eq!(reply, "Are you talking to me?");
//!
//! stop.stop();
//! let server = thread.join().expect("the loop does not panic")?;
//! assert_eq!(server.counters().total(resound::echo::Cause::Accepted), 1);
//! # Ok(())
//! # }
//! ```

mod accept;
mod access;
mod bounds;
mod cause;
mod clock;
mod connection;
mod counters;
mod datagram;
mod guard;
mod limits;
mod listen;
mod logged;
mod observer;
mod options;
mod packets;
mod permits;
mod reply_paths;
mod request;
mod service;
mod source;
mod stage;
mod stream;
mod timeouts;
mod waiting;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Instant;

pub use self::access::{Access, parse_network};
pub use self::cause::{Cause, Effect};
pub use self::counters::{Counters, Traffic, TransportCounters};
pub use self::limits::Limits;
pub use self::listen::Bound;
pub use self::observer::{ConnectionRecord, Notice, Observer, Severity};
pub use self::options::{Options, Reply};
pub use self::reply_paths::REPLY_PATH_DESCRIPTORS_MAX;
pub use self::request::{OnSnapshot, Request, Snapshot};
pub use self::service::Service;
pub use self::source::Source;

use self::accept::{AcceptWork, Accepted, Accepting, SpareDescriptor, accept_slice};
use self::bounds::{ACCEPT_RETRY, ACCEPTS_PER_SLICE, SCRATCH_BYTES};
use self::guard::Guard;
use self::observer::notice_losses;
use self::permits::Permits;
use self::reply_paths::ReplyPaths;
use self::source::{Connection, Kind};
use self::stage::{Endpoints, Stage};
use self::stream::{ByteMover, UnsentBytes};
use self::timeouts::Timeouts;
use crate::endpoint::Transport;
use crate::reactor::{
    Calls, Closed, Context, Handler, Key, LoopCounts, Moved, Next, SourceContext, Sources,
};
use crate::readiness::Readiness;
use crate::socket::batch::SystemBatch;
use crate::socket::{Listener, Peer, PipePool, Stream};

/// The echo server: the handler of a [`Reactor`](crate::reactor::Reactor) of [`Source`]s.
#[derive(Debug)]
pub struct Server<O: Observer = ()> {
    options: Options,
    observer: O,
    counters: Counters,
    /// The counters when losses were last reported to the observer.
    noticed: Counters,
    /// Holds one read of one stream, from the read to the write that follows it.
    scratch: Box<[u8]>,
    /// The pipes of streams in bulk.
    pipes: PipePool,
    /// The bytes that the streams of all servers with these limits owe.
    unsent_bytes: UnsentBytes,
    /// Made with the first UDP endpoint; `unix_batch` with the first Unix datagram endpoint.
    udp_batch: Option<SystemBatch>,
    unix_batch: Option<SystemBatch>,
    spare: SpareDescriptor,
    guard: Guard,
    /// The paths that replies to Unix datagrams go to. `None` without the loop guard.
    reply_paths: Option<ReplyPaths>,
    /// One permit for each open connection.
    permits: Permits,
    /// The records of open connections, if the observer wants them.
    records: HashMap<Key, ConnectionRecord>,
    /// Listeners that wait for a permit. The first has waited longest.
    waiting: VecDeque<Key>,
    /// The open endpoints.
    endpoints: Endpoints,
    stage: Stage,
    timeouts: Timeouts,
    report_at: Option<Instant>,
    /// The earliest time at which the stage, the timeouts or the report have something to do.
    due_at: Option<Instant>,
}

impl Server {
    /// Creates a server without endpoints and without an observer.
    pub fn new(options: Options) -> Server {
        Server::with_observer(options, ())
    }
}

impl<O: Observer> Server<O> {
    /// Creates a server without endpoints that tells `observer` what happens.
    pub fn with_observer(options: Options, observer: O) -> Server<O> {
        let limits = Limits::new(&options);
        let now = Instant::now();
        let report_at = options.report_interval.map(|interval| now + interval);
        let mut server = Server {
            endpoints: Endpoints::default(),
            stage: Stage::Serving,
            timeouts: Timeouts::new(&options, now),
            report_at,
            due_at: report_at,
            guard: Guard::new(&options.access, options.loop_guard),
            reply_paths: options.loop_guard.then(ReplyPaths::default),
            permits: limits.permits.clone(),
            pipes: PipePool::new(options.splice),
            unsent_bytes: limits.unsent_bytes.clone(),
            options,
            observer,
            counters: Counters::default(),
            noticed: Counters::default(),
            scratch: vec![0; SCRATCH_BYTES].into(),
            udp_batch: None,
            unix_batch: None,
            spare: SpareDescriptor::default(),
            records: HashMap::new(),
            waiting: VecDeque::new(),
        };
        server.share_limits(&limits);
        server
    }

    /// Returns what the server has counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the server's counters together with these counts of its loop. Use it to answer
    /// requests after the loop has ended.
    pub fn snapshot(&self, counts: &LoopCounts) -> Snapshot {
        let is_draining = self.stage.is_draining();
        Snapshot { counters: self.counters, counts: *counts, is_draining }
    }

    /// Shares connection and rate limits with other servers. Call it before the first connection
    /// and the first datagram.
    pub fn share_limits(&mut self, limits: &Limits) {
        self.permits = limits.permits.clone();
        self.unsent_bytes = limits.unsent_bytes.clone();
        self.spare.share(&limits.spare_lock);
        self.guard.set_limits(limits.rate.clone(), limits.quota.clone());
        self.guard.set_excess_limit(limits.excess.clone());
    }

    /// Returns the socket that the server connects to find out which socket the path of a Unix
    /// datagram sender leads to. The server calls connect(2) on no other socket. `None` without
    /// Unix datagram endpoints, or without the loop guard.
    pub fn path_probe(&self) -> Option<BorrowedFd<'_>> {
        self.reply_paths.as_ref().and_then(ReplyPaths::probe)
    }

    /// Returns the observer.
    pub fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// Tells the observer of connections that were turned away and of datagrams that were lost
    /// since the last call.
    fn notice_losses(&mut self, transport: Transport) {
        let (noticed, counters) = (&mut self.noticed[transport], &self.counters[transport]);
        if noticed.causes_total() != counters.causes_total() {
            notice_losses(&mut self.observer, transport, noticed, counters);
            *noticed = *counters;
        }
    }

    /// Gives the observer the record of a connection that has ended, if there is one.
    fn end_record(&mut self, key: Key, cause: Cause) {
        if let Some(record) = self.records.remove(&key) {
            self.observer.connection_ended(&record, cause);
        }
    }

    fn listener_ready<C: Calls>(
        &mut self,
        listener: &Listener,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
        calls: C,
    ) -> Next {
        if !self.stage.takes_more() || self.stage.is_finishing() {
            return Next::Close;
        }
        // A drain accepts what is queued, even before the event for it has come.
        if !readiness.is_readable() && !self.stage.is_draining() {
            return Next::Wait;
        }
        let transport = listener.transport();
        let now = context.now();
        let accepted_at = self.watch(now);
        let mut accepted = 0;
        let wants_records = self.observer.wants_records();
        let records = &mut self.records;
        let on_stream = |stream: Stream, client, addr: Option<SocketAddr>| {
            accepted += 1;
            let peer = wants_records.then(|| addr.map_or_else(|| stream.peer(), Peer::Ip));
            let connection = Connection { stream, mover: ByteMover::new(accepted_at), client };
            let key = context.insert(Source(Kind::Connection(connection)));
            if let Some(peer) = peer {
                records.insert(key, ConnectionRecord::new(transport, peer, now));
            }
        };
        let mut work = AcceptWork {
            accepts_max: if self.options.one_off { 1 } else { ACCEPTS_PER_SLICE },
            permits: &self.permits,
            guard: &self.guard,
            spare: &mut self.spare,
            counters: &mut self.counters[transport],
        };
        let listening = Accepting { listener, calls };
        let outcome = accept_slice(&listening, readiness, &mut work, on_stream);
        self.notice_losses(transport);
        self.counters.connections_open += accepted;
        if accepted > 0 {
            self.observer.notice(&Notice::Accepted { transport, times: accepted });
        }
        if self.options.one_off && accepted > 0 {
            self.take_one_off(context);
            return Next::Close;
        }
        match outcome {
            Accepted::Again => return Next::Again,
            Accepted::Drained => {}
            Accepted::Full => {
                self.wait_for_permit(context);
                return Next::Wait;
            }
            Accepted::Paused(error) => {
                self.observer.notice(&Notice::AcceptPaused { transport, error: &error });
                context.wake_at(context.key(), now + ACCEPT_RETRY);
                self.wake_waiting(context);
                return Next::Wait;
            }
        }
        self.stop_waiting(context.key());
        self.wake_waiting(context);
        let goes_on = !self.stage.is_draining() || self.accepts_in_drain(listener, context);
        if goes_on { Next::Wait } else { Next::Close }
    }
}

/// A loop with a probe and one without have a copy each of what runs per message. The compiler does
/// not inline a function that is called in two places, so these functions ask for it.
impl<O: Observer> Handler for Server<O> {
    type Source = Source;
    type Message = Request;

    fn ready(
        &mut self,
        source: &mut Source,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
    ) -> Next {
        self.ready_traced(source, readiness, context, ())
    }

    fn ready_traced<C: Calls>(
        &mut self,
        source: &mut Source,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
        calls: C,
    ) -> Next {
        match &mut source.0 {
            Kind::Connection(connection) => {
                self.connection_ready(connection, readiness, context, calls)
            }
            Kind::Udp(packets) => self.packets_ready(packets, readiness, context, calls),
            Kind::Unixgram(packets) => self.packets_ready(packets, readiness, context, calls),
            Kind::Listener(listener) => self.listener_ready(listener, readiness, context, calls),
        }
    }

    fn closed(&mut self, source: Source, cause: Closed, context: &mut SourceContext<'_, Source>) {
        let transport = source.transport();
        if let Closed::Unregistered(error) = &cause {
            self.counters[transport].add(Cause::Unregistered, 1);
            self.observer.notice(&Notice::Unregistered { transport, error });
        }
        match source.0 {
            Kind::Connection(connection) => {
                self.end_record(context.key(), Cause::Unregistered);
                self.counters.connections_open -= 1;
                self.guard.connection_closed(connection.client);
                // The connection closes before its permit is free, so that the number of open
                // connections never exceeds the limit.
                drop(connection);
                self.permits.release();
                // Listeners of other loops poll for a free permit. If this loop took it at once,
                // they would starve.
                if !self.permits.others_wait(!self.waiting.is_empty()) {
                    self.wake_waiting(context);
                }
                self.stream_closed(context);
            }
            Kind::Udp(packets) => self.packets_closed(&packets, context),
            Kind::Unixgram(packets) => self.packets_closed(&packets, context),
            Kind::Listener(_) => {
                self.endpoint_closed(transport, context.key());
                self.stream_closed(context);
            }
        }
        if self.is_over() {
            context.stop();
        }
    }

    #[inline(always)]
    fn tick(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) -> Option<Instant> {
        // In most turns nothing is due. The clock must learn of every turn.
        if self.due_at.is_some_and(|at| at <= context.now()) {
            self.due_at = self.run_due_work(sources, context);
        } else {
            self.timeouts.clock.at(context.now());
        }
        let back_at = match (context.next_timer(), self.due_at) {
            (Some(timer_at), Some(due_at)) => Some(timer_at.min(due_at)),
            (timer_at, due_at) => timer_at.or(due_at),
        };
        self.timeouts.clock.expect(back_at);
        self.due_at
    }

    fn message(
        &mut self,
        request: Request,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        match request {
            Request::Snapshot(on_snapshot) => {
                on_snapshot.send(self.snapshot(context.counts()));
            }
            Request::Drain => self.drain(sources, context),
        }
    }

    fn moved(&self) -> Moved {
        self.counters.moved()
    }

    #[cfg(feature = "signals")]
    fn signalled(
        &mut self,
        signal: i32,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        match signal {
            libc::SIGUSR1 => self.observer.report(&self.counters),
            libc::SIGTERM | libc::SIGINT | libc::SIGHUP => self.drain(sources, context),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;

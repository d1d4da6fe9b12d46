//! The loop of a run: do what is due, then wait for the socket or for the next due time.

mod connecting;
mod receive;

use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::background::Background;
use super::backoff::Backoff;
use super::link::Link;
use super::payload::Payload;
use super::probes::{Fate, Probes};
use super::wait::{TIME_MAX, Woken, wait};
use super::{Controls, Counts, Event, Figures, LENGTH_MAX, Loss, Options, Results};
use crate::client::connect::{ConnectError, failure};
use crate::endpoint::{ResolvedEndpoint, Transport};
use crate::error::{Error, reason};
use crate::measured::{Distribution, Messages, SplitValues};
use crate::socket::stamps::StampingKernel;

/// Without an interval, the pause after a refused probe. No reply triggers the next probe then.
/// ping(8) uses the same minimum when it floods.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// The number of different reasons of losses that are counted apart. The system has fewer.
const LOSSES_MAX: usize = 64;

pub(super) fn run(
    options: &Options,
    controls: Controls<'_>,
    mut on_event: impl FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Results, Error> {
    if !(1..=LENGTH_MAX).contains(&options.length) {
        return Err(Error::new("ping", &options.endpoint, ErrorKind::InvalidInput)
            .hint(format!("a probe has 1 to {LENGTH_MAX} bytes")));
    }
    let Some(addrs) = connecting::look_up(options, controls, &mut on_event)? else {
        return Ok(Results {
            messages: Messages::default(),
            latency: Distribution::new(),
            split: options.has_stamps().then(SplitValues::default),
            losses: Vec::new(),
            reconnects: 0,
            intact: 0,
            elapsed: Duration::ZERO,
            is_cut_short: true,
        });
    };
    let kernel = options.has_stamps().then(StampingKernel::start);
    let mut run = Run::new(options, controls, on_event, addrs);
    if let Some(Err(error)) = &kernel {
        run.emit(Event::NoTimestamps(error));
    }
    run.emit(Event::Started);
    while !run.is_over() {
        run.turn()?;
    }
    Ok(run.end())
}

/// Returns the reason for an error. A write to a closed connection fails with EPIPE, so that means
/// the same as an end of stream in a read.
fn loss_by(error: &io::Error) -> Loss {
    match error.kind() {
        ErrorKind::BrokenPipe => Loss::Closed,
        _ => Loss::Error(reason(error)),
    }
}

/// A new connection, and the addresses of its host.
type Connected = (Link, Vec<ResolvedEndpoint>);

struct Run<'a, F> {
    options: &'a Options,
    controls: Controls<'a>,
    on_event: F,
    payload: Payload,
    probes: Probes,
    losses: Vec<(Loss, u64)>,
    /// The number of echoes that equal their probe.
    intact: u64,
    split: Option<SplitValues>,
    /// The addresses that the endpoint resolved to; empty if they are not known yet.
    addrs: Vec<ResolvedEndpoint>,
    /// When the addresses were looked up.
    looked_up_at: Instant,
    link: Option<Link>,
    /// The attempt to connect that is in progress.
    attempt: Option<Background<Result<Connected, ConnectError>>>,
    backoff: Backoff,
    has_connected: bool,
    reconnects: u64,
    /// The first loss since the last reply.
    silent_since: Option<Instant>,
    started_at: Instant,
    /// When the next probe is due. Without an interval, the earliest time for it.
    next_due: Instant,
    has_stopped: bool,
    has_reported_unasked: bool,
}

impl<'a, F: FnMut(Event<'_>) -> ControlFlow<()>> Run<'a, F> {
    fn new(
        options: &'a Options,
        controls: Controls<'a>,
        on_event: F,
        addrs: Vec<ResolvedEndpoint>,
    ) -> Self {
        let payload = Payload::new(options.length);
        let now = Instant::now();
        Run {
            options,
            controls,
            on_event,
            probes: Probes::new(
                options.timeout.min(TIME_MAX),
                options.interval.min(TIME_MAX),
                payload.numbers(),
            ),
            payload,
            losses: Vec::new(),
            intact: 0,
            split: options.has_stamps().then(SplitValues::default),
            addrs,
            looked_up_at: now,
            link: None,
            attempt: None,
            backoff: Backoff::new(options.timeout),
            has_connected: false,
            reconnects: 0,
            silent_since: None,
            started_at: now,
            next_due: now,
            has_stopped: false,
            has_reported_unasked: false,
        }
    }

    fn turn(&mut self) -> Result<(), Error> {
        self.take_connection()?;
        self.expire(Instant::now());
        self.make_due_probe(Instant::now());
        self.send_waiting()?;
        let messages =
            Messages { in_flight_at_end: self.probes.unsettled(), ..*self.probes.messages() };
        let counts = Counts { messages, losses: &self.losses, reconnects: self.reconnects };
        self.has_stopped |= (self.on_event)(Event::Counts(counts)).is_break();
        if self.is_over() {
            return Ok(());
        }
        let failed = |error| failure("wait for", &self.options.endpoint, error);
        let woken = self.wait().map_err(failed)?;
        self.has_stopped |= woken.has_stopped;
        if woken.is_asked {
            let figures = self.probes.figures();
            self.emit(Event::Figures(&figures));
        }
        if self.link.is_some() && !woken.other.is_empty() {
            self.flush(woken.other);
            self.receive(woken.other);
        }
        Ok(())
    }

    fn emit(&mut self, event: Event<'_>) {
        self.has_stopped |= (self.on_event)(event).is_break();
    }

    fn has_made_all(&self) -> bool {
        self.options.count.is_some_and(|count| self.probes.messages().sent >= count)
    }

    fn is_over(&self) -> bool {
        self.has_stopped || self.has_made_all() && self.probes.unsettled() == 0
    }

    /// Returns true if the next probe may be made as soon as it is due.
    fn may_make(&self) -> bool {
        let is_turn = !self.options.interval.is_zero() || self.probes.unsettled() == 0;
        is_turn && !self.has_made_all() && self.probes.has_room()
    }

    fn make_due_probe(&mut self, now: Instant) {
        if !self.may_make() || now < self.next_due {
            return;
        }
        let interval = self.options.interval.min(TIME_MAX);
        let mut due_at = now;
        if !interval.is_zero() {
            // The latest due time of the schedule. Due times that were missed before it are
            // omitted.
            let behind = now.saturating_duration_since(self.next_due).as_nanos();
            let since_due = u64::try_from(behind % interval.as_nanos()).unwrap_or(0);
            due_at = now - Duration::from_nanos(since_due);
            self.next_due = due_at + interval;
        }
        self.has_reported_unasked = false;
        self.probes.make(due_at);
    }

    /// Gives up the probes whose time is over.
    fn expire(&mut self, now: Instant) {
        while let Some((number, fate)) = self.probes.expire(now) {
            let loss = match fate {
                Fate::Waiting if self.link.is_none() => Loss::NoConnection,
                Fate::Waiting => Loss::NoRoom,
                _ => Loss::NoReply,
            };
            if loss == Loss::NoReply && self.link.is_some() {
                self.silent_since.get_or_insert(now);
            }
            self.lost(number, &loss);
        }
        self.replace_silent_link(now);
    }

    fn lost(&mut self, number: u64, loss: &Loss) {
        let is_room_left = self.losses.len() < LOSSES_MAX;
        match self.losses.iter_mut().find(|(other, _)| other == loss) {
            Some((_, count)) => *count += 1,
            None if is_room_left => self.losses.push((loss.clone(), 1)),
            None => self.losses[LOSSES_MAX - 1].1 += 1,
        }
        if self.options.interval.is_zero() && !loss.is_timeout() {
            self.next_due = Instant::now() + REFUSED_PAUSE;
        }
        self.emit(Event::Lost { number, loss });
    }

    fn wait(&self) -> io::Result<Woken> {
        let due = self.may_make().then_some(self.next_due);
        let is_pausing = self.link.is_none() && self.attempt.is_none();
        let retry = self.backoff.until(Instant::now()).filter(|_| is_pausing);
        let retry = retry.filter(|_| self.probes.next_waiting().is_some());
        let next = [due, retry, self.probes.next_expiry()].into_iter().flatten().min();
        let timeout = next.map(|next| next.saturating_duration_since(Instant::now()));
        let other = match (&self.link, &self.attempt) {
            (Some(link), _) if link.wants_to_write() => {
                Some((link.as_fd(), PollFlags::IN | PollFlags::OUT))
            }
            (Some(link), _) => Some((link.as_fd(), PollFlags::IN)),
            (None, Some(attempt)) => Some((attempt.as_fd(), PollFlags::IN)),
            (None, None) => None,
        };
        wait(self.controls, other, timeout)
    }

    fn lose_waiting(&mut self, loss: &Loss) {
        while let Some(number) = self.probes.lose_waiting() {
            self.lost(number, loss);
        }
    }

    /// Sends waiting probes until the socket takes no more.
    fn send_waiting(&mut self) -> Result<(), Error> {
        while let Some(number) = self.probes.next_waiting() {
            let Some(link) = &mut self.link else {
                if self.attempt.is_some() || self.backoff.until(Instant::now()).is_some() {
                    return Ok(());
                }
                self.connect()?;
                continue;
            };
            if link.wants_to_write() {
                return Ok(());
            }
            if let Some(unasked) = link.discard_unasked() {
                self.unasked(unasked);
                continue;
            }
            if link.is_out_of_step() && !self.probes.has_in_flight() {
                self.disconnected(&Loss::OutOfStep);
                continue;
            }
            match link.send(number, &self.payload) {
                Ok(Some(at)) => self.probes.sent(at),
                Ok(None) => return Ok(()),
                Err(error) => self.send_failed(error)?,
            }
        }
        Ok(())
    }

    /// Handles a failed send of the next waiting probe, from which the socket took no byte.
    fn send_failed(&mut self, error: io::Error) -> Result<(), Error> {
        let Some(link) = &self.link else { return Ok(()) };
        let (is_stream, has_sent) = (link.is_stream(), link.has_sent());
        let is_too_long = error.raw_os_error() == Some(libc::EMSGSIZE);
        if is_too_long && !self.has_answered() && self.options.gives_up {
            let hint = format!("{} bytes are too long for one datagram", self.options.length);
            return Err(failure("send to", &self.options.endpoint, error).hint(hint));
        }
        if is_stream && has_sent {
            // This reads what came before the end, then the end itself. The probe is sent on a new
            // connection.
            self.receive(PollFlags::ERR);
            if self.link.is_some() {
                self.disconnected(&loss_by(&error));
            }
            return Ok(());
        }
        // A refusal answers an earlier probe if one is in flight.
        if self.is_udp_refusal(&error) && self.refused(&error) {
            return Ok(());
        }
        // The next probe connects again, because our address or the peer's socket may be different
        // by then.
        self.link = None;
        if let Some(number) = self.probes.lose_waiting() {
            self.lost(number, &loss_by(&error));
        }
        Ok(())
    }

    /// Returns true if any echo came back, damaged or not: probes of this length reach the peer.
    fn has_answered(&self) -> bool {
        let messages = self.probes.messages();
        messages.received + messages.late + messages.corrupted > 0
    }

    fn is_stream(&self) -> bool {
        self.options.endpoint.transport().is_stream()
    }

    fn is_udp(&self) -> bool {
        self.options.endpoint.transport() == Transport::Udp
    }

    fn is_udp_refusal(&self, error: &io::Error) -> bool {
        error.kind() == ErrorKind::ConnectionRefused && self.is_udp()
    }

    fn end(self) -> Results {
        let is_cut_short =
            self.options.count.is_some() && !(self.has_made_all() && self.probes.unsettled() == 0);
        let elapsed = self.started_at.elapsed();
        let Figures { messages, latency } = self.probes.end();
        let Run { split, losses, reconnects, intact, .. } = self;
        Results { messages, latency, split, losses, reconnects, intact, elapsed, is_cut_short }
    }
}

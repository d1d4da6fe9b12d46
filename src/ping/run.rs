//! The loop of a run: do what is due, then wait for the socket or for the next due time.

mod receive;

use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::background::Background;
use super::link::Link;
use super::payload::Payload;
use super::probes::{Fate, Probes};
use super::wait::{TIME_MAX, Woken, wait};
use super::{Controls, Event, Figures, LENGTH_MAX, Loss, Options, Results};
use crate::client::connect::{ConnectError, failure};
use crate::endpoint::{ResolvedEndpoint, Transport, look_up_timed_out};
use crate::error::{Error, reason};
use crate::measured::{Distribution, Messages, SplitValues};
use crate::socket::stamps::StampingKernel;

/// Without an interval, the pause after a refused probe. No answer triggers the next probe then.
/// ping(8) uses the same minimum when it floods.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

pub(super) fn run(
    options: &Options,
    controls: Controls<'_>,
    mut on_event: impl FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Results, Error> {
    if !(1..=LENGTH_MAX).contains(&options.length) {
        return Err(Error::new("ping", &options.endpoint, ErrorKind::InvalidInput)
            .hint(format!("a probe has 1 to {LENGTH_MAX} bytes")));
    }
    let Some(addrs) = look_up(options, controls, &mut on_event)? else {
        return Ok(Results {
            messages: Messages::default(),
            latency: Distribution::new(),
            split: options.has_stamps().then(SplitValues::default),
            losses: Vec::new(),
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

/// Looks up the host. Returns `None` if the caller stopped the lookup.
fn look_up(
    options: &Options,
    controls: Controls<'_>,
    on_event: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Option<Vec<ResolvedEndpoint>>, Error> {
    let failed = |error| failure("look up", &options.endpoint, error);
    let unknown = |error| failure("connect to", &options.endpoint, error);
    let (endpoint, family) = (options.endpoint.clone(), options.socket.family);
    if !endpoint.is_looked_up() {
        return endpoint.resolve(family).map(Some).map_err(unknown);
    }
    let started_at = Instant::now();
    let look_up = move || endpoint.resolve(family);
    // Without a thread, the resolver's own limits hold.
    let Ok(lookup) = Background::start(look_up.clone()) else {
        return look_up().map(Some).map_err(unknown);
    };
    loop {
        let left = options.timeout.saturating_sub(started_at.elapsed());
        let lookup_fd = Some((lookup.as_fd(), PollFlags::IN));
        let woken = wait(controls, lookup_fd, Some(left)).map_err(failed)?;
        if woken.has_stopped {
            return Ok(None);
        }
        if woken.is_asked {
            let figures = Figures { messages: Messages::default(), latency: Distribution::new() };
            if on_event(Event::Figures(&figures)).is_break() {
                return Ok(None);
            }
        }
        if let Some(result) = lookup.take() {
            return result.map_err(failed)?.map(Some).map_err(unknown);
        }
        if left.is_zero() {
            return Err(unknown(look_up_timed_out()));
        }
    }
}

/// Returns the reason for an error. A write to a closed connection fails with EPIPE, so that means
/// the same as an end of stream in a read.
fn loss_by(error: &io::Error) -> Loss {
    match error.kind() {
        ErrorKind::BrokenPipe => Loss::Closed,
        _ => Loss::Error(reason(error)),
    }
}

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
    /// The addresses that the endpoint resolved to.
    addrs: Vec<ResolvedEndpoint>,
    link: Option<Link>,
    /// The attempt to connect that is in progress.
    attempt: Option<Background<Result<Link, ConnectError>>>,
    has_connected: bool,
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
            probes: Probes::new(options.timeout.min(TIME_MAX), payload.numbers()),
            payload,
            losses: Vec::new(),
            intact: 0,
            split: options.has_stamps().then(SplitValues::default),
            addrs,
            link: None,
            attempt: None,
            has_connected: false,
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
                _ => Loss::NoAnswer,
            };
            self.lost(number, &loss);
        }
    }

    fn lost(&mut self, number: u64, loss: &Loss) {
        match self.losses.iter_mut().find(|(other, _)| other == loss) {
            Some((_, count)) => *count += 1,
            None => self.losses.push((loss.clone(), 1)),
        }
        if self.options.interval.is_zero() && !loss.is_timeout() {
            self.next_due = Instant::now() + REFUSED_PAUSE;
        }
        self.emit(Event::Lost { number, loss });
    }

    fn wait(&self) -> io::Result<Woken> {
        let due = self.may_make().then_some(self.next_due);
        let next = [due, self.probes.next_expiry()].into_iter().flatten().min();
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

    /// Starts to connect. Connecting a stream may block, so another thread does it.
    fn connect(&mut self) -> Result<(), Error> {
        let (addrs, options) = (self.addrs.clone(), self.options.clone());
        let connect = move || Link::connect(&options, addrs);
        if !self.is_stream() {
            return self.connected(connect());
        }
        if let Ok(attempt) = Background::start(connect.clone()) {
            self.attempt = Some(attempt);
            return Ok(());
        }
        // The system grants no thread, so probes and signals wait while this thread connects.
        self.connected(connect())?;
        if self.link.is_none() {
            self.lose_waiting(&Loss::NoConnection);
        }
        Ok(())
    }

    fn take_connection(&mut self) -> Result<(), Error> {
        let Some(result) = self.attempt.as_ref().and_then(Background::take) else {
            return Ok(());
        };
        self.attempt = None;
        let failed = |error| failure("connect to", &self.options.endpoint, error);
        self.connected(result.map_err(failed)?)
    }

    fn connected(&mut self, result: Result<Link, ConnectError>) -> Result<(), Error> {
        match result {
            Ok(link) => {
                self.link = Some(link);
                self.has_connected = true;
            }
            Err(ConnectError { error, is_lasting: true }) if !self.has_connected => {
                return Err(error);
            }
            // Each waiting probe has its own timeout, in which the client tries again.
            Err(ConnectError { error, .. })
                if self.is_stream() && error.kind() == ErrorKind::TimedOut => {}
            Err(ConnectError { error, .. }) => self.lose_waiting(&Loss::Error(error.reason())),
        }
        Ok(())
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
                if self.attempt.is_some() {
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
        if is_too_long && !self.has_answered() {
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
        let (split, losses, intact) = (self.split, self.losses, self.intact);
        Results { messages, latency, split, losses, intact, elapsed, is_cut_short }
    }
}

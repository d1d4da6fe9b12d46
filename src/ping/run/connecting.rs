//! Looks up the host and connects, on another thread because both may block.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::{Connected, Run};
use crate::client::connect::{ConnectError, failure};
use crate::endpoint::{ResolvedEndpoint, look_up_timed_out};
use crate::error::Error;
use crate::measured::{Distribution, Messages};
use crate::ping::background::Background;
use crate::ping::link::Link;
use crate::ping::wait::{TIME_MAX, wait};
use crate::ping::{Controls, Event, Figures, Loss, Options};

/// With [`Options::keeps_trying`], a connection is replaced after this many timeouts without any
/// reply: its host may have vanished without a word, or its name may belong to another host now.
const SILENT_TIMEOUTS: u32 = 10;

/// The time between two lookups of a host whose addresses are known.
const LOOKUP_PAUSE: Duration = Duration::from_secs(1);

/// Looks up the host. Returns `None` if the caller stopped the lookup.
pub(super) fn look_up(
    options: &Options,
    controls: Controls<'_>,
    on_event: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Option<Vec<ResolvedEndpoint>>, Error> {
    let failed = |error| failure("look up", &options.endpoint, error);
    let unknown = |error| failure("connect to", &options.endpoint, error);
    let (endpoint, family) = (options.endpoint.clone(), options.socket.family);
    if !options.gives_up && endpoint.is_looked_up() {
        return Ok(Some(Vec::new())); // the first attempt to connect looks it up
    }
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

/// Looks up the host of an endpoint whose addresses may have changed. The known addresses stay in
/// use if the lookup fails.
fn look_up_again(
    options: &Options,
    known: Vec<ResolvedEndpoint>,
) -> Result<Vec<ResolvedEndpoint>, ConnectError> {
    match options.endpoint.resolve(options.socket.family) {
        Err(error) if known.is_empty() => {
            let error = failure("connect to", &options.endpoint, error);
            Err(ConnectError { error, is_lasting: false })
        }
        found => Ok(found.unwrap_or(known)),
    }
}

impl<F: FnMut(Event<'_>) -> ControlFlow<()>> Run<'_, F> {
    /// Starts to connect. A lookup and connecting a stream may block, so another thread does both.
    pub(super) fn connect(&mut self) -> Result<(), Error> {
        let (addrs, options) = (self.addrs.clone(), self.options.clone());
        let is_looked_up = options.endpoint.is_looked_up()
            && (addrs.is_empty()
                || options.keeps_trying && self.looked_up_at.elapsed() >= LOOKUP_PAUSE);
        let connect = move || {
            let addrs = if is_looked_up { look_up_again(&options, addrs)? } else { addrs };
            Ok((Link::connect(&options, addrs.clone())?, addrs))
        };
        if is_looked_up {
            self.looked_up_at = Instant::now();
        } else if !self.is_stream() {
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

    pub(super) fn take_connection(&mut self) -> Result<(), Error> {
        let Some(result) = self.attempt.as_ref().and_then(Background::take) else {
            return Ok(());
        };
        self.attempt = None;
        let failed = |error| failure("connect to", &self.options.endpoint, error);
        self.connected(result.map_err(failed)?)
    }

    fn connected(&mut self, result: Result<Connected, ConnectError>) -> Result<(), Error> {
        match result {
            Ok((link, addrs)) => {
                self.link = Some(link);
                self.addrs = addrs;
                self.reconnects += u64::from(self.has_connected && self.is_stream());
                self.has_connected = true;
                return Ok(());
            }
            Err(ConnectError { error, is_lasting: true })
                if !self.has_connected && self.options.gives_up =>
            {
                return Err(error);
            }
            // Each waiting probe has its own timeout, in which the client tries again.
            Err(ConnectError { error, .. })
                if self.is_stream() && error.kind() == ErrorKind::TimedOut => {}
            Err(ConnectError { error, .. }) => self.lose_waiting(&Loss::Error(error.reason())),
        }
        self.back_off();
        Ok(())
    }

    /// Makes the next attempt to connect wait, if this run may go on for months.
    pub(super) fn back_off(&mut self) {
        if self.options.keeps_trying && (self.is_stream() || self.addrs.is_empty()) {
            self.backoff.failed(Instant::now());
        }
    }

    /// Replaces a connection that has been silent for long: see [`SILENT_TIMEOUTS`].
    pub(super) fn replace_silent_link(&mut self, now: Instant) {
        let patience = self.options.timeout.min(TIME_MAX).saturating_mul(SILENT_TIMEOUTS);
        let is_silent = |since| now.saturating_duration_since(since) >= patience;
        if self.options.keeps_trying && self.silent_since.is_some_and(is_silent) {
            self.silent_since = None;
            match self.is_stream() {
                true => self.disconnected(&Loss::NoReply),
                false => self.link = None,
            }
        }
    }
}

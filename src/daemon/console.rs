//! The output of the server: messages to stdout, notices to the log, counters to stderr.

use std::io::Write;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, info, trace, warn};

use super::log::{ACCESS, Log};
use super::supervisor::Event;
use crate::daemon::outlet::Outlet;
use crate::echo::{Cause, ConnectionRecord, Counters, Notice, Observer, Severity};
use crate::endpoint::Transport;
use crate::escape;
use crate::socket::Peer;

/// The shortest time between two warnings of one kind. A warning says how many were left out before
/// it.
pub(super) const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// The observer of each loop of `serve`. None of its calls blocks.
#[derive(Debug)]
pub(super) struct Console {
    /// The loop's name and a space, or empty if there is one loop.
    label: String,
    print: Option<Outlet>,
    log: Log,
    events: Sender<Event>,
    started_at: Instant,
    /// When a warning of each kind was last logged, and how many were left out since. Bounded by
    /// the number of kinds.
    warned: Vec<(&'static str, &'static str, Instant, u64)>,
}

impl Console {
    pub(super) fn new(
        label: String,
        print: Option<Outlet>,
        log: Log,
        events: Sender<Event>,
        started_at: Instant,
    ) -> Console {
        Console { label, print, log, events, started_at, warned: Vec::new() }
    }

    /// Returns how many warnings of this kind were left out, if the next one may be logged.
    fn due(&mut self, notice: &Notice<'_>) -> Option<u64> {
        let now = Instant::now();
        let (kind, transport) = notice.kind();
        let same = |entry: &&mut (_, _, _, _)| (entry.0, entry.1) == (kind, transport);
        let Some((_, _, warned_at, left_out)) = self.warned.iter_mut().find(same) else {
            self.warned.push((kind, transport, now, 0));
            return Some(0);
        };
        if now.saturating_duration_since(*warned_at) < WARNING_INTERVAL {
            *left_out += 1;
            return None;
        }
        *warned_at = now;
        Some(std::mem::take(left_out))
    }
}

impl Observer for Console {
    fn wants_messages(&self) -> bool {
        self.print.is_some()
    }

    fn message(&mut self, transport: Transport, peer: &Peer, bytes: &[u8]) {
        let Some(print) = &self.print else { return };
        let time = humantime::format_rfc3339_micros(SystemTime::now());
        print.line(|buf| {
            // Writing to a Vec does not fail.
            let _ = write!(buf, "{time} {} {peer} ", transport.name());
            escape::push_message(buf, bytes);
        });
    }

    fn wants_records(&self) -> bool {
        self.log.has_access()
    }

    fn connection_ended(&mut self, record: &ConnectionRecord, cause: Cause) {
        let duration_s = record.accepted_at.elapsed().as_micros() as f64 / 1e6;
        info!(
            target: ACCESS,
            transport = record.transport.name(),
            peer = %record.peer,
            bytes_in = record.bytes_in,
            bytes_out = record.bytes_out,
            duration_s,
            cause = cause.name(),
            "{}connection ended",
            self.label,
        );
    }

    fn notice(&mut self, notice: &Notice<'_>) {
        if let Notice::Draining { timeout, .. } = notice {
            // Without a service manager there is no receiver.
            let _ = self.events.send(Event::Draining(*timeout));
        }
        let left_out = match notice.severity() {
            Severity::Warning => self.due(notice),
            Severity::Trace | Severity::Debug | Severity::Info => Some(0),
        };
        let (label, Some(left_out)) = (&self.label, left_out) else { return };
        match (notice.severity(), left_out) {
            (Severity::Trace, _) => trace!("{label}{notice}"),
            (Severity::Debug, _) => debug!("{label}{notice}"),
            (Severity::Info, _) => info!("{label}{notice}"),
            (Severity::Warning, 0) => warn!("{label}{notice}"),
            (Severity::Warning, _) => warn!("{label}{notice} (and {left_out} more like it)"),
        }
    }

    fn report(&mut self, counters: &Counters) {
        self.log.stats(&self.label, self.started_at, counters);
    }
}

//! The metrics page: the names and values, as a collector of prometheus-client, which writes the
//! text.

use std::fmt;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

use crate::echo::{Cause, Counters, Effect, Snapshot, Traffic};
use crate::endpoint::Transport;
use crate::metrics::{ExportedHistogram, Families, Format};
use crate::reactor::{Histogram, LoopCounts};

/// Busy times up to this many nanoseconds share one bucket: 1.024 microseconds, which is shorter
/// than any turn with an event.
const BUSY_NS_EXPORTED_MIN: u64 = 1 << 10;

/// Turns with more events than this share one bucket: one poll fetches no more.
const EVENTS_EXPORTED_MAX: u64 = 1 << 10;

/// The values that do not change while the process runs.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Constants {
    pub(in crate::daemon) started_at: SystemTime,
    /// The transports that have endpoints. Metrics of others are left out, because they count
    /// nothing.
    pub(in crate::daemon) transports: Vec<Transport>,
    pub(in crate::daemon) connections_max: u64,
}

/// Returns true if any loop drains.
pub(super) fn is_draining(snapshots: &[Option<Snapshot>]) -> bool {
    snapshots.iter().flatten().any(|snapshot| snapshot.is_draining)
}

/// Returns the page for these snapshots, one per loop.
pub(super) fn page(
    constants: &Constants,
    snapshots: &[Option<Snapshot>],
    format: Format,
) -> String {
    let mut totals = Totals {
        constants: constants.clone(),
        is_draining: is_draining(snapshots),
        counters: Counters::default(),
        loops: Vec::with_capacity(snapshots.len()),
    };
    for (index, snapshot) in snapshots.iter().enumerate() {
        if let Some(Snapshot { counters, counts, .. }) = snapshot {
            totals.counters += counters;
            totals.loops.push((index, *counts));
        }
    }
    crate::metrics::page(totals, format)
}

/// The values of one page.
#[derive(Debug)]
struct Totals {
    constants: Constants,
    is_draining: bool,
    /// The sum of all loops.
    counters: Counters,
    /// The loops that have replied at least once, with their index.
    loops: Vec<(usize, LoopCounts)>,
}

impl Collector for Totals {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::new(encoder);
        families.build_info()?;
        self.encode_server(&mut families)?;
        self.encode_loops(&mut families)?;
        families.process(self.constants.started_at)
    }
}

impl Totals {
    fn encode_server(&self, families: &mut Families<'_>) -> fmt::Result {
        let open = self.counters.connections_open;
        families.gauge("resound_connections_open", "Connections open now", None, open)?;
        let help = "The limit of connections; connections beyond it wait to be accepted";
        families.gauge("resound_connections_max", help, None, self.constants.connections_max)?;
        let help = "1 while the server drains and accepts nothing new, else 0";
        families.gauge("resound_draining", help, None, u64::from(self.is_draining))?;

        type Figure = fn(&Traffic) -> u64;
        let figures: [(&str, &str, Option<&Unit>, Figure); 5] = [
            ("resound_received_messages", "Datagrams, or reads of streams", None, |traffic| {
                traffic.messages_in
            }),
            ("resound_received", "Bytes received", Some(&Unit::Bytes), |traffic| traffic.bytes_in),
            (
                "resound_sent_messages",
                "Datagrams sent, or writes that took bytes of a stream",
                None,
                |traffic| traffic.messages_out,
            ),
            ("resound_sent", "Bytes sent", Some(&Unit::Bytes), |traffic| traffic.bytes_out),
            (
                "resound_spliced",
                "Bytes sent that never entered user space",
                Some(&Unit::Bytes),
                |traffic| traffic.bytes_spliced,
            ),
        ];
        for (name, help, unit, figure) in figures {
            let transports = self.constants.transports.iter();
            let rows = transports.map(|transport| {
                let label = [("transport", transport.name())];
                (label, ConstCounter::new(figure(&self.counters[*transport].traffic)))
            });
            families.family(name, help, unit, rows)?;
        }
        self.encode_causes(families)
    }

    /// Writes the counters by cause, in one family per effect, so that the sum of a family has a
    /// meaning.
    fn encode_causes(&self, families: &mut Families<'_>) -> fmt::Result {
        let of = |wanted: Effect| {
            self.constants.transports.iter().flat_map(move |transport| {
                let causes = Cause::ALL.iter();
                let wanted = causes.filter(move |(c, _)| c.effect(*transport) == Some(wanted));
                wanted.map(|(cause, name)| {
                    let count = ConstCounter::new(self.counters[*transport].count(*cause));
                    (transport.name(), *name, count)
                })
            })
        };
        let accepted = of(Effect::Accepted).map(|(name, _, count)| ([("transport", name)], count));
        let help = "Connections accepted";
        families.family("resound_accepted_connections", help, None, accepted)?;
        for (name, help, effect) in [
            (
                "resound_unserved_connections",
                "Connections that were not served, and accepts that failed",
                Effect::Unserved,
            ),
            ("resound_closed_connections", "Connections that have closed", Effect::Closed),
            (
                "resound_dropped_datagrams",
                "Datagrams that were not answered, or not received; cause=\"overflowed\" counts a \
                 UDP train that arrived whole as one",
                Effect::Dropped,
            ),
            (
                "resound_datagram_incidents",
                "Failed receives, replies that had to wait, refused trains; no datagram was lost",
                Effect::Mended,
            ),
        ] {
            let rows = of(effect).map(|(transport, cause, count)| {
                ([("transport", transport), ("cause", cause)], count)
            });
            families.family(name, help, None, rows)?;
        }
        Ok(())
    }

    fn encode_loops(&self, families: &mut Families<'_>) -> fmt::Result {
        type Figure = fn(&LoopCounts) -> u64;
        let figures: [(&str, &str, Figure); 6] = [
            ("resound_loop_turns", "Turns of the loop", |counts| counts.turns),
            (
                "resound_loop_polls",
                "Poll calls: one per turn, unless a spinning loop skips it",
                |counts| counts.polls,
            ),
            ("resound_loop_events", "Events for sources that were open", |counts| counts.events),
            ("resound_loop_stale_events", "Late events for sources that were closed", |counts| {
                counts.events_stale
            }),
            ("resound_loop_slices", "Slices given to sources", |counts| counts.slices),
            ("resound_loop_used_up_slices", "Slices that ended with work left", |counts| {
                counts.slices_used_up
            }),
        ];
        for (name, help, figure) in figures {
            let rows = self
                .loops
                .iter()
                .map(|(index, counts)| ([("loop", *index)], ConstCounter::new(figure(counts))));
            families.family(name, help, None, rows)?;
        }
        let rows = self
            .loops
            .iter()
            .map(|(index, counts)| ([("loop", *index)], events(&counts.measures.events)));
        let help = "Events per finished turn";
        families.family("resound_loop_turn_events", help, None, rows)?;
        let rows = self
            .loops
            .iter()
            .map(|(index, counts)| ([("loop", *index)], seconds(&counts.measures.busy_ns)));
        let help = "Time from a turn's events to its end; the rate of its sum is the share of time \
                    in which the loop is busy";
        families.family("resound_loop_turn_busy", help, Some(&Unit::Seconds), rows)
    }
}

/// Returns the events per turn in the form of the page.
fn events(histogram: &Histogram) -> ExportedHistogram {
    exported(histogram, (0, EVENTS_EXPORTED_MAX), |events| events as f64)
}

/// Returns times in the form of the page.
fn seconds(histogram_ns: &Histogram) -> ExportedHistogram {
    exported(histogram_ns, (BUSY_NS_EXPORTED_MIN, u64::MAX), |ns| ns as f64 / 1e9)
}

/// Converts a histogram. Values outside of `range` go to the first and the last bucket.
fn exported(
    histogram: &Histogram,
    range: (u64, u64),
    unit: impl Fn(u64) -> f64,
) -> ExportedHistogram {
    let mut buckets = Vec::new();
    let mut below = 0;
    for (bound, count) in histogram.buckets() {
        below += count;
        let is_last = bound == u64::MAX;
        if is_last || (range.0..=range.1).contains(&bound) {
            buckets.push((if is_last { f64::INFINITY } else { unit(bound) }, below));
            below = 0;
        }
    }
    ExportedHistogram { sum: unit(histogram.sum()), count: histogram.count(), buckets }
}

#[cfg(test)]
mod tests;

//! The metrics page: the names and values, as a collector of prometheus-client, which writes the
//! text.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet, prometheus_text,
    text,
};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Registry, Unit};

use super::process::Process;
use crate::echo::{Cause, Counters, Effect, Snapshot, Traffic};
use crate::endpoint::Transport;
use crate::reactor::{Histogram, LoopCounts};

/// Busy times up to this many nanoseconds share one bucket: 1.024 microseconds, which is shorter
/// than any turn with an event.
const BUSY_NS_EXPORTED_MIN: u64 = 1 << 10;

/// Turns with more events than this share one bucket: one poll fetches no more.
const EVENTS_EXPORTED_MAX: u64 = 1 << 10;

/// The two formats that Prometheus reads. Both carry the same figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4, which is older and which every scraper reads.
    Plain,
}

/// The values that do not change while the process runs.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Constants {
    pub(in crate::daemon) started_at: SystemTime,
    /// The transports that have endpoints. Metrics of others are left out, because they count
    /// nothing.
    pub(in crate::daemon) transports: Vec<Transport>,
    pub(in crate::daemon) connections_max: u64,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Plain => prometheus_text::CONTENT_TYPE,
        }
    }
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
        process: Process::now(),
    };
    for (index, snapshot) in snapshots.iter().enumerate() {
        if let Some(Snapshot { counters, counts, .. }) = snapshot {
            totals.counters += counters;
            totals.loops.push((index, *counts));
        }
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(totals));
    let mut page = String::new();
    let encoded = match format {
        Format::OpenMetrics => text::encode(&mut page, &registry),
        Format::Plain => prometheus_text::encode(&mut page, &registry),
    };
    encoded.expect("writing to a String does not fail");
    page
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
    process: Process,
}

impl Collector for Totals {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let help = "The version of this program";
        let info = families.0.encode_descriptor("resound_build", help, None, MetricType::Info);
        info?.encode_info(&version)?;
        self.encode_server(&mut families)?;
        self.encode_loops(&mut families)?;
        self.encode_process(&mut families)
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
        let rows = self.loops.iter().map(|(index, counts)| {
            ([("loop", *index)], ExportedHistogram::events(&counts.measures.events))
        });
        let help = "Events per finished turn";
        families.family("resound_loop_turn_events", help, None, rows)?;
        let rows = self.loops.iter().map(|(index, counts)| {
            ([("loop", *index)], ExportedHistogram::seconds(&counts.measures.busy_ns))
        });
        let help = "Time from a turn's events to its end; the rate of its sum is the share of time \
                    in which the loop is busy";
        families.family("resound_loop_turn_busy", help, Some(&Unit::Seconds), rows)
    }

    fn encode_process(&self, families: &mut Families<'_>) -> fmt::Result {
        let Process { cpu_time, resident_bytes, virtual_bytes, descriptors_open, descriptors_max } =
            self.process;
        let started_at = self.constants.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let help = "When the process started, since the Unix epoch";
        let started_at_s = started_at.as_secs_f64();
        families.gauge("process_start_time", help, Some(&Unit::Seconds), started_at_s)?;
        let cpu = [([], ConstCounter::new(cpu_time.as_secs_f64()))];
        let help = "User and system time of all threads";
        families.family::<[(&str, &str); 0], _>("process_cpu", help, Some(&Unit::Seconds), cpu)?;
        for (name, help, unit, value) in [
            ("process_resident_memory", "Resident memory", Some(&Unit::Bytes), resident_bytes),
            ("process_virtual_memory", "Virtual memory", Some(&Unit::Bytes), virtual_bytes),
            ("process_open_fds", "Open descriptors", None, descriptors_open),
            ("process_max_fds", "The limit of descriptors", None, descriptors_max),
        ] {
            if let Some(value) = value {
                families.gauge(name, help, unit, value)?;
            }
        }
        Ok(())
    }
}

/// Writes families of metrics, one after another.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn gauge<N>(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: N) -> fmt::Result
    where
        ConstGauge<N>: EncodeMetric,
    {
        let rows = [([], ConstGauge::new(value))];
        self.family::<[(&str, &str); 0], _>(name, help, unit, rows)
    }

    /// Writes the metrics of one name, which differ in their labels.
    fn family<L: EncodeLabelSet, M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        rows: impl IntoIterator<Item = (L, M)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, unit, M::TYPE)?;
        for (labels, metric) in rows {
            metric.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// A histogram of the reactor in the form of the page: its bounds have the unit of its name.
struct ExportedHistogram {
    sum: f64,
    count: u64,
    /// The counts up to each bound and above the previous one.
    buckets: Vec<(f64, u64)>,
}

impl ExportedHistogram {
    fn events(histogram: &Histogram) -> ExportedHistogram {
        ExportedHistogram::new(histogram, (0, EVENTS_EXPORTED_MAX), |events| events as f64)
    }

    fn seconds(histogram_ns: &Histogram) -> ExportedHistogram {
        ExportedHistogram::new(histogram_ns, (BUSY_NS_EXPORTED_MIN, u64::MAX), |ns| ns as f64 / 1e9)
    }

    /// Converts a histogram. Values outside of `exported` go to the first and the last bucket.
    fn new(
        histogram: &Histogram,
        exported: (u64, u64),
        unit: impl Fn(u64) -> f64,
    ) -> ExportedHistogram {
        let mut buckets = Vec::new();
        let mut below = 0;
        for (bound, count) in histogram.buckets() {
            below += count;
            let is_last = bound == u64::MAX;
            if is_last || (exported.0..=exported.1).contains(&bound) {
                buckets.push((if is_last { f64::INFINITY } else { unit(bound) }, below));
                below = 0;
            }
        }
        ExportedHistogram { sum: unit(histogram.sum()), count: histogram.count(), buckets }
    }
}

impl TypedMetric for ExportedHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for ExportedHistogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_histogram::<NoLabelSet>(self.sum, self.count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        ExportedHistogram::TYPE
    }
}

#[cfg(test)]
mod tests;

//! What is told, under which names: the totals of the loops and the process, as a collector of
//! prometheus-client, which knows how the text is written.

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

/// Busy times below this many nanoseconds are told as one: 1.024 microseconds, which is shorter
/// than any turn with an event in it.
const BUSY_NS_TOLD_MIN: u64 = 1 << 10;

/// Events a turn above this many are told as one: it is all that one poll fetches.
const EVENTS_TOLD_MAX: u64 = 1 << 10;

/// The two formats that Prometheus reads, with the same figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4, which is older and read by everything.
    Plain,
}

/// What stays the same while the process lives.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Setting {
    pub(in crate::daemon) started_at: SystemTime,
    /// Those that there are endpoints of: the others count nothing, and are not told.
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

/// Whether any loop accepts no more.
pub(super) fn is_draining(answers: &[Option<Snapshot>]) -> bool {
    answers.iter().flatten().any(|answer| answer.is_draining)
}

/// The page, from what each loop has answered.
pub(super) fn page(setting: &Setting, answers: &[Option<Snapshot>], format: Format) -> String {
    let mut totals = Totals {
        setting: setting.clone(),
        is_draining: is_draining(answers),
        counters: Counters::default(),
        loops: Vec::with_capacity(answers.len()),
        process: Process::now(),
    };
    for (index, answer) in answers.iter().enumerate() {
        if let Some(Snapshot { counters, counts, .. }) = answer {
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

/// All that one page tells.
#[derive(Debug)]
struct Totals {
    setting: Setting,
    is_draining: bool,
    /// Of all loops.
    counters: Counters,
    /// Those that have ever answered, with their numbers.
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
        let help = "The limit of connections, beyond which they wait to be accepted";
        families.gauge("resound_connections_max", help, None, self.setting.connections_max)?;
        let help = "1 in a drain, in which nothing new is accepted; else 0";
        families.gauge("resound_draining", help, None, u64::from(self.is_draining))?;

        type Figure = fn(&Traffic) -> u64;
        let figures: [(&str, &str, Option<&Unit>, Figure); 5] = [
            ("resound_received_messages", "Datagrams, or reads of streams", None, |t| {
                t.messages_in
            }),
            ("resound_received", "Bytes received", Some(&Unit::Bytes), |t| t.bytes_in),
            (
                "resound_sent_messages",
                "Datagrams sent, or writes that took bytes of a stream",
                None,
                |t| t.messages_out,
            ),
            ("resound_sent", "Bytes sent", Some(&Unit::Bytes), |t| t.bytes_out),
            (
                "resound_spliced",
                "Bytes sent that never entered user space",
                Some(&Unit::Bytes),
                |t| t.bytes_spliced,
            ),
        ];
        for (name, help, unit, figure) in figures {
            let transports = self.setting.transports.iter();
            let rows = transports.map(|transport| {
                let label = [("transport", transport.name())];
                (label, ConstCounter::new(figure(&self.counters[*transport].traffic)))
            });
            families.family(name, help, unit, rows)?;
        }
        self.encode_causes(families)
    }

    /// By what they tell of, so that each sum means something.
    fn encode_causes(&self, families: &mut Families<'_>) -> fmt::Result {
        let of = |wanted: Effect| {
            self.setting.transports.iter().flat_map(move |transport| {
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
                 UDP train that came whole as one",
                Effect::Dropped,
            ),
            (
                "resound_datagram_incidents",
                "Failed receives, answers that had to wait, trains refused: nothing was lost",
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
            ("resound_loop_turns", "Turns of the loop", |c| c.turns),
            ("resound_loop_polls", "Poll calls, one a turn unless spared by spinning", |c| c.polls),
            ("resound_loop_events", "Events that reached a living source", |c| c.events),
            ("resound_loop_stale_events", "Late events, whose source was gone", |c| c.events_stale),
            ("resound_loop_slices", "Slices given to sources", |c| c.slices),
            ("resound_loop_used_up_slices", "Slices that ended with work left", |c| {
                c.slices_used_up
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
            .map(|(index, counts)| ([("loop", *index)], Told::events(&counts.measures.events)));
        let help = "Events a turn; of turns that are over";
        families.family("resound_loop_turn_events", help, None, rows)?;
        let rows = self
            .loops
            .iter()
            .map(|(index, counts)| ([("loop", *index)], Told::seconds(&counts.measures.busy_ns)));
        let help = "Time from a turn's events to its end, in which nobody else is served; its sum \
                    over time is the share in which the loop is busy";
        families.family("resound_loop_turn_busy", help, Some(&Unit::Seconds), rows)
    }

    fn encode_process(&self, families: &mut Families<'_>) -> fmt::Result {
        let Process { cpu_time, resident_bytes, virtual_bytes, descriptors_open, descriptors_max } =
            self.process;
        let started_at = self.setting.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
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

/// Writes families of metrics, one after the other.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn gauge<N>(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: N) -> fmt::Result
    where
        ConstGauge<N>: EncodeMetric,
    {
        let rows = [([], ConstGauge::new(value))];
        self.family::<[(&str, &str); 0], _>(name, help, unit, rows)
    }

    /// Metrics of one name, told apart by their labels.
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

/// A histogram of the reactor as it is told: with bounds in the unit of its name.
struct Told {
    sum: f64,
    count: u64,
    /// How many up to each bound and above the one before.
    buckets: Vec<(f64, u64)>,
}

impl Told {
    fn events(histogram: &Histogram) -> Told {
        Told::new(histogram, (0, EVENTS_TOLD_MAX), |events| events as f64)
    }

    fn seconds(histogram_ns: &Histogram) -> Told {
        Told::new(histogram_ns, (BUSY_NS_TOLD_MIN, u64::MAX), |ns| ns as f64 / 1e9)
    }

    /// With what lies outside these bounds in the first bucket and in the last.
    fn new(histogram: &Histogram, told: (u64, u64), unit: impl Fn(u64) -> f64) -> Told {
        let mut buckets = Vec::new();
        let mut below = 0;
        for (bound, count) in histogram.buckets() {
            below += count;
            let is_last = bound == u64::MAX;
            if is_last || (told.0..=told.1).contains(&bound) {
                buckets.push((if is_last { f64::INFINITY } else { unit(bound) }, below));
                below = 0;
            }
        }
        Told { sum: unit(histogram.sum()), count: histogram.count(), buckets }
    }
}

impl TypedMetric for Told {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Told {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_histogram::<NoLabelSet>(self.sum, self.count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Told::TYPE
    }
}

#[cfg(test)]
mod tests;

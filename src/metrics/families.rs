//! Families of metrics, which prometheus-client writes as text.

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

/// The two formats that Prometheus reads. Both carry the same figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4, which is older and which every scraper reads.
    Plain,
}

impl Format {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Plain => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// Returns the page of the collector's metrics.
pub(crate) fn page(collector: impl Collector, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let mut page = String::new();
    let encoded = match format {
        Format::OpenMetrics => text::encode(&mut page, &registry),
        Format::Plain => prometheus_text::encode(&mut page, &registry),
    };
    encoded.expect("writing to a String does not fail");
    page
}

/// Writes families of metrics, one after another.
pub(crate) struct Families<'a>(DescriptorEncoder<'a>);

impl<'a> Families<'a> {
    pub(crate) fn new(encoder: DescriptorEncoder<'a>) -> Families<'a> {
        Families(encoder)
    }

    /// Writes the version of this program.
    pub(crate) fn build_info(&mut self) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let help = "The version of this program";
        let info = self.0.encode_descriptor("resound_build", help, None, MetricType::Info);
        info?.encode_info(&version)
    }

    /// Writes the figures of this process, in the names that all client libraries of Prometheus
    /// use.
    pub(crate) fn process(&mut self, started_at: SystemTime) -> fmt::Result {
        let Process { cpu_time, resident_bytes, virtual_bytes, descriptors_open, descriptors_max } =
            Process::now();
        let started_at = started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let help = "When the process started, since the Unix epoch";
        let started_at_s = started_at.as_secs_f64();
        self.gauge("process_start_time", help, Some(&Unit::Seconds), started_at_s)?;
        let cpu = [([], ConstCounter::new(cpu_time.as_secs_f64()))];
        let help = "User and system time of all threads";
        self.family::<[(&str, &str); 0], _>("process_cpu", help, Some(&Unit::Seconds), cpu)?;
        for (name, help, unit, value) in [
            ("process_resident_memory", "Resident memory", Some(&Unit::Bytes), resident_bytes),
            ("process_virtual_memory", "Virtual memory", Some(&Unit::Bytes), virtual_bytes),
            ("process_open_fds", "Open descriptors", None, descriptors_open),
            ("process_max_fds", "The limit of descriptors", None, descriptors_max),
        ] {
            if let Some(value) = value {
                self.gauge(name, help, unit, value)?;
            }
        }
        Ok(())
    }

    /// Writes a metric that may rise and fall.
    pub(crate) fn gauge<N>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: N,
    ) -> fmt::Result
    where
        ConstGauge<N>: EncodeMetric,
    {
        let rows = [([], ConstGauge::new(value))];
        self.family::<[(&str, &str); 0], _>(name, help, unit, rows)
    }

    /// Writes the metrics of one name, which differ in their labels.
    pub(crate) fn family<L: EncodeLabelSet, M: EncodeMetric + TypedMetric>(
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

/// A histogram in the form of the page: its bounds have the unit of its name.
pub(crate) struct ExportedHistogram {
    pub(crate) sum: f64,
    pub(crate) count: u64,
    /// The counts up to each bound and above the previous one. The last bound is infinite.
    pub(crate) buckets: Vec<(f64, u64)>,
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

//! The metrics page: the figures of each target.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::board::{RTT_BOUNDS_NS, Rtt, Target};
use crate::metrics::{ExportedHistogram, Families, Format};
use crate::ping::Loss;

/// The causes that each target has from the start, so that a rate sees the first loss. Other
/// reasons of the system follow once they occur.
const CAUSES: [&str; 6] =
    ["no_answer", "no_connection", "not_taken", "closed_by_the_peer", "refused", "reset"];

/// Returns the page for these targets.
pub(super) fn page(started_at: SystemTime, targets: Vec<Target>, format: Format) -> String {
    crate::metrics::page(Page { started_at, targets }, format)
}

#[derive(Debug)]
struct Page {
    started_at: SystemTime,
    targets: Vec<Target>,
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::new(encoder);
        families.build_info()?;
        type Figure = fn(&Target) -> u64;
        let counters: [(&str, &str, Figure); 7] = [
            (
                "resound_ping_sent_probes",
                "Probes, including those that could not be sent",
                |target| target.messages.sent,
            ),
            ("resound_ping_received_probes", "Probes that were answered in time", |target| {
                target.messages.received
            }),
            ("resound_ping_late_answers", "Answers to probes that were lost before", |target| {
                target.messages.late
            }),
            ("resound_ping_duplicated_answers", "Further answers to a probe", |target| {
                target.messages.duplicated
            }),
            (
                "resound_ping_reordered_answers",
                "Answers that came after the answer to a later probe",
                |target| target.messages.reordered,
            ),
            (
                "resound_ping_corrupted_answers",
                "Answers that differ from their probe, or that belong to none",
                |target| target.messages.corrupted,
            ),
            ("resound_ping_reconnects", "Connections of a stream after the first", |target| {
                target.reconnects
            }),
        ];
        for (name, help, figure) in counters {
            let rows = self.targets.iter();
            let rows = rows.map(|target| (label(target), ConstCounter::new(figure(target))));
            families.family(name, help, None, rows)?;
        }
        let losses = self.targets.iter().flat_map(|target| {
            let causes = causes(&target.losses).into_iter();
            causes.map(|(cause, count)| {
                let labels = [("target", target.endpoint.clone()), ("cause", cause)];
                (labels, ConstCounter::new(count))
            })
        });
        families.family("resound_ping_lost_probes", "Probes that were lost", None, losses)?;
        let in_flight = self
            .targets
            .iter()
            .map(|target| (label(target), ConstGauge::new(target.messages.in_flight_at_end)));
        let help = "Probes that are neither answered nor lost yet";
        families.family("resound_ping_in_flight_probes", help, None, in_flight)?;
        let rtts = self.targets.iter().map(|target| (label(target), exported(&target.rtt)));
        let help = "Round-trip times of the probes that were answered in time";
        families.family("resound_ping_rtt", help, Some(&Unit::Seconds), rtts)?;
        families.process(self.started_at)
    }
}

fn label(target: &Target) -> [(&'static str, &str); 1] {
    [("target", &target.endpoint)]
}

/// Returns the count of each cause. A label has no spaces and no punctuation.
fn causes(losses: &[(Loss, u64)]) -> BTreeMap<String, u64> {
    let known = CAUSES.iter().map(|cause| ((*cause).to_owned(), 0));
    let mut causes: BTreeMap<_, _> = known.collect();
    for (loss, count) in losses {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        *causes.entry(loss.to_string().chars().map(letter).collect()).or_default() += count;
    }
    causes
}

#[expect(clippy::cast_precision_loss, reason = "a page shows fewer digits")]
fn exported(rtt: &Rtt) -> ExportedHistogram {
    let bounds = RTT_BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9).chain([f64::INFINITY]);
    ExportedHistogram {
        sum: rtt.sum_ns as f64 / 1e9,
        count: rtt.counts.iter().sum(),
        buckets: bounds.zip(rtt.counts).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::Messages;

    #[test]
    fn each_target_has_its_figures_and_every_cause_from_the_start() {
        let mut quiet = Target { endpoint: "tcp://a:1".to_owned(), ..Target::default() };
        quiet.rtt.record(std::time::Duration::from_micros(20));
        let lossy = Target {
            endpoint: "unix:/tmp/\"b\"".to_owned(),
            messages: Messages { sent: 9, lost: 7, ..Messages::default() },
            losses: vec![(Loss::NoReply, 4), (Loss::Error("no such host".to_owned()), 3)],
            reconnects: 2,
            ..Target::default()
        };
        let page = page(SystemTime::now(), vec![quiet, lossy], Format::Plain);
        for line in [
            "resound_ping_sent_probes_total{target=\"tcp://a:1\"} 0",
            "resound_ping_sent_probes_total{target=\"unix:/tmp/\\\"b\\\"\"} 9",
            "resound_ping_reconnects_total{target=\"unix:/tmp/\\\"b\\\"\"} 2",
            "resound_ping_rtt_seconds_bucket{target=\"tcp://a:1\",le=\"1e-05\"} 0",
            "resound_ping_rtt_seconds_bucket{target=\"tcp://a:1\",le=\"2.5e-05\"} 1",
            "resound_ping_rtt_seconds_bucket{target=\"tcp://a:1\",le=\"+Inf\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in {page}");
        }
        for (target, cause, count) in [
            ("tcp://a:1", "no_answer", 0),
            ("unix:/tmp/\\\"b\\\"", "no_answer", 4),
            ("unix:/tmp/\\\"b\\\"", "no_such_host", 3),
        ] {
            let labels = format!("{{target=\"{target}\",cause=\"{cause}\"}}");
            let line = format!("resound_ping_lost_probes_total{labels} {count}");
            assert!(page.lines().any(|found| found == line), "{line} in {page}");
        }
    }
}

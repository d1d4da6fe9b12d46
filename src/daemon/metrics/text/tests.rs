//! The names, the values and the sums of the page.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn constants() -> Constants {
    Constants {
        started_at: UNIX_EPOCH + Duration::from_millis(1_500),
        transports: vec![Transport::Tcp, Transport::Udp],
        connections_max: 77,
    }
}

/// A loop with counts, one that never replied, and one without counts.
fn snapshots() -> Vec<Option<Snapshot>> {
    let mut counts = LoopCounts { turns: 4, polls: 3, events: 1_030, ..LoopCounts::default() };
    counts.measures.events.add(0);
    counts.measures.events.add(5);
    counts.measures.events.add(1_025);
    [10, 2_000, 3_000_000_000].into_iter().for_each(|ns| counts.measures.busy_ns.add(ns));
    let mut counters = Counters::default();
    counters.connections_open = 3;
    counters[Transport::Tcp].traffic.bytes_in = 9;
    let snapshot = Snapshot { counters, counts, is_draining: false };
    let other = Snapshot { counts: LoopCounts::default(), ..snapshot };
    vec![Some(snapshot), None, Some(other)]
}

/// Returns the value of the only sample with this name and these labels.
#[track_caller]
fn value<'a>(page: &'a str, sample: &str) -> &'a str {
    let found = page.lines().filter_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let found: Vec<_> = found.collect();
    assert_eq!(found.len(), 1, "{sample} in {page}");
    found[0]
}

#[test]
fn counters_are_summed_over_all_loops_and_loop_metrics_have_the_loop_as_label() {
    for format in [Format::OpenMetrics, Format::Plain] {
        let page = page(&constants(), &snapshots(), format);
        assert_eq!(value(&page, "resound_connections_open"), "6");
        assert_eq!(value(&page, "resound_connections_max"), "77");
        assert_eq!(value(&page, "resound_received_bytes_total{transport=\"tcp\"}"), "18");
        assert_eq!(value(&page, "resound_received_bytes_total{transport=\"udp\"}"), "0");
        assert_eq!(value(&page, "resound_loop_turns_total{loop=\"0\"}"), "4");
        assert_eq!(value(&page, "resound_loop_turns_total{loop=\"2\"}"), "0");
        assert!(!page.contains("loop=\"1\""), "that loop never replied");
        assert!(!page.contains("transport=\"unix"), "no endpoint has this transport");
        let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        assert_eq!(value(&page, &format!("resound_build_info{version}")), "1");
        assert_eq!(value(&page, "process_start_time_seconds"), "1.5");
    }
}

#[test]
fn the_page_shows_a_drain_of_any_loop() {
    let mut snapshots = snapshots();
    assert_eq!(value(&page(&constants(), &snapshots, Format::Plain), "resound_draining"), "0");
    snapshots[2].as_mut().unwrap().is_draining = true;
    for format in [Format::OpenMetrics, Format::Plain] {
        assert_eq!(value(&page(&constants(), &snapshots, format), "resound_draining"), "1");
    }
}

/// Once for each transport that has an endpoint and on which the cause occurs.
#[test]
fn every_cause_is_listed_for_the_transports_on_which_it_occurs_and_for_no_other() {
    let page = page(&constants(), &snapshots(), Format::Plain);
    for transport in [Transport::Tcp, Transport::Udp] {
        for (cause, name) in Cause::ALL {
            let labels = format!("{{transport=\"{}\",cause=\"{name}\"}} ", transport.name());
            let effect = cause.effect(transport);
            let is_listed = effect.is_some() && effect != Some(Effect::Accepted);
            assert_eq!(page.matches(&labels).count(), usize::from(is_listed), "{labels}");
        }
    }
    assert_eq!(value(&page, "resound_accepted_connections_total{transport=\"tcp\"}"), "0");
    assert_eq!(page.matches("resound_accepted_connections_total{").count(), 1);
}

#[test]
fn histograms_are_cumulative_and_end_with_the_count_of_all() {
    for format in [Format::OpenMetrics, Format::Plain] {
        let page = page(&constants(), &snapshots(), format);
        for (name, bounds, sum) in [("events", 13, "1030"), ("busy_seconds", 21, "3.00000201")] {
            let name = format!("resound_loop_turn_{name}");
            let buckets: Vec<(&str, u64)> = page
                .lines()
                .filter_map(|line| line.strip_prefix(&name)?.strip_prefix("_bucket{"))
                .filter(|line| line.contains("loop=\"0\""))
                .map(|line| {
                    let (labels, count) = line.split_once("} ").unwrap();
                    let (_, bound) = labels.split_once("le=\"").unwrap();
                    (bound.split_once('"').unwrap().0, count.parse().unwrap())
                })
                .collect();
            assert_eq!(buckets.len(), bounds, "{buckets:?}");
            assert!(buckets.is_sorted_by_key(|(_, count)| *count), "{buckets:?}");
            assert_eq!(*buckets.last().unwrap(), ("+Inf", 3));
            assert_eq!(buckets[0].1, 1, "one value is below or at the first bound: {buckets:?}");
            assert_eq!(buckets[bounds - 2].1, 2, "one value is above the last bound: {buckets:?}");
            let exported =
                value(&page, &format!("{name}_sum{{loop=\"0\"}}")).parse::<f64>().unwrap();
            assert_eq!(exported, sum.parse::<f64>().unwrap());
            assert_eq!(value(&page, &format!("{name}_count{{loop=\"0\"}}")), "3");
        }
    }
}

#[test]
fn each_format_has_its_type_and_its_end() {
    let open_metrics = page(&constants(), &snapshots(), Format::OpenMetrics);
    assert!(
        open_metrics.contains("\n# TYPE resound_closed_connections counter\n"),
        "{open_metrics}"
    );
    assert!(open_metrics.contains("\n# UNIT resound_received_bytes bytes\n"), "{open_metrics}");
    assert!(open_metrics.ends_with("\n# EOF\n"));
    assert!(Format::OpenMetrics.content_type().starts_with("application/openmetrics-text; "));
    let plain = page(&constants(), &snapshots(), Format::Plain);
    assert!(plain.contains("\n# TYPE resound_closed_connections_total counter\n"), "{plain}");
    assert!(!plain.contains("# EOF") && plain.ends_with('\n'));
    assert!(Format::Plain.content_type().starts_with("text/plain; version=0.0.4"));
}

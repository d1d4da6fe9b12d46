//! What the kernel knows of the generator's sockets, and what a server in this process dropped.

use super::page::Page;
use super::{bytes_text, count_text, counted, one_line, time_text};
use crate::measured::{RunResult, Tcp};

/// Writes the kernel's figures: of TCP, and of UDP if it dropped datagrams. Writes the drops of a
/// server in this process.
pub(super) fn kernel(result: &RunResult, page: &mut Page) {
    if let Some(tcp) = &result.tcp {
        page.entry("tcp", &tcp_text(tcp));
    }
    if let Some(drops @ 1..) = result.udp.map(|udp| udp.receive_drops) {
        let drops = counted(drops, "datagram");
        page.entry(
            "DROPPED",
            &format!("{drops} by the generator's full receive buffers; --rcvbuf makes them larger"),
        );
    }
    if let Some(drops) = result.server_drops.as_ref().filter(|drops| !drops.is_empty()) {
        let all = counted(drops.values().sum(), "datagram");
        let causes =
            drops.iter().map(|(cause, n)| format!("{} {}", count_text(*n), one_line(cause)));
        let causes = causes.collect::<Vec<_>>().join(", ");
        page.entry("DROPPED", &format!("{all} by the server in this process ({causes})"));
    }
}

fn tcp_text(tcp: &Tcp) -> String {
    let mut text = counted(tcp.retransmits, "segment") + " retransmitted";
    if tcp.retransmits > 0 {
        text.push_str(&format!(" ({})", bytes_text(tcp.bytes_retransmitted as f64)));
    }
    for (name, count) in [("lost at the end", tcp.lost), ("reorderings", tcp.reordering)] {
        if count > 0 {
            text.push_str(&format!(", {} {name}", count_text(count)));
        }
    }
    let times = [("p50", tcp.rtt_ns.p50), ("max", tcp.rtt_ns.max), ("min", tcp.min_rtt_ns)];
    let times =
        times.iter().filter_map(|(name, time)| Some(format!("{name} {}", time_text((*time)?))));
    let times = times.collect::<Vec<_>>().join(", ");
    if !times.is_empty() {
        text.push_str(&format!("; rtt {times}"));
    }
    text.push_str(&format!(
        "; window {}, mss {}",
        counted(tcp.cwnd, "segment"),
        counted(tcp.mss, "byte")
    ));
    if let Some(name) = &tcp.congestion {
        text.push_str(&format!(", {}", one_line(name)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{Rtt, Udp, samples};

    #[test]
    fn the_figures_of_tcp_are_on_one_entry() {
        let tcp = Tcp {
            connections: 2,
            congestion: Some("cubic".to_owned()),
            rtt_ns: Rtt { p50: Some(45_000), max: Some(1_200_000) },
            min_rtt_ns: Some(20_000),
            cwnd: 10,
            mss: 1_448,
            ..Tcp::default()
        };
        let rest = "rtt p50 45.0 us, max 1.20 ms, min 20.0 us; window 10 segments, mss 1,448 bytes";
        assert_eq!(tcp_text(&tcp), format!("0 segments retransmitted; {rest}, cubic"));
        let (retransmits, bytes_retransmitted, lost) = (3, 2_896, 1);
        let lossy = Tcp { retransmits, bytes_retransmitted, lost, ..tcp };
        let expected = "3 segments retransmitted (2.90 kB), 1 lost at the end; rtt ";
        assert!(tcp_text(&lossy).starts_with(expected), "{}", tcp_text(&lossy));
    }

    #[test]
    fn every_run_with_the_figures_of_tcp_shows_them() {
        let mut result = samples::closed_run();
        let shown = |result: &RunResult| result.to_string().matches("\ntcp   ").count();
        assert_eq!(shown(&result), 0, "another transport, or another system");
        for loopback in [true, false] {
            result.environment.loopback = loopback;
            for retransmits in [0, 1] {
                result.tcp = Some(Tcp { retransmits, ..Tcp::default() });
                assert_eq!(shown(&result), 1, "{result}");
            }
        }
    }

    #[test]
    fn drops_of_the_generator_are_named_as_its_own() {
        let mut result = samples::closed_run();
        result.udp = Some(Udp { receive_drops: 0 });
        assert!(!result.to_string().contains("DROPPED"));
        result.udp = Some(Udp { receive_drops: 12 });
        assert!(result.to_string().contains("DROPPED       12 datagrams by the generator"));
    }

    #[test]
    fn drops_of_a_server_in_this_process_are_named_with_their_causes() {
        let mut result = samples::closed_run();
        let mut shown = |drops: &[(&str, u64)]| {
            let drops = drops.iter().map(|(cause, count)| ((*cause).to_owned(), *count));
            result.server_drops = Some(drops.collect());
            result.to_string()
        };
        assert!(!shown(&[]).contains("DROPPED"));
        let text = shown(&[("overflowed", 1_200), ("answer_refused", 3)]);
        let expected = "DROPPED       1,203 datagrams by the server in this process \
                        (3 answer_refused, 1,200 overflowed)\n";
        assert!(text.contains(expected), "{text}");
    }
}

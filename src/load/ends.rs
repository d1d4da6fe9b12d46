//! The kernel's figures of the sockets of a run, read as each socket ends.

use super::source::{Flow, Kind};
use crate::endpoint::Transport;
use crate::measured::{Rtt, Tcp, Udp};
use crate::socket::{Datagram, Stream, TcpInfo};

/// The kernel's figures of the sockets that have ended so far. Its memory does not grow with their
/// number.
#[derive(Debug, Default)]
pub(super) struct Ends {
    tcp: Option<TcpEnds>,
    udp: Option<Udp>,
}

/// The figures of TCP connections, and what the median and the means in them come from.
#[derive(Debug, Default)]
struct TcpEnds {
    /// `rtt_ns`, `cwnd` and `delivery_rate` are left out.
    figures: Tcp,
    cwnd_sum: u64,
    delivery_rate_sum: u128,
}

impl Ends {
    /// Adds the figures of a flow whose socket is about to be closed.
    pub(super) fn add(&mut self, flow: &Flow) {
        match &flow.kind {
            Kind::Stream(stream, _) => self.add_stream(stream),
            Kind::Datagram(socket, _) => self.add_datagram(socket),
        }
    }

    fn add_stream(&mut self, stream: &Stream) {
        let Some(info) = stream.tcp_info() else { return };
        let tcp = self.tcp.get_or_insert_default();
        tcp.add(&info);
        if tcp.figures.congestion.is_none() {
            tcp.figures.congestion = stream.congestion();
        }
    }

    fn add_datagram(&mut self, socket: &Datagram) {
        if socket.transport() != Transport::Udp {
            return;
        }
        let Some(drops) = socket.lost() else { return };
        self.udp.get_or_insert_default().receive_drops += u64::from(drops);
    }

    pub(super) fn tcp(&self) -> Option<Tcp> {
        self.tcp.as_ref().map(TcpEnds::figures)
    }

    pub(super) fn udp(&self) -> Option<Udp> {
        self.udp
    }
}

impl TcpEnds {
    fn add(&mut self, info: &TcpInfo) {
        let figures = &mut self.figures;
        let mss = u64::from(info.mss);
        figures.mss = if figures.connections == 0 { mss } else { figures.mss.min(mss) };
        figures.connections += 1;
        figures.retransmits += u64::from(info.retransmits);
        figures.bytes_retransmitted += info.bytes_retransmitted;
        figures.min_rtt_ns = [figures.min_rtt_ns, info.min_rtt_ns].into_iter().flatten().min();
        figures.lost += u64::from(info.lost);
        figures.reordering += u64::from(info.reordering);
        if let Some(rtt_ns) = info.rtt_ns {
            self.figures.rtts.record(rtt_ns);
        }
        self.cwnd_sum += u64::from(info.cwnd);
        self.delivery_rate_sum += u128::from(info.delivery_rate);
    }

    fn figures(&self) -> Tcp {
        let connections = self.figures.connections.max(1);
        let mean_rate = self.delivery_rate_sum / u128::from(connections);
        Tcp {
            rtt_ns: Rtt::of(&self.figures.rtts),
            cwnd: self.cwnd_sum / connections,
            delivery_rate: u64::try_from(mean_rate).unwrap_or(u64::MAX),
            ..self.figures.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::Distribution;

    #[test]
    fn counts_are_added_and_the_other_figures_are_combined() {
        let of = |count, rtt_ns| TcpInfo {
            retransmits: count,
            bytes_retransmitted: u64::from(count) * 100,
            rtt_ns,
            min_rtt_ns: rtt_ns.map(|rtt_ns| rtt_ns / 2),
            cwnd: 10 * count,
            mss: 1_400 + count,
            delivery_rate: u64::MAX,
            lost: count,
            reordering: count,
        };
        let mut ends = TcpEnds::default();
        [of(1, Some(1_000)), of(2, Some(2_000)), of(6, None)]
            .iter()
            .for_each(|info| ends.add(info));
        let mut rtts = Distribution::new();
        [1_000, 2_000].iter().for_each(|rtt_ns| rtts.record(*rtt_ns));
        let expected = Tcp {
            connections: 3,
            congestion: None,
            retransmits: 9,
            bytes_retransmitted: 900,
            rtt_ns: Rtt { p50: Some(1_000), max: Some(2_000) },
            min_rtt_ns: Some(500),
            cwnd: 30,
            mss: 1_401,
            delivery_rate: u64::MAX,
            lost: 9,
            reordering: 9,
            rtts,
        };
        assert_eq!(ends.figures(), expected);
    }

    #[test]
    fn a_run_without_sockets_has_no_figures() {
        let ends = Ends::default();
        assert_eq!((ends.tcp(), ends.udp()), (None, None));
    }
}

//! What the kernel knows of the sockets of a run, read as each of them ends.

use super::source::{Flow, Kind};
use crate::endpoint::Transport;
use crate::measured::{Distribution, Percentile, Rtt, Tcp, Udp};
use crate::socket::{Datagram, Stream, TcpInfo};

/// The kernel's figures of the sockets that have ended so far. Its memory does not grow with their
/// number.
#[derive(Debug, Default)]
pub(super) struct Ends {
    tcp: Option<TcpEnds>,
    udp: Option<Udp>,
}

/// The figures of TCP connections.
#[derive(Debug, Default)]
struct TcpEnds {
    connections: u64,
    congestion: Option<String>,
    retransmits: u64,
    bytes_retransmitted: u64,
    rtt: Distribution,
    min_rtt_ns: Option<u64>,
    cwnd_sum: u64,
    mss_min: Option<u32>,
    delivery_rate_sum: u128,
    lost: u64,
    reordering: u64,
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
        if tcp.congestion.is_none() {
            tcp.congestion = stream.congestion();
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
        self.connections += 1;
        self.retransmits += u64::from(info.retransmits);
        self.bytes_retransmitted += info.bytes_retransmitted;
        if let Some(rtt_ns) = info.rtt_ns {
            self.rtt.record(rtt_ns);
        }
        self.min_rtt_ns = [self.min_rtt_ns, info.min_rtt_ns].into_iter().flatten().min();
        self.cwnd_sum += u64::from(info.congestion_window);
        self.mss_min = Some(self.mss_min.map_or(info.mss, |mss| mss.min(info.mss)));
        self.delivery_rate_sum += u128::from(info.delivery_rate);
        self.lost += u64::from(info.lost);
        self.reordering += u64::from(info.reordering);
    }

    fn figures(&self) -> Tcp {
        let mean_rate = self.delivery_rate_sum / u128::from(self.connections.max(1));
        let p50 = (self.rtt.count() > 0).then(|| self.rtt.value_at(Percentile::P50));
        Tcp {
            connections: self.connections,
            congestion: self.congestion.clone(),
            retransmits: self.retransmits,
            bytes_retransmitted: self.bytes_retransmitted,
            rtt_ns: Rtt { p50, max: self.rtt.max_ns() },
            min_rtt_ns: self.min_rtt_ns,
            cwnd: self.cwnd_sum / self.connections.max(1),
            mss: self.mss_min.unwrap_or(0).into(),
            delivery_rate: u64::try_from(mean_rate).unwrap_or(u64::MAX),
            lost: self.lost,
            reordering: self.reordering,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_the_rest_is_summed_up() {
        let of = |count, rtt_ns| TcpInfo {
            retransmits: count,
            bytes_retransmitted: u64::from(count) * 100,
            rtt_ns,
            min_rtt_ns: rtt_ns.map(|rtt_ns| rtt_ns / 2),
            congestion_window: 10 * count,
            mss: 1_400 + count,
            delivery_rate: u64::MAX,
            lost: count,
            reordering: count,
        };
        let mut ends = TcpEnds::default();
        [of(1, Some(1_000)), of(2, Some(2_000)), of(6, None)]
            .iter()
            .for_each(|info| ends.add(info));
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
        };
        assert_eq!(ends.figures(), expected);
    }

    #[test]
    fn a_run_without_sockets_has_no_figures() {
        let ends = Ends::default();
        assert_eq!((ends.tcp(), ends.udp()), (None, None));
    }
}

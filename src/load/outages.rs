//! The time in which flows could make no load: their connection was gone, their socket could not
//! send, or they backed off because the peer refused.

/// The outages of all flows within the measured time.
#[derive(Debug, Default)]
pub(super) struct Outages {
    /// The start of each flow's current outage.
    since_ns: Vec<Option<u64>>,
    measure_from_ns: u64,
    /// The length of all past outages together. A million flows over a thousand hours exceed 64
    /// bits.
    total_ns: u128,
}

impl Outages {
    /// Creates the record of `flows` flows, none of which is out.
    pub(super) fn of(flows: u32, measure_from_ns: u64) -> Outages {
        Outages { since_ns: vec![None; flows as usize], measure_from_ns, total_ns: 0 }
    }

    /// Starts an outage of a flow. An outage that has started goes on.
    pub(super) fn begin(&mut self, flow: u32, now_ns: u64) {
        if let Some(since_ns) = self.since_ns.get_mut(flow as usize) {
            since_ns.get_or_insert(now_ns);
        }
    }

    /// Ends the outage of a flow. Time after `end_ns`, the end of the run, does not count.
    pub(super) fn end(&mut self, flow: u32, now_ns: u64, end_ns: u64) {
        let since_ns = self.since_ns.get_mut(flow as usize).and_then(Option::take);
        if let Some(since_ns) = since_ns {
            self.total_ns += u128::from(self.within(since_ns, now_ns.min(end_ns)));
        }
    }

    /// Returns the share of their time in which the flows had no outage, if the run ends at
    /// `end_ns`.
    pub(super) fn up_share(&self, end_ns: u64) -> f64 {
        let window_ns = u128::from(end_ns.saturating_sub(self.measure_from_ns));
        let all_ns = window_ns * self.since_ns.len() as u128;
        if all_ns == 0 {
            return 1.0;
        }
        let lasting = self.since_ns.iter().flatten();
        let lasting_ns: u128 =
            lasting.map(|since_ns| u128::from(self.within(*since_ns, end_ns))).sum();
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
        let out = (self.total_ns + lasting_ns) as f64 / all_ns as f64;
        (1.0 - out).clamp(0.0, 1.0)
    }

    fn within(&self, since_ns: u64, until_ns: u64) -> u64 {
        until_ns.saturating_sub(since_ns.max(self.measure_from_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_of_an_outage_within_the_measured_time_counts() {
        let mut outages = Outages::of(2, 1_000);
        assert!((outages.up_share(2_000) - 1.0).abs() < 1e-9);
        outages.begin(0, 500);
        outages.begin(0, 900);
        outages.end(0, 1_500, u64::MAX);
        assert!((outages.up_share(2_000) - 0.75).abs() < 1e-9, "a quarter of the time of both");
        outages.begin(1, 1_800);
        assert!((outages.up_share(2_000) - 0.65).abs() < 1e-9, "it goes on");
        outages.end(1, 9_000, 2_000);
        assert!((outages.up_share(2_000) - 0.65).abs() < 1e-9);
        outages.end(1, 9_500, 2_000);
        assert!((outages.up_share(2_000) - 0.65).abs() < 1e-9, "it was over");
    }

    #[test]
    fn without_time_or_flows_there_is_no_outage() {
        assert!((Outages::of(0, 0).up_share(10) - 1.0).abs() < 1e-9);
        let mut outages = Outages::of(1, 5);
        outages.begin(0, 0);
        assert!((outages.up_share(5) - 1.0).abs() < 1e-9);
    }
}

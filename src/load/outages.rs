//! The time in which flows could make no load: their connection was gone, their socket could not
//! send, or they rested because the peer refused.

/// The outages of all flows, within the time that is measured.
#[derive(Debug, Default)]
pub(super) struct Outages {
    /// Since when each flow is out.
    since_ns: Vec<Option<u64>>,
    measure_from_ns: u64,
    /// Of the outages that are over, of all flows together. A million flows over a thousand hours
    /// are more than 64 bits hold.
    total_ns: u128,
}

impl Outages {
    /// No outage yet, of so many flows.
    pub(super) fn of(flows: u32, measure_from_ns: u64) -> Outages {
        Outages { since_ns: vec![None; flows as usize], measure_from_ns, total_ns: 0 }
    }

    /// The flow can make no load from now on. An outage that is under way goes on.
    pub(super) fn begin(&mut self, flow: u32, now_ns: u64) {
        if let Some(since_ns) = self.since_ns.get_mut(flow as usize) {
            since_ns.get_or_insert(now_ns);
        }
    }

    /// The flow makes its load again. What lies behind `end_ns`, the end of the run, does not
    /// count.
    pub(super) fn end(&mut self, flow: u32, now_ns: u64, end_ns: u64) {
        let since_ns = self.since_ns.get_mut(flow as usize).and_then(Option::take);
        if let Some(since_ns) = since_ns {
            self.total_ns += u128::from(self.within(since_ns, now_ns.min(end_ns)));
        }
    }

    /// The share of their time in which the flows were no outage, when the run ends at `end_ns`.
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
    fn an_outage_counts_within_the_measured_time_alone() {
        let mut outages = Outages::of(2, 1_000);
        assert!((outages.up_share(2_000) - 1.0).abs() < 1e-9);
        outages.begin(0, 500);
        outages.begin(0, 900);
        outages.end(0, 1_500, u64::MAX);
        assert!((outages.up_share(2_000) - 0.75).abs() < 1e-9, "a quarter of both");
        outages.begin(1, 1_800);
        assert!((outages.up_share(2_000) - 0.65).abs() < 1e-9, "it lasts");
        outages.end(1, 9_000, 2_000);
        assert!((outages.up_share(2_000) - 0.65).abs() < 1e-9);
        outages.end(1, 9_500, 2_000);
        assert!((outages.up_share(2_000) - 0.65).abs() < 1e-9, "it was over");
    }

    #[test]
    fn no_time_and_no_flow_are_no_outage() {
        assert!((Outages::of(0, 0).up_share(10) - 1.0).abs() < 1e-9);
        let mut outages = Outages::of(1, 5);
        outages.begin(0, 0);
        assert!((outages.up_share(5) - 1.0).abs() < 1e-9);
    }
}

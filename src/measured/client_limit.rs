//! Limits of the client's side of a run, which prove nothing about the server.

use super::{Assertion, LoadLoop, RunResult, Times, Udp};

/// A server that answers a smaller share of the rate asked for does not keep up with it. The rest
/// is what lies in the queues when a run ends.
pub(crate) const ACHIEVED_SHARE_MIN: f64 = 0.99;

/// The most datagrams of a train that the kernel receives whole (`UDP_GRO`).
const TRAIN_DATAGRAMS_MAX: u64 = 64;

impl RunResult {
    /// Returns what on the client's side distorts the figures, in words; `None` if nothing does.
    /// With such a limit a run proves nothing about the server, except by wrong echoes
    /// ([`is_corrupted`](RunResult::is_corrupted)).
    pub fn client_limit(&self) -> Option<&'static str> {
        let verdict = self.generator.verdict.filter(|_| self.generator.was_limit());
        if let Some(verdict) = verdict {
            Some(verdict.name())
        } else if self.flows.failed_locally > 0 {
            // The load came from fewer connections than asked for.
            Some("failures on this host")
        } else if self.is_limited_by_receive_buf() {
            Some("receive buffer full")
        } else {
            None
        }
    }

    /// Returns true if the run lacks what the generator's own receive buffer dropped: the rate that
    /// it asked for, or a figure of an assert. In a closed loop each drop stops a message in flight
    /// until its timeout, which no count tells from a slow server.
    pub(crate) fn is_limited_by_receive_buf(&self) -> bool {
        let Some(answered) = self.without_receive_drops() else { return false };
        let reaches_rate = self.is_short() && !answered.is_short();
        let mut asserts = self.asserts.iter().zip(&answered.asserts);
        self.load_loop == LoadLoop::Closed
            || reaches_rate
            || asserts.any(|(own, other)| !own.held && other.held)
    }

    /// Returns the run as if the server's replies that the generator's own receive buffer dropped
    /// had been received; `None` if it dropped none. It has the counts and rates of such a run, but
    /// no times: replies wait in a full buffer, and how long is unknown.
    pub(crate) fn without_receive_drops(&self) -> Option<RunResult> {
        let Udp { receive_drops } = self.udp.filter(|udp| udp.receive_drops > 0)?;
        // A train counts once.
        let is_train = self.trains.is_some_and(|trains| trains.asked);
        let replies = receive_drops.saturating_mul(if is_train { TRAIN_DATAGRAMS_MAX } else { 1 });
        let (lost, unsent) = (self.messages.lost, self.generator.unsent);
        let dropped = replies.min(lost);
        // A lost message holds its place in flight until its timeout, so that others are not sent.
        let share = if lost > 0 { dropped as f64 / lost as f64 } else { 0.0 };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float to integer cast saturates; a share of a count is at least 0"
        )]
        let held_up = (unsent as f64 * share) as u64;
        let mut run = self.clone();
        run.udp = Some(Udp::default());
        (run.latency_ns, run.service_time_ns, run.split) = (Times::default(), None, None);
        run.messages.lost -= dropped;
        run.messages.received += dropped + held_up;
        run.messages.sent += held_up;
        run.generator.unsent -= held_up.min(unsent);
        run.losses.timed_out = run.losses.timed_out.saturating_sub(dropped);
        let per_second = |time_ns: u64| (dropped + held_up) as f64 * 1e9 / time_ns.max(1) as f64;
        run.rate.achieved += per_second(self.elapsed_ns);
        run.rate.over_planned += per_second(self.planned_ns.unwrap_or(self.elapsed_ns));
        let asserts = self.asserts.iter().map(|outcome| match outcome.expression.parse() {
            Ok(assertion) => Assertion::check(&assertion, &run),
            Err(_) => outcome.clone(),
        });
        run.asserts = asserts.collect();
        Some(run)
    }

    /// Returns true if the server answered less than the rate asked for.
    pub(crate) fn is_short(&self) -> bool {
        self.achieved_share().is_some_and(|share| share < ACHIEVED_SHARE_MIN)
    }

    /// Returns the share of the rate asked for that the server answered; `None` in a closed loop.
    pub(crate) fn achieved_share(&self) -> Option<f64> {
        Some(self.rate.over_planned / self.rate.asked?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{Messages, Rate, Trains, Verdict, samples};

    /// cases B2, B6 and B14
    #[test]
    fn a_run_is_limited_by_its_generator_or_by_failures_on_its_host() {
        let mut run = samples::open_run();
        assert_eq!(run.client_limit(), None);
        run.flows.failed_locally = 1;
        assert_eq!(run.client_limit(), Some("failures on this host"));
        run.generator.verdict = Some(Verdict::Starved);
        assert_eq!(run.client_limit(), Some("starved"));
        run.flows.failed_locally = 0;
        run.generator.verdict = None;
        assert_eq!(run.client_limit(), None, "nothing was measured");
    }

    /// Returns a run of ten seconds that lost every tenth of 1,000,000 messages. The generator's
    /// receive buffer dropped some.
    fn lossy(receive_drops: u64) -> RunResult {
        let mut run = samples::open_run();
        run.messages.sent = 1_000_000;
        run.messages.received = 900_000;
        (run.messages.lost, run.losses.timed_out) = (100_000, 100_000);
        run.rate = Rate { asked: Some(100_000.0), achieved: 90_000.0, over_planned: 90_000.0 };
        run.udp = Some(Udp { receive_drops });
        run.asserts.clear();
        run
    }

    #[test]
    fn drops_of_the_own_receive_buffer_limit_a_run_that_would_reach_its_rate_without_them() {
        for (drops, limit) in [
            (0, None),
            (1_000, None),
            (89_999, None),
            (90_000, Some("receive buffer full")),
            (100_000, Some("receive buffer full")),
            (u64::MAX, Some("receive buffer full")),
        ] {
            assert_eq!(lossy(drops).client_limit(), limit, "{drops}");
        }
        // Each of 1,407 drops may be a train of 64.
        let mut trains = lossy(1_407);
        trains.trains = Some(Trains { asked: true, ..Trains::default() });
        assert_eq!(trains.client_limit(), Some("receive buffer full"));
        trains.udp = Some(Udp { receive_drops: 1_406 });
        assert_eq!(trains.client_limit(), None);
    }

    #[test]
    fn messages_that_waited_for_a_dropped_one_are_its_fault() {
        let mut run = lossy(50_000);
        run.messages = Messages { sent: 950_000, received: 900_000, lost: 50_000, ..run.messages };
        run.generator.unsent = 50_000;
        let answered = run.without_receive_drops().unwrap();
        assert_eq!((answered.messages.sent, answered.messages.received), (1_000_000, 1_000_000));
        assert_eq!((answered.messages.lost, answered.generator.unsent), (0, 0));
        assert!((answered.rate.over_planned - 100_000.0).abs() < 1e-6, "{:?}", answered.rate);
        run.udp = Some(Udp { receive_drops: 25_000 });
        let answered = run.without_receive_drops().unwrap();
        assert_eq!((answered.messages.lost, answered.generator.unsent), (25_000, 25_000));
    }

    #[test]
    fn an_assert_that_holds_without_the_drops_shows_the_limit_of_the_own_receive_buffer() {
        let mut run = lossy(1_000);
        run.messages.lost = 1_000;
        run.rate.over_planned = 99_900.0;
        for (expression, limit) in
            [("loss<0.01%", Some("receive buffer full")), ("p99<1us", None), ("loss<1%", None)]
        {
            let assertion: Assertion = expression.parse().unwrap();
            run.asserts = vec![assertion.check(&run)];
            assert_eq!(run.client_limit(), limit, "{expression}");
        }
    }

    #[test]
    fn any_drop_of_the_own_receive_buffer_limits_a_closed_loop() {
        let mut run = samples::closed_run();
        run.udp = Some(Udp { receive_drops: 0 });
        assert_eq!(run.client_limit(), None);
        run.udp = Some(Udp { receive_drops: 1 });
        assert_eq!(run.client_limit(), Some("receive buffer full"));
    }
}

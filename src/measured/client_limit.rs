//! Limits of the client's side of a run, which prove nothing about the server.

use super::RunResult;

/// A server that answers a smaller share of the rate asked for does not keep up with it. The rest
/// is what lies in the queues when a run ends.
pub(crate) const ACHIEVED_SHARE_MIN: f64 = 0.99;

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
        } else {
            None
        }
    }

    /// Returns the share of the rate asked for that the server answered; `None` in a closed loop.
    pub(crate) fn achieved_share(&self) -> Option<f64> {
        Some(self.rate.over_planned / self.rate.asked?)
    }
}

#[cfg(test)]
mod tests {
    use crate::measured::{Verdict, samples};

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
}

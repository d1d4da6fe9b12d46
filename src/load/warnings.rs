//! What the user should know before quoting a figure.

use super::{Generator, Observer, ports};
use crate::endpoint::Transport;
use crate::measured::{Mode, RunResult, Warning};
use crate::units::counted;

impl<O: Observer> Generator<O> {
    /// Returns what the user should know before quoting a figure.
    pub(super) fn warnings(&self, result: &RunResult) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |text: String| warnings.push(Warning(text));
        // A warning does not repeat the error line. The error line of an interrupted run explains
        // nothing else.
        let is_told = |error: &String| result.error.as_ref() == Some(error);
        let failures = self.failures.iter().map(|(error, times)| (error.to_string(), times));
        for (error, times) in failures.filter(|(error, _)| !is_told(error)) {
            warn(format!(
                "a limit of this client, not of the server: {error} (times met: {times})"
            ));
        }
        let is_explained = result.error.is_some() && !result.is_interrupted;
        let lost_flows = result.flows.reset + result.flows.closed;
        if lost_flows > 0 && self.options.mode == Mode::Echo && !is_explained {
            let all = result.flows.opened;
            let then = match result.flows.reconnected {
                0 => "the rest of their load was not made".to_owned(),
                again => format!("{again} were opened again, and load due in between was not made"),
            };
            let all = counted(all, "connection");
            warn(format!("{lost_flows} of {all} ended early; {then}"));
        }
        if self.phases.warmup_unsent > 0 {
            let unsent = counted(self.phases.warmup_unsent, "message");
            warn(format!("dropped {unsent} due in the warm-up at its end: sending fell behind"));
        }
        self.warn_of_idle_flows(result, &mut warn);
        if let Some(samples) = &self.run.samples {
            samples.warning(self.options.socket.multipath).into_iter().for_each(&mut warn);
        }
        if self.options.mode == Mode::Connect && self.options.transport() == Transport::Tcp {
            let range = std::fs::read_to_string(ports::RANGE_FILE).unwrap_or_default();
            ports::warning(&range, result).into_iter().for_each(&mut warn);
        }
        if result.generator.unsent > 0 && !is_explained {
            let unsent = counted(result.generator.unsent, "message");
            warn(format!("never sent {unsent} that came due: no percentile includes them"));
        }
        warnings
    }

    /// Warns if a closed loop had fewer messages in flight than its depth. A lost message occupies
    /// its place until it is given up, and a full socket leaves places empty.
    fn warn_of_idle_flows(&self, result: &RunResult, warn: &mut impl FnMut(String)) {
        /// The share of all places over all the time. A smaller one changes no figure that is read
        /// to a percent.
        const IDLE_SHARE_MIN: f64 = 0.01;
        /// Between an echo and the next message a place is empty while the generator works.
        const FILLED_SHARE_MIN: f64 = 0.9;
        if self.options.rate.is_some() {
            return;
        }
        let places = result.connections as f64 * result.depth as f64;
        let all_ns = places * result.elapsed_ns.max(1) as f64;
        let lost_ns = self.run.recorder.lost_wait_ns as f64;
        let share = (lost_ns / all_ns).min(1.0);
        if share >= IDLE_SHARE_MIN {
            let percent = share * 100.0;
            warn(format!(
                "lost messages kept {percent:.0} % of the {places:.0} places in flight waiting for \
                 --timeout: the load was smaller by that"
            ));
        }
        // Little's law: the messages in flight are their rate times the time that each takes.
        let echoes_ns = result.latency_ns.summary.mean as f64 * result.messages.received as f64;
        let filled = (echoes_ns + lost_ns) / all_ns;
        if result.generator.held_back > 0 && filled < FILLED_SHARE_MIN {
            let in_flight = filled * places;
            let full = match self.options.transport() {
                Transport::Unixgram => "the server's queue was full (net.unix.max_dgram_qlen)",
                _ => "a socket buffer was full (--sndbuf)",
            };
            warn(format!(
                "the depth was not reached: on average {in_flight:.1} of {places:.0} messages \
                 were in flight, because {full}"
            ));
        }
    }
}

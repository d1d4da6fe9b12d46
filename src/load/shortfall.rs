//! How much of the requested load was made, and why the rest was not.

use super::result::ratio;
use super::{Generator, Observer};
use crate::units::duration_ns;

/// A run that made a smaller share of its load is partial, because its figures describe a smaller
/// load than the requested one.
pub(super) const LOAD_MADE_MIN: f64 = 0.99;

impl<O: Observer> Generator<O> {
    /// Returns how long the measurement was planned to take; `None` if the requested count was
    /// reached.
    pub(super) fn planned_ns(&self) -> Option<u64> {
        if self.run.is_count_reached() {
            return None;
        }
        self.options.duration.map(duration_ns).or(self.run.counted_ns)
    }

    /// Returns the share of the planned load that was made.
    pub(super) fn load_made(&self, planned_ns: Option<u64>) -> f64 {
        let sent = self.run.recorder.measured.sent;
        match (self.options.rate, self.options.count) {
            (None, Some(_)) if self.run.is_count_reached() => return 1.0,
            (None, Some(count)) if planned_ns.is_none() => return ratio(sent, count).min(1.0),
            _ => {}
        }
        let end_ns = self.run.end_ns();
        if end_ns == u64::MAX {
            return 0.0; // the run ended before it started to send
        }
        let window_ns = end_ns.saturating_sub(self.phases.measure_from_ns);
        let silence = ratio(self.silent_ns_at_end(), window_ns).min(1.0);
        let up_share = self.run.outages.up_share(end_ns).min(1.0 - silence);
        match planned_ns.filter(|planned_ns| *planned_ns > window_ns) {
            Some(planned_ns) => up_share * ratio(window_ns, planned_ns),
            None => up_share,
        }
    }

    /// Returns for how long before its end a closed loop received no echo on any flow, nor in the
    /// drain. All its messages were then in flight and lost, so it sent no more.
    fn silent_ns_at_end(&self) -> u64 {
        let (recorder, end_ns) = (&self.run.recorder, self.run.end_ns());
        if self.run.is_open_loop() || recorder.measured.lost == 0 || end_ns == u64::MAX {
            return 0;
        }
        let heard_ns = recorder.heard_ns_last.unwrap_or(0).max(self.phases.measure_from_ns);
        end_ns.saturating_sub(heard_ns)
    }

    /// Returns in one line why less load was made than requested.
    pub(super) fn shortfall_reason(&self, load_made: f64) -> String {
        let causes = match self.options.transport().is_stream() {
            true => self.ends_of_connections(),
            // Datagram sockets do not end, and a refusal is among the losses.
            false => self.losses_with_a_reason(),
        };
        let causes = match causes.is_empty() {
            true if self.silent_ns_at_end() > 0 => "no echo came at the end".to_owned(),
            true => "connections were gone".to_owned(),
            false => causes.join(", "),
        };
        let flows = if self.options.transport().is_stream() { "connections" } else { "sockets" };
        let share = (1.0 - load_made) * 100.0;
        format!("{flows} made no load for {share:.1} % of their time ({causes})")
    }

    fn ends_of_connections(&self) -> Vec<String> {
        let flows = &self.run.recorder.flows;
        let ends = [
            ("refused", flows.refused),
            ("reset by the peer", flows.reset),
            ("closed by the peer", flows.closed),
            ("timed out", flows.timed_out),
            ("unreachable", flows.unreachable),
            ("failed on this host", flows.failed_locally),
        ];
        let ends = ends.into_iter().filter(|(_, count)| *count > 0);
        ends.map(|(what, count)| format!("{what}: {count}")).collect()
    }

    fn losses_with_a_reason(&self) -> Vec<String> {
        let losses =
            self.run.recorder.losses.named().filter(|(cause, _)| !is_without_reason(cause));
        losses.map(|(cause, count)| format!("messages lost, {cause}: {count}")).collect()
    }

    /// Returns the most frequent cause of lost messages that explains why nothing came back.
    pub(super) fn main_loss_cause(&self) -> Option<&'static str> {
        let causes =
            self.run.recorder.losses.named().filter(|(cause, _)| !is_without_reason(cause));
        causes.max_by_key(|(_, count)| *count).map(|(cause, _)| cause)
    }
}

/// Returns true if a cause of loss gives no reason: the message, its echo or its connection is
/// gone.
fn is_without_reason(cause: &str) -> bool {
    matches!(cause, "timed out" | "connection gone")
}

//! How much of the load asked for was made, and why the rest was not.

use super::findings::ratio;
use super::{Generator, Observer};
use crate::units::duration_ns;

/// A run that made less of its load than this is partial: its figures are not those of what was
/// asked.
pub(super) const LOAD_MADE_MIN: f64 = 0.99;

impl<O: Observer> Generator<O> {
    /// How long was to be measured. A count that was reached is all that was asked for.
    pub(super) fn planned_ns(&self) -> Option<u64> {
        if self.run.is_spent() {
            return None;
        }
        let of_count = || {
            let (count, rate) = self.options.count.zip(self.options.rate)?;
            let time_ns = u128::from(count) * 1_000_000_000 / u128::from(rate.max(1));
            Some(u64::try_from(time_ns).unwrap_or(u64::MAX))
        };
        self.options.duration.map(duration_ns).or_else(of_count)
    }

    /// The share of the load that was made, of what was planned.
    pub(super) fn load_made(&self, planned_ns: Option<u64>) -> f64 {
        let sent = self.run.recorder.measured.sent;
        match (self.options.rate, self.options.count) {
            (None, Some(_)) if self.run.is_spent() => return 1.0,
            (None, Some(count)) if planned_ns.is_none() => return ratio(sent, count).min(1.0),
            _ => {}
        }
        let end_ns = self.run.end_ns();
        if end_ns == u64::MAX {
            return 0.0; // it ended before it began to send
        }
        let window_ns = end_ns.saturating_sub(self.phases.measure_from_ns);
        let silence = ratio(self.silent_ns_at_end(), window_ns).min(1.0);
        let up_share = self.run.outages.up_share(end_ns).min(1.0 - silence);
        match planned_ns.filter(|planned_ns| *planned_ns > window_ns) {
            Some(planned_ns) => up_share * ratio(window_ns, planned_ns),
            None => up_share,
        }
    }

    /// For how long before its end a closed loop heard no echo on any flow, nor in the drain. All
    /// its messages were then in flight and lost, so that no more were sent.
    fn silent_ns_at_end(&self) -> u64 {
        let (recorder, end_ns) = (&self.run.recorder, self.run.end_ns());
        if self.run.is_open_loop() || recorder.measured.lost == 0 || end_ns == u64::MAX {
            return 0;
        }
        let heard_ns = recorder.heard_ns_last.unwrap_or(0).max(self.phases.measure_from_ns);
        end_ns.saturating_sub(heard_ns)
    }

    /// Why less load was made than was asked for, in one line.
    pub(super) fn why_less(&self, load_made: f64) -> String {
        let causes = match self.options.transport().is_stream() {
            true => self.ends_of_connections(),
            // Sockets do not end, and a refusal is one of the losses.
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
        let losses = self.run.recorder.losses.named().filter(|(cause, _)| !is_of_the_way(cause));
        losses.map(|(cause, count)| format!("messages lost, {cause}: {count}")).collect()
    }

    /// What lost most of the messages that were sent, or could not be.
    pub(super) fn why_not_sent(&self) -> Option<&'static str> {
        let causes = self.run.recorder.losses.named().filter(|(cause, _)| !is_of_the_way(cause));
        causes.max_by_key(|(_, count)| *count).map(|(cause, _)| cause)
    }
}

/// Whether a loss says nothing of why: the message, its echo or its connection was gone.
fn is_of_the_way(cause: &str) -> bool {
    matches!(cause, "timed out" | "connection gone")
}

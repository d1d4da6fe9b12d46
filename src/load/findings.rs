//! What a run came to, for whoever reports it.

use super::phases::EndedBy;
use super::shortfall::LOAD_MADE_MIN;
use super::thread_usage::process_cpu_ns;
use super::{Generator, Observer, Spacing};
use crate::endpoint::Transport;
use crate::error::Error;
use crate::measured::{
    Bytes, Difference, Distribution, Flows, Hiccups, Losses, Messages, Pacing, Rate, Status, Trains,
};
use crate::reactor::Spin;

/// The facts of a run. Times are nanoseconds.
#[derive(Debug)]
pub struct Findings {
    /// Whether it came to its planned end.
    pub status: Status,
    /// Why it did not.
    pub error: Option<String>,
    /// How long was measured.
    pub elapsed_ns: u64,
    /// How long was to be measured, if that is known and the count was not reached first.
    pub planned_ns: Option<u64>,
    /// The share of the load asked for that was made, from 0 to 1.
    pub load_made: f64,
    /// A signal ended it.
    pub is_interrupted: bool,
    /// How long was left out before.
    pub warmup_ns: u64,
    /// How long was waited for the last echoes.
    pub drain_ns: u64,
    /// Messages a second.
    pub rate: Rate,
    /// What became of measured messages.
    pub messages: Messages,
    /// Why measured messages were lost.
    pub losses: Losses,
    /// How long those that timed out were in flight together, before the end of the sending.
    pub lost_wait_ns: u64,
    /// What became of those of the warm-up.
    pub warmup_messages: Messages,
    /// What became of connections.
    pub flows: Flows,
    /// Bytes of measured messages.
    pub bytes: Bytes,
    /// How datagrams went together; of UDP.
    pub trains: Option<Trains>,
    /// Response times.
    pub latency: Distribution,
    /// Times from the real send; of an open loop.
    pub service_time: Option<Distribution>,
    /// How late messages were sent by the generator's own fault; of an open loop.
    pub schedule_lag: Option<Distribution>,
    /// Messages that were due while their connection could not take them; in a closed loop those
    /// that waited because the socket took no more.
    pub held_back: u64,
    /// Messages that were due, or in a closed loop asked for, and were never sent.
    pub unsent: u64,
    /// Of one processor, without polling that found nothing.
    pub cpu_share: f64,
    /// The share of the time in which the generator could have run and others did; `None` where
    /// the system does not say.
    pub wait_share: Option<f64>,
    /// How long it waited each time before it could run, in the mean.
    pub wait_ns_mean: Option<u64>,
    /// What kept it from running.
    pub hiccups: Hiccups,
    /// Processor time of the generator a message, without polling that found nothing.
    pub cpu_ns_per_message: u64,
    /// Processor time of the process since it started.
    pub cpu_ns_process: u64,
    /// How it waited for the time to send.
    pub pacing: Pacing,
    /// The first echo that was not what had been sent.
    pub first_difference: Option<Difference>,
    /// Messages of an open loop that were due in the warm-up and dropped at its end.
    pub warmup_unsent: u64,
    /// What this host could not do, and how often.
    pub failures: Vec<(Error, u64)>,
}

impl<O: Observer> Generator<O> {
    /// What the run came to. To be asked once the reactor has stopped.
    pub fn finish(mut self) -> Findings {
        let until_ns = self.measured_until_ns();
        let elapsed_ns = until_ns.saturating_sub(self.phases.measure_from_ns);
        let planned_ns = self.planned_ns();
        let load_made = self.load_made(planned_ns);
        let (status, error) = self.verdict(load_made);
        let pacing = self.pacing();
        let unsent = self.unsent();
        let received_in_time = self.received_in_time();
        let mut achieved = per_second(received_in_time, elapsed_ns);
        if let (Some(rate), Spacing::Fixed) = (self.options.rate, self.options.spacing) {
            // Where the end cuts the last message's share of the time, all of it is counted still.
            achieved = achieved.min(whole(rate));
        }
        let whole_ns = planned_ns.map_or(elapsed_ns, |planned_ns| planned_ns.max(elapsed_ns));
        let over_planned = per_second(received_in_time, whole_ns).min(achieved);
        let recorder = &mut self.run.recorder;
        let mut messages = recorder.measured;
        messages.in_flight_at_end = messages.sent - messages.received - messages.lost;
        let mut warmup_messages = recorder.warmup;
        warmup_messages.in_flight_at_end =
            warmup_messages.sent - warmup_messages.received - warmup_messages.lost;
        let latency = recorder.latency().clone();
        let is_open_loop = self.options.rate.is_some();
        let of_open_loop = |distribution: &Distribution| is_open_loop.then(|| distribution.clone());
        let phases = &self.phases;
        let (cpu_ns, metered_ns) = (phases.usage.cpu_ns(), phases.usage.elapsed_ns());
        let warmup_end_ns = phases.measure_from_ns.min(phases.end_ns.max(phases.start_ns));
        Findings {
            status,
            error,
            elapsed_ns,
            planned_ns,
            load_made,
            is_interrupted: phases.ended_by == EndedBy::Interrupt,
            warmup_ns: warmup_end_ns - phases.start_ns,
            drain_ns: phases.drain_ns(until_ns),
            rate: Rate { asked: self.options.rate.map(whole), achieved, over_planned },
            bytes: recorder.bytes,
            messages,
            losses: recorder.losses,
            lost_wait_ns: recorder.lost_wait_ns,
            warmup_messages,
            flows: recorder.flows,
            trains: (self.options.transport() == Transport::Udp).then_some(recorder.trains),
            latency,
            service_time: of_open_loop(&recorder.service_time),
            schedule_lag: of_open_loop(&recorder.schedule_lag),
            held_back: recorder.held_back,
            unsent,
            cpu_share: ratio(cpu_ns, metered_ns).min(1.0),
            wait_share: phases.usage.waited_ns().map(|waited| ratio(waited, metered_ns).min(1.0)),
            wait_ns_mean: phases.usage.wait_ns_mean(),
            hiccups: Hiccups {
                throttled_ns: phases.usage.throttled_ns(),
                ..recorder.watch.found()
            },
            cpu_ns_per_message: cpu_ns.checked_div(messages.received).unwrap_or(0),
            cpu_ns_process: process_cpu_ns(),
            pacing,
            first_difference: recorder.first_difference.take(),
            warmup_unsent: self.phases.warmup_unsent,
            failures: self.failures,
        }
    }

    fn unsent(&self) -> u64 {
        let recorder = &self.run.recorder;
        let sent = recorder.measured.sent;
        match (self.options.rate, self.options.count, self.phases.ended_by) {
            (Some(_), ..) => self.run.unsent().saturating_add(recorder.never_taken),
            // Begun, and never taken by a socket; or never begun, because the run ended before.
            (None, Some(count), EndedBy::Plan) if self.run.is_spent() => count.saturating_sub(sent),
            (None, Some(count), EndedBy::NoFlow | EndedBy::Silence) => count.saturating_sub(sent),
            _ => 0,
        }
    }

    /// The end of the sending, which is later than planned where messages of an open loop were held
    /// up; where the number of messages was the limit of a closed loop, the last echo.
    fn measured_until_ns(&self) -> u64 {
        let last_ns = match self.run.is_spent() && !self.run.is_open_loop() {
            true => self.run.recorder.echo_ns_last,
            false => self.run.recorder.begun_ns_last,
        };
        self.phases.end_ns.max(last_ns)
    }

    /// Echoes that the achieved rate is made of. What was due in an open loop is what was asked
    /// for, whenever it came back; the last echoes of a closed loop have no successors, and so no
    /// rate.
    fn received_in_time(&self) -> u64 {
        match self.options.rate.is_some() || self.run.is_spent() {
            true => self.run.recorder.measured.received,
            false => self.run.recorder.received_by_end,
        }
    }

    fn pacing(&self) -> Pacing {
        match (self.options.spin, self.options.rate) {
            (Some(Spin::Always), _) => Pacing::Spin,
            (Some(Spin::Never), Some(_)) => Pacing::Sleep,
            (Some(Spin::Never) | None, None) => Pacing::None,
            (Some(Spin::For(_)) | None, _) => Pacing::Hybrid,
        }
    }

    fn verdict(&self, load_made: f64) -> (Status, Option<String>) {
        let messages = &self.run.recorder.measured;
        let is_interrupted = self.phases.ended_by == EndedBy::Interrupt;
        if messages.received == 0 {
            let difference = self.run.recorder.first_difference.as_ref();
            let differs = |difference| format!("an echo differed from what was sent: {difference}");
            let why = difference.map_or_else(|| self.why_nothing(is_interrupted), differs);
            return (Status::Error, Some(why));
        }
        let why = match self.phases.ended_by {
            EndedBy::Plan if load_made >= LOAD_MADE_MIN => return (Status::Ok, None),
            EndedBy::Plan => self.why_less(load_made),
            EndedBy::Interrupt => "interrupted".to_owned(),
            EndedBy::NoFlow => {
                let flow =
                    if self.options.transport().is_stream() { "connection" } else { "socket" };
                let what = match self.options.duration {
                    Some(_) => "the time was up",
                    None => "all messages were sent",
                };
                format!("every {flow} ended before {what}")
            }
            EndedBy::Silence => "ended early: nothing came back any more".to_owned(),
        };
        (Status::Partial, Some(why))
    }

    /// Why there is nothing to report.
    fn why_nothing(&self, is_interrupted: bool) -> String {
        let measured = &self.run.recorder.measured;
        if is_interrupted {
            return "interrupted before an echo was measured".to_owned();
        }
        if measured.late > 0 {
            let (late, timeout) = (measured.late, self.options.timeout);
            return format!("nothing came back within {timeout:?}: {late} echoes came later");
        }
        if measured.sent == 0 && self.run.recorder.warmup.received > 0 {
            return "nothing was measured: no message was sent after the warm-up".to_owned();
        }
        let endpoint = &self.options.target;
        let flows = &self.run.recorder.flows;
        let refusal = match self.is_path_missing {
            true => "no such file or directory (no such socket)",
            false => "refused (nothing listens there)",
        };
        let causes = [
            (flows.refused, refusal),
            (flows.reset, "reset by the peer"),
            (flows.closed, "closed by the peer"),
            (flows.timed_out, "timed out"),
            (flows.unreachable, "unreachable (a router or a firewall says so)"),
        ];
        let cause = causes.iter().filter(|(count, _)| *count > 0).max_by_key(|(count, _)| *count);
        match (self.failures.first(), cause) {
            (Some((error, _)), None) => error.to_string(),
            (_, Some((_, words))) if flows.opened == 0 => {
                format!("cannot connect to {endpoint}: {words}")
            }
            (_, Some((_, words))) => format!("nothing came back from {endpoint}: {words}"),
            (None, None) => match self.why_not_sent() {
                Some(cause) => format!("nothing came back from {endpoint}: {cause}"),
                None => format!("nothing came back from {endpoint}"),
            },
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 a last digit does not matter")]
fn whole(count: u64) -> f64 {
    count as f64
}

/// A count per second, by one division: the product of a rounded share is off in its last digit.
fn per_second(count: u64, time_ns: u64) -> f64 {
    if time_ns == 0 { 0.0 } else { whole(count) * 1e9 / whole(time_ns) }
}

/// 0 for nothing over nothing.
pub(super) fn ratio(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { whole(part) / whole(all) }
}

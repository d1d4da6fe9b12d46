//! The result of a run: the facts that every writer takes.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::phases::EndedBy;
use super::recorder::Class;
use super::shortfall::LOAD_MADE_MIN;
use super::thread_usage::process_cpu_ns;
use super::{Generator, Observer, Spacing};
use crate::endpoint::{ResolvedEndpoint, Transport};
use crate::measured::{
    BindUse, ClockError, Drift, Environment, GeneratorHealth, Hiccups, Histograms, LengthClass,
    LoadLoop, LoopResult, Messages, Pacing, Rate, RunResult, RunStamp, Signs, Sockets, Status,
    Times, Verdict,
};
use crate::reactor::Spin;
use crate::socket::clock_error;
use crate::units::duration_ns;

impl<O: Observer> Generator<O> {
    /// Returns the result of the run. Call it after the reactor has stopped. The caller adds what
    /// only it knows: the command line, its label, where the generator ran.
    pub fn finish(mut self) -> RunResult {
        let until_ns = self.measured_until_ns();
        let elapsed_ns = until_ns.saturating_sub(self.phases.measure_from_ns);
        let planned_ns = self.planned_ns();
        let load_made = self.load_made(planned_ns);
        let (status, error) = self.status(load_made);
        let latency = self.run.recorder.latency().clone();
        let generator = self.health();
        let is_open_loop = self.options.rate.is_some();
        let recorder = &self.run.recorder;
        let times = |values| Times::of(values, &self.options.percentiles);
        let phases = &self.phases;
        let warmup_end_ns = phases.measure_from_ns.min(phases.end_ns.max(phases.start_ns));
        let mut result = RunResult {
            status,
            error,
            endpoint: self.options.target.to_string(),
            mode: self.options.mode,
            load_loop: if is_open_loop { LoadLoop::Open } else { LoadLoop::Closed },
            arrival: is_open_loop.then(|| self.options.spacing.to_string()),
            depth: self.options.in_flight_max as u64,
            connections: u64::from(self.options.connections),
            length: self.options.lengths.mean(),
            environment: Environment::here(is_local(&self.options.target), false),
            run: self.stamp(elapsed_ns),
            elapsed_ns,
            planned_ns,
            load_made,
            is_interrupted: phases.ended_by == EndedBy::Interrupt,
            is_too_late: matches!(phases.ended_by, EndedBy::TooLate { .. }),
            warmup_ns: warmup_end_ns - phases.start_ns,
            drain_ns: phases.drain_ns(until_ns),
            rate: self.rate(elapsed_ns, planned_ns),
            bytes: recorder.bytes,
            messages: with_in_flight(recorder.measured),
            losses: recorder.losses,
            warmup_messages: with_in_flight(recorder.warmup),
            flows: recorder.flows,
            trains: (self.options.transport() == Transport::Udp).then_some(recorder.trains),
            tcp: self.ends.tcp(),
            udp: self.ends.udp(),
            thirds: self.thirds.finish(&latency),
            sockets: self.sockets(),
            latency_ns: times(latency),
            service_time_ns: is_open_loop.then(|| times(recorder.service_time.clone())),
            split: self.run.samples.as_ref().map(|s| s.split(&self.options.percentiles)),
            hiccups: self.hiccups(),
            generator,
            first_difference: recorder.first_difference.clone(),
            ..RunResult::default()
        };
        result.timeline = self.timeline.finish(&self.run.recorder, until_ns);
        self.judge(&mut result);
        result
    }

    /// Returns the rate over the time measured, and over the time asked for.
    fn rate(&self, elapsed_ns: u64, planned_ns: Option<u64>) -> Rate {
        let received_in_time = self.received_in_time();
        let asked = self.options.rate.map(|rate| self.options.share.of_rate(rate));
        let mut achieved = per_second(received_in_time, elapsed_ns);
        if let Some(asked) = asked.filter(|_| self.options.spacing != Spacing::Poisson) {
            // If the end of the run cuts the last message's share of the time, or that of the last
            // burst, they still count in full, so the quotient can exceed the rate.
            achieved = achieved.min(asked);
        }
        let whole_ns = planned_ns.map_or(elapsed_ns, |planned_ns| planned_ns.max(elapsed_ns));
        let over_planned = per_second(received_in_time, whole_ns).min(achieved);
        Rate { asked, achieved, over_planned }
    }

    /// Adds what follows from the facts.
    fn judge(&self, result: &mut RunResult) {
        result.drift = result.thirds.as_ref().and_then(Drift::of);
        result.lengths = self.lengths(result);
        result.histograms = Histograms::of(result);
        let verdict = Verdict::of(&Signs::of(result));
        let is_known = verdict != Verdict::Ok || result.messages.sent > 0;
        result.generator.verdict = is_known.then_some(verdict);
        result.warnings = self.warnings(result);
        result.loops = vec![LoopResult::of(result)];
    }

    /// Returns the messages and their response times by length.
    fn lengths(&self, result: &RunResult) -> Vec<LengthClass> {
        let bounds = self.options.lengths.classes();
        if let [(length_min, length)] = bounds[..] {
            let (messages, latency_ns) = (result.messages.sent, result.latency_ns.clone());
            return vec![LengthClass { length, length_min, messages, latency_ns }];
        }
        let class = |((length_min, length), class): (&(u64, u64), &Class)| LengthClass {
            length: *length,
            length_min: *length_min,
            messages: class.sent,
            latency_ns: Times::of(class.latency.clone(), &self.options.percentiles),
        };
        bounds.iter().zip(&self.run.recorder.classes).map(class).collect()
    }

    fn hiccups(&self) -> Hiccups {
        let throttled_ns = self.phases.usage.throttled_ns();
        Hiccups { throttled_ns, ..self.run.recorder.hiccups.found() }
    }

    /// Returns when the run took place.
    fn stamp(&self, elapsed_ns: u64) -> RunStamp {
        let clock = self.run.clock;
        let measured_from = clock.wall_time(self.phases.measure_from_ns);
        let elapsed = Duration::from_nanos(elapsed_ns);
        let part = self.options.share.to_string();
        let clock_error = clock_error().map(|error| ClockError {
            synchronized: error.is_synchronized,
            estimated_ns: duration_ns(error.estimated),
            max_ns: duration_ns(error.most),
        });
        RunStamp { part, clock_error, ..RunStamp::new(clock.wall_time(0), measured_from, elapsed) }
    }

    /// The settings of the sockets, and where they left from.
    fn sockets(&self) -> Option<Sockets> {
        let facts = self.settings.as_ref()?;
        let bind = self
            .opener
            .local_addrs
            .used()
            .into_iter()
            .map(|local| BindUse { address: local.bind.to_string(), opened: local.opened });
        Some(Sockets {
            rcvbuf: facts.receive_buf_bytes.map(|bytes| bytes as u64),
            sndbuf: facts.send_buf_bytes.map(|bytes| bytes as u64),
            dscp: facts.dscp.map(|dscp| dscp.number().into()),
            ttl: facts.ttl.map(u64::from),
            mss: facts.mss.map(u64::from),
            mptcp: facts.multipath,
            busy_poll_ns: facts.busy_poll.map(duration_ns),
            congestion: facts.congestion.clone(),
            bind: bind.collect(),
            ..Sockets::default()
        })
    }

    /// Returns the generator's health, without the verdict on it.
    fn health(&self) -> GeneratorHealth {
        let (recorder, usage) = (&self.run.recorder, &self.phases.usage);
        let (cpu_ns, metered_ns) = (usage.cpu_ns(), usage.elapsed_ns());
        let schedule_lag = || Times::of(recorder.schedule_lag.clone(), &self.options.percentiles);
        GeneratorHealth {
            schedule_lag_ns: self.options.rate.map(|_| schedule_lag()),
            held_back: recorder.held_back,
            unsent: self.unsent(),
            cpu_share: ratio(cpu_ns, metered_ns).min(1.0),
            wait_share: usage.waited_ns().map(|waited| ratio(waited, metered_ns).min(1.0)),
            wait_ns_mean: usage.wait_ns_mean(),
            cpu_ns_per_message: cpu_ns.checked_div(recorder.measured.received).unwrap_or(0),
            cpu_ns_process: process_cpu_ns(),
            pacing: self.pacing(),
            saturated_values: recorder.saturated_values(),
            ..GeneratorHealth::default()
        }
    }

    fn unsent(&self) -> u64 {
        let recorder = &self.run.recorder;
        let sent = recorder.measured.sent;
        match (self.options.rate, self.options.count, self.phases.ended_by) {
            (Some(_), ..) => self.run.unsent().saturating_add(recorder.never_taken),
            // Messages that no socket took, or that were never begun because the run ended early.
            (None, Some(count), EndedBy::Plan) if self.run.is_count_reached() => {
                count.saturating_sub(sent)
            }
            (None, Some(count), EndedBy::NoFlow | EndedBy::Silence) => count.saturating_sub(sent),
            _ => 0,
        }
    }

    /// Returns the end of sending. It is later than planned if messages of an open loop were
    /// delayed. If the message count limited a closed loop, it is the time of the last echo.
    fn measured_until_ns(&self) -> u64 {
        let last_ns = match self.run.is_count_reached() && !self.run.is_open_loop() {
            true => self.run.recorder.echo_ns_last,
            false => self.run.recorder.begun_ns_last,
        };
        self.phases.end_ns.max(last_ns)
    }

    /// Returns the number of echoes for the achieved rate. An open loop was asked for the messages
    /// that were due, so each echo counts whenever it came. The last echoes of a closed loop let no
    /// further messages go, so they do not count.
    fn received_in_time(&self) -> u64 {
        match self.options.rate.is_some() || self.run.is_count_reached() {
            true => self.run.recorder.measured.received,
            false => self.run.recorder.received_by_end,
        }
    }

    /// Returns true if the loop sleeps until the next message is due, however soon that is.
    pub(super) fn paces_by_sleep(&self) -> bool {
        self.pacing() == Pacing::Sleep
    }

    fn pacing(&self) -> Pacing {
        match (self.options.spin, self.options.rate) {
            (Some(Spin::Always), _) => Pacing::Spin,
            (Some(Spin::Never), Some(_)) => Pacing::Sleep,
            (Some(Spin::Never) | None, None) => Pacing::None,
            (Some(Spin::For(_)) | None, _) => Pacing::Hybrid,
        }
    }

    fn status(&self, load_made: f64) -> (Status, Option<String>) {
        let messages = &self.run.recorder.measured;
        let is_interrupted = self.phases.ended_by == EndedBy::Interrupt;
        if messages.received == 0 {
            let difference = self.run.recorder.first_difference.as_ref();
            let differs = |difference| format!("an echo differed from what was sent: {difference}");
            let why = difference.map_or_else(|| self.no_result_reason(is_interrupted), differs);
            return (Status::Error, Some(why));
        }
        let why = match self.phases.ended_by {
            EndedBy::Plan if load_made >= LOAD_MADE_MIN => return (Status::Ok, None),
            EndedBy::Plan => self.shortfall_reason(load_made),
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
            // It has sent nothing, so nothing came back; see `no_result_reason`.
            EndedBy::Silence | EndedBy::TooLate { .. } => {
                "ended early: nothing came back any more".to_owned()
            }
        };
        (Status::Partial, Some(why))
    }

    /// Returns why the run measured nothing.
    fn no_result_reason(&self, is_interrupted: bool) -> String {
        let measured = &self.run.recorder.measured;
        if let EndedBy::TooLate { late_ns } = self.phases.ended_by {
            return format!(
                "too late to start at the requested time: the connections were open {:?} after the \
                 warm-up had to start",
                Duration::from_nanos(late_ns)
            );
        }
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
            (None, None) => match self.main_loss_cause() {
                Some(cause) => format!("nothing came back from {endpoint}: {cause}"),
                None => format!("nothing came back from {endpoint}"),
            },
        }
    }
}

/// Returns true if both ends are on this machine.
fn is_local(target: &ResolvedEndpoint) -> bool {
    let is_own = |addr: SocketAddr| addr.ip().is_loopback() || is_own(addr).unwrap_or(false);
    target.ip_addr().is_none_or(is_own)
}

/// Returns true if an address belongs to this machine: the kernel then picks the same address as
/// the source. Connecting a UDP socket sends nothing.
fn is_own(addr: SocketAddr) -> io::Result<bool> {
    let any = if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(addr)?;
    Ok(socket.local_addr()?.ip() == addr.ip())
}

/// Completes the counts at the end: messages neither answered nor lost are in flight.
fn with_in_flight(messages: Messages) -> Messages {
    let in_flight_at_end = messages.sent - messages.received - messages.lost;
    Messages { in_flight_at_end, ..messages }
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 a last digit does not matter")]
fn to_f64(count: u64) -> f64 {
    count as f64
}

/// Returns a count per second. A single division avoids the error of a rounded intermediate result.
fn per_second(count: u64, time_ns: u64) -> f64 {
    if time_ns == 0 { 0.0 } else { to_f64(count) * 1e9 / to_f64(time_ns) }
}

/// Returns the share of `part` in `all`; 0 if `all` is 0.
pub(super) fn ratio(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { to_f64(part) / to_f64(all) }
}

//! Adds the results of parts of one load: the loops of one process, or processes on several hosts.
//!
//! Every field is named here, so the compiler asks what becomes of a new one.

mod counts;

use super::{
    Distribution, Drift, Environment, GeneratorHealth, Hiccups, Histograms, Interval, LoadLoop,
    Rate, Rtt, RunResult, RunStamp, Sockets, Status, Tcp, Times, Warning, timeline,
};
use crate::units::duration_ns;

impl RunResult {
    /// Adds the results of all parts of one load; `None` without a part.
    ///
    /// Counts, bytes and histograms are added, so distributions are those of all samples. The
    /// measured time reaches from the first part's begin to the last part's end, and rates are over
    /// that time. The verdict, the CPU share and the waits are those of the worst part, and so are
    /// the hiccups of the loops of one process. What all parts have in common comes from the first.
    /// The result has no `asserts`, because they must be checked again.
    ///
    /// ```
    /// use resound::measured::RunResult;
    ///
    /// let mut parts = [RunResult::default(), RunResult::default()];
    /// parts[0].messages.received = 2;
    /// parts[1].messages.received = 3;
    /// let sum = RunResult::sum(parts).expect("there are parts");
    /// assert_eq!(sum.messages.received, 5);
    /// ```
    pub fn sum(parts: impl IntoIterator<Item = RunResult>) -> Option<RunResult> {
        let mut parts = parts.into_iter();
        let mut sum = parts.next()?;
        sum.asserts.clear();
        for part in parts {
            sum.add(part);
        }
        sum.complete();
        Some(sum)
    }

    /// Adds a part, but leaves the figures that [`RunResult::complete`] computes.
    fn add(&mut self, part: RunResult) {
        self.add_rate(&part);
        // The fields marked `_` are those of the first part, or are computed elsewhere.
        #[rustfmt::skip]
        let RunResult {
            version: _, program: _, endpoint: _, label: _, mode: _, load_loop: _, arrival: _,
            depth: _, length: _, options: _, asserts: _,
            embedded_server: _, connections: _, elapsed_ns: _, planned_ns: _, load_made: _,
            is_interrupted: _, is_too_late: _, warmup_ns: _, drain_ns: _, rate: _,
            parts: _, drift: _, histograms: _,
            status, error, environment, run, messages, warmup_messages, losses, flows, bytes,
            sockets, trains, tcp, udp, server_drops,
            latency_ns, lengths, service_time_ns, split, thirds,
            timeline, hiccups, generator, loops, first_difference, warnings,
        } = part;
        let is_one_process = self.run.id == run.id;
        self.messages += messages;
        self.warmup_messages += warmup_messages;
        self.losses += losses;
        self.flows += flows;
        self.bytes += bytes;
        self.status = self.status_with(status);
        self.error = self.error.take().or(error);
        self.environment.add(environment);
        add_known(&mut self.sockets, sockets, Sockets::add);
        add_known(&mut self.trains, trains, |own, other| *own += other);
        add_known(&mut self.tcp, tcp, Tcp::add);
        add_known(&mut self.udp, udp, |own, other| *own += other);
        add_known(&mut self.server_drops, server_drops, |own, drops| {
            drops.into_iter().for_each(|(cause, count)| *own.entry(cause).or_default() += count);
        });
        self.thirds = match (self.thirds.take(), thirds) {
            (own, _) if latency_ns.values.count() == 0 => own,
            (_, other) if self.latency_ns.values.count() == 0 => other,
            (own, other) => own.zip(other).map(|(own, other)| sum_of_thirds(own, &other)),
        };
        timeline::add(&mut self.timeline, timeline);
        self.latency_ns.values.add(&latency_ns.values);
        self.add_lengths(lengths);
        add_known(&mut self.service_time_ns, service_time_ns, |own, other| add_values(own, &other));
        add_known(&mut self.split, split, |own, other| own.add(&other));
        self.hiccups.add(hiccups, is_one_process);
        self.generator.add(generator, is_one_process);
        self.loops.extend(loops);
        self.first_difference = self.first_difference.take().or(first_difference);
        add_new(&mut self.warnings, warnings);
    }

    /// Returns the status of the sum with a part of this status, whose messages it has by now.
    fn status_with(&self, part: Status) -> Status {
        match (self.status, part) {
            _ if self.messages.received == 0 => Status::Error,
            (Status::Ok, Status::Ok) => Status::Ok,
            _ => Status::Partial,
        }
    }

    /// Adds the rate and what it depends on. Call it before the counts are added.
    fn add_rate(&mut self, part: &RunResult) {
        self.is_interrupted |= part.is_interrupted;
        self.is_too_late |= part.is_too_late;
        self.warmup_ns = self.warmup_ns.max(part.warmup_ns);
        self.drain_ns = self.drain_ns.max(part.drain_ns);
        let echoes = self.echoes_of_rate() + part.echoes_of_rate();
        let (own_weight, weight) = (self.weight(), part.weight());
        let made = self.load_made * own_weight + part.load_made * weight;
        self.load_made = if own_weight + weight > 0.0 { made / (own_weight + weight) } else { 0.0 };
        let begins = [self, part].map(|part| part.run.measured_from);
        let ends = [self, part].map(|part| part.run.measured_to);
        let span = begins.iter().flatten().min().zip(ends.iter().flatten().max());
        let span_ns =
            span.and_then(|(from, to)| to.duration_since(*from).ok()).map_or(0, duration_ns);
        self.elapsed_ns = self.elapsed_ns.max(part.elapsed_ns).max(span_ns);
        self.planned_ns = self.planned_ns.max(part.planned_ns);
        let generator = &mut self.generator;
        let received = self.messages.received.saturating_add(part.messages.received);
        let cpu_ns = |ns: u64, count: u64| u128::from(ns) * u128::from(count);
        let cpu_ns = cpu_ns(generator.cpu_ns_per_message, self.messages.received)
            + cpu_ns(part.generator.cpu_ns_per_message, part.messages.received);
        generator.cpu_ns_per_message = mean(cpu_ns, received);
        self.rate = self.rate.sum(&part.rate, echoes, self.elapsed_ns, self.planned_ns);
        self.run.add(&part.run);
        self.connections += part.connections;
        self.embedded_server |= part.embedded_server;
    }

    /// Returns the number of echoes behind the achieved rate.
    fn echoes_of_rate(&self) -> f64 {
        match self.load_loop {
            LoadLoop::Open => self.messages.received as f64,
            // The echoes after the end of the sending are left out; the quotient has their number.
            LoadLoop::Closed => (self.rate.achieved * self.elapsed_ns as f64 / 1e9).round(),
        }
    }

    /// Returns the part's share of the load asked for, in a unit that all parts have in common.
    fn weight(&self) -> f64 {
        self.rate.asked.unwrap_or(self.connections as f64)
    }

    /// Computes the figures of the distributions.
    fn complete(&mut self) {
        let times = [
            Some(&mut self.latency_ns),
            self.service_time_ns.as_mut(),
            self.generator.schedule_lag_ns.as_mut(),
        ];
        let of_lengths = self.lengths.iter_mut().map(|class| &mut class.latency_ns);
        let of_split = self
            .split
            .iter_mut()
            .flat_map(|split| [&mut split.send_ns, &mut split.away_ns, &mut split.wake_ns]);
        for times in times.into_iter().flatten().chain(of_lengths).chain(of_split) {
            times.summary = times.values.summary(&times.summary.list());
        }
        if let Some(tcp) = &mut self.tcp {
            tcp.rtt_ns = Rtt::of(&tcp.rtts);
        }
        self.drift = self.thirds.as_ref().and_then(Drift::of);
        self.histograms = Histograms::of(self);
    }
}

impl Rate {
    fn sum(&self, part: &Rate, echoes: f64, elapsed_ns: u64, planned_ns: Option<u64>) -> Rate {
        let per_second = |time_ns: u64| match time_ns {
            0 => 0.0,
            time_ns => echoes * 1e9 / time_ns as f64,
        };
        let asked = match (self.asked, part.asked) {
            (Some(own), Some(other)) => Some(own + other),
            (own, other) => own.or(other),
        };
        // A part whose end cuts the last message's share of the time counts that message in full,
        // and limits its rate to the one asked for; so does the sum.
        let is_within = |rate: &Rate| rate.asked.is_some_and(|asked| rate.achieved <= asked);
        let most = asked.filter(|_| is_within(self) && is_within(part)).unwrap_or(f64::INFINITY);
        let achieved = per_second(elapsed_ns).min(most);
        let whole_ns = planned_ns.map_or(elapsed_ns, |planned_ns| planned_ns.max(elapsed_ns));
        Rate { asked, achieved, over_planned: per_second(whole_ns).min(achieved) }
    }
}

impl RunStamp {
    /// Extends the times to those of the part.
    fn add(&mut self, part: &RunStamp) {
        let RunStamp {
            id: _,
            part: _,
            started_at,
            measured_from,
            measured_to,
            clock: _,
            clock_error: _,
        } = part;
        let first = |own, other| [own, other].into_iter().flatten().min();
        self.started_at = first(self.started_at, *started_at);
        self.measured_from = first(self.measured_from, *measured_from);
        self.measured_to = self.measured_to.max(*measured_to);
    }
}

impl Environment {
    /// Adds the CPUs of the part. The other facts are those of the first part.
    fn add(&mut self, part: Environment) {
        if self.host == part.host {
            self.cpus_allowed.extend(part.cpus_allowed);
            self.cpus_allowed.sort_unstable();
            self.cpus_allowed.dedup();
        }
        self.loopback &= part.loopback;
        self.shared_cpus |= part.shared_cpus;
    }
}

impl Sockets {
    /// Adds the sockets that left from each address. The settings are those of the first part.
    fn add(&mut self, part: Sockets) {
        for used in part.bind {
            match self.bind.iter_mut().find(|own| own.address == used.address) {
                Some(own) => own.opened += used.opened,
                None => self.bind.push(used),
            }
        }
    }
}

impl Tcp {
    fn add(&mut self, part: Tcp) {
        let weights = (self.connections, part.connections);
        let Tcp {
            connections,
            congestion,
            retransmits,
            bytes_retransmitted,
            rtt_ns: _,
            min_rtt_ns,
            cwnd,
            mss,
            delivery_rate,
            lost,
            reordering,
            rtts,
        } = part;
        self.mss = match weights {
            (0, _) => mss,
            (_, 0) => self.mss,
            _ => self.mss.min(mss),
        };
        self.cwnd = weighted_mean((self.cwnd, cwnd), weights);
        self.delivery_rate = weighted_mean((self.delivery_rate, delivery_rate), weights);
        self.connections += connections;
        self.congestion = self.congestion.take().or(congestion);
        self.retransmits += retransmits;
        self.bytes_retransmitted += bytes_retransmitted;
        self.min_rtt_ns = [self.min_rtt_ns, min_rtt_ns].into_iter().flatten().min();
        self.lost += lost;
        self.reordering += reordering;
        self.rtts.add(&rtts);
    }
}

impl Hiccups {
    /// Adds the hiccups of another thread. A halt stops all threads of a process at once, so the
    /// figures of a process are those of the thread that was stopped most.
    fn add(&mut self, part: Hiccups, is_one_process: bool) {
        let Hiccups { count, longest_ns, total_ns, lost, throttled_ns } = part;
        let add = |own: u64, other: u64| if is_one_process { own.max(other) } else { own + other };
        self.count = add(self.count, count);
        self.longest_ns = self.longest_ns.max(longest_ns);
        self.total_ns = add(self.total_ns, total_ns);
        self.lost += lost;
        add_known(&mut self.throttled_ns, throttled_ns, |own, other| *own = add(*own, other));
    }
}

impl GeneratorHealth {
    fn add(&mut self, part: GeneratorHealth, is_one_process: bool) {
        let GeneratorHealth {
            verdict,
            schedule_lag_ns,
            held_back,
            unsent,
            cpu_share,
            wait_share,
            wait_ns_mean,
            cpu_ns_per_message: _,
            cpu_ns_process,
            pacing: _,
            saturated_values,
            intervals_lost,
        } = part;
        self.verdict = self.verdict.max(verdict);
        add_known(&mut self.schedule_lag_ns, schedule_lag_ns, |own, other| {
            add_values(own, &other);
        });
        self.held_back += held_back;
        self.unsent = self.unsent.saturating_add(unsent);
        self.cpu_share = self.cpu_share.max(cpu_share);
        add_known(&mut self.wait_share, wait_share, |own, other| *own = own.max(other));
        self.wait_ns_mean = self.wait_ns_mean.max(wait_ns_mean);
        self.cpu_ns_process = match is_one_process {
            true => self.cpu_ns_process.max(cpu_ns_process),
            false => self.cpu_ns_process + cpu_ns_process,
        };
        self.saturated_values += saturated_values;
        self.intervals_lost += intervals_lost;
    }
}

impl Interval {
    /// Adds the figures of another loop in the same part of the run.
    pub fn add(&mut self, part: &Interval) {
        let Interval { start_ns, end_ns, is_warmup, is_drain, messages, latency, flows_open } =
            part;
        self.start_ns = self.start_ns.min(*start_ns);
        self.end_ns = self.end_ns.max(*end_ns);
        self.is_warmup &= is_warmup;
        self.is_drain &= is_drain;
        self.messages += *messages;
        self.latency.add(latency);
        self.flows_open += flows_open;
    }
}

/// Adds what at least one side knows.
fn add_known<T>(own: &mut Option<T>, other: Option<T>, add: impl FnOnce(&mut T, T)) {
    match (own.as_mut(), other) {
        (Some(own), Some(other)) => add(own, other),
        (None, other) => *own = other,
        (Some(_), None) => {}
    }
}

/// Adds the values; the summary is computed when all are added.
fn add_values(own: &mut Times, other: &Times) {
    own.values.add(&other.values);
}

/// Adds the thirds of two parts that both reached their last third.
fn sum_of_thirds(mut own: [Distribution; 3], other: &[Distribution; 3]) -> [Distribution; 3] {
    own.iter_mut().zip(other).for_each(|(own, other)| own.add(other));
    own
}

/// Adds the warnings that are not there yet.
fn add_new(own: &mut Vec<Warning>, others: Vec<Warning>) {
    for warning in others {
        if !own.contains(&warning) {
            own.push(warning);
        }
    }
}

/// Returns the mean of two means over so many values each, to the nearest.
fn weighted_mean(means: (u64, u64), counts: (u64, u64)) -> u64 {
    let sum = |mean: u64, count: u64| u128::from(mean) * u128::from(count);
    mean(sum(means.0, counts.0) + sum(means.1, counts.1), counts.0.saturating_add(counts.1))
}

fn mean(sum: u128, count: u64) -> u64 {
    let count = u128::from(count.max(1));
    u64::try_from((sum + count / 2) / count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

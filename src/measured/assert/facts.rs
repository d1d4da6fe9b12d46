//! The figures of a run that an assertion can name, apart from times of messages.

use std::fmt;

use super::{Unit, loss_of_whole, place_of};
use crate::measured::RunResult;

/// A figure with its name.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) name: &'static str,
    /// Its keys in the document, joined by dots, which name it as well; `None` if it is not a
    /// single key.
    pub(super) key: Option<&'static str>,
    pub(super) unit: Unit,
    /// What a run must have so that there is a value.
    pub(super) need: Option<Need>,
    pub(super) value: fn(&RunResult) -> Option<f64>,
}

/// What a run must have so that a figure has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// An open loop.
    Rate,
    /// Timestamps of the kernel.
    Timestamps,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// A server in the process of the generator.
    OwnServer,
}

impl fmt::Display for Need {
    /// Writes what to do so that a run has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Need::Rate => "expected an open loop, such as --rate 10k",
            Need::Timestamps => "expected --timestamps over TCP or UDP",
            Need::Tcp => "expected TCP, such as tcp://127.0.0.1:7007",
            Need::Udp => "expected UDP, such as udp://127.0.0.1:7007",
            Need::OwnServer => {
                "expected the server in this process, such as --transport udp without an endpoint"
            }
        })
    }
}

/// A count of every run: `count!(messages.lost, "lost")`.
macro_rules! count {
    ($group:ident . $key:ident, $name:expr) => {
        Fact {
            name: $name,
            key: Some(concat!(stringify!($group), ".", stringify!($key))),
            unit: Unit::Count,
            need: None,
            value: |result| Some(result.$group.$key as f64),
        }
    };
}

/// A count of some runs, whose name is its key: `count_of!(Need::Udp, udp.receive_drops)`.
macro_rules! count_of {
    ($need:expr, $group:ident . $key:ident) => {
        Fact {
            name: concat!(stringify!($group), ".", stringify!($key)),
            key: None,
            unit: Unit::Count,
            need: Some($need),
            value: |result| Some(result.$group.as_ref()?.$key as f64),
        }
    };
}

const fn fact(
    name: &'static str,
    unit: Unit,
    need: Option<Need>,
    value: fn(&RunResult) -> Option<f64>,
) -> Fact {
    Fact { name, key: None, unit, need, value }
}

fn time(time_ns: u64) -> Option<f64> {
    Some(time_ns as f64)
}

/// Returns a value if the run measured for some time.
fn measured(result: &RunResult, value: f64) -> Option<f64> {
    (result.elapsed_ns > 0).then_some(value)
}

/// Every figure with a name. A test compares it with the counts in the schema.
pub(super) const FACTS: &[Fact] = &[
    fact("rate", Unit::Rate, None, |result| measured(result, result.rate.over_planned)),
    fact("achieved", Unit::Percent, Some(Need::Rate), |result| {
        Some(result.rate.over_planned * 100.0 / result.rate.asked?)
    }),
    fact("health", Unit::Verdict, None, |result| {
        measured(result, place_of(result.generator.verdict?))
    }),
    fact("loss", Unit::Percent, None, loss_of_whole),
    fact("cpu_share", Unit::Percent, None, |result| {
        measured(result, result.generator.cpu_share * 100.0)
    }),
    fact("wait_share", Unit::Percent, None, |result| {
        measured(result, result.generator.wait_share? * 100.0)
    }),
    fact("cpu_per_message", Unit::Time, None, |result| {
        measured(result, result.generator.cpu_ns_per_message as f64)
    }),
    fact("hiccup.max", Unit::Time, None, |result| {
        measured(result, result.hiccups.longest_ns as f64)
    }),
    fact("hiccup.total", Unit::Time, None, |result| {
        measured(result, result.hiccups.total_ns as f64)
    }),
    fact("hiccup.throttled", Unit::Time, None, |result| {
        measured(result, result.hiccups.throttled_ns? as f64)
    }),
    count!(hiccups.count, "hiccup.count"),
    count!(hiccups.lost, "hiccup.lost"),
    count!(messages.sent, "sent"),
    count!(messages.received, "received"),
    count!(messages.lost, "lost"),
    count!(messages.late, "late"),
    count!(messages.duplicated, "duplicated"),
    count!(messages.reordered, "reordered"),
    count!(messages.corrupted, "corrupted"),
    count!(messages.in_flight_at_end, "in_flight_at_end"),
    count!(warmup_messages.sent, "warmup.sent"),
    count!(warmup_messages.received, "warmup.received"),
    count!(warmup_messages.lost, "warmup.lost"),
    count!(warmup_messages.late, "warmup.late"),
    count!(warmup_messages.duplicated, "warmup.duplicated"),
    count!(warmup_messages.reordered, "warmup.reordered"),
    count!(warmup_messages.corrupted, "warmup.corrupted"),
    count!(warmup_messages.in_flight_at_end, "warmup.in_flight_at_end"),
    count!(losses.timed_out, "losses.timed_out"),
    count!(losses.refused, "losses.refused"),
    count!(losses.disconnected, "disconnected"),
    count!(losses.network_unreachable, "network_unreachable"),
    count!(losses.host_unreachable, "host_unreachable"),
    count!(losses.network_down, "network_down"),
    count!(losses.not_permitted, "not_permitted"),
    count!(losses.access_denied, "access_denied"),
    count!(losses.message_too_long, "message_too_long"),
    count!(losses.no_buffers, "no_buffers"),
    count!(losses.other, "losses.other"),
    count!(flows.opened, "opened"),
    count!(flows.refused, "refused"),
    count!(flows.reset, "reset"),
    count!(flows.closed, "closed"),
    count!(flows.timed_out, "timed_out"),
    count!(flows.failed_locally, "failed_locally"),
    count!(flows.unreachable, "unreachable"),
    count!(flows.reconnected, "reconnected"),
    count!(bytes.sent, "bytes_sent"),
    count!(bytes.received, "bytes_received"),
    count!(generator.held_back, "held_back"),
    count!(generator.unsent, "unsent"),
    count!(generator.saturated_values, "saturated_values"),
    count!(generator.intervals_lost, "intervals_lost"),
    count_of!(Need::Timestamps, split.samples),
    count_of!(Need::Udp, trains.sends),
    count_of!(Need::Udp, trains.sent),
    count_of!(Need::Udp, trains.receives),
    count_of!(Need::Udp, trains.received),
    count_of!(Need::Udp, udp.receive_drops),
    fact("server_drops", Unit::Count, Some(Need::OwnServer), |result| {
        let drops = result.server_drops.as_ref()?.values();
        Some(drops.fold(0, |sum: u64, count| sum.saturating_add(*count)) as f64)
    }),
    count_of!(Need::Tcp, tcp.connections),
    count_of!(Need::Tcp, tcp.retransmits),
    count_of!(Need::Tcp, tcp.bytes_retransmitted),
    fact("tcp.rtt.p50", Unit::Time, Some(Need::Tcp), |result| {
        time(result.tcp.as_ref()?.rtt_ns.p50?)
    }),
    fact("tcp.rtt.max", Unit::Time, Some(Need::Tcp), |result| {
        time(result.tcp.as_ref()?.rtt_ns.max?)
    }),
    fact("tcp.min_rtt", Unit::Time, Some(Need::Tcp), |result| {
        time(result.tcp.as_ref()?.min_rtt_ns?)
    }),
    count_of!(Need::Tcp, tcp.cwnd),
    count_of!(Need::Tcp, tcp.mss),
    count_of!(Need::Tcp, tcp.delivery_rate),
    count_of!(Need::Tcp, tcp.lost),
    count_of!(Need::Tcp, tcp.reordering),
];

/// Returns the figure of this name.
pub(super) fn named(name: &str) -> Option<&'static Fact> {
    FACTS.iter().find(|fact| fact.name == name || fact.key == Some(name))
}

//! Facts, then words: what a run of the load generator measured, as plain data, and the writers
//! that put it into text or files.
//!
//! [`Report`] is the JSON document of version 1, field by field in its order: keys may be added,
//! none renamed. Times are whole nanoseconds, rates a second.

mod assert;
mod distribution;
mod environment;
mod files;
mod health;
mod interval;
mod json;
mod losses;
#[cfg(test)]
mod samples;
mod text;
mod words;

use serde::Serialize;

pub use self::assert::Assertion;
pub use self::distribution::{Distribution, Percentile, PercentileList, Summary};
pub use self::files::{Format, HlogWriter, write_csv, write_hgrm};
pub use self::health::{Signs, health_text};
pub use self::losses::{LossCause, Losses};
pub use self::words::time_text;

/// The version of the JSON document.
pub const VERSION: u32 = 1;

/// All that is known of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// The program and its version.
    pub program: String,
    /// Whether it ran to its end.
    pub status: Status,
    /// Why it did not, in one line.
    pub error: Option<String>,
    /// What was asked for echoes.
    pub endpoint: String,
    /// Whether that is a server in this very process.
    pub embedded_server: bool,
    /// Text of the user's own.
    pub label: Option<String>,
    /// What a message is: an echo, or a connection with one echo.
    pub mode: Mode,
    /// What decides when a message is sent.
    #[serde(rename = "loop")]
    pub load_loop: LoadLoop,
    /// Messages in flight on a connection, in a closed loop.
    pub depth: u64,
    /// Connections, or client sockets.
    pub connections: u64,
    /// Bytes a message.
    pub length: u64,
    /// The command line.
    pub options: CommandLine,
    /// Where it ran.
    pub environment: Environment,
    /// How long was measured: from the first measured message to the end of the sending.
    pub elapsed_ns: u64,
    /// How long was to be measured: by `--duration`, or by `--count` at `--rate`; null when neither
    /// tells, or when the count was reached first.
    pub planned_ns: Option<u64>,
    /// The share of the load asked for that was made, from 0 to 1: of the time of all connections,
    /// or of the count of a closed loop. What connections were gone, or sockets could not send, is
    /// not made.
    #[serde(serialize_with = "json::finite")]
    pub load_made: f64,
    /// A signal ended it.
    #[serde(skip)]
    pub is_interrupted: bool,
    /// How long was left out before that.
    pub warmup_ns: u64,
    /// How long was waited for the last echoes; not part of `elapsed_ns`.
    pub drain_ns: u64,
    /// Messages a second.
    pub rate: Rate,
    /// What became of the measured messages.
    pub messages: Messages,
    /// What became of the messages of the warm-up, which are in no other figure.
    pub warmup_messages: Messages,
    /// Why measured messages were lost.
    pub losses: Losses,
    /// What became of the connections, from the first to the last.
    pub flows: Flows,
    /// Bytes of measured messages.
    pub bytes: Bytes,
    /// How UDP datagrams went together; null for what is no UDP.
    pub trains: Option<Trains>,
    /// Response time: from the intended send in an open loop, from the real one in a closed one.
    pub latency_ns: Summary,
    /// From the real send, beside an open loop's response time.
    pub service_time_ns: Option<Summary>,
    /// What kept the generator from running while it measured.
    pub hiccups: Hiccups,
    /// The generator's own health.
    pub generator: Generator,
    /// The first echo that was not what had been sent.
    pub first_difference: Option<Difference>,
    /// Each `--assert` with what it was held against.
    pub asserts: Vec<Outcome>,
    /// What the reader should know before quoting a figure.
    pub warnings: Vec<Warning>,
    /// The distribution behind `latency_ns`.
    #[serde(skip)]
    pub latency: Option<Distribution>,
    /// The distribution behind `service_time_ns`.
    #[serde(skip)]
    pub service_time: Option<Distribution>,
    /// The distribution behind the generator's `schedule_lag_ns`.
    #[serde(skip)]
    pub schedule_lag: Option<Distribution>,
}

/// Whether a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It did.
    Ok,
    /// It was interrupted, or no connection was left: the figures are of a shorter run.
    Partial,
    /// It could not run, or nothing came back.
    Error,
}

/// What one message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A message and its echo.
    Echo,
    /// A connection: connect, one echo, close.
    Connect,
}

/// What decides when a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadLoop {
    /// The echo of an earlier one.
    Closed,
    /// The clock.
    Open,
}

/// The command line, as it was typed and as it was understood.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CommandLine {
    /// The words after the program's name.
    pub typed: Vec<String>,
    /// Every option with its value.
    pub meant: serde_json::Map<String, serde_json::Value>,
}

/// Where a run took place. What cannot be found out is null.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Environment {
    /// The operating system and its release.
    pub kernel: String,
    /// The processor's model.
    pub cpu_model: Option<String>,
    /// Processors of the machine that are online; `None` where the system does not say.
    pub cpus_online: Option<u64>,
    /// Processors this thread may run on.
    pub cpus_allowed: Vec<u64>,
    /// The frequency governor of the first of them.
    pub governor: Option<String>,
    /// Where the system's clock comes from.
    pub clock_source: Option<String>,
    /// Both ends are on this machine: there is no network in the figures.
    pub loopback: bool,
    /// Both ends may run on the same processors, and so take time from each other.
    pub shared_cpus: bool,
}

/// Messages a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rate {
    /// By `--rate`.
    #[serde(serialize_with = "json::finite_or_null")]
    pub asked: Option<f64>,
    /// Echoes of measured messages over the time measured. In a closed loop that ends by the clock,
    /// echoes that come after its end are in [`Messages`] and not in this.
    #[serde(serialize_with = "json::finite")]
    pub achieved: f64,
}

/// What became of messages. `sent = received + lost + in_flight_at_end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Messages {
    /// Messages sent; on a stream, those begun.
    pub sent: u64,
    /// Echoes that came in time, corrupted ones included.
    pub received: u64,
    /// Messages whose echo did not come in time.
    pub lost: u64,
    /// Echoes that came after their message was given up. Their messages are among the lost.
    pub late: u64,
    /// Echoes that came once more.
    pub duplicated: u64,
    /// Echoes that came after the echo of a message sent later.
    pub reordered: u64,
    /// Echoes that differed from what was sent, and datagrams that no message can be found for.
    pub corrupted: u64,
    /// Messages that the end of the run left without their echo before they could be lost.
    pub in_flight_at_end: u64,
}

/// What became of connections, or of client sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Flows {
    /// Connections made, or datagram sockets opened.
    pub opened: u64,
    /// Connections refused; datagram sockets that were told so (ICMP port unreachable).
    pub refused: u64,
    /// Connections that the peer reset.
    pub reset: u64,
    /// Connections that the peer closed.
    pub closed: u64,
    /// Connections that were not made in time.
    pub timed_out: u64,
    /// Connections that this host could not make: no descriptor, no ephemeral port, no route.
    pub failed_locally: u64,
    /// Connections that the network kept from the peer: ICMP unreachable, or a firewall's
    /// rejection.
    pub unreachable: u64,
    /// Connections that ended and were opened again (`--reconnect`), among those opened.
    pub reconnected: u64,
}

/// Bytes that sockets took and gave for measured messages, in part too, as many as there were: an
/// echo may be shorter or longer than its message. Late echoes, duplicates and headers are left
/// out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// Sent.
    pub sent: u64,
    /// Received.
    pub received: u64,
}

/// How many UDP datagrams went by one system call, as a *train*: sent with `UDP_SEGMENT`, received
/// with `UDP_GRO`. Of the whole run, the warm-up and the drain included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trains {
    /// Trains were asked for: several messages may be in flight, and nobody said otherwise.
    pub asked: bool,
    /// The system would not receive trains, or not send one: since then each was sent alone.
    pub refused: bool,
    /// System calls that sent something.
    pub sends: u64,
    /// Datagrams sent by them.
    pub sent: u64,
    /// System calls that received something.
    pub receives: u64,
    /// Datagrams received by them.
    pub received: u64,
}

/// The generator's own health.
#[derive(Clone, Debug, Serialize)]
pub struct Generator {
    /// Whether the figures are the server's, or those of the generator's own limit.
    pub verdict: Verdict,
    /// How late messages were sent by the generator's own fault, in an open loop. A message that
    /// the peer would not take, or whose connection had too many in flight, is not in it.
    pub schedule_lag_ns: Option<Summary>,
    /// Messages of an open loop that were due while their connection could not take them; of a
    /// closed loop, those that waited because their socket took no more.
    pub held_back: u64,
    /// Messages that were due, or in a closed loop asked for, and were never sent: the connection
    /// was gone, or took no more to the end. They are in no other figure.
    pub unsent: u64,
    /// The share of one processor that the generator's thread used while measuring, without the
    /// polling that found nothing: 1 is all of it.
    #[serde(serialize_with = "json::finite")]
    pub cpu_share: f64,
    /// The share of the time in which the generator's thread could have run, and others did; null
    /// where the system does not say.
    #[serde(serialize_with = "json::finite_or_null")]
    pub wait_share: Option<f64>,
    /// How long the thread waited for a processor each time before it ran, in the mean; null where
    /// the system does not say.
    pub wait_ns_mean: Option<u64>,
    /// Processor time of the generator's thread a message, without polling that found nothing.
    pub cpu_ns_per_message: u64,
    /// Processor time of the whole process since it started.
    pub cpu_ns_process: u64,
    /// How it waited for the time to send.
    pub pacing: Pacing,
    /// Values that were beyond the histogram, and count as its highest.
    pub saturated_values: u64,
    /// Lines of interval results that were lost because stdout or a file took them too slowly.
    pub intervals_lost: u64,
}

/// Times of 10 ms and more in which the generator's thread neither ran nor slept by its own will:
/// the process was stopped, its machine paused, its cgroup throttled, or its processor busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hiccups {
    /// How many.
    pub count: u64,
    /// The longest.
    pub longest_ns: u64,
    /// All together.
    pub total_ns: u64,
    /// Measured messages that were under way in one of them and are lost: their echoes may have
    /// come while the generator could not read them.
    pub lost: u64,
    /// How long the CPU quota of the process's own cgroup kept its threads from running, added up
    /// over its processors; null where the system does not say.
    pub throttled_ns: Option<u64>,
}

/// Who set the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The generator had time to spare and kept its schedule.
    Ok,
    /// The generator was kept from running: what it measured holds its own delay.
    Starved,
    /// The generator had no processor time left: the server may be faster than shown.
    Saturated,
    /// The generator sent later than was asked.
    Behind,
}

/// How the generator waits for the time to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pacing {
    /// No schedule: it sleeps until an echo comes.
    None,
    /// It sleeps until the next message is due, to the millisecond.
    Sleep,
    /// It never sleeps.
    Spin,
    /// It sleeps while there is time and polls without sleeping when there is little.
    Hybrid,
}

/// The first echo that was not what had been sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The connection, counted from 0.
    pub flow: u64,
    /// The message of that connection, counted from 0; null for a datagram that names none.
    pub message: Option<u64>,
    /// Where in the message, in bytes from its beginning.
    pub offset: u64,
    /// The byte that was sent there; null when the echo is longer than the message.
    pub sent: Option<u8>,
    /// The byte that came; null when the echo is shorter.
    pub received: Option<u8>,
}

/// An `--assert` and what it was held against.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// As it was typed.
    pub expression: String,
    /// The value of its left side in its unit (nanoseconds, a count, a second, percent); null when
    /// there is none, and then it does not hold.
    #[serde(serialize_with = "json::finite_or_null")]
    pub value: Option<f64>,
    /// Whether it holds.
    pub held: bool,
}

/// What the reader should know before quoting a figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Warning(pub String);

/// What was measured between two points of a run.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Since the start of the sending, warm-up included.
    pub start_ns: u64,
    /// Since the start of the sending.
    pub end_ns: u64,
    /// It is of the warm-up, and in no total.
    pub is_warmup: bool,
    /// The run has come to its drain: nothing is sent any more but what was due before.
    pub is_drain: bool,
    /// What became of messages in it; those in flight at its end.
    pub messages: Messages,
    /// Echoes that came in it, by latency.
    pub latency: Distribution,
    /// Connections that are open at its end.
    pub flows_open: u64,
}

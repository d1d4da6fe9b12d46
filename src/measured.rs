//! The facts of a run as plain data. The load generator and `ping` count into these types, and
//! [`report`](crate::report) writes them as text and files.
//!
//! [`RunResult`] is the JSON document of version 1: its fields, in their order, are the keys. Keys
//! may be added; none is renamed or removed. Times are whole nanoseconds, rates are per second.

mod assert;
mod client_limit;
mod comparison;
mod distribution;
mod document;
mod drift;
mod environment;
mod finite;
mod health;
mod histograms;
mod interval_sum;
mod lengths;
mod loops;
mod losses;
mod merge;
pub mod ping;
#[cfg(test)]
pub(crate) mod samples;
mod sockets;
mod split;
mod stamp;
mod sum;
mod sweep;
mod timeline;
mod transport;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::assert::{Assertion, Need, Outcome};
pub(crate) use self::assert::{Unit, verdict_name};
pub(crate) use self::client_limit::ACHIEVED_SHARE_MIN;
pub use self::comparison::{
    COMPARE, Change, Comparison, LeftOut, Method, Metric, Pair, Regression,
};
pub use self::distribution::{Distribution, Percentile, PercentileList, Summary, Times};
pub use self::document::DOCUMENT_BYTES_MAX;
pub use self::drift::{Drift, Third};
pub(crate) use self::health::OFFERED_SHARE_MIN;
pub use self::health::{GeneratorHealth, Hiccups, Pacing, Signs, Verdict};
pub use self::histograms::Histograms;
pub use self::interval_sum::IntervalSum;
pub(crate) use self::lengths::LENGTH_CLASSES_MAX;
pub use self::lengths::LengthClass;
pub use self::loops::LoopResult;
pub use self::losses::{LossCause, Losses};
pub use self::merge::Part;
pub use self::sockets::{BindUse, Sockets};
pub use self::split::{Passage, Split, SplitValues, Stretches};
pub use self::stamp::{ClockError, RunStamp};
pub use self::sweep::{Found, Knee, Limit, SweepResult, Swept, SweptFlag};
pub use self::timeline::{Slot, SlotTimes};
pub use self::transport::{Rtt, Tcp, Trains, Udp};

/// The version of the JSON document.
pub const VERSION: u32 = 1;

/// The program and its version, as in the document.
pub const PROGRAM: &str = concat!("resound ", env!("CARGO_PKG_VERSION"));

/// All facts of a run. It is read back from its document with the distributions behind its figures,
/// also where it is a part of another document; see [`RunResult::from_json`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, remote = "Self")]
pub struct RunResult {
    /// [`VERSION`].
    pub version: u32,
    /// The program and its version.
    pub program: String,
    /// Whether the run reached its end.
    pub status: Status,
    /// Why it did not, on one line.
    pub error: Option<String>,
    /// The server's address, as the user gave it.
    pub endpoint: String,
    /// Whether the server runs in this process.
    pub embedded_server: bool,
    /// A text that the user gave (`--label`).
    pub label: Option<String>,
    /// What a message is: an echo, or a connection with one echo.
    pub mode: Mode,
    /// What decides when a message is sent.
    #[serde(rename = "loop")]
    pub load_loop: LoadLoop,
    /// The spacing of an open loop: `fixed`, `poisson` or `burst:N`; null in a closed loop.
    pub arrival: Option<String>,
    /// Messages in flight per connection: in a closed loop always, in an open loop at most.
    pub depth: u64,
    /// Connections, or client sockets.
    pub connections: u64,
    /// Bytes per message; of mixed lengths the mean to expect, to the nearest byte.
    pub length: u64,
    /// The command line.
    pub options: CommandLine,
    /// Where it ran.
    pub environment: Environment,
    /// Which run this is, and when it took place.
    pub run: RunStamp,
    /// How long the run measured: from the first measured message to the end of the sending.
    pub elapsed_ns: u64,
    /// How long the run was asked to measure: by `--duration`, or by `--count` at `--rate`. Null if
    /// neither says, or if the count was reached first.
    pub planned_ns: Option<u64>,
    /// The share of the load asked for that was made, from 0 to 1: of the time of all connections,
    /// or of the count of a closed loop. A connection that is gone, or a socket that cannot send,
    /// makes no load.
    #[serde(serialize_with = "finite::finite")]
    pub load_made: f64,
    /// Whether a signal ended the run.
    #[serde(skip)]
    pub is_interrupted: bool,
    /// Whether the requested start had passed before the connections were open.
    #[serde(skip)]
    pub is_too_late: bool,
    /// How long the warm-up took, which `elapsed_ns` leaves out.
    pub warmup_ns: u64,
    /// How long the generator waited for the last echoes; not part of `elapsed_ns`.
    pub drain_ns: u64,
    /// Messages per second.
    pub rate: Rate,
    /// What became of the measured messages.
    pub messages: Messages,
    /// What became of the warm-up's messages, which are in no other figure.
    pub warmup_messages: Messages,
    /// Why measured messages were lost.
    pub losses: Losses,
    /// What became of the connections, from the first to the last.
    pub flows: Flows,
    /// Bytes of measured messages.
    pub bytes: Bytes,
    /// The settings of the sockets; null without a connection.
    pub sockets: Option<Sockets>,
    /// How many UDP datagrams went per system call; null for other transports.
    pub trains: Option<Trains>,
    /// The kernel's figures of TCP connections; null for other transports, or if it tells none.
    pub tcp: Option<Tcp>,
    /// The kernel's figures of UDP sockets; null for other transports, or if it tells none.
    pub udp: Option<Udp>,
    /// How often the server in this process dropped datagrams or replies, by cause, if at all; null
    /// if the server is another program, which has its own counters.
    pub server_drops: Option<BTreeMap<String, u64>>,
    /// Response time: from the intended send in an open loop, from the actual send in a closed
    /// loop.
    pub latency_ns: Times,
    /// Response times by length: one entry if all messages have the same length.
    #[serde(deserialize_with = "lengths::read_classes")]
    pub lengths: Vec<LengthClass>,
    /// Service time of an open loop: from the actual send.
    pub service_time_ns: Option<Times>,
    /// Where the time of sampled messages went (`--timestamps`); null if not asked for.
    pub split: Option<Split>,
    /// The response times of each third of the run; null if one has too few echoes, or if the run
    /// ended early.
    pub drift: Option<Drift>,
    /// The response times behind `drift`; `None` if the run ended before its last third.
    #[serde(skip)]
    pub thirds: Option<[Distribution; 3]>,
    /// The course of the run in slots of time; empty unless it was recorded.
    pub timeline: Vec<Slot>,
    /// Times in which the generator could not run, within `elapsed_ns` and `drain_ns`.
    pub hiccups: Hiccups,
    /// The generator's own health.
    pub generator: GeneratorHealth,
    /// The parts of a merged result, in their order; empty in the result of a run.
    pub parts: Vec<Part>,
    /// The part that each generator loop has in the run.
    pub loops: Vec<LoopResult>,
    /// The first echo that differed from its message.
    pub first_difference: Option<Difference>,
    /// Each `--assert` with the value that it compared.
    pub asserts: Vec<Outcome>,
    /// What the reader should know before quoting a figure.
    pub warnings: Vec<Warning>,
    /// The histograms behind the distributions.
    pub histograms: Histograms,
}

impl Default for RunResult {
    /// Returns the result of a run that measured nothing: 0, null or an empty list in every field.
    fn default() -> RunResult {
        RunResult {
            version: VERSION,
            program: PROGRAM.to_owned(),
            status: Status::Error,
            error: None,
            endpoint: String::new(),
            embedded_server: false,
            label: None,
            mode: Mode::Echo,
            load_loop: LoadLoop::Closed,
            arrival: None,
            depth: 0,
            connections: 0,
            length: 0,
            options: CommandLine::default(),
            environment: Environment::default(),
            run: RunStamp::default(),
            elapsed_ns: 0,
            planned_ns: None,
            load_made: 0.0,
            is_interrupted: false,
            is_too_late: false,
            warmup_ns: 0,
            drain_ns: 0,
            rate: Rate::default(),
            messages: Messages::default(),
            losses: Losses::default(),
            warmup_messages: Messages::default(),
            flows: Flows::default(),
            bytes: Bytes::default(),
            sockets: None,
            trains: None,
            tcp: None,
            udp: None,
            server_drops: None,
            latency_ns: Times::default(),
            lengths: Vec::new(),
            service_time_ns: None,
            split: None,
            drift: None,
            thirds: None,
            timeline: Vec::new(),
            hiccups: Hiccups::default(),
            generator: GeneratorHealth::default(),
            parts: Vec::new(),
            loops: Vec::new(),
            first_difference: None,
            asserts: Vec::new(),
            warnings: Vec::new(),
            histograms: Histograms::default(),
        }
    }
}

impl RunResult {
    /// Returns true if an echo differed from its message, whenever it came.
    pub fn is_corrupted(&self) -> bool {
        self.messages.corrupted > 0 || self.warmup_messages.corrupted > 0
    }
}

/// Whether a run reached its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The run reached its end.
    Ok,
    /// The run was interrupted, or no connection was left. The figures are those of a shorter run.
    Partial,
    /// The run could not start, or no echo came.
    Error,
}

/// What one message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A message and its echo.
    Echo,
    /// A connection: connect, one echo, close.
    Connect,
}

/// What decides when a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadLoop {
    /// The echo of an earlier message.
    Closed,
    /// The clock.
    Open,
}

/// The command line, as typed and as parsed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandLine {
    /// The words after the program's name.
    pub typed: Vec<String>,
    /// Every option with its value.
    pub meant: serde_json::Map<String, serde_json::Value>,
}

/// The machine and the system of a run. A fact that the system does not tell is null.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// The name of the host that the generator ran on.
    pub host: String,
    /// The operating system and its release.
    pub kernel: String,
    /// The model of the CPU.
    pub cpu_model: Option<String>,
    /// The number of CPUs of the machine that are online; `None` if the system does not say.
    pub cpus_online: Option<u64>,
    /// The CPUs that the generator's thread may run on.
    pub cpus_allowed: Vec<u64>,
    /// The frequency governor of the first of them.
    pub governor: Option<String>,
    /// The hardware that the system's clock reads.
    pub clock_source: Option<String>,
    /// Whether both ends are on this machine, so that the figures include no network.
    pub loopback: bool,
    /// Whether both ends may run on the same CPUs and so take time from each other.
    pub shared_cpus: bool,
}

/// Messages per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rate {
    /// The rate of `--rate`.
    #[serde(serialize_with = "finite::finite_or_null")]
    pub asked: Option<f64>,
    /// Echoes of measured messages over the time measured. In a closed loop that ends by the clock,
    /// echoes that come after the end count in [`Messages`] but not here.
    #[serde(serialize_with = "finite::finite")]
    pub achieved: f64,
    /// The same echoes over all the time asked for: less than `achieved` if a run ended early.
    /// An `--assert` on the rate compares this.
    #[serde(serialize_with = "finite::finite")]
    pub over_planned: f64,
}

/// What became of messages. `sent = received + lost + in_flight_at_end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    /// Messages sent; on a stream, messages that were begun.
    pub sent: u64,
    /// Echoes that came in time, corrupted ones included.
    pub received: u64,
    /// Messages whose echo did not come in time.
    pub lost: u64,
    /// Echoes that came after their message had been given up. These messages count as lost.
    pub late: u64,
    /// Echoes that came again.
    pub duplicated: u64,
    /// Echoes that came after the echo of a message sent later.
    pub reordered: u64,
    /// Echoes that differed from their message, and datagrams that match no message.
    pub corrupted: u64,
    /// Messages that had neither an echo nor reached their timeout when the run ended.
    pub in_flight_at_end: u64,
}

/// What became of connections, or of client sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flows {
    /// Connections made, or datagram sockets opened.
    pub opened: u64,
    /// Connections refused, and datagram sockets that got an ICMP port unreachable.
    pub refused: u64,
    /// Connections that the peer reset.
    pub reset: u64,
    /// Connections that the peer closed.
    pub closed: u64,
    /// Connections that did not come about in time.
    pub timed_out: u64,
    /// Connections that this host could not make: no descriptor, no ephemeral port, no route.
    pub failed_locally: u64,
    /// Connections that the network rejected: by ICMP unreachable, or by a firewall.
    pub unreachable: u64,
    /// Connections that ended and were opened again (`--reconnect`). `opened` includes them.
    pub reconnected: u64,
}

/// Bytes of measured messages that sockets sent and received. Messages and echoes that were moved
/// in part count by their bytes, and an echo may be shorter or longer than its message. Late
/// echoes, duplicates and headers are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bytes {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

/// Where the first echo differed from its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The number of the connection, from 0.
    pub flow: u64,
    /// The number of the message on that connection, from 0; null for a datagram that names none.
    pub message: Option<u64>,
    /// The first differing byte, counted from the start of the message.
    pub offset: u64,
    /// The byte that was sent there; null if the echo is longer than the message.
    pub sent: Option<u8>,
    /// The byte that came; null if the echo is shorter.
    pub received: Option<u8>,
}

impl fmt::Display for Difference {
    /// Writes `first difference: connection 3, message 17, byte 5: sent 0x41, received 0x42`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "first difference: connection {}, ", self.flow)?;
        match self.message {
            Some(message) => write!(f, "message {message}, ")?,
            None => write!(f, "an echo that matches no message, ")?,
        }
        write!(f, "byte {}: ", self.offset)?;
        match self.sent {
            Some(byte) => write!(f, "sent 0x{byte:02x}, ")?,
            None => write!(f, "sent nothing there, ")?,
        }
        match self.received {
            Some(byte) => write!(f, "received 0x{byte:02x}"),
            None => write!(f, "received nothing there"),
        }
    }
}

/// What the reader should know before quoting a figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Warning(pub String);

/// The facts of a part of a run between two points in time.
#[derive(Clone, Debug)]
pub struct Interval {
    /// The start, since the start of the sending, warm-up included.
    pub start_ns: u64,
    /// The end, since the start of the sending.
    pub end_ns: u64,
    /// Whether it belongs to the warm-up, which is in no total.
    pub is_warmup: bool,
    /// Whether it belongs to the drain, in which only messages that were due before are sent.
    pub is_drain: bool,
    /// What became of messages in it, and how many were in flight at its end.
    pub messages: Messages,
    /// The latencies of the echoes that came in it.
    pub latency: Distribution,
    /// The connections open at its end.
    pub flows_open: u64,
}

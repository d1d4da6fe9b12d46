//! The facts of a run, as plain data: what the load generator and `ping` count into, and what the
//! writers of [`report`](crate::report) put into text and files.
//!
//! [`RunResult`] is the JSON document of version 1, field by field in its order: keys may be added,
//! none renamed. Times are whole nanoseconds, rates are per second.

mod assert;
mod distribution;
mod environment;
mod finite;
mod health;
mod losses;
#[cfg(test)]
pub(crate) mod samples;

use std::fmt;

use serde::Serialize;

pub(crate) use self::assert::Unit;
pub use self::assert::{Assertion, Outcome};
pub use self::distribution::{Distribution, Percentile, PercentileList, Summary, Times};
pub(crate) use self::health::OFFERED_SHARE_MIN;
pub use self::health::{GeneratorHealth, Hiccups, Pacing, Signs, Verdict};
pub use self::losses::{LossCause, Losses};

/// The version of the JSON document.
pub const VERSION: u32 = 1;

/// The program, as documents name it.
pub const PROGRAM: &str = concat!("resound ", env!("CARGO_PKG_VERSION"));

/// All that is known of a run.
#[derive(Clone, Debug, Serialize)]
pub struct RunResult {
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
    #[serde(serialize_with = "finite::finite")]
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
    pub latency_ns: Times,
    /// From the real send, beside an open loop's response time.
    pub service_time_ns: Option<Times>,
    /// What kept the generator from running while it measured.
    pub hiccups: Hiccups,
    /// The generator's own health.
    pub generator: GeneratorHealth,
    /// The first echo that was not what had been sent.
    pub first_difference: Option<Difference>,
    /// Each `--assert` with what it was held against.
    pub asserts: Vec<Outcome>,
    /// What the reader should know before quoting a figure.
    pub warnings: Vec<Warning>,
}

impl Default for RunResult {
    /// Of a run of which nothing is known: 0, null or an empty list for all that was never
    /// measured.
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
            depth: 0,
            connections: 0,
            length: 0,
            options: CommandLine::default(),
            environment: Environment::default(),
            elapsed_ns: 0,
            planned_ns: None,
            load_made: 0.0,
            is_interrupted: false,
            warmup_ns: 0,
            drain_ns: 0,
            rate: Rate::default(),
            messages: Messages::default(),
            losses: Losses::default(),
            warmup_messages: Messages::default(),
            flows: Flows::default(),
            bytes: Bytes::default(),
            trains: None,
            latency_ns: Times::default(),
            service_time_ns: None,
            hiccups: Hiccups::default(),
            generator: GeneratorHealth::default(),
            first_difference: None,
            asserts: Vec::new(),
            warnings: Vec::new(),
        }
    }
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
    #[serde(serialize_with = "finite::finite_or_null")]
    pub asked: Option<f64>,
    /// Echoes of measured messages over the time measured. In a closed loop that ends by the clock,
    /// echoes that come after its end are in [`Messages`] and not in this.
    #[serde(serialize_with = "finite::finite")]
    pub achieved: f64,
    /// The same echoes over all the time asked for: less than `achieved` where a run ended early.
    /// An `--assert` on the rate compares this.
    #[serde(serialize_with = "finite::finite")]
    pub over_planned: f64,
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

impl fmt::Display for Difference {
    /// `first difference: connection 3, message 17, byte 5: sent 0x41, received 0x42`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "first difference: connection {}, ", self.flow)?;
        match self.message {
            Some(message) => write!(f, "message {message}, ")?,
            None => write!(f, "an echo of no message that was sent, ")?,
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

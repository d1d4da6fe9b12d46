//! A client that measures round trips one by one, as ping(8) does, over any of the transports.
//!
//! It deliberately shares no code with the reactor, so its results check the reactor's results
//! independently. One thread waits by poll(2) for the socket or for the time when something is due.
//! Connecting may block, so another thread does it.

mod background;
mod backoff;
mod link;
mod payload;
mod probes;
mod run;
mod stamps;
mod wait;

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::endpoint::{Endpoint, Transport};
use crate::error::Error;
use crate::measured::{Distribution, Messages, SplitValues, Stretches};
use crate::socket::{BindAddr, SocketOptions};

/// The length of the longest probe. A few probes are in memory at once, and a longer one has no
/// use.
pub const LENGTH_MAX: usize = 16 << 20;

/// What to send, to which endpoint, how often, and how long to wait.
#[derive(Clone, Debug)]
pub struct Options {
    /// The endpoint to probe.
    pub endpoint: Endpoint,
    /// The number of probes. Without it, the run continues until the caller stops it.
    pub count: Option<u64>,
    /// The time between the sending of one probe and the next, however long answers take. If it is
    /// zero, a probe is sent when the one before it is answered or lost. A probe that is due while
    /// no probe can be sent is omitted and not made up for.
    pub interval: Duration,
    /// The bytes of a probe, from 1 to [`LENGTH_MAX`]. A probe of fewer than 8 bytes contains only
    /// the low bytes of its number. Then fewer probes can be told apart: 256 with one byte. In
    /// fewer than 16 bytes there is little else to verify.
    pub length: usize,
    /// How long an answer may take before its probe counts as lost. It also limits the lookup of
    /// the host and the connecting.
    pub timeout: Duration,
    /// Settings of the socket.
    pub socket: SocketOptions,
    /// The addresses to leave from; without any, the kernel picks one.
    pub bind: Vec<BindAddr>,
    /// Splits each round trip by the kernel's timestamps, over TCP and UDP.
    pub timestamps: bool,
    /// No failure ends the run: a probe that cannot be sent is lost, the host is looked up again,
    /// and a connection without any answer for ten times [`timeout`](Options::timeout) is replaced.
    pub keeps_trying: bool,
}

impl Options {
    /// Returns true if probes have timestamps.
    fn has_stamps(&self) -> bool {
        self.timestamps && matches!(self.endpoint.transport(), Transport::Tcp | Transport::Udp)
    }
}

/// What happens during a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The system has no timestamps, for this reason, so that no answer has a split. Reported once,
    /// before [`Event::Started`].
    NoTimestamps(&'a io::Error),
    /// The endpoint is resolved, and the first probe is about to be sent.
    Started,
    /// An echo came back.
    Answer(Answer),
    /// A probe is lost.
    Lost {
        /// The probe's number.
        number: u64,
        /// Why it is lost.
        loss: &'a Loss,
    },
    /// This many bytes came that belong to no probe. Reported at most once between two probes.
    Unasked(usize),
    /// The connection ended while no answer was awaited.
    Disconnected(&'a Loss),
    /// The figures so far, because [`Controls::report`] was readable.
    Figures(&'a Figures),
    /// The counts so far. Reported each time before the run waits.
    Counts(Counts<'a>),
}

/// The counts of a run so far.
#[derive(Clone, Copy, Debug)]
pub struct Counts<'a> {
    /// The counts of probes. A probe that is neither answered nor lost yet counts as in flight.
    pub messages: Messages,
    /// As in [`Results::losses`].
    pub losses: &'a [(Loss, u64)],
    /// As in [`Results::reconnects`].
    pub reconnects: u64,
}

/// The counts and times of the probes so far.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The counts of probes. A probe that is neither answered nor lost yet counts as in flight.
    pub messages: Messages,
    /// The time of each answer that came in time.
    pub latency: Distribution,
}

/// Descriptors by which a signal handler or another thread reaches a running [`ping`].
#[derive(Clone, Copy, Debug)]
pub struct Controls<'a> {
    /// Ends the run when it is readable. [`ping`] does not read from it.
    pub stop: BorrowedFd<'a>,
    /// Requests [`Event::Figures`] each time it is readable. [`ping`] reads the bytes in it.
    pub report: Option<BorrowedFd<'a>>,
}

impl<'a> From<BorrowedFd<'a>> for Controls<'a> {
    fn from(stop: BorrowedFd<'a>) -> Controls<'a> {
        Controls { stop, report: None }
    }
}

/// The echo of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The probe's number, from 1 on.
    pub number: u64,
    /// The bytes received.
    pub length: usize,
    /// The time since just before the probe was sent.
    pub time: Duration,
    /// Whether the echo counts as the probe's answer.
    pub kind: AnswerKind,
    /// Whether it came after the answer to a later probe.
    pub is_reordered: bool,
    /// The offset of the first byte that differs from the probe.
    pub difference: Option<usize>,
    /// Where the time went, if it is the first echo and has all timestamps
    /// ([`Options::timestamps`]). The sum is at most `time`.
    pub stretches: Option<Stretches>,
}

/// Whether an echo counts as the probe's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// It counts: it is the first echo, and it came in time.
    InTime,
    /// Its probe was lost before it came.
    Late,
    /// Its probe was answered before it came.
    Duplicate,
}

/// Why a probe is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// No answer came in time.
    NoAnswer,
    /// No connection was made in time.
    NoConnection,
    /// The socket had no room for the probe in time.
    NoRoom,
    /// The peer closed the connection.
    Closed,
    /// The peer omitted or inserted bytes in a stream. No probe is lost by this, but the client
    /// replaces the connection.
    OutOfStep,
    /// The reason that the system gives, such as "refused" or "reset".
    Error(String),
}

impl Loss {
    /// Returns true if the probe was lost because its time was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Loss::NoAnswer | Loss::NoConnection | Loss::NoRoom)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Loss::NoAnswer => "no answer",
            Loss::NoConnection => "no connection",
            Loss::NoRoom => "not taken",
            Loss::Closed => "closed by the peer",
            Loss::OutOfStep => "out of step",
            Loss::Error(reason) => reason,
        })
    }
}

/// The counts and times of all probes of a run.
#[derive(Clone, Debug)]
pub struct Results {
    /// The counts of probes. A probe that could not be sent counts as `sent` and as lost.
    pub messages: Messages,
    /// The time of each answer that came in time, including damaged ones.
    pub latency: Distribution,
    /// Where the time of these answers went, if [`Options::timestamps`] is set.
    pub split: Option<SplitValues>,
    /// The number of lost probes for each reason, in the order in which the reasons first occurred.
    pub losses: Vec<(Loss, u64)>,
    /// The number of connections of a stream after the first.
    pub reconnects: u64,
    /// The number of echoes that equal their probe, including late ones and duplicates.
    pub intact: u64,
    /// The time from the first probe to the end.
    pub elapsed: Duration,
    /// Whether the run ended before all requested probes were sent and then answered or lost.
    pub is_cut_short: bool,
}

impl Results {
    /// Returns true if an intact echo came back, even a late one. A damaged answer does not count,
    /// because the peer may be another kind of service.
    pub fn has_come_back(&self) -> bool {
        self.intact > 0
    }

    /// Returns true if answers came and none of them was an intact echo.
    pub fn is_all_corrupted(&self) -> bool {
        self.intact == 0 && self.messages.corrupted > 0
    }
}

/// Probes the endpoint until the count is reached, [`Controls::stop`] is readable, or `on_event`
/// breaks.
///
/// A service that is absent is not an error: each probe tries again, because a monitor may wait for
/// the service to come up.
///
/// # Errors
///
/// Returns an error if later probes would fail as well: the host does not exist, the socket is of
/// the other kind, a probe is longer than a datagram, or the client cannot create a file for the
/// answers. [`Options::keeps_trying`] counts these as lost probes instead.
///
/// ```
/// use std::net::UdpSocket;
/// use std::ops::ControlFlow;
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// use resound::ping::{Options, ping};
/// use resound::socket::SocketOptions;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = UdpSocket::bind("127.0.0.1:0")?;
/// let endpoint = format!("udp://{}", server.local_addr()?).parse()?;
/// let echo = std::thread::spawn(move || -> std::io::Result<()> {
///     let mut buf = [0; 64];
///     let (length, peer) = server.recv_from(&mut buf)?;
///     server.send_to(&buf[..length], peer)?;
///     Ok(())
/// });
/// let options = Options {
///     endpoint,
///     count: Some(1),
///     interval: Duration::from_secs(1),
///     length: 64,
///     timeout: Duration::from_secs(10),
///     socket: SocketOptions::default(),
///     bind: Vec::new(),
///     timestamps: false,
///     keeps_trying: false,
/// };
/// let (stop, _stopper) = std::io::pipe()?;
/// let outcome = ping(&options, stop.as_fd(), |_| ControlFlow::Continue(()))?;
/// assert_eq!(outcome.messages.received, 1);
/// # echo.join().expect("the echo does not panic")?;
/// # Ok(())
/// # }
/// ```
pub fn ping<'a>(
    options: &Options,
    controls: impl Into<Controls<'a>>,
    on_event: impl FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Results, Error> {
    run::run(options, controls.into(), on_event)
}

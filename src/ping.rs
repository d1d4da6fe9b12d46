//! A client that measures round trips one by one, as ping(8) does, over any of the transports.
//!
//! It shares nothing with the reactor, on purpose: what it sees is a second opinion. One thread
//! waits, by poll(2), for the next moment at which something is due, or for the socket; connecting,
//! which may block, is done beside it.

mod background;
mod link;
mod payload;
mod probes;
mod run;
mod wait;

use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::measured::{Distribution, Messages};

/// The longest probe. A few are held in memory, and none of use is longer.
pub const LENGTH_MAX: usize = 16 << 20;

/// What to send, where to, how often and how long to wait.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to.
    pub endpoint: Endpoint,
    /// How many probes; without it, until it is ended.
    pub count: Option<u64>,
    /// From one probe's leaving to the next one's, however long answers take. With none, a probe
    /// leaves when the one before it has been answered or lost. Probes that nothing could leave at
    /// the time of are left out, not made up for.
    pub interval: Duration,
    /// Bytes of a probe, from 1 to [`LENGTH_MAX`]. In fewer than 8 its number is cut short, and
    /// with it the time in which probes can be told apart: 256 probes for one byte. In fewer than
    /// 16 there is little else to verify.
    pub length: usize,
    /// How long an answer may take before its probe counts as lost. It is the limit for the look-up
    /// of the host and for connecting as well.
    pub timeout: Duration,
}

/// What happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// The endpoint is known, and the first probe leaves.
    Started,
    /// Something came back.
    Answer(Answer),
    /// A probe counts as lost.
    Lost {
        /// Its number.
        number: u64,
        /// Why.
        loss: &'a Loss,
    },
    /// These many bytes came that are of no probe. Said once from one probe to the next.
    Unasked(usize),
    /// The connection has ended while no answer was awaited.
    Disconnected(&'a Loss),
    /// [`Controls::report`] asked for the figures so far.
    Figures(&'a Figures),
}

/// What has become of the probes so far.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Probes; those that are neither answered nor lost yet count as in flight.
    pub messages: Messages,
    /// The time of each answer that came in time.
    pub latency: Distribution,
}

/// Descriptors by which a signal handler or another thread reaches a running [`ping`].
#[derive(Clone, Copy, Debug)]
pub struct Controls<'a> {
    /// Ends the run once it is readable. Nothing is read from it.
    pub stop: BorrowedFd<'a>,
    /// Asks for [`Event::Figures`] each time it is readable. What can be read is read.
    pub report: Option<BorrowedFd<'a>>,
}

impl<'a> From<BorrowedFd<'a>> for Controls<'a> {
    fn from(stop: BorrowedFd<'a>) -> Controls<'a> {
        Controls { stop, report: None }
    }
}

/// An echo of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The probe's number, from 1 on.
    pub number: u64,
    /// Bytes that came.
    pub length: usize,
    /// From just before the probe left.
    pub time: Duration,
    /// Whether it counts.
    pub kind: AnswerKind,
    /// It came after the answer to a later probe.
    pub is_reordered: bool,
    /// Where it first differs from what was sent.
    pub difference: Option<usize>,
}

/// Whether an answer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// It does.
    InTime,
    /// Its probe was lost before.
    Late,
    /// Its probe was answered before.
    Duplicate,
}

/// Why a probe is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its time was over.
    NoAnswer,
    /// Its time was over before there was a connection.
    NoConnection,
    /// Its time was over before the socket had room for it.
    NoRoom,
    /// The peer closed the connection.
    Closed,
    /// The peer left out bytes of a stream, or put some in: no probe is lost by it, but the
    /// connection is given up for a new one.
    OutOfStep,
    /// What the system says: refused, reset.
    Error(String),
}

impl Loss {
    /// Whether it was lost because its time was over.
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

/// What became of all probes.
#[derive(Clone, Debug)]
pub struct Results {
    /// Probes, those included that could not leave: they are lost, and so were `sent`.
    pub messages: Messages,
    /// The time of each answer that came in time, the damaged ones included.
    pub latency: Distribution,
    /// How many probes were lost why, in the order in which that first happened.
    pub losses: Vec<(Loss, u64)>,
    /// How many echoes were exactly what had been sent, late ones and duplicates included.
    pub intact: u64,
    /// From the first probe to the end.
    pub elapsed: Duration,
    /// It was ended before all the probes asked for had left and were answered or lost.
    pub is_cut_short: bool,
}

impl Results {
    /// Whether an echo came back, even a late one. An answer that differs from what was sent is
    /// none: the peer may be another kind of service.
    pub fn has_come_back(&self) -> bool {
        self.intact > 0
    }

    /// Whether answers came, and none of them was an echo.
    pub fn is_all_corrupted(&self) -> bool {
        self.intact == 0 && self.messages.corrupted > 0
    }
}

/// Probes the endpoint until the count is reached, [`Controls::stop`] is readable, or `on_event`
/// breaks.
///
/// A service that is not there is no failure: each probe finds that out anew, as a monitor has to
/// do that waits for it to come up.
///
/// # Errors
///
/// What no later probe could do better: a host that does not exist, a socket of the other kind, a
/// probe longer than a datagram, no file to be answered at.
///
/// ```
/// use std::net::UdpSocket;
/// use std::ops::ControlFlow;
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// use resound::ping::{Options, ping};
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

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

use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::endpoint::{Endpoint, Transport};
use crate::error::Error;
/// The facts of a run, which [`report`](crate::report::ping) writes as text and JSON.
pub use crate::measured::ping::{Counts, Event, Figures, Loss, Reply, ReplyKind, Results, Target};
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
    /// The time between the sending of one probe and the next, however long replies take. If it is
    /// zero, a probe is sent when the one before it is answered or lost. A probe that is due while
    /// no probe can be sent is omitted and not made up for.
    pub interval: Duration,
    /// The bytes of a probe, from 1 to [`LENGTH_MAX`]. A probe of fewer than 8 bytes contains only
    /// the low bytes of its number. Then fewer probes can be told apart: 256 with one byte. In
    /// fewer than 16 bytes there is little else to verify.
    pub length: usize,
    /// How long a reply may take before its probe counts as lost. It also limits the lookup of
    /// the host and the connecting.
    pub timeout: Duration,
    /// Settings of the socket.
    pub socket: SocketOptions,
    /// The addresses to leave from; without any, the kernel picks one.
    pub bind: Vec<BindAddr>,
    /// Splits each round trip by the kernel's timestamps, over TCP and UDP.
    pub timestamps: bool,
    /// A failure that lasts ends the run at once: a host without an address, a path that leads to a
    /// socket of the other kind, or probes that are too long for one datagram. Otherwise the probes
    /// are lost, and the run goes on.
    pub gives_up: bool,
    /// The host is looked up again when its connection has ended, and a connection without any
    /// reply for ten times [`timeout`](Options::timeout) is replaced.
    pub keeps_trying: bool,
}

impl Options {
    /// Returns what a report says about the target.
    pub fn target(&self) -> Target {
        Target {
            endpoint: self.endpoint.to_string(),
            length: self.length,
            interval: self.interval,
            timeout: self.timeout,
        }
    }

    /// Returns true if probes have timestamps.
    fn has_stamps(&self) -> bool {
        self.timestamps && matches!(self.endpoint.transport(), Transport::Tcp | Transport::Udp)
    }
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
/// replies. Without [`Options::gives_up`] these are lost probes instead.
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
///     gives_up: true,
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

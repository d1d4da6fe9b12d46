//! Two pages over HTTP, on a thread and a reactor of their own.
//!
//! - `/metrics`: figures for Prometheus.
//! - `/healthz`: whether the program does its work.
//!
//! The server is another handler of the reactor: it never blocks, and its peers have bounds as the
//! peers of the echo server do. The figures come from [`Figures`], which replies by a message. The
//! server ends with the process.

mod accept;
mod exchange;
mod families;
mod http;
mod process;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

pub(crate) use self::families::{ExportedHistogram, Families, Format, page};
use self::server::{CONNECTIONS_MAX, Reply, Server, Source};
use crate::endpoint::{Endpoint, HostPort};
use crate::error::Error;
use crate::process::spawn_thread;
use crate::reactor::Reactor;
use crate::socket::{Listener, SocketOptions, open_all};

/// The descriptors of the metrics server: its connections, two listeners, one connection per
/// listener that waits for a place, the selector, its waker, and the files of `/proc` that it
/// reads.
pub(crate) const DESCRIPTORS: u64 = CONNECTIONS_MAX as u64 + 7;

/// The backlog of connections to accept. If silent clients hold all places, a connection waits
/// until each one before it has had its time: see [`server::YIELD_AFTER`].
const BACKLOG: u32 = 1024;

/// The time that the figures may take. A turn of a loop takes milliseconds at worst.
const FIGURES_TIMEOUT: Duration = Duration::from_secs(1);

/// Where the figures of the pages come from.
pub(crate) trait Figures: Send + 'static {
    /// The figures at one moment.
    type Snapshot: Send + 'static;

    /// What both pages say if the figures do not come in time.
    const LATE: &'static str;

    /// Asks for the figures. `reply` may be called on any thread.
    fn ask(&self, reply: impl Fn(Self::Snapshot) + Send + Sync + 'static);

    /// Returns the reason if the program does not do its work.
    fn health(snapshot: &Self::Snapshot) -> Result<(), &'static str>;

    /// Returns the page of the metrics.
    fn page(&self, snapshot: &Self::Snapshot, format: Format) -> String;

    /// Reports a failure that a person has to know of.
    fn warn(&self, line: &str);
}

/// The metrics server, which listens but does not run yet.
#[derive(Debug)]
pub(crate) struct Metrics<F: Figures> {
    reactor: Reactor<Source, Reply<F::Snapshot>>,
    addrs: Vec<SocketAddr>,
}

impl<F: Figures> Metrics<F> {
    /// Listens on each address of the host.
    pub(crate) fn bind(host_port: &HostPort) -> Result<Metrics<F>, Error> {
        let interface = host_port.interface().map(str::to_owned);
        let options = SocketOptions { backlog: BACKLOG, interface, ..SocketOptions::default() };
        let open = |addr| Listener::tcp(addr, &options);
        let endpoint = Endpoint::Tcp(host_port.clone());
        let listeners = open_all(&endpoint, host_port, None, open, Listener::local_addr)?;
        let failed = |error| Error::new("start", "the metrics", error);
        let mut reactor = Reactor::new().map_err(failed)?;
        let mut addrs = Vec::new();
        for (listener, addr) in listeners {
            reactor.insert(Source::from(listener)).map_err(failed)?;
            addrs.push(addr);
        }
        Ok(Metrics { reactor, addrs })
    }

    /// Returns the line that names the URLs, and a warning if other hosts reach them.
    pub(crate) fn lines(&self) -> (String, Option<&'static str>) {
        let urls: Vec<_> = self.addrs.iter().map(|addr| format!("http://{addr}/metrics")).collect();
        let is_local = self.addrs.iter().all(|addr| addr.ip().is_loopback());
        let warning = "the metrics can be reached from other hosts, which can read all counters";
        (format!("metrics at {}", urls.join(" and ")), (!is_local).then_some(warning))
    }

    /// Starts the thread that serves the pages until the process ends.
    pub(crate) fn start(self, figures: F) -> Result<(), Error> {
        let failed = |error| Error::new("start", "the metrics", error);
        let mut reactor = self.reactor;
        let mut server = Server::new(figures, FIGURES_TIMEOUT, reactor.handle());
        let run = move || {
            if let Err(error) = reactor.run(&mut server) {
                server.warn_of_end(&error);
            }
        };
        // The thread is never joined: nothing that it holds outlives the process.
        spawn_thread("metrics", run).map_err(failed).map(drop)
    }
}

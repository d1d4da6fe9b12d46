//! `--metrics`: two pages over HTTP, on their own thread and reactor.
//!
//! - `/metrics`: the counters of the loops, for Prometheus.
//! - `/healthz`: whether every loop still turns and none drains.
//!
//! The server is another handler of the same reactor, and a second example of one: it never blocks,
//! and its peers have bounds as the peers of the echo server do. It sends each loop a message to
//! ask for its counters, and the loop that replies last sends the snapshots of all. It ends with
//! the process.

mod accept;
mod exchange;
mod http;
mod process;
mod server;
mod text;

use std::net::SocketAddr;

use tracing::{info, warn};

use self::server::{CONNECTIONS_MAX, LOOPS_TIMEOUT, Replies, Server, Source};
pub(super) use self::text::Constants;
use super::handles::Handles;
use crate::endpoint::{Endpoint, HostPort};
use crate::error::Error;
use crate::process::spawn_thread;
use crate::reactor::Reactor;
use crate::socket::{Listener, SocketOptions, open_all};

/// The descriptors of the metrics server: its connections, two listeners, one connection per
/// listener that waits for a place, the selector, its waker, and the files of `/proc` that it
/// reads.
pub(super) const DESCRIPTORS: u64 = CONNECTIONS_MAX as u64 + 7;

/// The backlog of connections to accept. If silent clients hold all places, a connection waits
/// until each one before it has had its time: see [`server::YIELD_AFTER`].
const BACKLOG: u32 = 1024;

/// The metrics server, which listens but does not run yet.
#[derive(Debug)]
pub(super) struct Metrics(Reactor<Source, Replies>);

impl Metrics {
    /// Listens on each address of the host, and logs the URLs.
    pub(super) fn bind(host_port: &HostPort) -> Result<Metrics, Error> {
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
        log_bound(&addrs);
        Ok(Metrics(reactor))
    }

    /// Starts the thread that serves the pages until the process ends.
    pub(super) fn start(mut self, handles: Handles, constants: Constants) -> Result<(), Error> {
        let failed = |error| Error::new("start", "the metrics", error);
        let mut server = Server::new(handles, LOOPS_TIMEOUT, self.0.handle(), constants);
        let run = move || {
            if let Err(error) = self.0.run(&mut server) {
                warn!("the metrics server has failed: {}", crate::error::reason(&error));
            }
        };
        // The thread is never joined: nothing that it holds outlives the process.
        spawn_thread("metrics", run).map_err(failed).map(drop)
    }
}

fn log_bound(addrs: &[SocketAddr]) {
    let urls: Vec<_> = addrs.iter().map(|addr| format!("http://{addr}/metrics")).collect();
    info!("metrics at {}", urls.join(" and "));
    if !addrs.iter().all(|addr| addr.ip().is_loopback()) {
        warn!("the metrics can be reached from other hosts, which can read all counters");
    }
}

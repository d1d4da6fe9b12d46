//! `--metrics`: two pages over HTTP, on a thread and a reactor of their own.
//!
//! - `/metrics`: what the loops have counted, for Prometheus.
//! - `/healthz`: whether every loop still turns, and none drains.
//!
//! Another handler of the same reactor, and so a second example of one: it never blocks, and its
//! peers have bounds as those of the echo have. It asks the loops for their counts by a message to
//! each, and the loop that replies last sends the snapshots of all. It ends with the process.

mod accept;
mod exchange;
mod http;
mod process;
mod server;
mod text;

use std::net::SocketAddr;

use tracing::{info, warn};

use self::server::{Answers, CONNECTIONS_MAX, LOOPS_TIMEOUT, Server, Source};
pub(super) use self::text::Setting;
use super::handles::Handles;
use crate::endpoint::{Endpoint, HostPort};
use crate::error::Error;
use crate::process::spawn_thread;
use crate::reactor::Reactor;
use crate::socket::{Listener, SocketOptions, open_all};

/// What it takes of the descriptor limit: its connections, two listeners and for each of them one
/// connection that waits for a place, the selector, what wakes it, and what it reads of `/proc`.
pub(super) const DESCRIPTORS: u64 = CONNECTIONS_MAX as u64 + 7;

/// Connections that wait to be accepted. Where clients that say nothing hold all places, each waits
/// for as long as those before it may keep theirs: see [`server::YIELD_AFTER`].
const BACKLOG: u32 = 1024;

/// The pages' server, which listens and does not run yet.
#[derive(Debug)]
pub(super) struct Metrics(Reactor<Source, Answers>);

impl Metrics {
    /// Listens on each address of the host, and logs where.
    pub(super) fn bind(host_port: &HostPort) -> Result<Metrics, Error> {
        let options = SocketOptions { backlog: BACKLOG, ..SocketOptions::default() };
        let open = |addr| Listener::tcp(addr, &options);
        let endpoint = Endpoint::Tcp(host_port.clone());
        let listeners = open_all(&endpoint, host_port, open, Listener::local_addr)?;
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

    /// Serves from here on, on its own thread, until the process ends.
    pub(super) fn start(mut self, handles: Handles, setting: Setting) -> Result<(), Error> {
        let failed = |error| Error::new("start", "the metrics", error);
        let mut server = Server::new(handles, LOOPS_TIMEOUT, self.0.handle(), setting);
        let run = move || {
            if let Err(error) = self.0.run(&mut server) {
                warn!("no metrics from here on: {}", crate::error::reason(&error));
            }
        };
        // The thread is left to itself: nothing that it holds outlives the process.
        spawn_thread("metrics", run).map_err(failed).map(drop)
    }
}

fn log_bound(addrs: &[SocketAddr]) {
    let urls: Vec<_> = addrs.iter().map(|addr| format!("http://{addr}/metrics")).collect();
    info!("metrics at {}", urls.join(" and "));
    if !addrs.iter().all(|addr| addr.ip().is_loopback()) {
        warn!("the metrics can be reached from other hosts: whoever does reads all counters");
    }
}

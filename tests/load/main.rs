//! The load generator against the echo server, and against peers that fail it. One crate, so that
//! there is one link.

// A failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

mod allocations;
mod failures;
mod runs;
#[cfg(target_os = "linux")]
mod trains;

use std::net::SocketAddr;
use std::path::Path;

use resound::echo::{self, Server};
use resound::endpoint::{Endpoint, ResolvedEndpoint, Transport};
use resound::load::{Generator, Observer, Options};
use resound::measured::RunResult;
use resound::reactor::Reactor;

/// A server that is not running yet, its loop, and where it is.
fn server(
    transport: Transport,
    folder: &Path,
) -> (Reactor<echo::Source, echo::Request>, Server, ResolvedEndpoint) {
    let mut reactor = Reactor::new().unwrap();
    let mut server = Server::new(echo::Options::default());
    let bound = server.listen(&mut reactor, &endpoint(transport, folder)).unwrap();
    let target = resolved(&bound.endpoint, bound.addrs.first().copied());
    (reactor, server, target)
}

fn endpoint(transport: Transport, folder: &Path) -> Endpoint {
    let (name, path) = (transport.name(), folder.join("server"));
    let endpoint = match transport {
        Transport::Tcp | Transport::Udp => format!("{name}://127.0.0.1:0"),
        Transport::Unix | Transport::Unixgram => format!("{name}:{}", path.display()),
    };
    endpoint.parse().unwrap()
}

/// Where a client finds the endpoint.
fn resolved(endpoint: &Endpoint, addr: Option<SocketAddr>) -> ResolvedEndpoint {
    match endpoint {
        Endpoint::Tcp(_) => ResolvedEndpoint::Tcp(addr.unwrap()),
        Endpoint::Udp(_) => ResolvedEndpoint::Udp(addr.unwrap()),
        Endpoint::Unix(name) => ResolvedEndpoint::Unix(name.clone()),
        Endpoint::Unixgram(name) => ResolvedEndpoint::Unixgram(name.clone()),
    }
}

/// A server on a thread of its own.
struct Service {
    target: ResolvedEndpoint,
    service: Option<echo::Service>,
    folder: tempfile::TempDir,
}

impl Service {
    fn start(transport: Transport) -> Service {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(echo::Options::default());
        let endpoint = endpoint(transport, folder.path());
        let service = echo::Service::start(server, &[endpoint]).unwrap();
        let bound = &service.bound()[0];
        let target = resolved(&bound.endpoint, bound.addrs.first().copied());
        Service { target, service: Some(service), folder }
    }

    /// So many messages on so many flows, one in flight on each.
    fn options(&self, count: u64, flows: u32) -> Options {
        Options { count: Some(count), ..self.endless(flows) }
    }

    /// Messages without end.
    fn endless(&self, flows: u32) -> Options {
        Options {
            folder: Some(self.folder.path().to_owned()),
            // A busy machine is no reason to lose a message.
            timeout: std::time::Duration::from_secs(30),
            ..Options::closed_loop(self.target.clone(), flows)
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let service = self.service.take().unwrap();
        if !std::thread::panicking() {
            service.stop().unwrap();
        }
    }
}

/// Runs a load to its end.
fn run(options: Options) -> RunResult {
    run_observed(options, ()).0
}

fn run_observed<O: Observer + Default>(options: Options, observer: O) -> (RunResult, O) {
    let mut reactor = Reactor::new().unwrap();
    let mut generator = Generator::with_observer(options, observer);
    reactor.run(&mut generator).unwrap();
    let observer = std::mem::take(generator.observer_mut());
    let findings = generator.finish();
    let all = findings.messages;
    assert_eq!(all.sent, all.received + all.lost + all.in_flight_at_end);
    assert_eq!(findings.latency_ns.summary.count, all.received);
    (findings, observer)
}

//! Tests of the load generator with the echo server and with peers that fail. They share one crate,
//! which needs one link step.

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

/// Returns a server that does not run yet, its reactor, and its address.
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

/// Returns the endpoint with its bound address, for a client.
fn resolved(endpoint: &Endpoint, addr: Option<SocketAddr>) -> ResolvedEndpoint {
    match endpoint {
        Endpoint::Tcp(_) => ResolvedEndpoint::Tcp(addr.unwrap()),
        Endpoint::Udp(_) => ResolvedEndpoint::Udp(addr.unwrap()),
        Endpoint::Unix(name) => ResolvedEndpoint::Unix(name.clone()),
        Endpoint::Unixgram(name) => ResolvedEndpoint::Unixgram(name.clone()),
    }
}

/// A server on its own thread.
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

    /// Returns the options of a run with `count` messages, one in flight on each flow.
    fn options(&self, count: u64, flows: u32) -> Options {
        Options { count: Some(count), ..self.endless(flows) }
    }

    /// Returns the options of a run without end.
    fn endless(&self, flows: u32) -> Options {
        Options {
            folder: Some(self.folder.path().to_owned()),
            // Long enough that no message is lost on a busy machine.
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
    let result = generator.finish();
    let all = result.messages;
    assert_eq!(all.sent, all.received + all.lost + all.in_flight_at_end);
    assert_eq!(result.latency_ns.summary.count, all.received);
    (result, observer)
}

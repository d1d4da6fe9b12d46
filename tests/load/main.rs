//! The load generator against the echo server, and against peers that fail it. One crate, so that
//! there is one link.

// A failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

mod allocations;
mod failures;
mod runs;
#[cfg(target_os = "linux")]
mod trains;

use std::path::Path;
use std::thread::JoinHandle;

use resound::echo::{self, Server};
use resound::endpoint::{ResolvedEndpoint, Transport, UnixName};
use resound::load::{Generator, Observer, Options};
use resound::measured::Report;
use resound::reactor::{Handle, Reactor};

/// A server that is not running yet, its loop, and where it is.
fn server(
    transport: Transport,
    folder: &Path,
) -> (Reactor<echo::Source, echo::Request>, Server, ResolvedEndpoint) {
    let path = folder.join("server");
    let endpoint = match transport {
        Transport::Tcp | Transport::Udp => format!("{}://127.0.0.1:0", transport.name()),
        Transport::Unix | Transport::Unixgram => format!("{}:{}", transport.name(), path.display()),
    };
    let mut reactor = Reactor::new().unwrap();
    let mut server = Server::new(echo::Options::default());
    let bound = server.listen(&mut reactor, &endpoint.parse().unwrap()).unwrap();
    let target = match transport {
        Transport::Tcp => ResolvedEndpoint::Tcp(bound.addrs[0]),
        Transport::Udp => ResolvedEndpoint::Udp(bound.addrs[0]),
        Transport::Unix => ResolvedEndpoint::Unix(UnixName::Path(path)),
        Transport::Unixgram => ResolvedEndpoint::Unixgram(UnixName::Path(path)),
    };
    (reactor, server, target)
}

/// A server on a thread of its own.
struct Service {
    target: ResolvedEndpoint,
    stop: Handle<echo::Request>,
    thread: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
}

impl Service {
    fn start(transport: Transport) -> Service {
        let folder = tempfile::tempdir().unwrap();
        let (mut reactor, mut server, target) = server(transport, folder.path());
        let stop = reactor.handle();
        let thread = std::thread::spawn(move || reactor.run(&mut server).unwrap());
        Service { target, stop, thread: Some(thread), folder }
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
        self.stop.stop();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// Runs a load to its end.
fn run(options: Options) -> Report {
    run_observed(options, ()).0
}

fn run_observed<O: Observer + Default>(options: Options, observer: O) -> (Report, O) {
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

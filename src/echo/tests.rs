//! Tests of a server with real sockets. The test's own thread turns the reactor by hand, and the
//! clients are sockets of the standard library.

mod accept;
mod beside;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod bulk;
mod guard;
mod life;
mod packets;
mod streams;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::clock::Moment;
use super::*;
use crate::reactor::{LoopState, Reactor};
use crate::socket::Peer;
use crate::socket::Stream;
use crate::testing::{self, Tested, WAIT_MAX};

/// Records what a server tells its observer.
#[derive(Debug, Default)]
struct RecordingObserver {
    /// The name of each notice's kind.
    notices: Vec<&'static str>,
    reports: Vec<Counters>,
    messages: Vec<Vec<u8>>,
    wants_messages: bool,
}

impl Observer for RecordingObserver {
    fn wants_messages(&self) -> bool {
        self.wants_messages
    }

    fn message(&mut self, _: Transport, _: &Peer, bytes: &[u8]) {
        self.messages.push(bytes.to_vec());
    }

    fn notice(&mut self, notice: &Notice<'_>) {
        assert!(!notice.to_string().is_empty());
        self.notices.push(notice.kind().0);
    }

    fn report(&mut self, counters: &Counters) {
        self.reports.push(*counters);
    }
}

/// A server that the test turns by hand, and its endpoints.
type Rig = testing::Rig<Server<RecordingObserver>, Vec<Bound>>;

impl Tested for Server<RecordingObserver> {
    const ALWAYS_HAS_DEADLINE: bool = false;

    fn state(&self) -> String {
        self.counters().to_string()
    }
}

impl Rig {
    fn new(options: Options, endpoints: &[&str]) -> Rig {
        let mut reactor = Reactor::new().unwrap();
        let mut server = Server::with_observer(options, RecordingObserver::default());
        let mut open = |endpoint: &&str| server.listen(&mut reactor, &endpoint.parse().unwrap());
        let bound = endpoints.iter().map(|endpoint| open(endpoint).unwrap()).collect();
        Rig::of(reactor, server, bound)
    }

    fn tcp(options: Options) -> Rig {
        Rig::new(options, &["tcp://127.0.0.1:0"])
    }

    fn addr(&self) -> SocketAddr {
        self.bound[0].addrs[0]
    }

    /// Connects a client to the first endpoint. Its connection is queued when this returns.
    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.addr()).unwrap();
        client.set_read_timeout(Some(WAIT_MAX)).unwrap();
        client
    }

    fn clients(&self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| self.client()).collect()
    }

    /// Connects a client and exchanges one message with it.
    fn served_client(&mut self) -> TcpStream {
        let mut client = self.client();
        self.echo(&mut client);
        client
    }

    #[track_caller]
    fn turn_until_count(&mut self, cause: Cause, times: u64) {
        self.turn_until(cause.name(), |rig| rig.count(cause) >= times);
        assert_eq!(self.count(cause), times, "{}", cause.name());
    }

    fn drain(&mut self) -> LoopState {
        self.request(|server, sources, context| server.drain(sources, context))
    }

    /// Sends one message and waits for its echo.
    #[track_caller]
    fn echo(&mut self, client: &mut (impl Read + Write)) {
        client.write_all(b"ping").unwrap();
        let sent = self.counters().bytes_out();
        self.turn_until("an echo", |rig| rig.counters().bytes_out() >= sent + 4);
        let mut reply = [0; 4];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"ping");
    }

    fn server(&self) -> &Server<RecordingObserver> {
        &self.handler.inner
    }

    fn counters(&self) -> &Counters {
        self.server().counters()
    }

    fn count(&self, cause: Cause) -> u64 {
        self.counters().total(cause)
    }

    fn open(&self) -> u64 {
        self.counters().connections_open
    }

    /// Returns how many notices of this kind the observer received.
    fn notices(&self, kind: &str) -> usize {
        self.server().observer.notices.iter().filter(|other| **other == kind).count()
    }
}

impl Counters {
    fn bytes_out(&self) -> u64 {
        Transport::ALL.iter().map(|transport| self[*transport].traffic.bytes_out).sum()
    }
}

/// Returns true if the client sees the end of the connection, or a reset.
fn is_over(client: &mut TcpStream) -> bool {
    let mut buf = [0; 65_536];
    client.set_nonblocking(true).unwrap();
    loop {
        match client.read(&mut buf) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

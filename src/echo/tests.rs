//! A server and its reactor in the test's own thread, turned by hand, with std clients.

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
use crate::reactor::{Flow, Reactor};
use crate::socket::Stream;

/// Far beyond what a busy machine needs.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The longest sleep of a turn, so that a test can look at what it waits for.
const SLEEP_MAX: Duration = Duration::from_millis(2);

/// Notes what a server tells.
#[derive(Debug, Default)]
struct Notes {
    /// The name of each notice's kind.
    notices: Vec<&'static str>,
    reports: Vec<Counters>,
    messages: Vec<Vec<u8>>,
    wants_messages: bool,
}

impl Observer for Notes {
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

/// What a test has a server do from inside the loop, at the end of a turn.
type Request = fn(&mut Server<Notes>, &Sources<Source>, &mut Context<'_, Source>);

/// A server that never sleeps for long.
struct Restless {
    server: Server<Notes>,
    /// When the server itself asked to be called.
    deadline: Option<Instant>,
    request: Option<Request>,
}

impl Handler for Restless {
    type Source = Source;
    type Message = request::Request;

    fn ready(
        &mut self,
        source: &mut Source,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
    ) -> Next {
        self.server.ready(source, readiness, context)
    }

    fn closed(&mut self, source: Source, cause: Closed, context: &mut SourceContext<'_, Source>) {
        self.server.closed(source, cause, context);
    }

    fn message(
        &mut self,
        request: request::Request,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) {
        self.server.message(request, sources, context);
    }

    fn tick(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) -> Option<Instant> {
        if let Some(request) = self.request.take() {
            request(&mut self.server, sources, context);
        }
        self.deadline = self.server.tick(sources, context);
        let soon = context.now() + SLEEP_MAX;
        Some(self.deadline.map_or(soon, |deadline| deadline.min(soon)))
    }
}

struct Rig {
    reactor: Reactor<Source, request::Request>,
    handler: Restless,
    bound: Vec<Bound>,
    /// The server has ended the loop, maybe while the test waited for something else.
    is_stopped: bool,
}

impl Rig {
    fn new(options: Options, endpoints: &[&str]) -> Rig {
        let mut reactor = Reactor::new().unwrap();
        let mut server = Server::with_observer(options, Notes::default());
        let mut open = |endpoint: &&str| server.listen(&mut reactor, &endpoint.parse().unwrap());
        let bound = endpoints.iter().map(|endpoint| open(endpoint).unwrap()).collect();
        let handler = Restless { server, deadline: None, request: None };
        Rig { reactor, handler, bound, is_stopped: false }
    }

    fn tcp(options: Options) -> Rig {
        Rig::new(options, &["tcp://127.0.0.1:0"])
    }

    fn addr(&self) -> SocketAddr {
        self.bound[0].addrs[0]
    }

    /// A client of the first endpoint; its connection is queued when this returns.
    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.addr()).unwrap();
        client.set_read_timeout(Some(WAIT_MAX)).unwrap();
        client
    }

    fn clients(&self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| self.client()).collect()
    }

    /// A client whose connection is accepted.
    fn served_client(&mut self) -> TcpStream {
        let mut client = self.client();
        self.echo(&mut client);
        client
    }

    fn turn(&mut self) -> Flow {
        if !self.is_stopped {
            self.is_stopped = self.reactor.turn(&mut self.handler).unwrap() == Flow::Stopped;
        }
        if self.is_stopped { Flow::Stopped } else { Flow::Running }
    }

    /// Turns until the condition holds.
    #[track_caller]
    fn turn_until(&mut self, what: &str, mut condition: impl FnMut(&mut Rig) -> bool) {
        let deadline = Instant::now() + WAIT_MAX;
        while !condition(self) {
            assert!(Instant::now() < deadline, "{what}: {}", self.counters());
            self.turn();
        }
    }

    #[track_caller]
    fn turn_until_count(&mut self, cause: Cause, times: u64) {
        self.turn_until(cause.name(), |rig| rig.count(cause) >= times);
        assert_eq!(self.count(cause), times, "{}", cause.name());
    }

    /// Turns until the server ends the loop.
    #[track_caller]
    fn turn_until_stopped(&mut self) {
        let deadline = Instant::now() + WAIT_MAX;
        while self.turn() == Flow::Running {
            assert!(Instant::now() < deadline, "it goes on: {}", self.counters());
        }
    }

    /// Has the server do something at the end of the next turn.
    fn request(&mut self, request: Request) -> Flow {
        self.handler.request = Some(request);
        self.turn()
    }

    fn drain(&mut self) -> Flow {
        self.request(|server, sources, context| server.drain(sources, context))
    }

    /// One message and its echo.
    #[track_caller]
    fn echo(&mut self, client: &mut (impl Read + Write)) {
        client.write_all(b"ping").unwrap();
        let sent = self.counters().tallies_bytes_out();
        self.turn_until("an echo", |rig| rig.counters().tallies_bytes_out() >= sent + 4);
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping");
    }

    fn server(&self) -> &Server<Notes> {
        &self.handler.server
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

    /// How often this kind of notice came.
    fn notices(&self, kind: &str) -> usize {
        self.server().observer.notices.iter().filter(|other| **other == kind).count()
    }
}

impl Counters {
    fn tallies_bytes_out(&self) -> u64 {
        Transport::ALL.iter().map(|transport| self[*transport].traffic.bytes_out).sum()
    }
}

/// What a peer sees of a connection that is over: its end, or a reset.
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

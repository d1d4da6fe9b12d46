//! A generator on a reactor of its own, turned by hand, and servers of the standard library.

use std::convert::Infallible;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use super::*;
use crate::reactor::{Flow, Reactor};

/// Far beyond what a busy machine needs.
pub(in crate::load) const WAIT_MAX: Duration = Duration::from_secs(60);

/// The longest sleep of a turn, so that a test can look at what it waits for.
const SLEEP_MAX: Duration = Duration::from_millis(2);

/// Notes what it is told.
#[derive(Debug, Default)]
pub(in crate::load) struct Notes(pub(in crate::load) Vec<Interval>);

impl Observer for Notes {
    fn interval(&mut self, interval: Interval) {
        self.0.push(interval);
    }
}

/// A generator that never sleeps for long, and can be interrupted.
pub(in crate::load) struct Restless {
    pub(in crate::load) generator: Generator<Notes>,
    /// Signals that are to come at the end of the next turn.
    pub(in crate::load) signals: usize,
    /// How long the generator itself wanted to sleep.
    pub(in crate::load) sleep: Duration,
}

impl Handler for Restless {
    type Source = Source;
    type Message = Infallible;

    fn ready(
        &mut self,
        source: &mut Source,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
    ) -> Next {
        self.generator.ready(source, readiness, context)
    }

    fn closed(&mut self, source: Source, cause: Closed, context: &mut SourceContext<'_, Source>) {
        self.generator.closed(source, cause, context);
    }

    fn tick(
        &mut self,
        sources: &Sources<Source>,
        context: &mut Context<'_, Source>,
    ) -> Option<Instant> {
        for _ in 0..std::mem::take(&mut self.signals) {
            self.generator.signalled(2, sources, context);
        }
        let deadline = self.generator.tick(sources, context).expect("it has always a plan");
        self.sleep = deadline.saturating_duration_since(context.now());
        Some(deadline.min(context.now() + SLEEP_MAX))
    }
}

pub(in crate::load) struct Rig {
    pub(in crate::load) reactor: Reactor<Source>,
    pub(in crate::load) handler: Restless,
    is_stopped: bool,
}

impl Rig {
    pub(in crate::load) fn new(options: Options) -> Rig {
        let generator = Generator::with_observer(options, Notes::default());
        let handler = Restless { generator, signals: 0, sleep: Duration::ZERO };
        Rig { reactor: Reactor::new().unwrap(), handler, is_stopped: false }
    }

    pub(in crate::load) fn generator(&self) -> &Generator<Notes> {
        &self.handler.generator
    }

    pub(in crate::load) fn turn(&mut self) -> Flow {
        if !self.is_stopped {
            self.is_stopped = self.reactor.turn(&mut self.handler).unwrap() == Flow::Stopped;
        }
        if self.is_stopped { Flow::Stopped } else { Flow::Running }
    }

    /// Turns until the condition holds.
    #[track_caller]
    pub(in crate::load) fn turn_until(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&mut Rig) -> bool,
    ) {
        let deadline = Instant::now() + WAIT_MAX;
        while !condition(self) {
            assert!(Instant::now() < deadline, "{what}");
            if self.turn() == Flow::Stopped {
                assert!(condition(self), "{what}: the run is over");
                return;
            }
        }
    }

    /// Turns to the end of the run.
    pub(in crate::load) fn finish(mut self) -> (Findings, Vec<Interval>) {
        let deadline = Instant::now() + WAIT_MAX;
        while self.turn() == Flow::Running {
            assert!(Instant::now() < deadline, "it does not end");
        }
        let intervals = std::mem::take(&mut self.handler.generator.observer_mut().0);
        (self.handler.generator.finish(), intervals)
    }
}

/// A UDP socket that does not answer by itself, and options to send to it.
pub(in crate::load) fn udp(flows: u32) -> (UdpSocket, Options) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Udp(server.local_addr().unwrap());
    (server, Options::closed_loop(target, flows))
}

/// A listener that does not accept by itself, and options to connect to it.
pub(in crate::load) fn tcp(flows: u32) -> (TcpListener, Options) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Tcp(listener.local_addr().unwrap());
    (listener, Options::closed_loop(target, flows))
}

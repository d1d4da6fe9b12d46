//! A generator on its own reactor, which a test turns, and servers of the standard library.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use super::*;
use crate::measured::RunResult;
use crate::reactor::Reactor;
use crate::testing::{self, Tested, WAIT_MAX};

/// Keeps the intervals that it receives.
#[derive(Debug, Default)]
pub(in crate::load) struct KeptIntervals(pub(in crate::load) Vec<Interval>);

impl Observer for KeptIntervals {
    fn interval(&mut self, interval: Interval) {
        self.0.push(interval);
    }
}

pub(in crate::load) type Rig = testing::Rig<Generator<KeptIntervals>>;

impl Tested for Generator<KeptIntervals> {
    const ALWAYS_HAS_DEADLINE: bool = true;

    fn state(&self) -> String {
        format!("{:?}", self.phases)
    }
}

impl Rig {
    pub(in crate::load) fn new(options: Options) -> Rig {
        let generator = Generator::with_observer(options, KeptIntervals::default());
        Rig::of(Reactor::new().unwrap(), generator, ())
    }

    pub(in crate::load) fn generator(&self) -> &Generator<KeptIntervals> {
        &self.handler.inner
    }

    /// Returns how long the generator asked to sleep.
    pub(in crate::load) fn sleep(&self) -> Duration {
        self.handler.sleep.unwrap_or_default()
    }

    /// Runs a turn, and signals the generator at its end.
    pub(in crate::load) fn signal(&mut self) {
        self.request(|generator, sources, context| generator.signalled(2, sources, context));
    }

    /// Runs turns until the run ends.
    #[track_caller]
    pub(in crate::load) fn finish(mut self) -> (RunResult, Vec<Interval>) {
        self.turn_until_stopped();
        let intervals = std::mem::take(&mut self.handler.inner.observer_mut().0);
        (self.handler.inner.finish(), intervals)
    }
}

/// Returns a UDP socket that does not answer by itself, and options to send to it.
pub(in crate::load) fn udp(flows: u32) -> (UdpSocket, Options) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Udp(server.local_addr().unwrap());
    (server, patient(target, flows))
}

/// Returns a listener that does not accept by itself, and options to connect to it.
pub(in crate::load) fn tcp(flows: u32) -> (TcpListener, Options) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Tcp(listener.local_addr().unwrap());
    (listener, patient(target, flows))
}

/// Returns options whose timeout no busy machine reaches.
fn patient(target: ResolvedEndpoint, flows: u32) -> Options {
    Options { timeout: WAIT_MAX, ..Options::closed_loop(target, flows) }
}

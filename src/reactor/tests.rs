//! Tests of the loop with small scripted handlers on real sockets.

mod fairness;
mod life;
mod messages;
mod meter;
#[cfg(debug_assertions)]
mod mistakes;
mod nested;
mod spin;
mod tenants;
mod timers;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;

use mio::Interest;

use super::*;
use crate::readiness::Readiness;
use crate::testing::WAIT_MAX;

/// One end of a socket pair, with the faults that a test needs.
struct End {
    name: usize,
    stream: UnixStream,
    interest: Interest,
    may_rest: bool,
    /// A plain file that the selector sees instead of the stream. It refuses every call for the
    /// file with EPERM (epoll_ctl(2)): register, reregister and deregister.
    refused: Option<File>,
}

impl End {
    /// Returns an end and the far end, which the test writes to.
    fn pair(name: usize) -> (End, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let end = End {
            name,
            stream: near,
            interest: Interest::READABLE,
            may_rest: false,
            refused: None,
        };
        (end, far)
    }

    /// Returns an end that has one byte to read.
    fn ready(name: usize) -> (End, UnixStream) {
        let (end, far) = End::pair(name);
        (&far).write_all(b"x").unwrap();
        (end, far)
    }

    /// Makes the selector refuse this end from now on.
    fn refuse(&mut self) {
        self.refused = Some(File::open(std::env::current_exe().unwrap()).unwrap());
    }

    /// Reads until `WouldBlock`, as a handler must before it returns [`Next::Wait`].
    fn drain(&mut self, readiness: &mut Readiness) -> usize {
        let mut buf = [0; 64];
        let mut bytes = 0;
        while let Ok(count @ 1..) = self.stream.read(&mut buf) {
            bytes += count;
        }
        readiness.clear_readable();
        bytes
    }
}

impl Source for End {
    fn interest(&self) -> Interest {
        self.interest
    }

    fn may_rest(&self) -> bool {
        self.may_rest
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.refused {
            Some(file) => file.as_fd(),
            None => self.stream.as_fd(),
        }
    }
}

/// A probe that keeps what the tests look at.
#[derive(Default)]
struct Seen {
    /// How long each poll could sleep.
    timeouts: Vec<Option<Duration>>,
    marks: Vec<Mark>,
    closed: Vec<Key>,
}

impl Probe for Seen {
    type Calls<'a> = ();

    fn calls(&self) {}

    fn wait_begins(&mut self, timeout: Option<Duration>) {
        self.timeouts.push(timeout);
    }

    fn marked(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    fn closed(&mut self, key: Key) {
        self.closed.push(key);
    }
}

/// How a source came back to its handler.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Closed(usize),
    Unregistered(usize, io::ErrorKind),
}

/// A handler that runs a closure for each slice and records every other call.
struct Script<F> {
    slice: F,
    fates: Vec<Fate>,
    /// Sources to insert, one each time that a source comes back.
    successors: Vec<End>,
    /// The sources that came back, kept open.
    kept: Vec<End>,
    ticks: usize,
    /// The return values of ticks, in reverse order; `None` after the last.
    deadlines: Vec<Instant>,
    /// Each received message, after the turn in which it came.
    messages: Vec<(u64, u32)>,
    /// How often the handler's own timer was due.
    timers: usize,
    #[cfg(feature = "signals")]
    signals: Vec<i32>,
}

impl<F> Script<F>
where
    F: FnMut(&mut End, &mut Readiness, &mut SourceContext<'_, End>) -> Next,
{
    fn new(slice: F) -> Script<F> {
        Script {
            slice,
            fates: Vec::new(),
            successors: Vec::new(),
            kept: Vec::new(),
            ticks: 0,
            deadlines: Vec::new(),
            messages: Vec::new(),
            timers: 0,
            #[cfg(feature = "signals")]
            signals: Vec::new(),
        }
    }
}

impl<F> Handler for Script<F>
where
    F: FnMut(&mut End, &mut Readiness, &mut SourceContext<'_, End>) -> Next,
{
    type Source = End;
    type Message = u32;

    fn ready(
        &mut self,
        source: &mut End,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, End>,
    ) -> Next {
        (self.slice)(source, readiness, context)
    }

    fn closed(&mut self, source: End, cause: Closed, context: &mut SourceContext<'_, End>) {
        self.fates.push(match cause {
            Closed::ByHandler => Fate::Closed(source.name),
            Closed::Unregistered(error) => Fate::Unregistered(source.name, error.kind()),
        });
        if let Some(successor) = self.successors.pop() {
            context.insert(successor);
        }
        self.kept.push(source);
    }

    fn tick(&mut self, _: &Sources<End>, _: &mut Context<'_, End>) -> Option<Instant> {
        self.ticks += 1;
        self.deadlines.pop()
    }

    fn message(&mut self, message: u32, _: &Sources<End>, context: &mut Context<'_, End>) {
        self.messages.push((context.counts().turns, message));
    }

    fn timer_due(&mut self, _: &Sources<End>, _: &mut Context<'_, End>) {
        self.timers += 1;
    }

    #[cfg(feature = "signals")]
    fn signalled(&mut self, signal: i32, sources: &Sources<End>, context: &mut Context<'_, End>) {
        self.signals.push(signal);
        sources.iter().for_each(|(key, _)| context.wake(key));
    }
}

/// Returns a reactor that stops after [`WAIT_MAX`], so that no test sleeps in it for longer.
fn reactor() -> Reactor<End, u32> {
    let reactor = Reactor::new().unwrap();
    let stop = reactor.handle();
    thread::spawn(move || {
        thread::sleep(WAIT_MAX);
        stop.stop();
    });
    reactor
}

/// Runs one turn, and asserts that the loop continues.
#[track_caller]
fn turn<H: Handler<Source = End>>(reactor: &mut Reactor<End, H::Message>, handler: &mut H) {
    assert_eq!(reactor.turn(handler).unwrap(), LoopState::Running);
}

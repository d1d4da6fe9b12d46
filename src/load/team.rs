//! A team: several generator loops, one per thread, that make one load together.
//!
//! Each loop is a whole [`Generator`] on its own reactor, with its share of the connections, of the
//! count and of the schedule. The loops share nothing while they send: each has its own sockets,
//! counts and histograms, which its own thread has allocated. They meet twice. The loop that opens
//! its connections last tells all others when to start, and at the end their results are added.

use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::fine_sleep::drive;
use super::{Generator, Observer, Options, Share, Source};
use crate::error::Error;
use crate::measured::{RunResult, RunStamp, Warning};
use crate::process::{cpus, spawn_thread};
use crate::reactor::{Handle, Reactor, Spin};
use crate::trace::Tracer;

/// The maximum number of loops: more than most machines have CPUs. The histograms of a loop take
/// about 3 MiB.
pub const LOOPS_MAX: usize = 256;

/// The time from the last loop's arrival to the start. A loop that sleeps takes a fraction of a
/// millisecond to wake. A loop that wakes later than the start is late by the clock.
const START_DELAY: Duration = Duration::from_millis(5);

/// What a thread tells a [`Generator`] that it does not run itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start to send at this time; all flows are open.
    Start(Instant),
}

/// Loops that are not running yet.
#[derive(Debug)]
pub struct Team {
    reactors: Vec<Reactor<Source, Command>>,
    cpus: Vec<usize>,
    tracers: Vec<Tracer>,
}

impl Team {
    /// Creates `loops` loops, at least one, that spin like this and end by these signals.
    ///
    /// # Errors
    ///
    /// A loop cannot be created, or the signals cannot be watched.
    pub fn new(loops: usize, spin: Spin, signals: &[i32]) -> Result<Team, Error> {
        let mut reactors = Vec::new();
        for _ in 0..loops.max(1) {
            let reactor = Reactor::new().map_err(|error| Error::new("start", "the loop", error));
            let mut reactor = reactor?;
            reactor.set_spin(spin);
            reactor
                .watch_signals(signals)
                .map_err(|error| Error::new("watch", "signals", error))?;
            reactors.push(reactor);
        }
        Ok(Team { reactors, cpus: Vec::new(), tracers: Vec::new() })
    }

    /// Returns a handle of each loop.
    pub fn handles(&self) -> Vec<Handle<Command>> {
        self.reactors.iter().map(Reactor::handle).collect()
    }

    /// Assigns a CPU to each loop, in order. Loops beyond the list run on any CPU.
    pub fn pin(&mut self, cpus: &[usize]) {
        self.cpus = cpus.to_vec();
    }

    /// Records the turns of each loop, in order.
    pub fn trace(&mut self, tracers: Vec<Tracer>) {
        self.tracers = tracers;
    }

    /// Makes the load and returns its result. The first loop runs on the calling thread.
    /// `observer_of` gives each loop, by its number from 0, its observer.
    ///
    /// # Errors
    ///
    /// A loop failed. All others are stopped then.
    #[expect(clippy::missing_panics_doc, reason = "a team has at least one loop")]
    pub fn run<O: Observer + Send + 'static>(
        self,
        options: &Options,
        observer_of: impl Fn(usize) -> O,
    ) -> Result<RunResult, Error> {
        let handles = self.handles();
        let loops = handles.len();
        let clock = Clock::starting_at(Instant::now());
        // With a time to start at, the loops need not tell each other.
        let needs_starter = loops > 1 && options.start_at.is_none();
        let starter = needs_starter.then(|| Arc::new(Starter::new(handles.clone())));
        let spin = spin(options, loops, &self.cpus);
        let mut tracers = self.tracers.into_iter();
        let members = self.reactors.into_iter().enumerate().map(|(index, reactor)| Member {
            reactor,
            options: Options {
                share: options.share.split(index as u64, loops as u64),
                local_addrs: options.local_addrs.of_loop(index, loops),
                spin,
                ..options.clone()
            },
            observer: observer_of(index),
            clock,
            arrival: starter.as_ref().map(|starter| Arrival(Arc::clone(starter))),
            cpu: self.cpus.get(index).copied(),
            tracer: tracers.next(),
        });
        let mut members: Vec<Member<O>> = members.collect();
        // The handles reach the loops also after this; the last arrival must find all.
        let others = members.split_off(1);
        let running = Running::start(others, handles);
        let first = members.pop().expect("there is at least one loop");
        let results = running.and_then(|running| running.join(first))?;
        Ok(sum(results, options.share))
    }
}

/// Adds the results of the loops.
fn sum(mut results: Vec<RunResult>, share: Share) -> RunResult {
    let are_several = results.len() > 1;
    let id = results[0].run.id.clone();
    let errors: Vec<_> = results.iter().map(|result| result.error.clone()).collect();
    let is_common = errors.iter().all(|error| *error == errors[0]);
    let warned_alike = results.iter().all(|result| result.warnings == results[0].warnings);
    for (number, result) in (1..).zip(&mut results) {
        result.run = RunStamp { id: id.clone(), part: share.to_string(), ..result.run.clone() };
        if are_several && !is_common {
            result.error = result.error.take().map(|error| format!("loop {number}: {error}"));
        }
        if are_several && !warned_alike {
            for Warning(text) in &mut result.warnings {
                *text = format!("loop {number}: {text}");
            }
        }
    }
    match results.len() {
        1 => results.pop(),
        _ => RunResult::sum(results),
    }
    .expect("there is at least one loop")
}

/// Returns how the loops pace themselves. Loops that spin without a CPU each keep each other from
/// running for milliseconds, so they sleep unless the options say otherwise. Other systems than
/// Linux do not sleep exactly enough. `pinned`: the CPUs of the first loops.
fn spin(options: &Options, loops: usize, pinned: &[usize]) -> Option<Spin> {
    // The affinity mask and the quota of the cgroup bound this number.
    let mut cpus = available_parallelism().map_or(usize::MAX, usize::from);
    if pinned.len() >= loops {
        cpus = cpus.min(pinned[..loops].iter().collect::<HashSet<_>>().len());
    }
    let is_crowded = cfg!(target_os = "linux") && loops > cpus;
    options.spin.or((options.rate.is_some() && is_crowded).then_some(Spin::Never))
}

/// One loop with all that its thread needs. The alignment keeps loops that lie beside each other
/// from sharing a cache line; some CPUs fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Member<O> {
    reactor: Reactor<Source, Command>,
    options: Options,
    observer: O,
    clock: Clock,
    arrival: Option<Arrival>,
    cpu: Option<usize>,
    tracer: Option<Tracer>,
}

impl<O: Observer> Member<O> {
    /// Runs the loop to its end. Its thread allocates all that the generator writes to.
    fn run(mut self) -> Result<RunResult, Error> {
        self.cpu.map_or(Ok(()), cpus::pin)?;
        let mut generator =
            Generator::in_team(self.options, self.observer, self.clock, self.arrival);
        let ran = match self.tracer {
            None => drive(&mut self.reactor, &mut generator),
            Some(tracer) => drive(&mut self.reactor.with_probe(tracer), &mut generator),
        };
        ran.map_err(|error| Error::new("run", "the loop", error))?;
        Ok(generator.finish())
    }

    /// Runs the loop. If it fails or panics, it stops all others.
    fn run_guarded(self, handles: &[Handle<Command>]) -> Result<RunResult, Error> {
        // A panic drops everything that it left half done.
        let result = catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|_| {
            Err(Error::new("run", "the loop", io::Error::other("it panicked")))
        });
        if result.is_err() {
            handles.iter().for_each(Handle::stop);
        }
        result
    }
}

/// The loops that run on other threads. Dropping it stops them and waits for their threads.
#[derive(Debug)]
struct Running {
    threads: Vec<JoinHandle<Result<RunResult, Error>>>,
    handles: Vec<Handle<Command>>,
}

impl Running {
    fn start<O: Observer + Send + 'static>(
        members: Vec<Member<O>>,
        handles: Vec<Handle<Command>>,
    ) -> Result<Running, Error> {
        let mut running = Running { threads: Vec::new(), handles };
        for (number, member) in (2..).zip(members) {
            let (name, handles) = (format!("loop-{number}"), running.handles.clone());
            let started = spawn_thread(&name, move || member.run_guarded(&handles));
            running.threads.push(started.map_err(|error| Error::new("start", name, error))?);
        }
        Ok(running)
    }

    /// Runs the first loop on this thread, and waits for all.
    fn join<O: Observer>(mut self, first: Member<O>) -> Result<Vec<RunResult>, Error> {
        let first = first.run_guarded(&self.handles);
        let others =
            self.threads.drain(..).map(|thread| thread.join().expect("the loop catches panics"));
        // All threads have ended before an error returns.
        let results: Vec<_> = std::iter::once(first).chain(others).collect();
        results.into_iter().collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.handles.iter().for_each(Handle::stop);
        }
        for thread in self.threads.drain(..) {
            // The error of a loop that is being dropped does not matter.
            let _ = thread.join();
        }
    }
}

/// Tells all loops when to start.
#[derive(Debug)]
struct Starter {
    /// Loops that are not ready yet.
    awaited: Mutex<usize>,
    handles: Vec<Handle<Command>>,
}

impl Starter {
    fn new(handles: Vec<Handle<Command>>) -> Starter {
        Starter { awaited: Mutex::new(handles.len()), handles }
    }
}

/// A loop's part in the common start. Dropping it says that the others need not wait for this loop
/// any longer: it is ready, or it has ended. So a loop that fails early does not hang the others.
#[derive(Debug)]
pub(super) struct Arrival(Arc<Starter>);

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut awaited = self.0.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        *awaited -= 1;
        if *awaited == 0 {
            let start = Instant::now() + START_DELAY;
            // A loop that has ended takes no message.
            self.0.handles.iter().for_each(|handle| _ = handle.send(Command::Start(start)));
        }
    }
}

#[cfg(test)]
mod tests;

//! The loops of `serve`. Each is independent, with its own reactor, server and sockets. They share
//! the limit of connections, and each can stop all.

use std::cmp::Ordering;
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use tracing::{info, warn};

use super::console::Console;
use super::descriptors::DESCRIPTORS_PER_LOOP;
use super::handles::Handles;
use super::passed::PassedSocket;
use crate::echo::{Bound, Counters, Limits, Options, Request, Server, Source};
use crate::endpoint::{Endpoint, Transport};
use crate::error::Error;
use crate::process::{cpus, spawn_thread};
use crate::reactor::{Probe, Reactor, Spin};
use crate::socket::PortUse;
use crate::trace::{Trace, Tracer};
use crate::units::counted;

/// The maximum number of loops: more than machines have CPUs. Even an idle loop takes 64 KiB and
/// its batches.
pub const LOOPS_MAX: usize = 1024;

/// Loops that are not running yet.
#[derive(Debug)]
pub(super) struct Loops {
    loops: Vec<Loop>,
    handles: Handles,
}

#[derive(Debug)]
struct Loop {
    reactor: Reactor<Source, Request>,
    server: Server<Console>,
    cpu: Option<usize>,
    /// The index among all loops.
    index: usize,
    tracer: Option<Tracer>,
}

/// The result of a loop.
#[derive(Debug)]
struct LoopResult {
    counters: Counters,
    outcome: Result<(), Error>,
    ends_all: bool,
}

/// Returns how many of the requested loops these endpoints can use.
pub(super) fn useful_count(asked: usize, endpoints: &[Endpoint]) -> usize {
    let is_shareable =
        |endpoint: &Endpoint| matches!(endpoint.transport(), Transport::Tcp | Transport::Udp);
    if asked > 1 && !endpoints.iter().any(is_shareable) {
        warn!(
            "--threads {asked} without effect: Unix endpoints and passed sockets live on one loop"
        );
        return 1;
    }
    asked
}

/// Returns `count` reactors, and the handles that reach them.
pub(super) fn reactors(
    count: usize,
    spin: Spin,
) -> Result<(Vec<Reactor<Source, Request>>, Handles), Error> {
    let mut reactors = Vec::new();
    for _ in 0..count {
        let mut reactor = Reactor::new().map_err(|error| not_started(error, count))?;
        reactor.set_spin(spin);
        reactors.push(reactor);
    }
    let handles = Handles::new(reactors.iter().map(Reactor::handle).collect());
    Ok((reactors, handles))
}

/// Returns the error for a loop that cannot start. Names the flag to change if the loops take more
/// descriptors than there are.
fn not_started(error: io::Error, loops: usize) -> Error {
    let lacks_descriptors = error.raw_os_error() == Some(libc::EMFILE);
    match Error::new("start", "the loop", error) {
        failed if lacks_descriptors && loops > 1 => failed.hint(format!(
            "{loops} loops take {} descriptors and more: ask for fewer by --threads",
            loops as u64 * DESCRIPTORS_PER_LOOP
        )),
        failed => failed,
    }
}

impl Loops {
    /// Makes a server for each reactor. All have the same options and share one limit of
    /// connections; each has a console with its own label.
    pub(super) fn new(
        (reactors, handles): (Vec<Reactor<Source, Request>>, Handles),
        options: &Options,
        console: impl Fn(String) -> Console,
    ) -> Loops {
        let is_one = reactors.len() == 1;
        let mut options = options.clone();
        if !is_one {
            options.socket.port_use = PortUse::Lead;
        }
        let limits = Limits::new(&options);
        let with_server = |(index, reactor)| {
            let label = if is_one { String::new() } else { format!("loop={index} ") };
            let mut server = Server::with_observer(options.clone(), console(label));
            server.share_limits(&limits);
            Loop { reactor, server, cpu: None, index, tracer: None }
        };
        let loops: Vec<Loop> = reactors.into_iter().enumerate().map(with_server).collect();
        Loops { loops, handles }
    }

    /// Returns the descriptor of the only socket on which connect(2) is called. Unix endpoints are
    /// on the first loop.
    pub(super) fn path_probe(&self) -> Option<i32> {
        self.loops[0].server.path_probe().map(|probe| probe.as_raw_fd())
    }

    /// Records the turns of each loop.
    pub(super) fn trace(&mut self, trace: &Trace) {
        let tracers = trace.tracers(self.loops.len());
        for (traced, tracer) in self.loops.iter_mut().zip(tracers) {
            traced.tracer = Some(tracer);
        }
    }

    /// Makes all loops measure their turns.
    pub(super) fn measure_turns(&mut self) {
        self.loops.iter_mut().for_each(|measured| measured.reactor.measure_turns(true));
    }

    /// Assigns the CPUs of the list to the loops, in order. Fails at once if a loop may not run on
    /// its CPU.
    pub(super) fn pin(&mut self, cpus: &[usize]) -> Result<(), Error> {
        let (given, loops) = (cpus.len(), self.loops.len());
        match given.cmp(&loops) {
            Ordering::Less if given > 0 => {
                warn!("--affinity has {given} of {loops} loops pinned: the others are not");
            }
            Ordering::Greater => {
                let loops = counted(loops as u64, "loop");
                warn!("--affinity names {given} CPUs for {loops}");
            }
            _ => {}
        }
        cpus::check(cpus)?;
        for (pinned, cpu) in self.loops.iter_mut().zip(cpus) {
            pinned.cpu = Some(*cpu);
        }
        Ok(())
    }

    /// Serves the passed sockets on the first loop. Other loops could share their ports
    /// (SO_REUSEPORT) only as the user that created the sockets, which a service rarely is.
    pub(super) fn adopt(&mut self, passed: Vec<PassedSocket>) -> Result<Vec<Bound>, Error> {
        let without = self.loops.len() - 1;
        if without > 0 && !passed.is_empty() {
            warn!("passed sockets live on the first loop: {without} others do not serve them");
        }
        let (first, others) = self.loops.split_first_mut().expect("there is at least one loop");
        let Loop { reactor, server, .. } = first;
        let mut all_bound = Vec::new();
        for PassedSocket { fd, name } in passed {
            let number = fd.as_raw_fd();
            let bound = server.adopt(reactor, fd)?;
            let name = name.map_or(String::new(), |name| format!(" ({})", name.escape_debug()));
            info!("{} was passed as descriptor {number}{name}", bound.endpoint);
            if bound.endpoint.transport() == Transport::Udp {
                for Loop { server, .. } in others.iter_mut() {
                    bound.addrs.iter().for_each(|addr| server.note_own_port(addr.port()));
                }
            }
            all_bound.push(bound);
        }
        Ok(all_bound)
    }

    /// Opens each endpoint on the first loop, and TCP and UDP endpoints also on all others. Makes
    /// all loops watch the signals.
    pub(super) fn listen(
        &mut self,
        endpoints: &[Endpoint],
        signals: &[i32],
    ) -> Result<Vec<Bound>, Error> {
        let (first, others) = self.loops.split_first_mut().expect("there is at least one loop");
        let mut all_bound = Vec::new();
        for endpoint in endpoints {
            let bound = first.server.listen(&mut first.reactor, endpoint)?;
            if matches!(bound.endpoint.transport(), Transport::Tcp | Transport::Udp) {
                for Loop { reactor, server, .. } in others.iter_mut() {
                    server.listen_beside(reactor, &bound)?;
                }
            }
            all_bound.push(bound);
        }
        for Loop { reactor, .. } in &mut self.loops {
            let watched = reactor.watch_signals(signals);
            watched.map_err(|error| Error::new("watch", "signals", error))?;
        }
        if self.loops.len() > 1 {
            info!("{} loops share each TCP and UDP port (SO_REUSEPORT)", self.loops.len());
        }
        Ok(all_bound)
    }

    /// Starts the threads of all loops but the first, which runs on the calling thread.
    pub(super) fn start(mut self) -> Result<Running, Error> {
        let others = self.loops.split_off(1);
        let first = self.loops.pop().expect("there is at least one loop");
        let mut running =
            Running { first: Some(first), threads: Vec::new(), handles: self.handles };
        for (index, other) in others.into_iter().enumerate() {
            let (name, handles) = (format!("loop-{}", index + 1), running.handles.clone());
            let run = move || run_guarded(|| other.run(&handles), &handles);
            let started = spawn_thread(&name, run);
            running.threads.push(started.map_err(|error| Error::new("start", name, error))?);
        }
        Ok(running)
    }
}

impl Loop {
    /// Runs the loop to its end, which closes what is still open.
    fn run(self, handles: &Handles) -> LoopResult {
        let Loop { reactor, server, cpu, index, tracer } = self;
        match tracer {
            None => run_on(reactor, server, (cpu, index), handles),
            Some(tracer) => run_on(reactor.with_probe(tracer), server, (cpu, index), handles),
        }
    }
}

/// Runs the loop with this index on this reactor, pinned to a CPU if one is given.
fn run_on<P: Probe>(
    mut reactor: Reactor<Source, Request, P>,
    mut server: Server<Console>,
    (cpu, index): (Option<usize>, usize),
    handles: &Handles,
) -> LoopResult {
    let outcome = cpu.map_or(Ok(()), cpus::pin).and_then(|()| {
        reactor.run(&mut server).map_err(|error| Error::new("run", "the loop", error))
    });
    let counts = reactor.counts();
    // Another loop may have stopped this one.
    server.count_cut(reactor.sources());
    let counters = *server.counters();
    // The snapshot for requests that arrive before the reactor is dropped and refuses them.
    let last = server.snapshot(&counts);
    handles.keep(index, last);
    for request in reactor.into_messages() {
        if let Request::Snapshot(reply) = request {
            reply.send(last);
        }
    }
    let ends_all = outcome.is_err() || server.is_cut_short();
    LoopResult { counters, outcome, ends_all }
}

/// Runs a loop. Stops all others if it fails, panics, or is cut short by a second signal: of two
/// signals in quick succession, a busy loop sees only one.
fn run_guarded(run: impl FnOnce() -> LoopResult, handles: &Handles) -> LoopResult {
    // A panic drops everything that it left half done.
    let ended = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let error = Error::new("run", "the loop", io::Error::other("it panicked"));
        LoopResult { counters: Counters::default(), outcome: Err(error), ends_all: true }
    });
    if ended.ends_all {
        handles.stop();
    }
    ended
}

/// Loops of which all but the first are running. Dropping it stops them and waits for their
/// threads.
#[derive(Debug)]
pub(super) struct Running {
    first: Option<Loop>,
    threads: Vec<JoinHandle<LoopResult>>,
    handles: Handles,
}

impl Running {
    /// Runs the first loop on this thread and waits for all. Returns the sum of their counters and
    /// the first error.
    pub(super) fn run(mut self) -> (Counters, Result<(), Error>) {
        let first =
            self.first.take().map(|first| run_guarded(|| first.run(&self.handles), &self.handles));
        let others =
            self.threads.drain(..).map(|thread| thread.join().expect("run_guarded catches panics"));
        let ended: Vec<LoopResult> = first.into_iter().chain(others).collect();
        let counters = ended.iter().map(|ended| &ended.counters).sum();
        (counters, ended.into_iter().try_for_each(|ended| ended.outcome))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handles.stop();
        for thread in self.threads.drain(..) {
            // The error of a loop that is being dropped does not matter.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Returns a loop without endpoints that runs until it is stopped.
    fn idle(reactor: Reactor<Source, Request>) -> impl FnOnce() -> LoopResult {
        move || {
            let (mut reactor, mut server) = (reactor, Server::new(Options::default()));
            let outcome = reactor.run(&mut server).map_err(|error| Error::new("run", "it", error));
            LoopResult { counters: *server.counters(), outcome, ends_all: false }
        }
    }

    #[test]
    fn a_panic_of_one_loop_stops_the_others_and_is_an_error() {
        let (mut reactors, handles) = reactors(3, Spin::Never).unwrap();
        let mut others = Vec::new();
        for reactor in reactors.split_off(1) {
            let handles = handles.clone();
            others.push(thread::spawn(move || run_guarded(idle(reactor), &handles)));
        }
        let ended = run_guarded(|| panic!("on purpose"), &handles);
        let error = ended.outcome.unwrap_err().to_string();
        assert_eq!(error, "cannot run the loop: it panicked");
        for other in others {
            assert!(other.join().unwrap().outcome.is_ok(), "the others have ended");
        }
    }

    #[test]
    fn a_loop_that_ends_by_itself_lets_the_others_run() {
        let (mut reactors, handles) = reactors(2, Spin::Never).unwrap();
        let other = reactors.pop().unwrap();
        reactors[0].handle().stop();
        assert!(run_guarded(idle(reactors.remove(0)), &handles).outcome.is_ok());
        // If the other had been stopped, its first turn would be its last.
        let (mut reactor, mut server) = (other, Server::new(Options::default()));
        assert_eq!(reactor.turn(&mut server).unwrap(), crate::reactor::LoopState::Running);
    }
}

//! Measures the loop alone: `cargo bench --bench reactor`. Handler and sources do almost nothing,
//! and no socket is read or written.
//!
//! - `turn/again/N`: a turn in which N sources each have a slice that the previous turn left over.
//!   The result includes the poll call with timeout zero. `0_sources` is this call and the clock;
//!   the rest is the cost of taking N keys off the ready list, running and marking them.
//! - `turn/wake/N`: the same, but a tick calls [`Context::wake`] for each of the N sources.
//! - `replace/N`: a turn that removes N sources and inserts as many. Each source first has an event
//!   from its registration, and costs two epoll_ctl calls.
//! - `event/N_ready/M_sources`: a turn with M sources, N of which are pipes with one byte to read.
//!   Each event includes the write and the read of its pipe, which `event/pipes_alone` measures
//!   without a loop.
//! - `wake_up/pipe`: a byte to a loop that sleeps on another CPU, and its answer. No round trip can
//!   be shorter.
//!
//! Throughput is in slices (`turn`), in sources (`replace`) and in events (`event`).

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/cpus.rs"]
mod cpus;

use std::convert::Infallible;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mio::Interest;
use resound::Readiness;
use resound::reactor::{Closed, Context, Handler, Next, Reactor, Source, SourceContext, Sources};
use rustix::process::{Resource, getrlimit, setrlimit};

/// A source that is only a descriptor.
struct Fd(OwnedFd);

impl Fd {
    /// Makes the descriptor non-blocking, as the reactor requires.
    fn new(fd: impl Into<OwnedFd>) -> Fd {
        let fd = fd.into();
        rustix::io::ioctl_fionbio(&fd, true).unwrap();
        Fd(fd)
    }
}

impl Source for Fd {
    fn interest(&self) -> Interest {
        Interest::READABLE
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Inserts sources that never have an event: unbound sockets.
fn insert_idle(reactor: &mut Reactor<Fd>, count: usize) {
    for _ in 0..count {
        reactor.insert(Fd::new(UnixDatagram::unbound().unwrap())).unwrap();
    }
}

fn name(count: usize) -> String {
    format!("{count}_source{}", if count == 1 { "" } else { "s" })
}

/// A handler that gives every source a slice in every turn.
#[derive(Clone, Copy)]
enum Busy {
    /// The next tick wakes the sources once.
    Fresh,
    /// The sources are left over from the previous turn.
    Again,
    /// Every tick wakes the sources.
    Wake,
}

impl Handler for Busy {
    type Source = Fd;
    type Message = Infallible;

    fn ready(&mut self, _: &mut Fd, _: &mut Readiness, _: &mut SourceContext<'_, Fd>) -> Next {
        if matches!(self, Busy::Wake) { Next::Wait } else { Next::Again }
    }

    fn tick(&mut self, sources: &Sources<Fd>, context: &mut Context<'_, Fd>) -> Option<Instant> {
        if !matches!(self, Busy::Again) {
            sources.iter().for_each(|(key, _)| context.wake(key));
        }
        if matches!(self, Busy::Fresh) {
            *self = Busy::Again;
        }
        // This keeps the next poll from sleeping when there are no sources.
        Some(context.now())
    }
}

fn turn(criterion: &mut Criterion) {
    for (name_of_busy, busy) in [("again", Busy::Fresh), ("wake", Busy::Wake)] {
        let mut group = criterion.benchmark_group(format!("turn/{name_of_busy}"));
        for count in [0, 1, 16, 256, 1024] {
            let (mut reactor, mut busy) = (Reactor::new().unwrap(), busy);
            insert_idle(&mut reactor, count);
            reactor.turn(&mut busy).unwrap();
            let slices_before = reactor.counts().slices;
            reactor.turn(&mut busy).unwrap();
            assert_eq!(reactor.counts().slices - slices_before, count as u64, "one slice each");

            if count > 0 {
                group.throughput(Throughput::Elements(count as u64));
            }
            let id = BenchmarkId::from_parameter(name(count));
            group.bench_function(id, |bencher| bencher.iter(|| reactor.turn(&mut busy).unwrap()));
        }
    }
}

/// Closes every ready source, and inserts it again.
struct Replace;

impl Handler for Replace {
    type Source = Fd;
    type Message = Infallible;

    fn ready(&mut self, _: &mut Fd, _: &mut Readiness, _: &mut SourceContext<'_, Fd>) -> Next {
        Next::Close
    }

    fn closed(&mut self, source: Fd, _: Closed, context: &mut SourceContext<'_, Fd>) {
        context.insert(source);
    }
}

fn replace(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replace");
    for count in [1, 16, 256] {
        let mut reactor = Reactor::new().unwrap();
        // Each pipe has an unread byte, so its registration causes an event.
        let writers: Vec<PipeWriter> = (0..count)
            .map(|_| {
                let (reader, mut writer) = pipe().unwrap();
                writer.write_all(&[7]).unwrap();
                reactor.insert(Fd::new(reader)).unwrap();
                writer
            })
            .collect();
        reactor.turn(&mut Replace).unwrap();
        let events_before = reactor.counts().events;
        reactor.turn(&mut Replace).unwrap();
        assert_eq!(reactor.counts().events - events_before, writers.len() as u64, "one event each");

        group.throughput(Throughput::Elements(writers.len() as u64));
        let id = BenchmarkId::from_parameter(name(count));
        group.bench_function(id, |bencher| bencher.iter(|| reactor.turn(&mut Replace).unwrap()));
    }
}

/// Reads a byte and writes it to the pipe, if there is one.
struct PassOn(Option<PipeWriter>);

impl Handler for PassOn {
    type Source = Fd;
    type Message = Infallible;

    fn ready(
        &mut self,
        source: &mut Fd,
        readiness: &mut Readiness,
        _: &mut SourceContext<'_, Fd>,
    ) -> Next {
        let mut buf = [0; 16];
        // The read is short, so the pipe is empty and the handler may clear the readiness.
        assert_eq!(rustix::io::read(&*source, &mut buf).unwrap(), 1);
        readiness.clear_readable();
        if let Some(writer) = &mut self.0 {
            writer.write_all(&buf[..1]).unwrap();
        }
        Next::Wait
    }
}

fn event(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    let (mut reader, mut writer) = pipe().unwrap();
    group.throughput(Throughput::Elements(1));
    group.bench_function("pipes_alone", |bencher| {
        bencher.iter(|| {
            writer.write_all(&[7]).unwrap();
            reader.read_exact(&mut [0]).unwrap();
        });
    });
    for (ready, count) in [(1, 1), (1, 1024), (16, 1024), (256, 1024)] {
        let mut reactor = Reactor::new().unwrap();
        let pipes = (0..ready).map(|_| pipe().unwrap());
        let (readers, mut writers): (Vec<PipeReader>, Vec<PipeWriter>) = pipes.unzip();
        for reader in readers {
            reactor.insert(Fd::new(reader)).unwrap();
        }
        insert_idle(&mut reactor, count - ready);
        let mut handler = PassOn(None);
        let mut pass = || {
            writers.iter_mut().for_each(|writer| writer.write_all(&[7]).unwrap());
            reactor.turn(&mut handler).unwrap();
            reactor.counts().events
        };
        let events_before = pass();
        assert_eq!(pass() - events_before, ready as u64, "one event each");

        group.throughput(Throughput::Elements(ready as u64));
        let id = BenchmarkId::new(format!("{ready}_ready"), name(count));
        group.bench_function(id, |bencher| bencher.iter(&mut pass));
    }
}

fn wake_up(criterion: &mut Criterion) {
    let (request, mut send) = pipe().unwrap();
    let (mut receive, answer) = pipe().unwrap();
    let mut reactor = Reactor::new().unwrap();
    reactor.insert(Fd::new(request)).unwrap();
    let stop = reactor.handle();
    let thread = thread::spawn(move || {
        cpus::pin(cpus::SERVER);
        reactor.run(&mut PassOn(Some(answer))).unwrap();
    });
    criterion.benchmark_group("wake_up").bench_function("pipe", |bencher| {
        bencher.iter(|| {
            send.write_all(&[7]).unwrap();
            receive.read_exact(&mut [0]).unwrap();
        });
    });
    stop.stop();
    thread.join().unwrap();
}

/// Raises the limit for the 1,024 sources and a few other descriptors. The soft limit is often
/// 1,024.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

fn short() -> Criterion {
    raise_descriptor_limit();
    cpus::pin(cpus::CLIENT);
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
}

criterion_group! { name = benches; config = short(); targets = turn, replace, event, wake_up }
criterion_main!(benches);

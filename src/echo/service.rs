//! A server on a thread of its own.

use std::io;
use std::panic::resume_unwind;
use std::thread::JoinHandle;

use super::listen::Bound;
use super::observer::Observer;
use super::request::Request;
use super::{Server, Source};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::process::spawn_thread;
use crate::reactor::{Handle, Reactor};

/// An echo server that runs on a thread of its own, with a loop of its own.
///
/// Dropping it stops the loop, waits for the thread and cuts open connections. To let peers finish
/// first, send [`Request::Drain`] through its [`handle`](Service::handle), then
/// [`join`](Service::join).
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
///
/// use resound::echo::{Cause, Options, Server, Service};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::new(Options::default());
/// let service = Service::start(server, &["tcp://127.0.0.1:0".parse()?])?;
///
/// let mut stream = TcpStream::connect(service.bound()[0].addrs[0])?;
/// stream.write_all(b"hello")?;
/// let mut reply = [0; 5];
/// stream.read_exact(&mut reply)?;
/// assert_eq!(&reply, b"hello");
///
/// let server = service.stop()?;
/// assert_eq!(server.counters().total(Cause::Accepted), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Service<O: Observer = ()> {
    bound: Vec<Bound>,
    handle: Handle<Request>,
    /// `None` after `join`.
    thread: Option<JoinHandle<io::Result<Server<O>>>>,
}

impl<O: Observer + Send + 'static> Service<O> {
    /// Opens the endpoints and starts the server. Blocks while a name is looked up.
    ///
    /// # Errors
    ///
    /// Names the endpoint that cannot be opened and the reason, or the limit that allows no loop or
    /// no thread.
    pub fn start(server: Server<O>, endpoints: &[Endpoint]) -> Result<Service<O>, Error> {
        Service::start_with(server, endpoints, || {})
    }

    /// Does what [`start`](Service::start) does, and calls `prepare` on the new thread before the
    /// loop runs, for example to bind the thread to a CPU.
    ///
    /// # Errors
    ///
    /// As [`start`](Service::start).
    pub fn start_with(
        mut server: Server<O>,
        endpoints: &[Endpoint],
        prepare: impl FnOnce() + Send + 'static,
    ) -> Result<Service<O>, Error> {
        let failed = |error| Error::new("start", "a server on a thread", error);
        let mut reactor: Reactor<Source, Request> = Reactor::new().map_err(failed)?;
        let bound: Result<Vec<Bound>, Error> =
            endpoints.iter().map(|endpoint| server.listen(&mut reactor, endpoint)).collect();
        let bound = bound?;
        let handle = reactor.handle();
        let serve = move || {
            prepare();
            reactor.run(&mut server)?;
            server.count_cut(reactor.sources());
            Ok(server)
        };
        let thread = spawn_thread("server", serve).map_err(failed)?;
        Ok(Service { bound, handle, thread: Some(thread) })
    }
}

impl<O: Observer> Service<O> {
    /// Returns the open endpoints, in the order in which they were given.
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// Returns the handle that sends requests to the server, from any thread.
    pub fn handle(&self) -> &Handle<Request> {
        &self.handle
    }

    /// Stops the loop at once and returns the server with its counters, which include what the
    /// stop has cut, and the datagrams that the kernel lost last.
    ///
    /// # Errors
    ///
    /// The error that ended the loop before.
    ///
    /// # Panics
    ///
    /// Panics if the thread has panicked, which only an [`Observer`] or `prepare` can cause.
    pub fn stop(self) -> io::Result<Server<O>> {
        self.handle.stop();
        self.join()
    }

    /// Waits until the loop has ended: after a drain, or when a
    /// [one-off](super::Options::one_off) server has served its one peer.
    ///
    /// # Errors
    ///
    /// The error that ended the loop.
    ///
    /// # Panics
    ///
    /// As [`stop`](Service::stop).
    pub fn join(mut self) -> io::Result<Server<O>> {
        let thread = self.thread.take().expect("only join takes it, and consumes the service");
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl<O: Observer> Drop for Service<O> {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.handle.stop();
            // The caller wants no result, and a panic of the thread must not abort the process.
            let _ = thread.join();
        }
    }
}

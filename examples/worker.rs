//! A service that gets its work from another thread: `printf 'hello' | cargo run --example worker
//! 127.0.0.1:7007` sends stdin to a server and prints the answer. The loop has its own thread.
//!
//! A job is a message with a reply channel. The loop connects, sends the request, reads the
//! response to its end and sends it back. The timer of a source ends a job that takes too long.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use resound::Readiness;
use resound::endpoint::ResolvedEndpoint;
use resound::reactor::{Closed, Context, Handler, Next, Reactor, Source, SourceContext, Sources};
use resound::socket::{SocketOptions, Stream};

/// The work that another thread requests.
pub(crate) struct Job {
    pub(crate) server: SocketAddr,
    pub(crate) request: Vec<u8>,
    pub(crate) timeout: Duration,
    /// Receives the response, once.
    pub(crate) reply: Sender<io::Result<Vec<u8>>>,
}

/// A job that has its connection.
pub(crate) struct Running {
    stream: Stream,
    job: Job,
    until: Instant,
    sent: usize,
    response: Vec<u8>,
    outcome: io::Result<()>,
}

pub(crate) struct Worker;

impl Running {
    /// Sends and receives as far as it can. Returns true when the response is complete.
    fn advance(&mut self, ready: &mut Readiness) -> io::Result<bool> {
        while self.sent < self.job.request.len() {
            let rest = &self.job.request[self.sent..];
            let Some(count) = ready.try_write(|| self.stream.write(rest))? else { break };
            self.sent += count;
            if self.sent == self.job.request.len() {
                self.stream.shutdown_write()?;
            }
        }
        let mut buf = [0; 4096];
        let Some(count) = ready.try_read(|| self.stream.read(&mut buf))? else { return Ok(false) };
        self.response.extend_from_slice(&buf[..count]);
        Ok(count == 0)
    }
}

impl Handler for Worker {
    type Source = Running;
    type Message = Job;

    fn message(&mut self, job: Job, _: &Sources<Running>, context: &mut Context<'_, Running>) {
        let until = context.now() + job.timeout;
        match Stream::connect(&ResolvedEndpoint::Tcp(job.server), &SocketOptions::default()) {
            Ok(stream) => {
                let (sent, response, outcome) = (0, Vec::new(), Ok(()));
                let key = context.insert(Running { stream, job, until, sent, response, outcome });
                context.wake_at(key, until);
            }
            // Sending a reply fails if the requesting thread no longer waits, here and below.
            Err(error) => drop(job.reply.send(Err(io::Error::other(error)))),
        }
    }

    fn ready(
        &mut self,
        running: &mut Running,
        ready: &mut Readiness,
        context: &mut SourceContext<'_, Running>,
    ) -> Next {
        running.outcome = match running.advance(ready) {
            Ok(true) => Ok(()),
            Ok(false) if context.now() >= running.until => Err(ErrorKind::TimedOut.into()),
            Ok(false) if ready.is_readable() => return Next::Again,
            Ok(false) => return Next::Wait,
            Err(error) => Err(error),
        };
        Next::Close
    }

    fn closed(&mut self, running: Running, cause: Closed, _: &mut SourceContext<'_, Running>) {
        let outcome = match cause {
            Closed::Unregistered(error) => Err(error),
            _ => running.outcome,
        };
        let _ = running.job.reply.send(outcome.map(|()| running.response));
    }
}

impl Source for Running {}

impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1).ok_or("expected an address")?.parse()?;
    let mut request = Vec::new();
    io::stdin().read_to_end(&mut request)?;
    let mut reactor = Reactor::new()?;
    let handle = reactor.handle();
    let thread = thread::spawn(move || reactor.run(&mut Worker));
    let (reply, response) = channel();
    handle.send(Job { server, request, timeout: Duration::from_secs(5), reply })?;
    io::stdout().write_all(&response.recv()??)?;
    handle.stop();
    Ok(thread.join().expect("the loop does not panic")?)
}

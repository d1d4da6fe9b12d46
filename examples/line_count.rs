//! Another service than echo on the same reactor: `cargo run --example line_count`.
//!
//! It counts the lines of each connection, and sends the count when the client shuts down its
//! sending side: `printf 'a\nb\n' | cargo run -- send tcp://127.0.0.1:7070` prints `2`.

use std::convert::Infallible;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use resound::Readiness;
use resound::mio::Interest;
use resound::reactor::{self, Handler, Next, Reactor, SourceContext};
use resound::socket::{Listener, SocketOptions, Stream};

/// Reads per slice. The bound keeps one long text from delaying other clients.
const READS_PER_SLICE: usize = 4;

/// The pause after accept fails, for example because no descriptor is free.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

struct LineCount {
    scratch: Vec<u8>,
}

/// Everything this handler has in the reactor.
enum Source {
    Listener(Listener),
    Client { stream: Stream, lines: u64 },
}

impl Handler for LineCount {
    type Source = Source;
    type Message = Infallible;

    fn ready(
        &mut self,
        source: &mut Source,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
    ) -> Next {
        let sliced = match source {
            Source::Listener(listener) => accept(listener, context),
            Source::Client { stream, lines } => self.count(stream, lines),
        };
        match sliced {
            Ok(next) => next,
            // Events are edge-triggered, so a source may wait only after WouldBlock.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                readiness.clear_readable();
                Next::Wait
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Next::Again,
            Err(_) if matches!(source, Source::Listener(_)) => {
                // No event comes for connections that are already queued.
                context.wake_at(context.key(), context.now() + ACCEPT_RETRY);
                Next::Wait
            }
            // The error of one client does not affect the others.
            Err(_) => Next::Close,
        }
    }
}

fn accept(listener: &Listener, context: &mut SourceContext<'_, Source>) -> io::Result<Next> {
    let (stream, _) = listener.accept()?;
    context.insert(Source::Client { stream, lines: 0 });
    Ok(Next::Again)
}

impl LineCount {
    fn count(&mut self, stream: &mut Stream, lines: &mut u64) -> io::Result<Next> {
        for _ in 0..READS_PER_SLICE {
            let count = stream.read(&mut self.scratch)?;
            if count == 0 {
                // An empty send buffer always has room for about ten bytes.
                stream.write_all(format!("{lines}\n").as_bytes())?;
                return Ok(Next::Close);
            }
            *lines += self.scratch[..count].iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        Ok(Next::Again)
    }
}

impl reactor::Source for Source {
    fn interest(&self) -> Interest {
        Interest::READABLE
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Listener(listener) => listener.as_fd(),
            Source::Client { stream, .. } => stream.as_fd(),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = Listener::tcp("127.0.0.1:7070".parse()?, &SocketOptions::default())?;
    let mut reactor = Reactor::new()?;
    reactor.insert(Source::Listener(listener))?;
    writeln!(io::stdout(), "counting lines on tcp://127.0.0.1:7070")?;
    reactor.run(&mut LineCount { scratch: vec![0; 64 << 10] })?;
    Ok(())
}

//! A TCP proxy: `cargo run --example proxy` forwards connections from 127.0.0.1:7070 to :7007.
//!
//! The two ends of a connection are two sources of one loop. An end reads only when its
//! partner has no unwritten bytes, so a slow receiver slows its sender down.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use resound::Readiness;
use resound::endpoint::ResolvedEndpoint;
use resound::reactor::{self, Closed, Handler, Key, Next, Reactor, SourceContext};
use resound::socket::{Listener, SocketOptions, Stream};

pub(crate) enum Source {
    Listener(Listener),
    End(Stream),
}

type Slice<'a> = SourceContext<'a, Source>;
type Relayed = io::Result<Next>;

/// The bytes that one end has read for its partner, kept by the key of the end that reads.
pub(crate) struct Direction {
    partner: Key,
    bytes: Vec<u8>,
    has_ended: bool,
    is_shut: bool,
}

pub(crate) struct Proxy {
    pub(crate) server: ResolvedEndpoint,
    pub(crate) directions: HashMap<Key, Direction>,
}

impl Proxy {
    fn accept(&mut self, client: Stream, context: &mut Slice<'_>) -> Next {
        let server = Stream::connect(&self.server, &SocketOptions::default());
        let Ok(server) = server else { return Next::Again }; // only this client is closed
        let [one, other] = [client, server].map(|end| context.insert(Source::End(end)));
        for (end, partner) in [(one, other), (other, one)] {
            let (bytes, has_ended, is_shut) = (Vec::new(), false, false);
            self.directions.insert(end, Direction { partner, bytes, has_ended, is_shut });
        }
        Next::Again
    }

    /// Writes what the partner has read, then reads for the partner. Each wakes the partner.
    fn relay(&mut self, end: &mut Stream, ready: &mut Readiness, on: &mut Slice<'_>) -> Relayed {
        let (key, partner) = (on.key(), self.directions[&on.key()].partner);
        let [Some(own), Some(other)] = self.directions.get_disjoint_mut([&key, &partner]) else {
            return Ok(Next::Close);
        };
        while !other.bytes.is_empty() {
            let Some(count) = ready.try_write(|| end.write(&other.bytes))? else { break };
            other.bytes.drain(..count);
            on.wake(partner);
        }
        if other.has_ended && !other.is_shut && other.bytes.is_empty() && ready.is_writable() {
            end.shutdown_write()?;
            other.is_shut = true;
        }
        let mut buf = [0; 16 << 10];
        if own.bytes.is_empty() {
            let Some(count) = ready.try_read(|| end.read(&mut buf))? else { return Ok(Next::Wait) };
            own.bytes.extend_from_slice(&buf[..count]);
            own.has_ended = count == 0;
            on.wake(partner);
        }
        Ok(if own.is_shut && other.is_shut { Next::Close } else { Next::Wait })
    }
}

impl Handler for Proxy {
    type Source = Source;
    type Message = std::convert::Infallible;

    fn ready(&mut self, source: &mut Source, ready: &mut Readiness, on: &mut Slice<'_>) -> Next {
        match source {
            Source::End(end) => self.relay(end, ready, on).unwrap_or(Next::Close),
            Source::Listener(listener) => match ready.try_read(|| listener.accept()) {
                Ok(Some((client, _))) => self.accept(client, on),
                Ok(None) => Next::Wait,
                Err(_) => {
                    on.wake_at(on.key(), on.now() + std::time::Duration::from_millis(100));
                    Next::Wait
                }
            },
        }
    }

    fn closed(&mut self, _: Source, _: Closed, context: &mut Slice<'_>) {
        if let Some(direction) = self.directions.remove(&context.key()) {
            context.close(direction.partner);
        }
    }
}

impl reactor::Source for Source {
    fn may_rest(&self) -> bool {
        true // an end may stay readable until its partner has written
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Listener(listener) => listener.as_fd(),
            Source::End(stream) => stream.as_fd(),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = Listener::tcp("127.0.0.1:7070".parse()?, &SocketOptions::default())?;
    let mut reactor = Reactor::new()?;
    reactor.insert(Source::Listener(listener))?;
    let (server, directions) = (ResolvedEndpoint::Tcp("127.0.0.1:7007".parse()?), HashMap::new());
    Ok(reactor.run(&mut Proxy { server, directions })?)
}

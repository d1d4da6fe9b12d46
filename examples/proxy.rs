//! A TCP proxy: `cargo run --example proxy` forwards connections from 127.0.0.1:7070 to :7007.
//!
//! The two ends of a connection are two sources of one loop. An end reads only after its partner
//! has written everything that the end read before, so a slow receiver slows its sender down.

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

type Context<'a> = SourceContext<'a, Source>;

/// The bytes that one end has read for its partner.
pub(crate) struct Direction {
    partner: Key,
    bytes: Vec<u8>,
    has_ended: bool,
    is_shut: bool,
}

pub(crate) struct Proxy {
    pub(crate) server: ResolvedEndpoint,
    /// Each direction by the key of its reading end.
    pub(crate) directions: HashMap<Key, Direction>,
}

impl Proxy {
    fn accept(&mut self, client: Stream, context: &mut Context<'_>) -> Next {
        let server = Stream::connect(&self.server, &SocketOptions::default());
        // If connecting fails, only this client loses its connection.
        let Ok(server) = server else { return Next::Again };
        let [one, other] = [client, server].map(|end| context.insert(Source::End(end)));
        for (end, partner) in [(one, other), (other, one)] {
            let (bytes, has_ended, is_shut) = (Vec::new(), false, false);
            self.directions.insert(end, Direction { partner, bytes, has_ended, is_shut });
        }
        Next::Again
    }

    /// Writes what the partner has read, then reads for the partner. Each wakes the partner.
    fn forward(
        &mut self,
        end: &mut Stream,
        readiness: &mut Readiness,
        context: &mut Context<'_>,
    ) -> io::Result<Next> {
        let (key, partner) = (context.key(), self.directions[&context.key()].partner);
        let [Some(own), Some(other)] = self.directions.get_disjoint_mut([&key, &partner]) else {
            return Ok(Next::Close);
        };
        while !other.bytes.is_empty() {
            let Some(count) = readiness.try_write(|| end.write(&other.bytes))? else { break };
            other.bytes.drain(..count);
            context.wake(partner);
        }
        if other.has_ended && !other.is_shut && other.bytes.is_empty() && readiness.is_writable() {
            end.shutdown_write()?;
            other.is_shut = true;
        }
        let mut buf = [0; 16 << 10];
        if own.bytes.is_empty() {
            let Some(count) = readiness.try_read(|| end.read(&mut buf))? else {
                return Ok(Next::Wait);
            };
            own.bytes.extend_from_slice(&buf[..count]);
            own.has_ended = count == 0;
            context.wake(partner);
        }
        Ok(if own.is_shut && other.is_shut { Next::Close } else { Next::Wait })
    }
}

impl Handler for Proxy {
    type Source = Source;
    type Message = std::convert::Infallible;

    fn ready(
        &mut self,
        source: &mut Source,
        readiness: &mut Readiness,
        context: &mut Context<'_>,
    ) -> Next {
        match source {
            Source::End(end) => self.forward(end, readiness, context).unwrap_or(Next::Close),
            Source::Listener(listener) => match readiness.try_read(|| listener.accept()) {
                Ok(Some((client, _))) => self.accept(client, context),
                Ok(None) => Next::Wait,
                Err(_) => {
                    let again_at = context.now() + std::time::Duration::from_millis(100);
                    context.wake_at(context.key(), again_at);
                    Next::Wait
                }
            },
        }
    }

    fn closed(&mut self, _: Source, _: Closed, context: &mut Context<'_>) {
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

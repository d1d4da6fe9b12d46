//! A chat room: `cargo run --example chat`, then `nc 127.0.0.1 7071` in several terminals.
//!
//! Each line goes to every other member. The handler's own timer regularly sends the number of
//! members to all of them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use resound::Readiness;
use resound::reactor::{Closed, Context, Handler, Key, Next, Reactor, SourceContext, Sources};
use resound::socket::{Listener, SocketOptions, Stream};

/// The room closes a member whose line, or whose bytes yet to receive, exceed this.
const MEMBER_BYTES_MAX: usize = 64 << 10;
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

pub(crate) enum Source {
    Listener(Listener),
    Member(Stream),
}

type Slice<'a> = SourceContext<'a, Source>;

#[derive(Default)]
pub(crate) struct Member {
    /// The part of its next line that has come.
    line: Vec<u8>,
    /// Lines of others that the member has yet to receive.
    owed: Vec<u8>,
}

pub(crate) struct Room {
    /// The time between two messages with the number of members.
    pub(crate) interval: Duration,
    pub(crate) members: HashMap<Key, Member>,
}

impl Room {
    fn broadcast<K>(&mut self, from: Option<Key>, text: &[u8], on: &mut Context<'_, Source, K>) {
        for (key, member) in self.members.iter_mut().filter(|(key, _)| Some(**key) != from) {
            member.owed.extend_from_slice(text);
            on.wake(*key);
        }
    }

    /// Writes to a member and reads its lines. Returns `None` if it has left or exceeds a limit.
    fn run(&mut self, to: &mut Stream, ready: &mut Readiness, on: &mut Slice<'_>) -> Option<Next> {
        let (key, mut buf) = (on.key(), [0; 4096]);
        let member = self.members.get_mut(&key)?;
        while !member.owed.is_empty() {
            let Some(count) = ready.try_write(|| to.write(&member.owed)).ok()? else { break };
            member.owed.drain(..count);
        }
        let Some(count) = ready.try_read(|| to.read(&mut buf)).ok()? else {
            return (member.owed.len() <= MEMBER_BYTES_MAX).then_some(Next::Wait);
        };
        member.line.extend_from_slice(&buf[..count]);
        let end = member.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        let lines: Vec<u8> = member.line.drain(..end).collect();
        let is_within = count > 0 && member.line.len().max(member.owed.len()) <= MEMBER_BYTES_MAX;
        self.broadcast(Some(key), &lines, on);
        is_within.then_some(Next::Again)
    }
}

impl Handler for Room {
    type Source = Source;
    type Message = Infallible;

    fn ready(&mut self, source: &mut Source, ready: &mut Readiness, on: &mut Slice<'_>) -> Next {
        match source {
            Source::Member(stream) => self.run(stream, ready, on).unwrap_or(Next::Close),
            Source::Listener(listener) => match ready.try_read(|| listener.accept()) {
                Ok(Some((stream, _))) => {
                    let key = on.insert(Source::Member(stream));
                    self.members.insert(key, Member::default());
                    Next::Again
                }
                Ok(None) => Next::Wait,
                Err(_) => {
                    on.wake_at(on.key(), on.now() + ACCEPT_RETRY);
                    Next::Wait
                }
            },
        }
    }

    fn closed(&mut self, _: Source, _: Closed, context: &mut Slice<'_>) {
        self.members.remove(&context.key());
    }

    fn timer_due(&mut self, _: &Sources<Source>, context: &mut Context<'_, Source>) {
        let text = format!("* {} here\n", self.members.len());
        self.broadcast(None, text.as_bytes(), context);
        context.set_timer(context.now() + self.interval);
    }
}

impl resound::reactor::Source for Source {}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Listener(listener) => listener.as_fd(),
            Source::Member(stream) => stream.as_fd(),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = Listener::tcp("127.0.0.1:7071".parse()?, &SocketOptions::default())?;
    let mut reactor = Reactor::new()?;
    reactor.insert(Source::Listener(listener))?;
    reactor.set_timer(std::time::Instant::now());
    let (interval, members) = (Duration::from_secs(60), HashMap::new());
    Ok(reactor.run(&mut Room { interval, members })?)
}

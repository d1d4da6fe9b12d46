//! Step 8: bounded slices and a ready list. This is the reactor of this repository in small.
//!
//! A turn is wait, mark, run. Marking puts the key of each event on a list and touches no client.
//! Then each key on the list gets one bounded slice. A client that is not drained by then joins the
//! list of the next turn, and the next poll does not sleep: no event follows for these bytes.
//!
//! What is missing: timers, messages from other threads, a bound for `accept`, and a plan for the
//! time when no descriptor is free. `src/reactor/turn.rs` has the same three phases.
//!
//! To see that the flaw of step 7 is gone, do as its text says: the ping is answered.
#![allow(clippy::print_stdout)] // for the counts

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: usize = usize::MAX;
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);
const MOVES_MAX: usize = 32; // few enough that the other clients do not wait long

struct Client {
    key: usize,
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Client {
    /// Moves bytes for one slice. Returns true if the slice ended before the kernel refused.
    fn slice(&mut self, longest: &mut usize) -> io::Result<bool> {
        let mut buf = [0; 16];
        for moves in 1..=MOVES_MAX {
            *longest = moves.max(*longest);
            let moved = if self.unsent.is_empty() {
                self.stream.read(&mut buf).inspect(|count| self.unsent.extend(&buf[..*count]))
            } else {
                self.stream.write(&self.unsent).inspect(|count| drop(self.unsent.drain(..*count)))
            };
            match moved {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                moved => drop(moved?),
            }
        }
        Ok(true)
    }
}

pub(crate) fn serve(listener: std::net::TcpListener, clients_max: usize) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(128));
    poll.registry().register(&mut listener, Token(LISTENER), Interest::READABLE)?;
    let (mut clients, mut ready) = (Slab::<Client>::new(), BTreeSet::new());
    let (mut generation, mut longest) = (0, 0);
    loop {
        // Wait. Sleep only if no work is left.
        let timeout = if ready.is_empty() { None } else { Some(Duration::ZERO) };
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        // Mark. The list is a set, so a key is on it at most once.
        ready.extend(events.iter().map(|event| event.token().0));
        // Run. A key that joins the list from here on runs in the next turn.
        for key in std::mem::take(&mut ready) {
            let index = key & 0xffff_ffff;
            if key == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    if clients.len() == clients_max {
                        clients.remove(0);
                    }
                    generation += 1;
                    let slot = clients.vacant_entry();
                    let key = generation << 32 | slot.key();
                    poll.registry().register(&mut stream, Token(key), BOTH)?;
                    slot.insert(Client { key, stream, unsent: Vec::new() });
                }
            } else if let Some(client) = clients.get_mut(index).filter(|client| client.key == key) {
                let Ok(is_left) = client.slice(&mut longest) else {
                    clients.remove(index);
                    println!("a client left: at most {longest} calls in one slice so far");
                    continue;
                };
                ready.extend(is_left.then_some(key));
            }
        }
    }
}

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let listener = std::net::TcpListener::bind(args.next().as_deref().unwrap_or("127.0.0.1:7007"))?;
    println!("listening {}", listener.local_addr()?);
    serve(listener, args.next().map_or(10_000, |max| max.parse().expect("a number of clients")))
}

//! Step 7: a key with a generation. Late events are ignored, but a flood stops all other clients.
//!
//! A key is the index of a slot and a number that no other tenant of the slot has, its generation.
//! An event whose key is not that of the slot's tenant is late, and the server ignores it.
//!
//! What is wrong: the server drains one client before it looks at the next. A client that sends as
//! fast as the server reads is never drained, so no other client is served, and no new client is
//! accepted.
//!
//! To see it: start `cargo run --example step7_unfair`, send it a flood with
//! `nc 127.0.0.1 7007 </dev/zero >/dev/null`, and ping it: `resound ping 127.0.0.1:7007`. When a
//! client leaves, the server prints the most calls that it made for one event.
//!
//! Step 8 bounds the work that a client gets in one turn.

#![allow(clippy::print_stdout)] // for the counts

use std::io::{self, ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

struct Client {
    key: usize,
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Client {
    /// Moves bytes until the kernel refuses. Returns false at the end of the stream.
    fn drain(&mut self, longest: &mut usize) -> io::Result<bool> {
        let mut buf = [0; 16];
        let mut moves = 0;
        loop {
            moves += 1;
            *longest = moves.max(*longest);
            let moved = if self.unsent.is_empty() {
                self.stream.read(&mut buf).inspect(|count| self.unsent.extend(&buf[..*count]))
            } else {
                self.stream.write(&self.unsent).inspect(|count| drop(self.unsent.drain(..*count)))
            };
            match moved {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Serves at most `clients_max` clients until poll fails.
pub(crate) fn serve(listener: std::net::TcpListener, clients_max: usize) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(128));
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut clients, mut generation, mut longest) = (Slab::<Client>::new(), 0, 0);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            let Token(key) = event.token();
            let index = key & 0xffff_ffff;
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    if clients.len() == clients_max {
                        clients.remove(0);
                    }
                    generation += 1;
                    let slot = clients.vacant_entry();
                    let key = generation << 32 | slot.key();
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(key), interest)?;
                    slot.insert(Client { key, stream, unsent: Vec::new() });
                }
            } else if let Some(client) = clients.get_mut(index).filter(|client| client.key == key)
                && (event.is_error() || !client.drain(&mut longest).unwrap_or(false))
            {
                clients.remove(index);
                println!("a client left: at most {longest} calls for one event so far");
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

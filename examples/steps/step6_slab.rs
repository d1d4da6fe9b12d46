//! Step 6: the server drains each socket, and finds its clients in a slab.
//!
//! It moves bytes until the kernel answers `WouldBlock`. From then on the next byte is a change,
//! and so an edge. The slab is an array of slots, and the token of an event is the index of the
//! client's slot. A slot that becomes free is used again first. When the server has as many clients
//! as it may have, the client in slot 0 must make room for the next.
//!
//! What is wrong: one poll returns many events, and each is acted on before the next is looked at.
//! Suppose that a new client connects, and the client in slot 0 resets its connection. Both events
//! are in one batch. The first makes the server close the old client and put the new one in its
//! slot. The second event is late: it names the slot, which has a new tenant. The server takes it
//! for a reset by the new client, which did nothing, and closes that.
//!
//! To see it, start `cargo run --example step6_slab -- 127.0.0.1:7007 1` (one client at most), and
//! type this in bash. It prints 0: the server closed the new client. Step 7 prints 124.
//!
//!     exec 3<>/dev/tcp/127.0.0.1/7007; echo old >&3; sleep 1; s=$(pidof step6_slab)
//!     kill -STOP $s; exec 4<>/dev/tcp/127.0.0.1/7007; exec 3>&-; sleep 1; kill -CONT $s
//!     timeout 2 cat <&4; echo $?
//!
//! The old client leaves its echo unread, so its `close` sends a reset.
//!
//! Step 7 gives each tenant of a slot its own key.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

struct Client {
    stream: TcpStream,
    /// Bytes that the socket did not take yet.
    unsent: Vec<u8>,
}

impl Client {
    /// Moves bytes until the kernel refuses. Returns false at the end of the stream.
    fn drain(&mut self) -> io::Result<bool> {
        let mut buf = [0; 16];
        loop {
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
    let mut clients: Slab<Client> = Slab::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            let key = event.token().0;
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    if clients.len() == clients_max {
                        clients.remove(0);
                    }
                    let slot = clients.vacant_entry();
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(slot.key()), interest)?;
                    slot.insert(Client { stream, unsent: Vec::new() });
                }
            } else if let Some(client) = clients.get_mut(key)
                // The client reset its connection: no bytes of it are left to read.
                && (event.is_error() || !client.drain().unwrap_or(false))
            {
                clients.remove(key);
            }
        }
    }
}

#[allow(clippy::print_stdout)]
fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let listener = std::net::TcpListener::bind(args.next().as_deref().unwrap_or("127.0.0.1:7007"))?;
    println!("listening {}", listener.local_addr()?);
    serve(listener, args.next().map_or(10_000, |max| max.parse().expect("a number of clients")))
}

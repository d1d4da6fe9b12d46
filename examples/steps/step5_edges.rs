//! Step 5: edge-triggered events, and a server that treats them as if they were levels.
//!
//! mio registers each socket once, and the kernel keeps the list (epoll(7)). A poll returns only
//! the sockets whose state has changed, so an idle connection costs no work. This is an edge: the
//! kernel reports that bytes came, and reports it once.
//!
//! What is wrong: the server reads one buffer for each event, as in step 4. If more bytes came than
//! fit, the rest stays in the socket. No edge follows, because nothing changes: the client waits
//! for its echo, and the server waits for an event. The listener has the same flaw: of two clients
//! that connect at the same time, the server accepts one.
//!
//! To see it: start `cargo run --example step5_edges`, connect with `nc 127.0.0.1 7007`, and type a
//! line of 40 bytes: 16 come back. Each further line is a new edge, and brings 16 bytes more.
//!
//! Step 6 reads until the socket is empty.

#![allow(clippy::print_stdout)] // for the counts

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(0);

struct Client {
    stream: TcpStream,
    /// Bytes that the socket did not take yet.
    unsent: Vec<u8>,
}

impl Client {
    /// Moves at most one buffer of bytes. Returns false at the end of the stream.
    fn advance(&mut self) -> io::Result<bool> {
        if self.unsent.is_empty() {
            let mut buf = [0; 16];
            match self.stream.read(&mut buf) {
                Ok(0) => return Ok(false),
                Ok(count) => self.unsent.extend_from_slice(&buf[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        match self.stream.write(&self.unsent) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

/// Serves until poll fails.
pub(crate) fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(128));
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients: HashMap<Token, Client> = HashMap::new();
    let (mut next, mut polls, mut looked_at) = (LISTENER, 0, 0);
    loop {
        match poll.poll(&mut events, None) {
            // A signal, such as SIGSTOP and SIGCONT, ends the wait.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        polls += 1;
        for event in &events {
            looked_at += 1;
            if event.token() == LISTENER {
                let Ok((mut stream, _)) = listener.accept() else { continue };
                next = Token(next.0 + 1);
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, next, interest)?;
                clients.insert(next, Client { stream, unsent: Vec::new() });
            } else if let Some(client) = clients.get_mut(&event.token())
                && !client.advance().unwrap_or(false)
            {
                clients.remove(&event.token());
                println!("a client left: {polls} polls, {looked_at} events looked at so far");
            }
        }
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    let listener = std::net::TcpListener::bind(address)?;
    println!("listening {}", listener.local_addr()?);
    serve(listener)
}

//! Step 3: one thread and non-blocking sockets. The thread tries every client in turn.
//!
//! A call on a non-blocking socket never waits. If there is nothing to read, `read` returns
//! `WouldBlock`. A write can also be refused, or take only a part of the bytes: the socket's send
//! buffer is full because the client does not read. The rest waits in `unsent`, and the server
//! reads no more from that client until the rest has gone.
//!
//! What is wrong: the thread never sleeps. It asks every client millions of times for bytes that
//! are not there, and takes a whole CPU while no client sends.
//!
//! To see it: start `cargo run --release --example step3_busy`, and look at `top`. Connect with
//! `nc 127.0.0.1 7007` and leave: the server prints how many passes it has made.
//!
//! Step 4 asks the kernel to wake the thread when there is something to do.

// The count of passes shows the flaw.
#![allow(clippy::print_stdout)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

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

/// Serves until the listener fails.
pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut clients = Vec::new();
    let mut passes: u64 = 0;
    loop {
        passes += 1;
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                clients.push(Client { stream, unsent: Vec::new() });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let count = clients.len();
        // An error of one client ends that client only.
        clients.retain_mut(|client| client.advance().unwrap_or(false));
        if clients.len() < count {
            println!("a client left: {passes} passes so far");
        }
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening {}", listener.local_addr()?);
    serve(&listener)
}

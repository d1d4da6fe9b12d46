//! Step 4: the thread sleeps in poll(2) until a socket is ready.
//!
//! The server gives the kernel a list of descriptors, each with what the server waits for: bytes to
//! read, or room to write if the client has bytes unsent. The kernel wakes the thread when one is
//! ready. poll is level-triggered: it returns at once as long as a descriptor is ready. The server
//! can therefore move one buffer for each client and poll again; no byte is forgotten.
//!
//! What is wrong: each poll passes the whole list to the kernel, the kernel looks at every
//! descriptor on it, and then the server looks at all of them for those that are ready. One
//! message costs as much work as there are connections, even if all others are idle.
//!
//! To see it: start `cargo run --example step4_poll`, and connect some `nc 127.0.0.1 7007`. Each
//! client that leaves makes the server print how many descriptors it has looked at.
//!
//! Step 5 leaves the list in the kernel, and gets only what changed.

// The counts show the flaw.
#![allow(clippy::print_stdout)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::event::{PollFd, PollFlags, poll};

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

    /// Returns what the client waits for. A socket nearly always has room to write, so waiting for
    /// room without bytes to write would keep the thread awake.
    fn interest(&self) -> PollFlags {
        if self.unsent.is_empty() { PollFlags::IN } else { PollFlags::OUT }
    }
}

/// Serves until the listener or poll fails.
pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut clients: Vec<Client> = Vec::new();
    let (mut polls, mut looked_at) = (0, 0);
    loop {
        let mut fds = vec![PollFd::new(listener, PollFlags::IN)];
        fds.extend(clients.iter().map(|client| PollFd::new(&client.stream, client.interest())));
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        polls += 1;
        looked_at += fds.len();
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let (count, mut ready) = (clients.len(), ready.into_iter());
        let is_listener_ready = ready.next().unwrap_or(false);
        clients.retain_mut(|client| {
            !ready.next().unwrap_or(false) || client.advance().unwrap_or(false)
        });
        if clients.len() < count {
            println!("a client left: {polls} polls, {looked_at} descriptors looked at so far");
        }
        if is_listener_ready && let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            clients.push(Client { stream, unsent: Vec::new() });
        }
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening {}", listener.local_addr()?);
    serve(&listener)
}

//! Step 1: one client at a time, as in most introductions to sockets.
//!
//! The server accepts a client, answers it until it leaves, and only then accepts the next. `read`
//! blocks: the kernel does not run this thread until bytes have arrived.
//!
//! What is wrong: a client that is connected and silent stops the server for all other clients. The
//! kernel completes their connections and keeps their bytes, so they see no error. They wait.
//!
//! To see it: start `cargo run --example step1_blocking`, and `nc 127.0.0.1 7007` in two more
//! terminals. Type a line in both. Only the first client gets its line back. End the first client
//! with Ctrl-C, and the second gets its line.
//!
//! Step 2 gives each client a thread.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Serves until the listener fails.
pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept()?;
        // The error of one client ends that client only.
        let _ = echo(client);
    }
}

/// Answers one client until it sends no more.
fn echo(mut client: TcpStream) -> io::Result<()> {
    let mut buf = [0; 1024];
    loop {
        let count = client.read(&mut buf)?;
        if count == 0 {
            return Ok(());
        }
        client.write_all(&buf[..count])?;
    }
}

#[allow(clippy::print_stdout)]
fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening {}", listener.local_addr()?);
    serve(&listener)
}

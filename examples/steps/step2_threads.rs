//! Step 2: a thread for each client.
//!
//! Each thread blocks in `read` for its own client, so a silent client stops only its own thread.
//!
//! What is wrong: an idle client costs a whole thread, with its stack and its entry in the kernel's
//! scheduler. A thousand idle clients are a thousand threads. Whatever the clients share needs a
//! lock, because any two threads can run at the same time.
//!
//! To see it: start `cargo run --example step2_threads`, connect with `nc 127.0.0.1 7007` in some
//! terminals, and look at the line `Threads:` in `/proc/PID/status`.
//!
//! Step 3 serves all clients with one thread.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Serves until the listener fails.
pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept()?;
        // If the system refuses a thread, `client` is dropped, which closes its connection.
        let _ = thread::Builder::new().spawn(|| echo(client));
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

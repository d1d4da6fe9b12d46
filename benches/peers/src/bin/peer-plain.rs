//! An echo server on mio, written as mio's examples are. It makes two calls per datagram, receive
//! and send, and two per chunk of a stream, read and write, until nothing more is ready.

use std::io::{self, ErrorKind, Read, Write};
use std::process::ExitCode;
use std::thread;

use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use resound_peers::{
    ACCEPT_PAUSE, BUF_BYTES, Bound, bound_by_arguments, exit_code, is_of_one_connection,
};
use slab::Slab;

const EVENTS_PER_POLL: usize = 1024;

/// The token of the bound socket. The token of a connection is its index in the slab.
const BOUND: Token = Token(usize::MAX);

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> io::Result<()> {
    let bound = bound_by_arguments()?;
    let poll = Poll::new()?;
    match bound {
        Bound::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            serve(poll, TcpListener::from_std(listener))
        }
        Bound::Udp(socket) => {
            socket.set_nonblocking(true)?;
            answer(poll, UdpSocket::from_std(socket))
        }
    }
}

/// Waits for events. A poll that a signal interrupts returns none.
fn wait(poll: &mut Poll, events: &mut Events) -> io::Result<()> {
    match poll.poll(events, None) {
        Err(error) if error.kind() == ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        other => other,
    }
}

fn answer(mut poll: Poll, mut socket: UdpSocket) -> io::Result<()> {
    poll.registry().register(&mut socket, BOUND, Interest::READABLE)?;
    let mut events = Events::with_capacity(1);
    let mut buf = vec![0; BUF_BYTES];
    loop {
        wait(&mut poll, &mut events)?;
        loop {
            match socket.recv_from(&mut buf) {
                Ok((count, peer)) => drop(socket.send_to(&buf[..count], peer)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The error concerns one datagram.
                Err(_) => {}
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// Bytes that the peer has yet to take. The server does not read while there are any.
    owed: Vec<u8>,
}

fn serve(mut poll: Poll, mut listener: TcpListener) -> io::Result<()> {
    poll.registry().register(&mut listener, BOUND, Interest::READABLE)?;
    let mut events = Events::with_capacity(EVENTS_PER_POLL);
    let mut connections = Slab::new();
    let mut buf = vec![0; BUF_BYTES];
    loop {
        wait(&mut poll, &mut events)?;
        for event in &events {
            if event.token() == BOUND {
                accept_all(&poll, &listener, &mut connections)?;
            } else if let Some(connection) = connections.get_mut(event.token().0)
                && echo(connection, &mut buf).is_err()
            {
                connections.remove(event.token().0);
            }
        }
    }
}

fn accept_all(
    poll: &Poll,
    listener: &TcpListener,
    connections: &mut Slab<Connection>,
) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if is_of_one_connection(&error) => continue,
            Err(_) => {
                thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let place = connections.vacant_entry();
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(place.key()), both)?;
        place.insert(Connection { stream, owed: Vec::new() });
    }
}

/// Echoes until there is nothing to read or no room to write. An error ends the connection.
fn echo(connection: &mut Connection, buf: &mut [u8]) -> io::Result<()> {
    loop {
        while !connection.owed.is_empty() {
            let Some(sent) = unless_blocked(connection.stream.write(&connection.owed))? else {
                return Ok(());
            };
            connection.owed.drain(..sent);
        }
        let Some(count) = unless_blocked(connection.stream.read(buf))? else { return Ok(()) };
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let sent = unless_blocked(connection.stream.write(&buf[..count]))?.unwrap_or(0);
        connection.owed.extend_from_slice(&buf[sent..count]);
        // A short read emptied the socket, so new data causes a new event.
        if count < buf.len() && sent == count {
            return Ok(());
        }
    }
}

/// Returns `None` if the call would block.
fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Some(0)),
        Err(error) => Err(error),
    }
}

//! A connected socket that probes go out by and echoes come in by, whole.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::payload::Payload;
use crate::client::OnSignal;
use crate::client::connect::{ConnectError, Connection, failure};
use crate::endpoint::{Endpoint, ResolvedEndpoint};
use crate::socket::SEND_FLAGS;

/// The shortest time to connect in: the system rounds what is far below it down to 0, which means
/// no limit.
const CONNECT_TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// As many probes are remembered in the order in which a stream has to echo them. A peer that has
/// swallowed more is no longer told which of them its damaged echoes are of.
const AWAITED_MAX: usize = 1 << 16;

/// What a receive has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Nothing more for now.
    Nothing,
    /// A part of a stream's echo.
    Part,
    /// A whole echo: [`Link::echo`].
    Echo,
    /// The end of the stream.
    End,
}

/// A connected socket. Its calls do not block, since two descriptors are waited for at once, by
/// poll(2), of which the manual page says that a socket it calls readable may block all the same.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    is_stream: bool,
    /// The probe that is being written, and how much of it the socket has taken.
    outgoing: Vec<u8>,
    written: usize,
    /// The socket took less than it was given, and poll(2) is to say when it takes more.
    is_full: bool,
    has_sent: bool,
    has_heard: bool,
    /// What a stream has to echo next.
    awaited: VecDeque<u64>,
    /// A stream's last echo was nothing like what had to come: more or less than that came before.
    is_out_of_step: bool,
    /// An echo, and one byte more for datagrams, to notice those that are too long.
    incoming: Vec<u8>,
    received: usize,
}

impl Link {
    /// Connects, for probes of `length` bytes. A stream may take the whole `timeout` for each of
    /// the addresses.
    pub(super) fn connect(
        endpoint: &Endpoint,
        addrs: Vec<ResolvedEndpoint>,
        timeout: Duration,
        length: usize,
    ) -> Result<Link, ConnectError> {
        let timeout = timeout.max(CONNECT_TIMEOUT_MIN);
        let connection = Connection::open(endpoint, addrs, timeout, OnSignal::LeaveToCaller)?;
        let is_stream = endpoint.transport().is_stream();
        Link::new(connection, is_stream, length).map_err(|error| ConnectError {
            error: failure("connect to", endpoint, error),
            is_lasting: false,
        })
    }

    fn new(connection: Connection, is_stream: bool, length: usize) -> io::Result<Link> {
        connection.socket.set_nonblocking(true)?;
        let incoming_bytes = if is_stream { length } else { length + 1 };
        Ok(Link {
            connection,
            is_stream,
            outgoing: Vec::new(),
            written: 0,
            is_full: false,
            has_sent: false,
            has_heard: false,
            awaited: VecDeque::new(),
            is_out_of_step: false,
            incoming: vec![0; incoming_bytes],
            received: 0,
        })
    }

    pub(super) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Whether it ever took a probe whole or in part.
    pub(super) fn has_sent(&self) -> bool {
        self.has_sent
    }

    /// Whether anything ever came.
    pub(super) fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// Connects to the next address of the same UDP host, if there is any.
    pub(super) fn move_to_next_address(&mut self) -> bool {
        let moved = self.connection.move_to_next_address();
        moved.and_then(|()| self.connection.socket.set_nonblocking(true)).is_ok()
    }

    pub(super) fn pending_error(&self) -> Option<io::Error> {
        self.connection.socket.take_error().unwrap_or_else(Some)
    }

    /// Whether it can take no probe until it is writable.
    pub(super) fn wants_to_write(&self) -> bool {
        self.is_full
    }

    /// Sends a probe: the moment just before, or none when the socket takes nothing now.
    ///
    /// Of a stream the socket may take a part; [`Link::flush`] writes the rest.
    pub(super) fn send(&mut self, number: u64, payload: &Payload) -> io::Result<Option<Instant>> {
        payload.write(number, &mut self.outgoing);
        self.written = 0;
        let sent_at = Instant::now();
        let outcome = self.flush();
        let has_taken = outcome.is_ok() && (self.written > 0);
        if !has_taken {
            self.outgoing.clear();
            return outcome.map(|()| None);
        }
        self.has_sent = true;
        if self.is_stream {
            self.awaited.push_back(number);
            if self.awaited.len() > AWAITED_MAX {
                self.awaited.pop_front();
            }
        }
        Ok(Some(sent_at))
    }

    /// Writes what is left of a probe, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.is_full = false;
        while self.written < self.outgoing.len() {
            match self.connection.socket.send_with_flags(&self.outgoing[self.written..], SEND_FLAGS)
            {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_full = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn receive(&mut self) -> io::Result<Received> {
        if !self.is_stream || self.received == self.incoming.len() {
            self.received = 0;
        }
        let count = loop {
            match (&self.connection.socket).read(&mut self.incoming[self.received..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                other => break other?,
            }
        };
        self.received += count;
        self.has_heard = true;
        Ok(match self.is_stream {
            true if count == 0 => Received::End,
            true if self.received < self.incoming.len() => Received::Part,
            _ => Received::Echo,
        })
    }

    /// The echo that was received last.
    pub(super) fn echo(&self) -> &[u8] {
        &self.incoming[..self.received]
    }

    /// The probe that a stream has to echo next.
    pub(super) fn next_awaited(&self) -> Option<u64> {
        self.awaited.front().copied()
    }

    /// Whether a stream's echoes no longer begin where they should. It cannot be told where they
    /// do, until none is awaited.
    pub(super) fn is_out_of_step(&self) -> bool {
        self.is_out_of_step && !self.awaited.is_empty()
    }

    /// This probe's echo has come; those before it were left out.
    pub(super) fn came(&mut self, number: u64, is_like: bool) {
        self.is_out_of_step = self.is_stream && !is_like;
        if let Some(position) = self.awaited.iter().position(|awaited| *awaited == number) {
            self.awaited.drain(..=position);
        }
    }

    /// Forgets the beginning of what cannot be an echo, when there is any: bytes of a stream that
    /// came while none was awaited.
    pub(super) fn discard_unasked(&mut self) -> Option<usize> {
        let is_part = self.is_stream && self.received < self.incoming.len();
        let is_unasked = is_part && self.received > 0 && self.awaited.is_empty();
        is_unasked.then(|| std::mem::take(&mut self.received))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.socket.as_fd()
    }
}

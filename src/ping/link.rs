//! A connected socket that sends probes and receives whole echoes.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::Options;
use super::payload::Payload;
use super::stamps::Stamps;
use crate::client::OnSignal;
use crate::client::connect::{ConnectError, Connection, Settings, failure};
use crate::endpoint::ResolvedEndpoint;
use crate::measured::Stretches;
use crate::socket::SEND_FLAGS;
use crate::socket::stamps::receive_stamped;

/// The shortest timeout for connecting. The system rounds a much shorter one down to 0, which means
/// no timeout.
const CONNECT_TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// The number of probes that a stream has yet to echo and that are remembered in order. If a peer
/// omits more echoes than that, its damaged echoes are no longer matched to probes.
const AWAITED_MAX: usize = 1 << 16;

/// The result of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// No data for now.
    Nothing,
    /// A part of a stream's echo.
    Part,
    /// A whole echo, which [`Link::echo`] returns.
    Echo,
    /// The end of the stream.
    End,
}

/// A connected socket. Its calls do not block: the caller waits by poll(2) for several descriptors,
/// and a socket that poll(2) reports as readable may still block (poll(2), "BUGS").
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    is_stream: bool,
    /// The probe that is being written, and the number of its bytes that the socket has taken.
    outgoing: Vec<u8>,
    written: usize,
    /// The socket took only a part of the last write, so the caller must wait until it is writable.
    is_full: bool,
    has_sent: bool,
    has_received: bool,
    /// The numbers of the probes that a stream has to echo next, in order.
    awaited: VecDeque<u64>,
    /// The last echo of a stream did not resemble the expected one, because the peer omitted or
    /// inserted bytes before it.
    is_out_of_step: bool,
    /// The buffer for one echo, and for datagrams one more byte, so that a datagram that is too
    /// long is noticed.
    incoming: Vec<u8>,
    received: usize,
    /// The kernel's timestamps, if they are asked for and it has some.
    stamps: Option<Stamps>,
}

impl Link {
    /// Connects. A stream may take the whole timeout for each address.
    pub(super) fn connect(
        options: &Options,
        addrs: Vec<ResolvedEndpoint>,
    ) -> Result<Link, ConnectError> {
        let settings = Settings {
            endpoint: options.endpoint.clone(),
            socket: options.socket.clone(),
            bind: options.bind.clone(),
            timeout: options.timeout.max(CONNECT_TIMEOUT_MIN),
        };
        let connection = Connection::open(settings, addrs, OnSignal::LeaveToCaller)?;
        let is_stream = options.endpoint.transport().is_stream();
        let mut link =
            Link::new(connection, is_stream, options.length).map_err(|error| ConnectError {
                error: failure("connect to", &options.endpoint, error),
                is_lasting: false,
            })?;
        if options.has_stamps() {
            link.stamps = Stamps::enable(&link.connection.socket, is_stream);
        }
        Ok(link)
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
            has_received: false,
            awaited: VecDeque::new(),
            is_out_of_step: false,
            incoming: vec![0; incoming_bytes],
            received: 0,
            stamps: None,
        })
    }

    pub(super) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Returns true if the socket ever took a probe, whole or in part.
    pub(super) fn has_sent(&self) -> bool {
        self.has_sent
    }

    /// Returns true if any bytes were ever received.
    pub(super) fn has_received(&self) -> bool {
        self.has_received
    }

    /// Connects to the next address of the same UDP host. Returns false if that fails or there is
    /// none.
    pub(super) fn move_to_next_address(&mut self) -> bool {
        let moved = self.connection.move_to_next_address();
        if self.stamps.take().is_some() {
            self.stamps = Stamps::enable(&self.connection.socket, self.is_stream);
        }
        moved.is_ok() && self.connection.socket.set_nonblocking(true).is_ok()
    }

    /// Returns the error that poll(2) reports, if it is more than a timestamp in the error queue.
    pub(super) fn pending_error(&mut self) -> Option<io::Error> {
        if let Some(stamps) = &mut self.stamps {
            stamps.collect(&self.connection.socket);
        }
        self.connection.socket.take_error().unwrap_or_else(Some)
    }

    /// Returns true if the socket takes no more bytes until it is writable.
    pub(super) fn wants_to_write(&self) -> bool {
        self.is_full
    }

    /// Sends a probe. Returns the time just before the send, or `None` if the socket takes nothing
    /// now.
    ///
    /// A stream socket may take a part; [`Link::flush`] writes the rest.
    pub(super) fn send(&mut self, number: u64, payload: &Payload) -> io::Result<Option<Instant>> {
        payload.write(number, &mut self.outgoing);
        self.written = 0;
        let sent_at = Instant::now();
        if let Some(stamps) = &mut self.stamps {
            stamps.begin(number, self.outgoing.len(), sent_at);
        }
        let outcome = self.flush();
        let has_taken = outcome.is_ok() && (self.written > 0);
        if !has_taken {
            self.outgoing.clear();
            if let Some(stamps) = &mut self.stamps {
                stamps.cancel();
            }
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

    /// Writes as much of the rest of the probe as the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.is_full = false;
        while self.written < self.outgoing.len() {
            let (socket, rest) = (&self.connection.socket, &self.outgoing[self.written..]);
            let sent = match &mut self.stamps {
                Some(stamps) => stamps.send(socket, rest),
                None => socket.send_with_flags(rest, SEND_FLAGS),
            };
            match sent {
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
            match self.read() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                other => break other?,
            }
        };
        self.received += count;
        self.has_received = true;
        Ok(match self.is_stream {
            true if count == 0 => Received::End,
            true if self.received < self.incoming.len() => Received::Part,
            _ => Received::Echo,
        })
    }

    fn read(&mut self) -> io::Result<usize> {
        let buf = &mut self.incoming[self.received..];
        let Some(stamps) = &mut self.stamps else { return (&self.connection.socket).read(buf) };
        let received = receive_stamped(&self.connection.socket, buf)?;
        stamps.received(received.arrived_ns);
        Ok(received.count)
    }

    /// Returns where the time of a probe went, if the last echo is its own and has all timestamps.
    pub(super) fn take_stretches(&mut self, number: u64, at: Instant) -> Option<Stretches> {
        self.stamps.as_mut()?.take(&self.connection.socket, number, at)
    }

    /// Returns the bytes of the last echo.
    pub(super) fn echo(&self) -> &[u8] {
        &self.incoming[..self.received]
    }

    /// Returns the number of the probe that a stream has to echo next.
    pub(super) fn next_awaited(&self) -> Option<u64> {
        self.awaited.front().copied()
    }

    /// Returns true if it is unknown where a stream's next echo begins. That stays unknown until no
    /// echo is awaited.
    pub(super) fn is_out_of_step(&self) -> bool {
        self.is_out_of_step && !self.awaited.is_empty()
    }

    /// Records the echo of this probe. The peer omitted the echoes of all awaited probes before it.
    pub(super) fn record_echo(&mut self, number: u64, is_like: bool) {
        self.is_out_of_step = self.is_stream && !is_like;
        if let Some(position) = self.awaited.iter().position(|awaited| *awaited == number) {
            self.awaited.drain(..=position);
        }
    }

    /// Discards the bytes of a stream that came while no echo was awaited. Returns their number if
    /// there are any.
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

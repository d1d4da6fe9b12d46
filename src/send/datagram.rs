//! One datagram for each message or line, and one reply to each.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::mem::MaybeUninit;
use std::time::Instant;

use super::echo::EchoCheck;
use super::{Event, Input, Options};
use crate::client::connect::{self, Connection, failure, timed_out};
use crate::endpoint::Transport;
use crate::error::Error;
use crate::socket::SEND_FLAGS;

/// No UDP datagram is longer. A Unix datagram may be, if the sender's buffer allows it.
const UDP_BYTES_MAX: usize = 65_535;
const UNIX_BYTES_MAX: usize = 4 << 20;

/// A line that reaches this length is longer than any datagram, so the rest of it need not be read.
const LINE_BYTES_MAX: u64 = UNIX_BYTES_MAX as u64 + 1;

/// The number of late datagrams that are discarded before a line is sent. It is more than a receive
/// buffer of usual size holds, and it bounds the work if a peer sends without pause.
const DISCARDED_MAX: usize = 10_000;

/// Sends the message, or each line of the input, and waits for the reply to each. A missing reply
/// or a refusal is an error that is returned at the end; the lines after it are still sent.
pub(super) fn exchange(
    mut client: Client<'_>,
    input: Option<Input>,
    on_event: &mut impl FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    on_event(Event::Connected(connect::peer(&client.connection.socket)))?;
    if let Some(message) = &client.options.message {
        return client.ask(message, on_event);
    }
    let mut lines = BufReader::new(input.unwrap_or_else(|| Box::new(io::empty())));
    // A reply that is not an echo says more than a missing one, and the first one says most.
    let (mut unanswered, mut differing) = (None, None);
    for number in 1_u64.. {
        let mut line = Vec::new();
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.map_err(|error| Error::new("read", "stdin", error))? == 0 {
            break;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Err(error) = client.discard_late() {
            unanswered = Some(error);
        }
        match client.ask(line, on_event) {
            Err(error)
                if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::ConnectionRefused) =>
            {
                unanswered = Some(error);
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                differing.get_or_insert(error.hint(format!("datagram {number}")));
            }
            other => other?,
        }
    }
    differing.or(unanswered).map_or(Ok(()), Err)
}

/// A connected datagram socket.
pub(super) struct Client<'a> {
    options: &'a Options,
    connection: Connection,
    buf: Vec<u8>,
}

impl<'a> Client<'a> {
    pub(super) fn new(options: &'a Options, connection: Connection) -> Result<Client<'a>, Error> {
        let is_udp = options.endpoint.transport() == Transport::Udp;
        let buf = vec![0; if is_udp { UDP_BYTES_MAX } else { UNIX_BYTES_MAX }];
        let client = Client { options, connection, buf };
        let set = client.set_timeouts();
        set.map_err(|error| failure("connect to", &options.endpoint, error))?;
        Ok(client)
    }

    fn set_timeouts(&self) -> io::Result<()> {
        self.connection.socket.set_write_timeout(Some(self.options.timeout))?;
        self.connection.socket.set_read_timeout(Some(self.options.timeout))
    }

    /// Discards replies that came too late for earlier lines, so that they are not taken for the
    /// reply to the next line. This does not cover all cases: a reply that is still on its way
    /// cannot be told from the next one, because UDP keeps no order and datagrams have no identity.
    ///
    /// A late refusal would otherwise make the next send fail without sending. Returns the last
    /// refusal as an error.
    fn discard_late(&mut self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for _ in 0..DISCARDED_MAX {
            // Receiving one byte discards the rest of the datagram.
            let mut byte = [MaybeUninit::uninit()];
            match self.connection.socket.recv_with_flags(&mut byte, libc::MSG_DONTWAIT) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    outcome = self.try_next_address(error);
                }
                // A lasting error of the socket occurs again in the send.
                _ => {}
            }
        }
        outcome
    }

    fn ask(
        &mut self,
        message: &[u8],
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut is_sent_again = false;
        loop {
            match self.send_and_receive(message) {
                Ok(None) => return Ok(()),
                Ok(Some(length)) => {
                    on_event(Event::Reply(&self.buf[..length]))?;
                    on_event(Event::ReplyEnded)?;
                    return self.check_echo(message, length);
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    self.try_next_address(error)?;
                }
                // A router on the path has a smaller MTU and has dropped the message. Now the
                // kernel sends it in fragments (path MTU discovery, ip(7)).
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) && !is_sent_again => {
                    is_sent_again = true;
                }
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    let message_bytes = message.len();
                    let hint = format!("{message_bytes} bytes are too long for one datagram");
                    return Err(self.failure(error).hint(hint));
                }
                Err(error) => return Err(self.failure(error)),
            }
        }
    }

    /// Compares a reply with its message if the caller expects an echo.
    fn check_echo(&self, message: &[u8], length: usize) -> Result<(), Error> {
        let mismatch =
            self.options.expect_echo.then(|| EchoCheck::of_message(message, &self.buf[..length]));
        let endpoint = &self.options.endpoint;
        mismatch.flatten().map_or(Ok(()), |mismatch| Err(mismatch.failure(endpoint)))
    }

    /// Returns the length of the reply, or `None` if the caller wants no reply.
    fn send_and_receive(&mut self, message: &[u8]) -> io::Result<Option<usize>> {
        self.connection.socket.send_with_flags(message, SEND_FLAGS).map_err(timed_out)?;
        if !self.options.reply {
            return Ok(None);
        }
        let sent_at = Instant::now();
        loop {
            match (&self.connection.socket).read(&mut self.buf) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other.map(Some).map_err(timed_out),
            }
            if sent_at.elapsed() >= self.options.timeout {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    /// Connects to the host's next address, because the server may use that one. If there is none,
    /// returns the refusal as an error.
    fn try_next_address(&mut self, refusal: io::Error) -> Result<(), Error> {
        if self.connection.move_to_next_address().is_err() {
            return Err(self.failure(refusal));
        }
        self.set_timeouts().map_err(|error| self.failure(error))
    }

    fn failure(&self, error: io::Error) -> Error {
        let operation =
            if error.kind() == ErrorKind::TimedOut { "get an answer from" } else { "send to" };
        failure(operation, &self.options.endpoint, error)
    }
}

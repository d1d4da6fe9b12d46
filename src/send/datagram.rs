//! One datagram a message or line, one answer each.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::time::Instant;

use socket2::Socket;

use super::client_path::ClientPath;
use super::connect::{self, failure};
use super::{Event, Input, Options};
use crate::endpoint::{Endpoint, Transport};
use crate::error::Error;

/// No UDP datagram is longer; a Unix one may be, as its sender's buffer allows.
const UDP_BYTES_MAX: usize = 65_535;
const UNIX_BYTES_MAX: usize = 4 << 20;

/// A line longer than any datagram: no need to read on to its end.
const LINE_BYTES_MAX: u64 = UNIX_BYTES_MAX as u64 + 1;

/// Sends the message, or each line of the input, and waits for the answer to each. An answer that
/// does not come is a failure, told at the end: the next lines are sent all the same.
pub(super) fn exchange(
    options: &Options,
    input: Option<Input>,
    on_event: &mut impl FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut client = Client::connect(options)?;
    on_event(Event::Connected(connect::peer(&client.socket)))?;
    if let Some(message) = &options.message {
        return client.ask(message, on_event);
    }
    let mut lines = BufReader::new(input.unwrap_or_else(|| Box::new(io::empty())));
    let mut unanswered = None;
    loop {
        let mut line = Vec::new();
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.map_err(|error| Error::new("read", "stdin", error))? == 0 {
            return unanswered.map_or(Ok(()), Err);
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        match client.ask(line, on_event) {
            Err(error) if error.kind() == ErrorKind::TimedOut => unanswered = Some(error),
            other => other?,
        }
    }
}

struct Client<'a> {
    options: &'a Options,
    socket: Socket,
    _path: Option<ClientPath>,
    /// Addresses of the host that were not tried yet: UDP learns that nobody is there only from
    /// the answer to what it sent.
    untried: Vec<std::net::SocketAddr>,
    buf: Vec<u8>,
}

impl Client<'_> {
    fn connect(options: &Options) -> Result<Client<'_>, Error> {
        let endpoint = &options.endpoint;
        let failed = |error| failure("connect to", endpoint, error);
        let mut untried = Vec::new();
        let (socket, path) = match endpoint {
            Endpoint::Unixgram(name) | Endpoint::Unix(name) => connect::unixgram(endpoint, name)?,
            Endpoint::Udp(host_port) | Endpoint::Tcp(host_port) => {
                untried = connect::addrs(endpoint, host_port)?;
                let socket = connect_next(&mut untried).map_err(failed)?;
                (socket, None)
            }
        };
        let bytes = match endpoint.transport() {
            Transport::Udp => UDP_BYTES_MAX,
            _ => UNIX_BYTES_MAX,
        };
        let client = Client { options, socket, _path: path, untried, buf: vec![0; bytes] };
        client.set_timeouts().map_err(failed)?;
        Ok(client)
    }

    fn set_timeouts(&self) -> io::Result<()> {
        self.socket.set_write_timeout(Some(self.options.timeout))?;
        self.socket.set_read_timeout(Some(self.options.timeout))
    }

    fn ask(
        &mut self,
        message: &[u8],
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            let answered = self.send_and_receive(message);
            let length = match answered {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    // The name's next address may be the one that is served.
                    let Ok(socket) = connect_next(&mut self.untried) else {
                        return Err(self.failure(error));
                    };
                    self.socket = socket;
                    self.set_timeouts().map_err(|error| self.failure(error))?;
                    continue;
                }
                Err(error) => {
                    let message_bytes = message.len();
                    return Err(match error.raw_os_error() {
                        Some(libc::EMSGSIZE) => self
                            .failure(error)
                            .hint(format!("{message_bytes} bytes are too long for one datagram")),
                        _ => self.failure(error),
                    });
                }
            };
            let Some(length) = length else { return Ok(()) };
            on_event(Event::Answer(&self.buf[..length]))?;
            return on_event(Event::AnswerEnded);
        }
    }

    /// The length of the answer, or none when none was to be waited for.
    fn send_and_receive(&mut self, message: &[u8]) -> io::Result<Option<usize>> {
        self.socket.send(message).map_err(timed_out)?;
        if !self.options.reply {
            return Ok(None);
        }
        let deadline = Instant::now() + self.options.timeout;
        loop {
            match (&self.socket).read(&mut self.buf) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other.map(Some).map_err(timed_out),
            }
            if Instant::now() >= deadline {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    fn failure(&self, error: io::Error) -> Error {
        let operation =
            if error.kind() == ErrorKind::TimedOut { "get an answer from" } else { "send to" };
        failure(operation, &self.options.endpoint, error)
    }
}

/// A socket's own timeout comes as `WouldBlock`.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

fn connect_next(untried: &mut Vec<std::net::SocketAddr>) -> io::Result<Socket> {
    let mut last = io::Error::from(ErrorKind::NotFound);
    while !untried.is_empty() {
        match connect::udp(untried.remove(0)) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

//! A client on blocking sockets: sends a message, or all of an input, and hands on the answer.
//!
//! It shares nothing with the reactor, on purpose: what it sees is a second opinion.

mod datagram;
mod echo;
mod stream;

use std::io::Read;
use std::time::Duration;

use self::datagram::Client;
use crate::client::OnSignal;
use crate::client::connect::{Connection, failure};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::socket::Peer;

/// The shortest time to wait: the system rounds what is far below it down to none, which would mean
/// to wait for ever.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// What to send, where to, and how long to wait.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to.
    pub endpoint: Endpoint,
    /// The message; without it the input is sent, one datagram a line or as one stream.
    pub message: Option<Vec<u8>>,
    /// How long to wait for the look-up of the host, for a connection, for a datagram's answer, and
    /// for the next byte of a stream once all is sent. Less than [`TIMEOUT_MIN`] counts as that.
    pub timeout: Duration,
    /// Shut the sending side of a stream down at the end of input.
    pub shutdown: bool,
    /// Wait for an answer.
    pub reply: bool,
    /// Fail when the answer is not what was sent. Without `reply` there is nothing to compare.
    pub expect_echo: bool,
}

/// What happens while sending.
#[derive(Debug)]
pub enum Event<'a> {
    /// The socket is connected to this peer.
    Connected(Peer),
    /// Bytes of a stream's answer, or a whole datagram.
    Answer(&'a [u8]),
    /// A datagram's answer, or a stream's, is complete.
    AnswerEnded,
    /// Something to tell that is no failure.
    Warning(String),
}

/// What is sent when there is no message.
pub type Input = Box<dyn Read + Send>;

/// Sends, and waits for the answer.
///
/// # Errors
///
/// Names the endpoint and the reason: refused, timed out, reset, no such host, address in use, an
/// answer that is not the [expected](Options::expect_echo) echo; or whatever `on_event` returned.
/// A part of an answer may have been handed on before.
///
/// ```
/// use std::net::UdpSocket;
/// use std::time::Duration;
///
/// use resound::send::{Event, Options, send};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = UdpSocket::bind("127.0.0.1:0")?;
/// let endpoint = format!("udp://{}", server.local_addr()?).parse()?;
/// let echo = std::thread::spawn(move || -> std::io::Result<()> {
///     let mut buf = [0; 16];
///     let (length, peer) = server.recv_from(&mut buf)?;
///     server.send_to(&buf[..length], peer)?;
///     Ok(())
/// });
/// let options = Options {
///     endpoint,
///     message: Some(b"hello".to_vec()),
///     timeout: Duration::from_secs(2),
///     shutdown: true,
///     reply: true,
///     expect_echo: true,
/// };
/// let mut answer = Vec::new();
/// send(&options, None, |event| {
///     if let Event::Answer(bytes) = event {
///         answer.extend_from_slice(bytes);
///     }
///     Ok(())
/// })?;
/// assert_eq!(answer, b"hello");
/// # echo.join().expect("the echo does not panic")?;
/// # Ok(())
/// # }
/// ```
pub fn send(
    options: &Options,
    input: Option<Input>,
    mut on_event: impl FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let timeout = options.timeout.max(TIMEOUT_MIN);
    let options = &Options { timeout, ..options.clone() };
    let endpoint = &options.endpoint;
    let addrs = endpoint.resolve_within(timeout);
    let addrs = addrs.map_err(|error| failure("connect to", endpoint, error))?;
    let connection = Connection::open(endpoint, addrs, timeout, OnSignal::EndProgram)?;
    if endpoint.transport().is_stream() {
        stream::exchange(options, &connection.socket, input, &mut on_event)
    } else {
        datagram::exchange(Client::new(options, connection)?, input, &mut on_event)
    }
}

//! A client on blocking sockets. It sends one message or all of an input, and passes on the reply.
//!
//! It deliberately shares no code with the reactor, so its results check the reactor's results
//! independently.

mod datagram;
mod echo;
mod stream;

use std::io::Read;
use std::time::Duration;

use self::datagram::Client;
use crate::client::OnSignal;
use crate::client::connect::{Connection, Settings, failure};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::socket::{BindAddr, Peer, SocketOptions};

/// The shortest timeout. The system rounds a much shorter one down to 0, which means no timeout.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// What to send, to which endpoint, and how long to wait.
#[derive(Clone, Debug)]
pub struct Options {
    /// The endpoint to connect to.
    pub endpoint: Endpoint,
    /// The message. Without it, the input is sent: each line as one datagram, or all of it as one
    /// stream.
    pub message: Option<Vec<u8>>,
    /// How long to wait for the lookup of the host, for a connection, for the reply to a datagram,
    /// and for the next byte of a stream after all is sent. A value less than [`TIMEOUT_MIN`]
    /// counts as [`TIMEOUT_MIN`].
    pub timeout: Duration,
    /// Shut down the sending direction of a stream at the end of input.
    pub shutdown: bool,
    /// Wait for a reply.
    pub reply: bool,
    /// Fail if the reply differs from what was sent. Without `reply` this has no effect.
    pub expect_echo: bool,
    /// Settings of the socket.
    pub socket: SocketOptions,
    /// The addresses to leave from; without any, the kernel picks one.
    pub bind: Vec<BindAddr>,
}

/// What happens during an exchange.
#[derive(Debug)]
pub enum Event<'a> {
    /// The socket is connected to this peer.
    Connected(Peer),
    /// Bytes of a stream's reply, or a whole datagram.
    Reply(&'a [u8]),
    /// The reply of a datagram or of a stream is complete.
    ReplyEnded,
    /// A message for the user that is not an error.
    Warning(String),
}

/// The input that is sent if there is no message.
pub type Input = Box<dyn Read + Send>;

/// Sends the message or the input, and waits for the reply.
///
/// # Errors
///
/// Returns an error that names the endpoint and the reason: refused, timed out, reset, no such
/// host, address in use, or a reply that is not the [expected](Options::expect_echo) echo.
/// Returns an error of `on_event` unchanged. Part of a reply may have been passed on before an
/// error.
///
/// ```
/// use std::net::UdpSocket;
/// use std::time::Duration;
///
/// use resound::send::{Event, Options, send};
/// use resound::socket::SocketOptions;
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
///     socket: SocketOptions::default(),
///     bind: Vec::new(),
/// };
/// let mut reply = Vec::new();
/// send(&options, None, |event| {
///     if let Event::Reply(bytes) = event {
///         reply.extend_from_slice(bytes);
///     }
///     Ok(())
/// })?;
/// assert_eq!(reply, b"hello");
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
    let addrs = endpoint.resolve_within(timeout, options.socket.family);
    let addrs = addrs.map_err(|error| failure("connect to", endpoint, error))?;
    let (socket, bind) = (options.socket.clone(), options.bind.clone());
    let settings = Settings { endpoint: endpoint.clone(), socket, bind, timeout };
    let connection = Connection::open(settings, addrs, OnSignal::EndProgram)?;
    if endpoint.transport().is_stream() {
        stream::exchange(options, &connection.socket, input, &mut on_event)
    } else {
        datagram::exchange(Client::new(options, connection)?, input, &mut on_event)
    }
}

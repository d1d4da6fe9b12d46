//! What the peers share: their command line, sockets with the settings that resound's have, and
//! the line that says where they listen.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// Bytes of a receive buffer, as `SCRATCH_BYTES` of resound.
pub const BUF_BYTES: usize = 64 << 10;

/// As the default of `resound serve --backlog`.
const BACKLOG: i32 = 4096;

/// How long accepting pauses when there is no descriptor or memory for a connection: it stays
/// queued, and the next try would fail at once.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket of either kind, blocking.
pub enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Binds as `tcp|udp ADDR [RCVBUF_BYTES]` on the command line asks, and prints one line once bound,
/// in the form of `resound serve`. The receive buffer is of a UDP socket, as `--rcvbuf` there.
///
/// # Errors
///
/// A wrong command line, or that of binding.
pub fn bound_by_arguments() -> io::Result<Bound> {
    let mut arguments = std::env::args().skip(1);
    let (transport, addr) = (arguments.next(), arguments.next());
    let addr = addr.and_then(|addr| addr.parse::<SocketAddr>().ok());
    let receive_buf_bytes = arguments.next().map(|bytes| bytes.parse::<usize>()).transpose();
    let bound = match (transport.as_deref(), addr, receive_buf_bytes, arguments.next()) {
        (Some("tcp"), Some(addr), Ok(None), None) => {
            let listener = tcp_listener(addr)?;
            announce("tcp", listener.local_addr()?)?;
            Bound::Tcp(listener)
        }
        (Some("udp"), Some(addr), Ok(receive_buf_bytes), None) => {
            let socket = UdpSocket::bind(addr)?;
            if let Some(bytes) = receive_buf_bytes {
                SockRef::from(&socket).set_recv_buffer_size(bytes)?;
            }
            announce("udp", socket.local_addr()?)?;
            Bound::Udp(socket)
        }
        _ => return Err(usage("tcp|udp IP:PORT [RCVBUF_BYTES, of udp]")),
    };
    Ok(bound)
}

/// The end of `main`: an error is one line on stderr.
pub fn exit_code(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The error of a wrong command line.
pub fn usage(arguments: &str) -> io::Error {
    let program = std::env::args().next().unwrap_or_default();
    io::Error::new(ErrorKind::InvalidInput, format!("usage: {program} {arguments}"))
}

fn tcp_listener(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn announce(transport: impl Display, addr: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening {transport}://{addr}")?;
    stdout.flush()
}

/// Whether an error of accept(2) was of the one connection, so that the next is taken at once.
pub fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}

//! Code that the peers share: the command line, sockets with resound's settings, and the line that
//! announces the address.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// The size of a receive buffer, equal to `SCRATCH_BYTES` of resound.
pub const BUF_BYTES: usize = 64 << 10;

/// The default of `resound serve --backlog`.
const BACKLOG: i32 = 4096;

/// How long a peer stops accepting when no descriptor or memory is left. The connection stays
/// queued, so another try would fail at once.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket of either transport, in blocking mode.
pub enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Binds the socket that the command line `tcp|udp ADDR [RCVBUF_BYTES]` asks for, and then prints
/// one line in the form of `resound serve`. The size of the receive buffer applies to UDP, like
/// `--rcvbuf` there.
///
/// # Errors
///
/// Returns an error if the command line is wrong or binding fails.
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
        _ => return Err(usage("tcp|udp IP:PORT [RCVBUF_BYTES, only for udp]")),
    };
    Ok(bound)
}

/// Prints an error as one line on stderr, and returns the exit code of `main`.
pub fn exit_code(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the error of a wrong command line.
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

/// Returns true if an error of accept(2) concerns only one connection, so that the next can be
/// accepted at once.
pub fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}

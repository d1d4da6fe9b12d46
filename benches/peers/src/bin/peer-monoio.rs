//! An echo server on monoio, which is io_uring: one thread, one task a connection.

use std::io;
use std::process::ExitCode;
use std::rc::Rc;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::udp::UdpSocket;
use monoio::net::{TcpListener, TcpStream};
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, Runtime, RuntimeBuilder};
use resound_peers::{
    ACCEPT_PAUSE, BUF_BYTES, Bound, bound_by_arguments, exit_code, is_of_one_connection,
};

/// Receives in flight on the UDP socket. A ring pays by the batch: 16 take a quarter less CPU an
/// echo than one, with 16 peers.
const UDP_TASKS: usize = 16;

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> io::Result<()> {
    // The ring first: where the kernel refuses one, nothing has been announced.
    let mut runtime = runtime()?;
    let bound = bound_by_arguments()?;
    // The sockets stay blocking: io_uring waits for them itself, and answers EAGAIN otherwise.
    runtime.block_on(async {
        match bound {
            Bound::Tcp(listener) => serve(TcpListener::from_std(listener)?).await,
            Bound::Udp(socket) => {
                let socket = Rc::new(UdpSocket::from_std(socket)?);
                for _ in 1..UDP_TASKS {
                    drop(monoio::spawn(answer(Rc::clone(&socket))));
                }
                answer(socket).await;
                Ok(())
            }
        }
    })
}

/// With the flags for a ring of one thread, which save interrupts, else (before Linux 6.0) without.
fn runtime() -> io::Result<Runtime<TimeDriver<IoUringDriver>>> {
    let builder = RuntimeBuilder::<IoUringDriver>::new;
    let mut ring = io_uring::IoUring::builder();
    ring.setup_single_issuer().setup_coop_taskrun();
    builder()
        .uring_builder(ring)
        .enable_timer()
        .build()
        .or_else(|_| builder().enable_timer().build())
        .map_err(|error| io::Error::new(error.kind(), format!("no io_uring here: {error}")))
}

async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(monoio::spawn(echo(stream))),
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => monoio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = Vec::with_capacity(BUF_BYTES);
    loop {
        let (read, filled) = stream.read(buf).await;
        if read? == 0 {
            return Ok(());
        }
        let (written, emptied) = stream.write_all(filled).await;
        written?;
        buf = emptied;
        buf.clear();
    }
}

async fn answer(socket: Rc<UdpSocket>) {
    let mut buf = Vec::with_capacity(BUF_BYTES);
    loop {
        let (received, filled) = socket.recv_from(buf).await;
        buf = match received {
            Ok((_, peer)) => socket.send_to(filled, peer).await.1,
            // Of one datagram.
            Err(_) => filled,
        };
        buf.clear();
    }
}

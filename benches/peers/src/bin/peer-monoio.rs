//! An echo server on monoio with io_uring: one thread, one task per connection.

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

/// Receives in flight on the UDP socket. A ring is cheaper with batches: with 16 peers, 16 receives
/// take a quarter less CPU per echo than one.
const UDP_TASKS: usize = 16;

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> io::Result<()> {
    // The ring comes first, so that nothing is announced if the kernel refuses one.
    let mut runtime = runtime()?;
    let bound = bound_by_arguments()?;
    // The sockets stay blocking: io_uring then waits for them, and would otherwise return EAGAIN.
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

/// Creates the runtime. The flags for a ring of one thread save interrupts. Linux before 6.0
/// refuses them, so this retries without them.
fn runtime() -> io::Result<Runtime<TimeDriver<IoUringDriver>>> {
    let builder = RuntimeBuilder::<IoUringDriver>::new;
    let mut ring = io_uring::IoUring::builder();
    ring.setup_single_issuer().setup_coop_taskrun();
    builder()
        .uring_builder(ring)
        .enable_timer()
        .build()
        .or_else(|_| builder().enable_timer().build())
        .map_err(|error| io::Error::new(error.kind(), format!("no io_uring available: {error}")))
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
            // The error concerns one datagram.
            Err(_) => filled,
        };
        buf.clear();
    }
}

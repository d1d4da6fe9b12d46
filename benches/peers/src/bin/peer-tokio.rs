//! An echo server on tokio's current-thread runtime, with one task per connection.

use std::io;
use std::process::ExitCode;

use resound_peers::{
    ACCEPT_PAUSE, BUF_BYTES, Bound, bound_by_arguments, exit_code, is_of_one_connection,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> io::Result<()> {
    let bound = bound_by_arguments()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match bound {
            Bound::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                serve(TcpListener::from_std(listener)?).await
            }
            Bound::Udp(socket) => {
                socket.set_nonblocking(true)?;
                answer(UdpSocket::from_std(socket)?).await
            }
        }
    })
}

async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(echo(stream))),
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // The buffer is not zeroed, so only the pages that received data are resident.
    let mut buf = Vec::with_capacity(BUF_BYTES);
    loop {
        if stream.read_buf(&mut buf).await? == 0 {
            return Ok(());
        }
        stream.write_all(&buf).await?;
        buf.clear();
    }
}

async fn answer(socket: UdpSocket) -> io::Result<()> {
    let mut buf = vec![0; BUF_BYTES];
    loop {
        // An error concerns one datagram.
        if let Ok((count, peer)) = socket.recv_from(&mut buf).await {
            let _ = socket.send_to(&buf[..count], peer).await;
        }
    }
}

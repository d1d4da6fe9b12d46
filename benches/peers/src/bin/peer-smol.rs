//! An echo server on smol's executor: one thread, one task per connection.

use std::io;
use std::net;
use std::process::ExitCode;

use resound_peers::{
    ACCEPT_PAUSE, BUF_BYTES, Bound, bound_by_arguments, exit_code, is_of_one_connection,
};
use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, recv};
use smol::io::AsyncWriteExt;
use smol::{Async, LocalExecutor, Timer};

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> io::Result<()> {
    let bound = bound_by_arguments()?;
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        match bound {
            Bound::Tcp(listener) => serve(&executor, Async::new(listener)?).await,
            Bound::Udp(socket) => answer(Async::new(socket)?).await,
        }
    }))
}

async fn serve(executor: &LocalExecutor<'_>, listener: Async<net::TcpListener>) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => executor.spawn(echo(stream)).detach(),
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => drop(Timer::after(ACCEPT_PAUSE).await),
        }
    }
}

async fn echo(mut stream: Async<net::TcpStream>) -> io::Result<()> {
    stream.get_ref().set_nodelay(true)?;
    // The buffer is not zeroed, so only the pages that received data are resident. `read` of
    // `AsyncReadExt` would require zeroed bytes.
    let mut buf = Vec::with_capacity(BUF_BYTES);
    loop {
        let receive = |stream: &net::TcpStream| {
            Ok(recv(stream, spare_capacity(&mut buf), RecvFlags::empty())?.0)
        };
        if stream.read_with(receive).await? == 0 {
            return Ok(());
        }
        stream.write_all(&buf).await?;
        buf.clear();
    }
}

async fn answer(socket: Async<net::UdpSocket>) -> io::Result<()> {
    let mut buf = vec![0; BUF_BYTES];
    loop {
        // An error concerns one datagram.
        if let Ok((count, peer)) = socket.recv_from(&mut buf).await {
            let _ = socket.send_to(&buf[..count], peer).await;
        }
    }
}

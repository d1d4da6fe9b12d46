//! Case S7, for a process that does not ignore SIGPIPE.
//!
//! Rust's runtime ignores SIGPIPE, which would hide that a library raises it. This test installs a
//! signal handler instead, so a send that raises the signal sets a flag. The test has its own
//! binary, because a signal handler applies to the whole process.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../src/testing/wait.rs"]
mod wait;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use resound::echo::{Cause, Options, Server, Service};
use resound::endpoint::Transport;
use signal_hook::consts::SIGPIPE;

use self::wait::WAIT_MAX;

/// Peers per transport that close in the middle of their echo.
const PEERS: usize = 50;

/// Peers that send bulk: at least as many as the server has pipes.
const BULK_PEERS: usize = 8;

/// More than the buffers between the two ends hold at first, so that the server has pending writes.
const MESSAGE_BYTES: usize = 1 << 20;

trait Client: Read + Write {
    fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()>;
}

impl Client for TcpStream {
    fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()> {
        TcpStream::set_nonblocking(self, is_nonblocking)
    }
}

impl Client for UnixStream {
    fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()> {
        UnixStream::set_nonblocking(self, is_nonblocking)
    }
}

/// Sends until a write blocks, reads at most one byte of the echo, and closes.
fn close_in_the_middle_of_an_echo(mut client: impl Client) {
    client.set_nonblocking(true).unwrap();
    let message = vec![7; MESSAGE_BYTES];
    let mut sent = 0;
    while sent < message.len() {
        match client.write(&message[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    let _ = client.read(&mut [0]);
}

/// How long a blocked write waits before the test takes the other end to be blocked as well.
const STUCK_AFTER: Duration = Duration::from_millis(200);

/// Sends bulk without reading until a write is stuck, then half-closes and closes. The close sends
/// a reset because of the unread bytes. After the half-close the server sees the reset as EPIPE.
fn close_in_the_middle_of_bulk(mut client: TcpStream) {
    echo(client.try_clone().unwrap());
    client.set_write_timeout(Some(STUCK_AFTER)).unwrap();
    let message = vec![7; MESSAGE_BYTES];
    let deadline = Instant::now() + WAIT_MAX;
    while client.write(&message).is_ok() {
        assert!(Instant::now() < deadline, "the server never stops reading");
    }
    client.shutdown(Shutdown::Write).unwrap();
}

fn echo(mut client: impl Client) {
    client.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

fn tcp(addr: std::net::SocketAddr) -> TcpStream {
    let client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client
}

fn unix(path: &Path) -> UnixStream {
    let client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client
}

/// case S7
#[test]
fn no_send_path_raises_sigpipe() {
    let was_raised = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGPIPE, Arc::clone(&was_raised)).unwrap();
    assert_the_flag_works(&was_raised);

    let folder = tempfile::tempdir().unwrap();
    let (stream, packets) = (folder.path().join("stream"), folder.path().join("packets"));
    let endpoints = [
        "tcp://127.0.0.1:0".to_owned(),
        format!("unix:{}", stream.display()),
        format!("unixgram:{}", packets.display()),
    ];
    let endpoints = endpoints.map(|endpoint| endpoint.parse().unwrap());
    let service = Service::start(Server::new(Options::default()), &endpoints).unwrap();
    let addr = service.bound()[0].addrs[0];

    for number in 0..PEERS {
        close_in_the_middle_of_an_echo(tcp(addr));
        close_in_the_middle_of_an_echo(unix(&stream));
        let gone = UnixDatagram::bind(folder.path().join(number.to_string())).unwrap();
        gone.set_write_timeout(Some(WAIT_MAX)).unwrap();
        gone.send_to(b"ping", &packets).unwrap();
    }
    for _ in 0..BULK_PEERS {
        close_in_the_middle_of_bulk(tcp(addr));
    }
    // The server still works. These peers come after the others in its queues.
    echo(tcp(addr));
    echo(unix(&stream));
    #[cfg(feature = "program")]
    send_to_a_peer_that_closed(&folder.path().join("closed"));
    let (sender, stopped) = mpsc::channel();
    thread::spawn(move || drop(sender.send(service.stop())));
    let server = stopped.recv_timeout(WAIT_MAX).expect("the loop ends").unwrap();

    assert!(!was_raised.load(Ordering::SeqCst), "SIGPIPE was raised: {}", server.counters());
    let ended_in_writing = server.counters().total(Cause::BrokenPipe);
    assert!(ended_in_writing > 0, "no write met a closed peer: {}", server.counters());
    let spliced = server.counters()[Transport::Tcp].traffic.bytes_spliced;
    assert_eq!(spliced > 0, cfg!(target_os = "linux"), "{}", server.counters());
}

#[cfg(feature = "program")]
fn send_to_a_peer_that_closed(path: &Path) {
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    let peer = thread::spawn(move || drop(listener.accept().unwrap()));
    let options = resound::send::Options {
        endpoint: format!("unix:{}", path.display()).parse().unwrap(),
        message: None,
        timeout: WAIT_MAX,
        shutdown: true,
        reply: false,
        expect_echo: false,
        socket: resound::socket::SocketOptions::default(),
        bind: Vec::new(),
    };
    let input = Box::new(io::repeat(7));
    let error = resound::send::send(&options, Some(input), |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
    peer.join().unwrap();
}

/// Checks that a plain write of the standard library raises the signal.
fn assert_the_flag_works(was_raised: &AtomicBool) {
    use std::os::fd::OwnedFd;
    let (near, far) = UnixStream::pair().unwrap();
    drop(far);
    let error = std::fs::File::from(OwnedFd::from(near)).write(b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert!(was_raised.swap(false, Ordering::SeqCst), "SIGPIPE did not set the flag");
}

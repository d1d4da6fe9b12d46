//! What every batch must do. Each test runs on real sockets with both implementations.

use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use socket2::SockRef;
use tempfile::TempDir;

use super::*;
use crate::endpoint::UnixName;
use crate::socket::{Datagram, Peer, SocketOptions};

/// Runs each test with each implementation. The doc comment of the function names its cases.
macro_rules! both {
    ($($name:ident,)*) => {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        mod linux {
            $(#[test] fn $name() { super::$name::<super::LinuxBatch>(); })*
        }
        mod portable {
            $(#[test] fn $name() { super::$name::<super::PortableBatch>(); })*
        }
    };
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux_only;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod trains;
mod udp;
mod unix;

both! {
    an_empty_queue_would_block,
    only_a_datagram_longer_than_a_slot_is_truncated,
}

/// A batch that the tests can create.
trait TestBatch: Batch<Socket = Datagram> + Sized {
    fn make(options: BatchOptions) -> Self;

    /// Creates a batch of four slots that sends each message back.
    fn echo(slot_bytes: usize) -> Self {
        Self::make(BatchOptions { slots: 4, slot_bytes, reply: None })
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl TestBatch for LinuxBatch {
    fn make(options: BatchOptions) -> Self {
        LinuxBatch::new(options)
    }
}

impl TestBatch for PortableBatch {
    fn make(options: BatchOptions) -> Self {
        PortableBatch::new(options)
    }
}

fn udp_server(addr: &str) -> Datagram {
    Datagram::udp(addr.parse().unwrap(), &SocketOptions::default()).unwrap()
}

/// Creates a client whose wait for a reply is bounded.
fn udp_client(addr: &str) -> UdpSocket {
    let client = UdpSocket::bind(addr).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

/// Creates a server at the path "s" in a new folder.
fn unix_server() -> (TempDir, PathBuf, Datagram) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let name = UnixName::Path(path.clone());
    let server = Datagram::unix(&name, &SocketOptions::default()).unwrap();
    (folder, path, server)
}

fn unix_client(folder: &TempDir, name: &str) -> UnixDatagram {
    let client = UnixDatagram::bind(folder.path().join(name)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

/// Returns a datagram that a socket bound to one address has received without truncation.
fn whole<'a>(from: &'a SockAddr, bytes: &'a [u8]) -> Message<'a> {
    Message {
        from,
        to: None,
        bytes,
        segment_bytes: bytes.len(),
        truncated: false,
        answerable: true,
        to_group: false,
        control_truncated: false,
        overflow: None,
    }
}

/// Receives once messages are queued. A datagram on loopback is not always queued when the send
/// returns.
fn receive<B: TestBatch>(batch: &mut B, server: &Datagram, limit: usize) -> io::Result<usize> {
    for _ in 0..10_000 {
        match batch.receive(server, limit) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
    panic!("no message came");
}

/// Queues the replies to the first `count` messages, each to its sender.
fn queue_all<B: TestBatch>(batch: &mut B, count: usize, trains: TrainLimit) {
    (0..count).for_each(|index| batch.queue_reply(index, None, trains));
}

fn send_all<B: TestBatch>(batch: &mut B, server: &Datagram) {
    while !batch.queued().is_empty() {
        let sent = batch.send(server, usize::MAX).unwrap();
        batch.dequeue(sent);
    }
}

/// Receives and replies until `total` messages are answered.
fn reply_to<B: TestBatch>(batch: &mut B, server: &Datagram, total: usize) {
    let mut answered = 0;
    while answered < total {
        let count = receive(batch, server, usize::MAX).unwrap();
        queue_all(batch, count, TrainLimit::NONE);
        send_all(batch, server);
        answered += count;
    }
    assert_eq!(answered, total);
}

/// Writes to the log that the IPv6 half of a test is skipped.
fn skip_ipv6(error: &io::Error) {
    let _ = writeln!(io::stderr(), "skipped: there is no IPv6 loopback: {error}");
}

/// Receives the next datagram.
fn next_bytes(socket: &UdpSocket) -> Vec<u8> {
    let mut buf = vec![0; 70_000];
    let count = socket.recv(&mut buf).unwrap();
    buf.truncate(count);
    buf
}

/// Receives the next datagram.
fn next_unix_bytes(socket: &UnixDatagram) -> Vec<u8> {
    let mut buf = vec![0; 70_000];
    let count = socket.recv(&mut buf).unwrap();
    buf.truncate(count);
    buf
}

/// case L2
fn an_empty_queue_would_block<B: TestBatch>() {
    let (_folder, _, unix) = unix_server();
    for server in [udp_server("127.0.0.1:0"), unix] {
        let error = B::echo(9).receive(&server, usize::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}

/// case U3
fn only_a_datagram_longer_than_a_slot_is_truncated<B: TestBatch>() {
    let (folder, path, unix) = unix_server();
    let udp = udp_server("127.0.0.1:0");
    let client = udp_client("127.0.0.1:0");
    let unix_client = unix_client(&folder, "c");
    let messages: [&[u8]; 4] = [b"1234", b"12345", b"123456789", b"12"];
    for message in messages {
        client.send_to(message, udp.local_addr().unwrap()).unwrap();
        unix_client.send_to(message, &path).unwrap();
    }
    let from = [
        SockAddr::from(client.local_addr().unwrap()),
        SockAddr::unix(folder.path().join("c")).unwrap(),
    ];
    for (server, from) in [udp, unix].into_iter().zip(from) {
        let mut batch = B::echo(4);
        for message in messages {
            assert_eq!(receive(&mut batch, &server, 1).unwrap(), 1);
            let expected = Message {
                segment_bytes: message.len().min(4),
                truncated: message.len() > 4,
                ..whole(&from, &message[..message.len().min(4)])
            };
            assert_eq!(batch.message(0), expected);
        }
    }
}

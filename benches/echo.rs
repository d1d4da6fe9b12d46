//! The echo server on its own thread and blocking clients on this one: round trips one at a time,
//! and throughput with many messages in flight, for each transport and size.
//!
//! Both ends and the kernel share the machine's cores, so the figures are of the pair.

#![allow(missing_docs, clippy::unwrap_used)]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use resound::echo::{Options, Server};
use resound::reactor::{Reactor, StopHandle};

const SIZES_BYTES: [usize; 3] = [64, 1024, 16 << 10];

/// Bytes and messages in flight in a throughput run: less than any socket's buffers, so that a
/// client that sends first and receives then does not lock up against a server that waits for it
/// to receive. Small messages take some 800 bytes each of a Unix socket's buffer.
const STREAM_WINDOW_BYTES: usize = 64 << 10;
const STREAM_WINDOW_MESSAGES: usize = 64;
/// Datagrams in flight: UDP has room for more, a Unix receiver's queue for about ten
/// (`net.unix.max_dgram_qlen`).
const UDP_WINDOW: usize = 8;
const UNIXGRAM_WINDOW: usize = 8;

/// A lost datagram must end the bench, not hang it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// An echo server on a thread, one endpoint a transport.
struct Embedded {
    stop: StopHandle,
    thread: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
    tcp: SocketAddr,
    udp: SocketAddr,
    unix: PathBuf,
    unixgram: PathBuf,
}

impl Embedded {
    fn start() -> Embedded {
        let folder = tempfile::tempdir().unwrap();
        let (unix, unixgram) = (folder.path().join("stream"), folder.path().join("datagram"));
        let mut reactor = Reactor::new().unwrap();
        let mut server = Server::new(Options::default());
        let mut listen = |endpoint: &str| {
            let bound = server.listen(&mut reactor, &endpoint.parse().unwrap()).unwrap();
            bound.addrs.first().copied()
        };
        let tcp = listen("tcp://127.0.0.1:0").unwrap();
        let udp = listen("udp://127.0.0.1:0").unwrap();
        listen(&format!("unix:{}", unix.display()));
        listen(&format!("unixgram:{}", unixgram.display()));
        let stop = reactor.stop_handle();
        let thread = std::thread::spawn(move || reactor.run(&mut server).unwrap());
        Embedded { stop, thread: Some(thread), folder, tcp, udp, unix, unixgram }
    }

    fn tcp_client(&self) -> TcpStream {
        let client = TcpStream::connect(self.tcp).unwrap();
        client.set_nodelay(true).unwrap();
        client.set_read_timeout(Some(TIMEOUT)).unwrap();
        client
    }

    fn unix_client(&self) -> UnixStream {
        let client = UnixStream::connect(&self.unix).unwrap();
        client.set_read_timeout(Some(TIMEOUT)).unwrap();
        client
    }

    fn udp_client(&self) -> UdpSocket {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.connect(self.udp).unwrap();
        client.set_read_timeout(Some(TIMEOUT)).unwrap();
        client
    }

    fn unixgram_client(&self, name: &str) -> UnixDatagram {
        let client = UnixDatagram::bind(self.folder.path().join(name)).unwrap();
        client.connect(&self.unixgram).unwrap();
        client.set_read_timeout(Some(TIMEOUT)).unwrap();
        client
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

type Send<'a> = Box<dyn FnMut(&[u8]) + 'a>;
type Receive<'a> = Box<dyn FnMut(&mut [u8]) + 'a>;

/// One transport's way to send one message and to receive one.
struct Client<'a> {
    transport: &'static str,
    send: Send<'a>,
    receive: Receive<'a>,
    /// Messages of this many bytes that may be in flight.
    window: Box<dyn Fn(usize) -> usize>,
}

fn stream_client<'a, S: Read + Write>(
    transport: &'static str,
    stream: &'a RefCell<S>,
) -> Client<'a> {
    Client {
        transport,
        send: Box::new(|message| stream.borrow_mut().write_all(message).unwrap()),
        receive: Box::new(|buf| stream.borrow_mut().read_exact(buf).unwrap()),
        window: Box::new(|bytes| STREAM_WINDOW_MESSAGES.min(STREAM_WINDOW_BYTES / bytes)),
    }
}

fn bench_clients(
    criterion: &mut Criterion,
    group: &str,
    mut run: impl FnMut(&mut Client<'_>, usize) -> usize,
) {
    let server = Embedded::start();
    let (tcp, unix) = (RefCell::new(server.tcp_client()), RefCell::new(server.unix_client()));
    let (udp, unixgram) = (server.udp_client(), server.unixgram_client(group));
    let clients = [
        stream_client("tcp", &tcp),
        Client {
            transport: "udp",
            send: Box::new(|message| assert_eq!(udp.send(message).unwrap(), message.len())),
            receive: Box::new(|buf| assert_eq!(udp.recv(buf).unwrap(), buf.len())),
            window: Box::new(|_| UDP_WINDOW),
        },
        stream_client("unix", &unix),
        Client {
            transport: "unixgram",
            send: Box::new(|message| assert_eq!(unixgram.send(message).unwrap(), message.len())),
            receive: Box::new(|buf| assert_eq!(unixgram.recv(buf).unwrap(), buf.len())),
            window: Box::new(|_| UNIXGRAM_WINDOW),
        },
    ];
    for mut client in clients {
        let mut group = criterion.benchmark_group(format!("{group}/{}", client.transport));
        for bytes in SIZES_BYTES {
            let messages = run(&mut client, bytes);
            let moved = u64::try_from(messages * bytes).unwrap();
            group.throughput(Throughput::Bytes(moved));
            group.bench_function(BenchmarkId::from_parameter(format!("{bytes}B")), |bencher| {
                bencher.iter(|| run(&mut client, bytes));
            });
        }
        group.finish();
    }
}

fn round_trip(criterion: &mut Criterion) {
    let mut buf = vec![0; SIZES_BYTES[SIZES_BYTES.len() - 1]];
    let message = vec![7; buf.len()];
    bench_clients(criterion, "round_trip", |client, bytes| {
        (client.send)(&message[..bytes]);
        (client.receive)(&mut buf[..bytes]);
        1
    });
}

fn throughput(criterion: &mut Criterion) {
    let mut buf = vec![0; SIZES_BYTES[SIZES_BYTES.len() - 1]];
    let message = vec![7; buf.len()];
    bench_clients(criterion, "throughput", |client, bytes| {
        let window = (client.window)(bytes);
        (0..window).for_each(|_| (client.send)(&message[..bytes]));
        (0..window).for_each(|_| (client.receive)(&mut buf[..bytes]));
        window
    });
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
}

criterion_group! { name = benches; config = short(); targets = round_trip, throughput }
criterion_main!(benches);

//! An echo server on its own thread, and blocking clients that share one thread.

mod cpus;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use resound::echo::{Options, Server, Service};
use resound::endpoint::Transport;

/// A lost datagram or a deadlock must end the benchmark instead of hanging it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Messages in flight on all connections together; at least one on each stream.
const IN_FLIGHT_MESSAGES: usize = 64;

/// Bytes in flight on one stream, or on all connections to the server's one datagram socket. This
/// is less than the buffers hold. A client that sends before it reads its echoes therefore never
/// deadlocks with the server, and no datagram is lost.
///
/// - A TCP stream without a reader starts with room for 80 KiB from client to server, 64 KiB in the
///   server and 80 KiB back (`tcp_rmem`, `tcp_wmem`).
/// - UDP and Unix sockets have 208 KiB. With the system's overhead, 64 messages of 64 B take at
///   most 52 KiB of these, 64 of 1 KiB take 144 KiB and 8 of 16 KiB take 162 KiB.
/// - The queue of a Unix datagram server also has a limit of 11 messages
///   (`net.unix.max_dgram_qlen` plus one), and a client that fills it sleeps until there is room.
///   This is harmless, because the server always reads: only its send buffer limits replies to
///   connected clients, and these use less than the half that puts the buffer under pressure.
const IN_FLIGHT_BYTES: usize = 128 << 10;

/// An echo server with one endpoint, on its own thread and CPU. Dropping it ends the server.
pub(crate) struct Embedded {
    transport: Transport,
    service: Service,
    /// The folder of the sockets of Unix transports.
    folder: tempfile::TempDir,
}

impl Embedded {
    /// Starts the server. Also pins the calling thread to the clients' CPU.
    pub(crate) fn start(transport: Transport) -> Embedded {
        let folder = tempfile::tempdir().unwrap();
        let name = transport.name();
        let endpoint = match transport {
            Transport::Tcp | Transport::Udp => format!("{name}://127.0.0.1:0"),
            Transport::Unix | Transport::Unixgram => {
                format!("{name}:{}", folder.path().join("server").display())
            }
        };
        cpus::pin(cpus::CLIENT);
        let server = Server::new(Options::default());
        let endpoints = [endpoint.parse().unwrap()];
        let pin = || cpus::pin(cpus::SERVER);
        let service = Service::start_with(server, &endpoints, pin).unwrap();
        Embedded { transport, service, folder }
    }

    /// Returns the server's address with an IP transport.
    fn addr(&self) -> SocketAddr {
        self.service.bound()[0].addrs[0]
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("server")
    }

    fn connect(&self, number: usize) -> Box<dyn Peer> {
        match self.transport {
            Transport::Tcp => {
                let stream = TcpStream::connect(self.addr()).unwrap();
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(TIMEOUT)).unwrap();
                stream.set_write_timeout(Some(TIMEOUT)).unwrap();
                Box::new(Stream(stream))
            }
            Transport::Unix => {
                let stream = UnixStream::connect(self.path()).unwrap();
                stream.set_read_timeout(Some(TIMEOUT)).unwrap();
                stream.set_write_timeout(Some(TIMEOUT)).unwrap();
                Box::new(Stream(stream))
            }
            Transport::Udp => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                socket.connect(self.addr()).unwrap();
                socket.set_read_timeout(Some(TIMEOUT)).unwrap();
                Box::new(socket)
            }
            Transport::Unixgram => {
                let name = format!("client-{number}");
                let socket = UnixDatagram::bind(self.folder.path().join(name)).unwrap();
                socket.connect(self.path()).unwrap();
                socket.set_read_timeout(Some(TIMEOUT)).unwrap();
                socket.set_write_timeout(Some(TIMEOUT)).unwrap();
                Box::new(socket)
            }
        }
    }
}

/// The socket of one client. Both calls block.
trait Peer {
    fn send(&self, message: &[u8]);

    /// Receives the echoes of messages of `message_bytes` each, until `echoes` is full.
    fn receive(&self, echoes: &mut [u8], message_bytes: usize);
}

struct Stream<S>(S);

impl<S> Peer for Stream<S>
where
    for<'a> &'a S: Read + Write,
{
    fn send(&self, message: &[u8]) {
        (&self.0).write_all(message).unwrap();
    }

    /// Receives as many bytes per call as have come, because a stream has no message boundaries.
    fn receive(&self, echoes: &mut [u8], _: usize) {
        (&self.0).read_exact(echoes).unwrap();
    }
}

impl Peer for UdpSocket {
    fn send(&self, message: &[u8]) {
        assert_eq!(self.send(message).unwrap(), message.len());
    }

    fn receive(&self, echoes: &mut [u8], message_bytes: usize) {
        for echo in echoes.chunks_exact_mut(message_bytes) {
            assert_eq!(self.recv(echo).unwrap(), message_bytes);
        }
    }
}

impl Peer for UnixDatagram {
    fn send(&self, message: &[u8]) {
        assert_eq!(self.send(message).unwrap(), message.len());
    }

    fn receive(&self, echoes: &mut [u8], message_bytes: usize) {
        for echo in echoes.chunks_exact_mut(message_bytes) {
            assert_eq!(self.recv(echo).unwrap(), message_bytes);
        }
    }
}

/// Connections that one thread uses in turn.
pub(crate) struct Clients {
    transport: Transport,
    peers: Vec<Box<dyn Peer>>,
    /// Batches sent. Each goes to the next connection.
    sent: usize,
    /// Batches received back.
    received: usize,
    echoes: Vec<u8>,
}

/// The messages in flight in a measurement of throughput: batches, each on one connection.
#[derive(Clone, Copy)]
pub(crate) struct Flight {
    pub(crate) batches: usize,
    /// Messages per batch. Each is sent by its own call; a stream receives them in one call.
    pub(crate) messages_each: usize,
}

impl Clients {
    pub(crate) fn connect(server: &Embedded, count: usize) -> Clients {
        let peers = (0..count).map(|number| server.connect(number)).collect();
        let transport = server.transport;
        Clients { transport, peers, sent: 0, received: 0, echoes: vec![0; IN_FLIGHT_BYTES] }
    }

    /// Returns the most messages that may be in flight. If they suffice, each connection has two
    /// batches, so that the server has work while the client receives and replaces one.
    pub(crate) fn flight(&self, message_bytes: usize) -> Flight {
        let connections = self.peers.len();
        let fit = IN_FLIGHT_BYTES / message_bytes;
        let messages = if self.transport.is_stream() {
            IN_FLIGHT_MESSAGES.max(connections).min(connections * fit)
        } else {
            IN_FLIGHT_MESSAGES.min(fit)
        };
        let messages_each = (messages / connections / 2).max(1);
        Flight { batches: messages / messages_each, messages_each }
    }

    pub(crate) fn send_batch(&mut self, message: &[u8], messages: usize) {
        let peer = &self.peers[self.sent % self.peers.len()];
        (0..messages).for_each(|_| peer.send(message));
        self.sent += 1;
    }

    /// Receives the echoes of the oldest batch in flight.
    pub(crate) fn receive_batch(&mut self, message_bytes: usize, messages: usize) {
        let peer = &self.peers[self.received % self.peers.len()];
        peer.receive(&mut self.echoes[..messages * message_bytes], message_bytes);
        self.received += 1;
    }

    /// Sends one message on every connection and compares its echo, so that the benchmark measures
    /// echoes.
    pub(crate) fn check(&mut self, message_bytes: usize) {
        let mut message: Vec<u8> = (0..=250).cycle().take(message_bytes).collect();
        for number in 0..self.peers.len() {
            message[..size_of::<usize>()].copy_from_slice(&number.to_ne_bytes());
            self.send_batch(&message, 1);
            self.receive_batch(message_bytes, 1);
            assert!(self.echoes[..message_bytes] == message, "connection {number} echoes");
        }
    }
}

//! An echo server on a thread of its own, and one thread's worth of blocking clients for it.

mod cpus;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use resound::echo::{Options, Server, Service};
use resound::endpoint::Transport;

/// A lost datagram or a lock-up must end the bench, not hang it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Messages in flight over all connections together; never less than one on each stream.
const IN_FLIGHT_MESSAGES: usize = 64;

/// Bytes in flight on one stream, or on all connections of the server's one datagram socket: less
/// than the buffers hold, so that a client that sends while its echoes are unread never waits for a
/// server that waits for it, and no datagram is lost.
///
/// - A TCP stream starts with room for 80 KiB from client to server, 64 KiB in the server and
///   80 KiB back (`tcp_rmem`, `tcp_wmem`), if nobody reads.
/// - UDP and Unix sockets have 208 KiB. Of these 64 messages of 64 B take 52 KiB at the most, 64
///   of 1 KiB 144 KiB and 8 of 16 KiB 162 KiB, with the system's overhead.
/// - A Unix datagram server's queue takes 11 (`net.unix.max_dgram_qlen` and one) besides, and puts
///   a client that fills it to sleep until there is room. That does no harm: the server always
///   reads, because only its send buffer bounds replies to connected clients. They use less than
///   the half that puts the buffer under pressure.
const IN_FLIGHT_BYTES: usize = 128 << 10;

/// An echo server with one endpoint, on a thread and a CPU of its own. Dropping it ends both.
pub(crate) struct Embedded {
    transport: Transport,
    service: Service,
    /// Where the sockets of Unix transports are.
    folder: tempfile::TempDir,
}

impl Embedded {
    /// From here on this thread has a CPU of its own, too.
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

    /// Of an IP transport.
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

/// One client's socket. Both calls block.
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

    /// As many at once as have come: a stream's echoes need not be taken one a call.
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

/// Connections that one thread sends and receives on, in turn.
pub(crate) struct Clients {
    transport: Transport,
    peers: Vec<Box<dyn Peer>>,
    /// Counts batches, of which each goes to the next connection: those sent and those whose echo
    /// has come.
    sent: usize,
    received: usize,
    echoes: Vec<u8>,
}

/// What is in flight in a measurement of throughput: batches, each on one connection.
#[derive(Clone, Copy)]
pub(crate) struct Flight {
    pub(crate) batches: usize,
    /// Messages of a batch: sent by a call each, received by one call if the transport can.
    pub(crate) messages_each: usize,
}

impl Clients {
    pub(crate) fn connect(server: &Embedded, count: usize) -> Clients {
        let peers = (0..count).map(|number| server.connect(number)).collect();
        let transport = server.transport;
        Clients { transport, peers, sent: 0, received: 0, echoes: vec![0; IN_FLIGHT_BYTES] }
    }

    /// As many messages as may be, in two batches a connection where there are enough of them: the
    /// server has work while one is received and replaced.
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

    /// One message and its echo on every connection, compared: what is measured is an echo.
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

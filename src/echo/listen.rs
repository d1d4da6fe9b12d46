//! Opens endpoints and adopts sockets that the caller passes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{SockRef, Type};

use super::bounds::{UDP_SLOT_BYTES, UDP_SLOTS, UNIX_SLOT_BYTES, UNIX_SLOTS};
use super::datagram::{HeldReplies, HeldTrains, PacketMover};
use super::observer::Observer;
use super::options::Reply;
use super::request::Request;
use super::source::{Kind, Packets, Source};
use super::{Server, Transport};
use crate::endpoint::{Endpoint, HostPort};
use crate::error::Error;
use crate::reactor::Reactor;
use crate::socket::batch::{BatchOptions, SystemBatch, TrainLimit};
use crate::socket::{Datagram, Listener, PortUse, SocketOptions, open_all};

/// An endpoint that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The endpoint. If port 0 was asked for, it has the port that the system picked.
    pub endpoint: Endpoint,
    /// The addresses of its sockets. Empty for Unix sockets.
    pub addrs: Vec<SocketAddr>,
    /// The names and values of the settings that the system granted.
    pub granted: Vec<(&'static str, String)>,
    /// The longest datagram that all its sockets can send, in bytes. `None` for streams.
    pub datagram_bytes_max: Option<usize>,
}

impl Bound {
    /// Returns true if only this host can reach the endpoint.
    pub fn is_local(&self) -> bool {
        match self.endpoint.transport() {
            Transport::Unix | Transport::Unixgram => true,
            Transport::Tcp | Transport::Udp => {
                self.addrs.iter().all(|addr| addr.ip().to_canonical().is_loopback())
            }
        }
    }
}

impl<O: Observer> Server<O> {
    /// Opens an endpoint and gives its sockets to the reactor. Blocks while a name is looked up.
    ///
    /// An empty host opens two sockets on one port, one per address family. A name opens a socket
    /// for each of its addresses.
    ///
    /// # Errors
    ///
    /// Names the endpoint, the reason, and a remedy where one is known.
    pub fn listen(
        &mut self,
        reactor: &mut Reactor<Source, Request>,
        endpoint: &Endpoint,
    ) -> Result<Bound, Error> {
        let settings = self.settings_at(endpoint);
        match endpoint {
            Endpoint::Tcp(host_port) => {
                let open = |addr| Listener::tcp(addr, &settings);
                let listeners =
                    open_all(endpoint, host_port, settings.family, open, Listener::local_addr)?;
                let granted = listeners[0].0.granted(&settings);
                self.insert_ip(reactor, endpoint, listeners, listener_source, granted)
            }
            Endpoint::Udp(host_port) => {
                let open = |addr| self.open_udp(addr, &settings);
                let sockets =
                    open_all(endpoint, host_port, settings.family, open, Datagram::local_addr)?;
                let granted = sockets[0].0.granted(&settings);
                self.prepare_for_udp();
                let trains = self.train_limit();
                let source = |socket| udp_source(socket, trains);
                self.insert_ip(reactor, endpoint, sockets, source, granted)
            }
            Endpoint::Unix(name) => {
                let listener = Listener::unix(name, &settings)?;
                let granted = listener.granted(&settings);
                let sources = vec![listener_source(listener)];
                self.insert_all(reactor, endpoint.clone(), sources, Vec::new(), granted)
            }
            Endpoint::Unixgram(name) => {
                let socket = Datagram::unix(name, &settings)?;
                let granted = socket.granted(&settings);
                self.prepare_for_unixgram();
                let sources = vec![unixgram_source(socket)];
                self.insert_all(reactor, endpoint.clone(), sources, Vec::new(), granted)
            }
        }
    }

    /// Serves a socket that another process has made, for example a service manager
    /// (sd_listen_fds(3)): a listening TCP or Unix socket, or a bound UDP or Unix datagram socket.
    /// The server applies the settings that can still be set, and never removes the socket's file.
    /// At the end it closes only its own copy of the socket: what arrives then stays queued for the
    /// next process that serves the socket.
    ///
    /// ```
    /// use resound::echo::{Options, Server};
    /// use resound::reactor::Reactor;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut reactor = Reactor::new()?;
    /// let mut server = Server::new(Options::default());
    /// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// let bound = server.adopt(&mut reactor, socket.into())?;
    /// assert!(bound.endpoint.to_string().starts_with("udp://127.0.0.1:"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the descriptor is no such socket, names the descriptor and what it is. If the system
    /// refuses a setting, names the setting.
    pub fn adopt(
        &mut self,
        reactor: &mut Reactor<Source, Request>,
        fd: OwnedFd,
    ) -> Result<Bound, Error> {
        let settings = self.options.socket.clone();
        let is_datagram = SockRef::from(&fd).r#type().is_ok_and(|kind| kind == Type::DGRAM);
        if !is_datagram {
            let listener = Listener::from_fd(fd, &settings)?;
            let (endpoint, addrs) = (listener.endpoint(), listener.local_addr());
            let granted = listener.granted(&settings);
            let sources = vec![listener_source(listener)];
            return self.insert_all(
                reactor,
                endpoint,
                sources,
                addrs.into_iter().collect(),
                granted,
            );
        }
        let socket = Datagram::from_fd(fd, &settings)?;
        let (endpoint, addrs) = (socket.endpoint(), socket.local_addr());
        let granted = socket.granted(&settings);
        let source = if socket.transport() == Transport::Udp {
            self.prepare_for_udp();
            self.prepare_trains(&socket);
            udp_source(socket, self.train_limit())
        } else {
            self.prepare_for_unixgram();
            unixgram_source(socket)
        };
        self.insert_all(reactor, endpoint, vec![source], addrs.into_iter().collect(), granted)
    }

    /// The settings of an endpoint's sockets: its host may name an interface.
    fn settings_at(&self, endpoint: &Endpoint) -> SocketOptions {
        let interface = endpoint.host_port().and_then(HostPort::interface).map(str::to_owned);
        SocketOptions { interface, ..self.options.socket.clone() }
    }

    fn open_udp(&self, addr: SocketAddr, settings: &SocketOptions) -> Result<Datagram, Error> {
        let socket = Datagram::udp(addr, settings)?;
        self.prepare_trains(&socket);
        Ok(socket)
    }

    /// Returns which replies of a UDP socket may leave in trains.
    fn train_limit(&self) -> TrainLimit {
        if self.options.trains { TrainLimit::ANY } else { TrainLimit::NONE }
    }

    /// Lets a UDP socket receive trains, unless the server must see each datagram by itself: to
    /// send a fixed reply, to serve only one datagram, or to count each against a rate.
    fn prepare_trains(&self, socket: &Datagram) {
        let counts_each = self.options.one_off || self.options.datagrams_per_second_max.is_some();
        let takes_trains =
            self.options.trains && !counts_each && !matches!(self.options.reply, Reply::Text(_));
        // Also called to switch trains off, because the process that passed the socket may have
        // switched them on. The error is ignored: a system without trains gives single datagrams.
        let _ = socket.receive_trains(takes_trains);
    }

    /// Tells the [loop guard](super::Options::loop_guard) of a UDP port that another server of this
    /// process has open. It already knows the ports of this server's own endpoints.
    pub fn note_own_port(&mut self, port: u16) {
        self.guard.note_own_port(port);
    }

    /// Opens an IP endpoint that another server of this process already has open. Each server has
    /// its own sockets on the same addresses and port. The system spreads connections and datagrams
    /// among them by the addresses of both ends. The options of the other server must have
    /// [`PortUse::Lead`].
    ///
    /// # Errors
    ///
    /// Names the endpoint and the reason. A Unix endpoint cannot be opened twice.
    pub fn listen_beside(
        &mut self,
        reactor: &mut Reactor<Source, Request>,
        bound: &Bound,
    ) -> Result<(), Error> {
        let endpoint = bound.endpoint.clone();
        let settings = SocketOptions { port_use: PortUse::Join, ..self.settings_at(&endpoint) };
        let addrs = bound.addrs.iter();
        let sources: Result<Vec<Kind>, Error> = match endpoint.transport() {
            Transport::Tcp => {
                addrs.map(|addr| Listener::tcp(*addr, &settings).map(listener_source)).collect()
            }
            Transport::Udp => {
                self.prepare_for_udp();
                let source = |socket| udp_source(socket, self.train_limit());
                addrs.map(|addr| self.open_udp(*addr, &settings).map(source)).collect()
            }
            Transport::Unix | Transport::Unixgram => {
                Err(Error::new("open once more", &endpoint, io::ErrorKind::Unsupported))
            }
        };
        self.insert_all(reactor, endpoint, sources?, bound.addrs.clone(), Vec::new()).map(|_| ())
    }

    fn prepare_for_udp(&mut self) {
        let reply = &self.options.reply;
        self.udp_batch.get_or_insert_with(|| batch(UDP_SLOTS, UDP_SLOT_BYTES, reply));
    }

    fn prepare_for_unixgram(&mut self) {
        let reply = &self.options.reply;
        self.unix_batch.get_or_insert_with(|| batch(UNIX_SLOTS, UNIX_SLOT_BYTES, reply));
    }

    /// Inserts the sockets of an IP endpoint, and sets its port to the port of the sockets.
    fn insert_ip<T>(
        &mut self,
        reactor: &mut Reactor<Source, Request>,
        endpoint: &Endpoint,
        opened: Vec<(T, SocketAddr)>,
        kind: impl Fn(T) -> Kind,
        granted: Vec<(&'static str, String)>,
    ) -> Result<Bound, Error> {
        let mut bound = endpoint.clone();
        if let Endpoint::Tcp(host_port) | Endpoint::Udp(host_port) = &mut bound {
            host_port.port = opened[0].1.port();
        }
        let (sources, addrs) =
            opened.into_iter().map(|(socket, addr)| (kind(socket), addr)).unzip();
        self.insert_all(reactor, bound, sources, addrs, granted)
    }

    fn insert_all(
        &mut self,
        reactor: &mut Reactor<Source, Request>,
        endpoint: Endpoint,
        sources: Vec<Kind>,
        addrs: Vec<SocketAddr>,
        granted: Vec<(&'static str, String)>,
    ) -> Result<Bound, Error> {
        if endpoint.transport() == Transport::Udp {
            addrs.iter().for_each(|addr| self.guard.note_own_port(addr.port()));
        }
        if let Some(reply_paths) = &mut self.reply_paths {
            sources
                .iter()
                .filter_map(Kind::unix_name)
                .for_each(|name| reply_paths.note_own_name(name));
        }
        let datagram_bytes_max = sources.iter().filter_map(Kind::datagram_bytes_max).min();
        for source in sources {
            let inserted = reactor.insert(Source(source));
            let key = inserted.map_err(|error| Error::new("register", &endpoint, error))?;
            self.endpoint_opened(endpoint.transport(), key);
        }
        Ok(Bound { endpoint, addrs, granted, datagram_bytes_max })
    }
}

fn listener_source(listener: Listener) -> Kind {
    Kind::Listener(Box::new(listener))
}

fn udp_source(socket: Datagram, trains: TrainLimit) -> Kind {
    // This server does not count what a passed socket lost before.
    let mover = PacketMover::new(HeldTrains::new(trains), socket.lost().unwrap_or(0));
    let is_loopback = |addr: SocketAddr| addr.ip().to_canonical().is_loopback();
    let is_exposed = !socket.local_addr().is_some_and(is_loopback);
    Kind::Udp(Box::new(Packets { socket, mover, is_exposed }))
}

fn unixgram_source(socket: Datagram) -> Kind {
    let mover = PacketMover::new(HeldReplies::default(), 0);
    Kind::Unixgram(Box::new(Packets { socket, mover, is_exposed: false }))
}

fn batch(slots: usize, slot_bytes: usize, reply: &Reply) -> SystemBatch {
    let reply = match reply {
        Reply::Text(text) => Some(text.clone()),
        Reply::Echo | Reply::Nothing => None,
    };
    SystemBatch::new(BatchOptions { slots, slot_bytes, reply })
}

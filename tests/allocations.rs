//! Tests that the server does not allocate per message in the steady state, on each transport. They
//! count allocations and measure no time.

// A failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};

use allocation_counter::measure;
use resound::echo::{Access, Cause, Options, Request, Server, Source};
use resound::reactor::Reactor;

/// Echoes before counting begins. The server has then accepted its connections, and its lists have
/// their capacity.
const WARM_UP_ECHOES: usize = 100;
const ECHOES: usize = 10_000;
const MESSAGE_BYTES: usize = 64;
/// Turns that an echo may take: one each for accept, event and tick, and a reserve.
const TURNS_MAX: usize = 10;

/// A server and its loop. The test turns the loop on its own thread, which is also the client's,
/// and counts the allocations of this thread.
struct Loop {
    reactor: Reactor<Source, Request>,
    server: Server,
}

impl Loop {
    fn serving(endpoint: &str) -> (Loop, Option<std::net::SocketAddr>) {
        Loop::serving_by(Options::default(), endpoint)
    }

    fn serving_by(options: Options, endpoint: &str) -> (Loop, Option<std::net::SocketAddr>) {
        let mut reactor = Reactor::new().unwrap();
        // Measuring is off by default. With it the loop does more work.
        reactor.measure_turns(true);
        let mut server = Server::new(options);
        let bound = server.listen(&mut reactor, &endpoint.parse().unwrap()).unwrap();
        (Loop { reactor, server }, bound.addrs.first().copied())
    }

    /// Turns until the server has answered `messages` messages in total.
    fn turn_until_answered(&mut self, messages: u64) {
        for _ in 0..TURNS_MAX {
            if self.server.counters().total_messages_out() >= messages {
                return;
            }
            self.reactor.turn(&mut self.server).unwrap();
        }
        panic!("{} of {messages} answered", self.server.counters().total_messages_out());
    }

    fn allocations(&mut self, mut send: impl FnMut(), mut receive: impl FnMut()) -> u64 {
        let mut messages = 0;
        let mut echo = |echoes| {
            for _ in 0..echoes {
                send();
                messages += 1;
                self.turn_until_answered(messages);
                receive();
            }
        };
        echo(WARM_UP_ECHOES);
        measure(|| echo(ECHOES)).count_total
    }

    fn stream_allocations(&mut self, client: impl Read + Write) -> u64 {
        let client = std::cell::RefCell::new(client);
        let mut buf = [0; MESSAGE_BYTES];
        self.allocations(
            || client.borrow_mut().write_all(&[7; MESSAGE_BYTES]).unwrap(),
            || client.borrow_mut().read_exact(&mut buf).unwrap(),
        )
    }
}

#[test]
fn the_counter_counts_an_allocation() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(1)))).count_total, 1);
}

#[test]
fn a_tcp_echo_does_not_allocate() {
    let (mut turned, addr) = Loop::serving("tcp://127.0.0.1:0");
    let client = TcpStream::connect(addr.unwrap()).unwrap();
    assert_eq!(turned.stream_allocations(client), 0);
}

#[test]
fn a_unix_stream_echo_does_not_allocate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let (mut turned, _) = Loop::serving(&format!("unix:{}", path.display()));
    let client = UnixStream::connect(path).unwrap();
    assert_eq!(turned.stream_allocations(client), 0);
}

#[test]
fn a_udp_echo_does_not_allocate_on_one_address_or_on_all() {
    for endpoint in ["udp://127.0.0.1:0", "udp://0.0.0.0:0"] {
        let (mut turned, addr) = Loop::serving(endpoint);
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.connect((Ipv4Addr::LOCALHOST, addr.unwrap().port())).unwrap();
        let mut buf = [0; MESSAGE_BYTES];
        let allocations = turned.allocations(
            || assert_eq!(client.send(&[7; MESSAGE_BYTES]).unwrap(), MESSAGE_BYTES),
            || assert_eq!(client.recv(&mut buf).unwrap(), MESSAGE_BYTES),
        );
        assert_eq!(allocations, 0, "{endpoint}");
    }
}

/// case U15: the server receives each train as a train and answers with a train, which the kernel
/// splits for a client without trains.
#[test]
fn an_echo_of_a_train_does_not_allocate() {
    const DATAGRAMS: usize = 32;
    let (mut turned, addr) = Loop::serving("udp://127.0.0.1:0");
    let target = resound::endpoint::ResolvedEndpoint::Udp(addr.unwrap());
    let options = resound::socket::SocketOptions::default();
    let client = resound::socket::Datagram::connect(&target, None, &options).unwrap();
    let train = [7; DATAGRAMS * MESSAGE_BYTES];
    let segment_bytes = u16::try_from(MESSAGE_BYTES).unwrap();
    let mut buf = [0; MESSAGE_BYTES];
    let mut messages = 0;
    let mut echo = |echoes| {
        for _ in 0..echoes {
            client.send_train(&train, segment_bytes).unwrap();
            messages += DATAGRAMS as u64;
            turned.turn_until_answered(messages);
            for _ in 0..DATAGRAMS {
                assert_eq!(client.receive(&mut buf).unwrap(), MESSAGE_BYTES);
            }
        }
    };
    echo(WARM_UP_ECHOES);
    assert_eq!(measure(|| echo(1_000)).count_total, 0);
}

/// case U11: every two datagrams have a new source, and the server applies every check to them:
/// access list, loop guard and rate limit.
#[test]
fn a_datagram_from_a_new_source_does_not_allocate_if_answered_limited_or_denied() {
    const SOURCES: u32 = 5_000;
    /// A fixed port. The system might pick the server's port on another address.
    const CLIENT_PORT: u16 = 20_000;
    let networks = |texts: [&str; 2]| texts.map(|text| text.parse().unwrap());
    let options = Options {
        access: Access::new(
            &networks(["127.0.0.0/8", "10.0.0.0/8"]),
            &networks(["127.9.0.0/16", "::/0"]),
        ),
        datagrams_per_second_max: Some(1),
        ..Options::default()
    };
    let (mut turned, addr) = Loop::serving_by(options, "udp://127.0.0.1:0");
    let addr = addr.unwrap();
    let mut send_from = |ip: Ipv4Addr, port: u16| {
        let client = UdpSocket::bind((ip, port)).unwrap();
        // The second datagram exceeds the rate limit.
        for _ in 0..2 {
            assert_eq!(client.send_to(&[7; MESSAGE_BYTES], addr).unwrap(), MESSAGE_BYTES);
        }
        turned.reactor.turn(&mut turned.server).unwrap();
    };
    let mut from_all = |sources: std::ops::Range<u32>| {
        for source in sources {
            send_from(Ipv4Addr::from_bits(0x7f02_0000 + source), CLIENT_PORT);
            send_from(Ipv4Addr::from_bits(0x7f02_0000 + source), addr.port());
            send_from(Ipv4Addr::from_bits(0x7f09_0000 + source), CLIENT_PORT);
        }
    };
    from_all(0..100);
    assert_eq!(measure(|| from_all(100..SOURCES)).count_total, 0);
    let count = |cause| turned.server.counters().total(cause);
    let sources = u64::from(SOURCES);
    assert_eq!(turned.server.counters().total_messages_out(), sources);
    assert_eq!(count(Cause::RateLimited), sources);
    assert_eq!((count(Cause::LoopOwnPort), count(Cause::Denied)), (2 * sources, 2 * sources));
}

#[test]
fn a_unix_datagram_echo_does_not_allocate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let (mut turned, _) = Loop::serving(&format!("unixgram:{}", path.display()));
    let name = format!("resound-allocations-{}", std::process::id());
    let client = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    client.connect(path).unwrap();
    let mut buf = [0; MESSAGE_BYTES];
    let allocations = turned.allocations(
        || assert_eq!(client.send(&[7; MESSAGE_BYTES]).unwrap(), MESSAGE_BYTES),
        || assert_eq!(client.recv(&mut buf).unwrap(), MESSAGE_BYTES),
    );
    assert_eq!(allocations, 0);
}

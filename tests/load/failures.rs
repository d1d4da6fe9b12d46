//! Tests with peers that refuse, close, reset or vanish. The generator counts each by its cause,
//! and every run ends.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{self, Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use resound::endpoint::UnixName;
use resound::measured::{Interval, Mode, Status};
use socket2::SockRef;

use super::*;

/// The longest that a test waits for anything.
const BOUND: Duration = Duration::from_secs(60);

/// Returns an address to which no socket is bound.
fn unserved() -> net::SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Returns options whose timeout no busy machine reaches.
fn to(target: ResolvedEndpoint, count: u64, flows: u32) -> Options {
    Options { count: Some(count), timeout: BOUND, ..Options::closed_loop(target, flows) }
}

/// case B4
#[test]
fn refused_connections_are_counted_and_the_run_ends() {
    let folder = tempfile::tempdir().unwrap();
    let no_path = ResolvedEndpoint::Unix(UnixName::Path(folder.path().join("missing")));
    for mode in [Mode::Echo, Mode::Connect] {
        let targets = [ResolvedEndpoint::Tcp(unserved()), no_path.clone()];
        for target in targets {
            let transport = target.transport();
            let result = run(Options { mode, ..to(target, 100, 5) });
            assert_eq!(result.status, Status::Error, "{transport:?} {mode:?}");
            assert!(result.flows.refused >= 5, "{:?}", result.flows);
            assert_eq!((result.flows.opened, result.flows.failed_locally), (0, 0));
            assert_eq!(result.messages.received, 0);
            let error = result.error.unwrap();
            let reason = match transport {
                Transport::Unix => "no such file or directory",
                _ => "refused",
            };
            assert!(error.contains("cannot connect to") && error.contains(reason), "{error}");
        }
    }
}

#[test]
fn a_missing_unix_datagram_socket_counts_as_refused() {
    let folder = tempfile::tempdir().unwrap();
    let target = ResolvedEndpoint::Unixgram(UnixName::Path(folder.path().join("missing")));
    let result = run(to(target, 100, 3));
    assert_eq!((result.flows.refused, result.flows.opened), (3, 0));
    assert_eq!(result.status, Status::Error);
}

/// case U8: a socket that sends to a closed port gets an error and loses its messages.
#[test]
fn a_closed_udp_port_refuses_each_socket_once() {
    let target =
        ResolvedEndpoint::Udp(UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let result = run(to(target, 8, 4));
    assert_eq!((result.flows.opened, result.flows.refused), (4, 4));
    assert_eq!((result.messages.sent, result.messages.lost), (8, 8));
    assert!(result.error.unwrap().contains("refused"));
}

/// Starts a listener that passes every connection to `serve`.
fn listener(serve: impl Fn(TcpStream) + Send + 'static) -> ResolvedEndpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Tcp(listener.local_addr().unwrap());
    thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap())));
    target
}

/// Echoes `count` messages of 64 bytes.
fn echo(stream: &mut TcpStream, count: usize) {
    let mut message = [0; 64];
    for _ in 0..count {
        if stream.read_exact(&mut message).and_then(|()| stream.write_all(&message)).is_err() {
            return;
        }
    }
}

/// case B4
#[test]
fn connections_that_the_peer_closes_are_counted_and_their_earlier_echoes_kept() {
    let target = listener(|mut stream| echo(&mut stream, 2));
    let result = run(to(target, 100, 3));
    assert_eq!(result.flows.closed + result.flows.reset, 3, "{:?}", result.flows);
    assert_eq!(result.messages.received, 6);
    assert_eq!(result.status, Status::Partial);
    assert_eq!(result.error.unwrap(), "every connection ended before all messages were sent");
    // Each flow may have sent a third message before it noticed the close.
    assert_eq!(result.generator.unsent + result.losses.disconnected, 94);
}

/// case B4
#[test]
fn connections_that_the_peer_resets_are_counted_as_reset() {
    let target = listener(|mut stream| {
        echo(&mut stream, 1);
        let mut byte = [0];
        drop(stream.read(&mut byte));
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let result = run(to(target, 100, 3));
    assert_eq!((result.flows.reset, result.flows.closed), (3, 0));
    assert_eq!((result.messages.received, result.messages.lost), (3, 3));
}

/// case B4: in connect mode a connection that the peer closes without an answer loses its message.
#[test]
fn a_connection_closed_without_an_answer_loses_its_message() {
    let target = listener(|mut stream| {
        let mut message = [0; 64];
        stream.read_exact(&mut message).unwrap();
    });
    let options = Options { mode: Mode::Connect, ..to(target, 6, 2) };
    let result = run(options);
    assert_eq!((result.messages.sent, result.messages.lost), (6, 6));
    assert_eq!((result.flows.opened, result.flows.closed), (6, 6));
}

/// case B4: in connect mode it is no failure if the server closes after its answer.
#[test]
fn in_connect_mode_a_server_may_answer_once_per_connection() {
    let target = listener(|mut stream| echo(&mut stream, 1));
    let options = Options { mode: Mode::Connect, ..to(target, 200, 2) };
    let result = run(options);
    assert_eq!((result.messages.received, result.flows.opened), (200, 200));
    assert_eq!((result.status, result.flows.closed), (Status::Ok, 0));
}

/// case B7
#[test]
fn a_byte_that_the_server_changes_is_found() {
    let target = listener(|mut stream| {
        let mut bytes = [0; 64];
        for message in 0.. {
            if stream.read_exact(&mut bytes).is_err() {
                return;
            }
            bytes[20] ^= u8::from(message == 2);
            stream.write_all(&bytes).unwrap();
        }
    });
    let result = run(to(target, 10, 1));
    assert_eq!((result.messages.received, result.messages.corrupted), (10, 1));
    let difference = result.first_difference.unwrap();
    assert_eq!((difference.flow, difference.message, difference.offset), (0, Some(2), 20));
}

/// A blocking server of Unix datagrams.
struct DatagramServer {
    socket: UnixDatagram,
    answered: u64,
}

impl DatagramServer {
    fn bind(path: &Path) -> DatagramServer {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(BOUND)).unwrap();
        DatagramServer { socket, answered: 0 }
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut bytes = vec![0; 64];
        let (length, from) = self.socket.recv_from(&mut bytes).unwrap();
        bytes.truncate(length);
        (bytes, from)
    }

    /// Returns false if the sender has no name or is gone.
    fn answer(&mut self, (bytes, to): (Vec<u8>, SocketAddr)) -> bool {
        let is_sent = self.socket.send_to_addr(&bytes, &to).is_ok();
        self.answered += u64::from(is_sent);
        is_sent
    }

    /// Answers the first datagrams once two clients have sent.
    fn answer_once_two_have_sent(&mut self) {
        let mut held = Vec::new();
        let mut clients = HashSet::new();
        while clients.len() < 2 {
            let (bytes, from) = self.receive();
            clients.insert(from.as_pathname().unwrap().to_owned());
            held.push((bytes, from));
        }
        for datagram in held {
            assert!(self.answer(datagram));
        }
    }
}

/// An observer that adds up the lost messages.
#[derive(Clone, Default)]
struct Lost(Arc<AtomicU64>);

impl Observer for Lost {
    fn interval(&mut self, interval: Interval) {
        self.0.fetch_add(interval.messages.lost, Ordering::Relaxed);
    }
}

/// case X4: the kernel disconnects a datagram socket when its server closes (unix(7)).
#[test]
fn the_generator_reconnects_to_a_unix_datagram_server_that_comes_back_at_its_path() {
    const COUNT: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let mut server = DatagramServer::bind(&path);
    let target = ResolvedEndpoint::Unixgram(UnixName::Path(path.clone()));
    let lost = Lost::default();
    let seen = lost.clone();
    let answering = thread::spawn(move || {
        server.answer_once_two_have_sent();
        while server.answered < 20 {
            let datagram = server.receive();
            assert!(server.answer(datagram));
        }
        let answered = server.answered;
        drop(server);
        std::fs::remove_file(&path).unwrap();
        // The old server may have closed with one message of each socket in its queue. These time
        // out; any further loss is a refusal.
        let deadline = Instant::now() + BOUND;
        while seen.0.load(Ordering::Relaxed) < 5 {
            assert!(Instant::now() < deadline, "no message is refused");
            thread::sleep(Duration::from_millis(1));
        }
        let mut server = DatagramServer::bind(&path);
        server.answer_once_two_have_sent();
        loop {
            let datagram = server.receive();
            if !server.answer(datagram) {
                return answered + server.answered;
            }
        }
    });
    let own = tempfile::tempdir().unwrap();
    let options = Options {
        folder: Some(own.path().to_owned()),
        interval: Some(Duration::from_millis(10)),
        // For the messages that the old server leaves unread.
        timeout: Duration::from_secs(5),
        ..to(target, COUNT, 2)
    };
    let (result, _) = run_observed(options, lost);
    assert_eq!((result.status, result.flows.refused), (Status::Ok, 2), "{result:?}");
    let all = result.messages;
    assert_eq!((all.sent, all.received + all.lost), (COUNT, COUNT));
    assert_eq!(result.losses.refused + result.losses.timed_out, all.lost, "{:?}", result.losses);
    assert!(result.losses.refused >= 3, "{:?}", result.losses);
    // A datagram from a socket without a name ends the server, because it cannot be answered.
    UnixDatagram::unbound().unwrap().send_to(b"end", folder.path().join("server")).unwrap();
    let answered = answering.join().unwrap();
    assert!(answered > 22, "{answered}");
    assert_eq!(all.received + all.late, answered, "{all:?}");
}

/// case B4
#[test]
fn every_message_due_before_the_planned_end_is_counted_although_every_connection_ends() {
    let target = listener(|mut stream| echo(&mut stream, 20));
    let result = run(Options {
        rate: Some(1_000),
        count: None,
        duration: Some(Duration::from_secs(10)),
        ..to(target, 0, 2)
    });
    assert_eq!(result.status, Status::Partial);
    assert_eq!(result.error.unwrap(), "every connection ended before the time was up");
    assert_eq!(result.messages.sent + result.generator.unsent, 10_000);
    assert!(result.elapsed_ns < 10_000_000_000 && result.load_made < 0.99);
}

/// case B4: one of two connections ends, and with it half of the load.
#[test]
fn a_run_that_makes_only_a_part_of_its_load_is_partial() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Tcp(listener.local_addr().unwrap());
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                echo(&mut stream, if number == 0 { 10 } else { usize::MAX });
                // Unread input would turn the close into a reset.
                let _ = stream.shutdown(Shutdown::Write);
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
    for rate in [None, Some(1_000)] {
        // Only the first connection of the first pair ends early. On a busy machine its ten echoes
        // take a part of the time, but not all of it.
        let result = run(Options {
            rate,
            count: None,
            duration: Some(Duration::from_secs(4)),
            ..to(target.clone(), 0, 2)
        });
        let made = result.load_made;
        if rate.is_none() {
            assert_eq!((result.status, result.flows.closed), (Status::Partial, 1));
            assert!((0.5..0.99).contains(&made), "{made}");
            let why = result.error.unwrap();
            assert!(why.ends_with(" % of their time (closed by the peer: 1)"), "{why}");
        } else {
            assert_eq!((result.status, result.flows.closed), (Status::Ok, 0));
            assert!(made > 0.999, "{made}");
        }
    }
}

/// case B4: the peer answers two messages per connection and closes. A third may be lost.
#[test]
fn with_reconnect_connections_that_end_are_opened_again() {
    let target = listener(|mut stream| echo(&mut stream, 2));
    let options = Options { reconnect: true, ..to(target, 30, 1) };
    let result = run(options);
    assert_eq!((result.status, result.messages.sent), (Status::Ok, 30));
    let all = result.messages;
    assert_eq!((all.received + all.lost, result.losses.disconnected), (30, all.lost));
    assert!(all.received >= 20, "{all:?}");
    assert!((9..=15).contains(&result.flows.reconnected), "{:?}", result.flows);
}

/// case B4
#[test]
fn messages_due_while_a_connection_is_opened_again_count_as_disconnected() {
    let target = listener(|mut stream| echo(&mut stream, 50));
    let result = run(Options {
        reconnect: true,
        rate: Some(1_000),
        count: None,
        // A busy machine lets the server run for more than a fraction of it.
        duration: Some(Duration::from_secs(4)),
        ..to(target, 0, 1)
    });
    assert!(result.elapsed_ns >= 4_000_000_000);
    assert_eq!(result.messages.sent + result.generator.unsent, 4_000);
    assert_eq!(result.messages.lost, result.losses.disconnected);
    assert!(result.losses.disconnected >= 10 && result.flows.reconnected >= 2);
    // The connection is closed for at least 10 ms of every 60 ms.
    assert_eq!(result.status, Status::Partial, "{}", result.load_made);
}

/// The pause before each attempt grows, so such a server gets no flood of connections.
#[test]
fn a_server_that_closes_each_connection_at_once_gets_fewer_and_fewer_attempts() {
    let target = listener(drop);
    let result = run(Options {
        reconnect: true,
        count: None,
        duration: Some(Duration::from_secs(3)),
        ..to(target, 0, 1)
    });
    // The pauses are 10, 20, 40, 80, 160, 320 and 640 ms, and then 1 s.
    assert!((2..=9).contains(&result.flows.opened), "{:?}", result.flows);
}

/// case B10: a refusal ends the wait for an echo at once.
#[test]
fn refusals_do_not_wait_for_the_timeout() {
    let target =
        ResolvedEndpoint::Udp(UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    for in_flight_max in [1, 16] {
        let options = to(target.clone(), 40, 4);
        let timeout = Duration::from_secs(3_600);
        let result = run(Options { timeout, in_flight_max, ..options });
        assert_eq!((result.messages.lost, result.losses.refused), (40, 40));
    }
}

/// case X5
#[test]
fn a_message_too_long_for_a_datagram_is_a_clear_error() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Udp(server.local_addr().unwrap());
    let options = to(target, 10, 2);
    let result = run(Options { lengths: 70_000.into(), ..options });
    assert_eq!((result.flows.failed_locally, result.messages.sent), (2, 0));
    let error = result.error.unwrap();
    assert!(error.contains("70000 bytes are too long for one datagram"), "{error}");
}

/// case B10: an open loop also waits for the messages that were due before the end.
#[test]
fn a_run_of_a_set_duration_ends_although_the_server_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Tcp(silent.local_addr().unwrap());
    for mode in [Mode::Echo, Mode::Connect] {
        for rate in [None, Some(1_000)] {
            let result = run(Options {
                mode,
                rate,
                count: None,
                duration: Some(Duration::from_millis(100)),
                timeout: Duration::from_millis(50),
                ..to(target.clone(), 0, 2)
            });
            assert_eq!((result.status, result.messages.received), (Status::Error, 0));
            assert!(result.messages.lost > 0);
            assert!(result.elapsed_ns >= 100_000_000);
            assert!(rate.is_some() || result.elapsed_ns == 100_000_000);
        }
    }
}

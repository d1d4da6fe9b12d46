//! Peers that refuse, close, reset or vanish: counted by cause, and no run without end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use resound::endpoint::UnixName;
use resound::measured::{Mode, Status};
use socket2::SockRef;

use super::*;

/// An address that no socket is bound to.
fn unserved() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn to(target: ResolvedEndpoint, count: u64, flows: u32) -> Options {
    Options {
        count: Some(count),
        timeout: Duration::from_millis(200),
        ..Options::closed_loop(target, flows)
    }
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
            let findings = run(Options { mode, ..to(target, 100, 5) });
            assert_eq!(findings.status, Status::Error, "{transport:?} {mode:?}");
            assert!(findings.flows.refused >= 5, "{:?}", findings.flows);
            assert_eq!((findings.flows.opened, findings.flows.failed_locally), (0, 0));
            assert_eq!(findings.messages.received, 0);
            let error = findings.error.unwrap();
            let reason = match transport {
                Transport::Unix => "no such file or directory",
                _ => "refused",
            };
            assert!(error.contains("cannot connect to") && error.contains(reason), "{error}");
        }
    }
}

#[test]
fn a_unix_datagram_socket_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let target = ResolvedEndpoint::Unixgram(UnixName::Path(folder.path().join("missing")));
    let findings = run(to(target, 100, 3));
    assert_eq!((findings.flows.refused, findings.flows.opened), (3, 0));
    assert_eq!(findings.status, Status::Error);
}

/// case U8: whoever sends to a port where nobody is hears of it, and loses what it sent.
#[test]
fn a_udp_port_where_nobody_is_refuses_each_socket_once() {
    let target =
        ResolvedEndpoint::Udp(UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let findings = run(to(target, 8, 4));
    assert_eq!((findings.flows.opened, findings.flows.refused), (4, 4));
    assert_eq!((findings.messages.sent, findings.messages.lost), (8, 8));
    assert!(findings.error.unwrap().contains("refused"));
}

/// A listener whose every connection is given to `serve`.
fn listener(serve: impl Fn(TcpStream) + Send + 'static) -> ResolvedEndpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Tcp(listener.local_addr().unwrap());
    thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap())));
    target
}

/// Echoes so many messages of 64 bytes.
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
fn connections_that_the_peer_closes_are_counted_with_what_had_come_before() {
    let target = listener(|mut stream| echo(&mut stream, 2));
    let findings = run(to(target, 100, 3));
    assert_eq!(findings.flows.closed + findings.flows.reset, 3, "{:?}", findings.flows);
    assert_eq!(findings.messages.received, 6);
    assert_eq!(findings.status, Status::Partial);
    assert_eq!(findings.error.unwrap(), "every connection ended before all messages were sent");
    // Each may have sent a third message before it heard of the end.
    assert_eq!(findings.generator.unsent + findings.losses.disconnected, 94);
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
    let findings = run(to(target, 100, 3));
    assert_eq!((findings.flows.reset, findings.flows.closed), (3, 0));
    assert_eq!((findings.messages.received, findings.messages.lost), (3, 3));
}

/// case B4: in connect mode a peer that closes without an answer costs its message.
#[test]
fn a_connection_closed_without_an_answer_loses_its_message() {
    let target = listener(|mut stream| {
        let mut message = [0; 64];
        stream.read_exact(&mut message).unwrap();
    });
    let options = Options { mode: Mode::Connect, ..to(target, 6, 2) };
    let findings = run(options);
    assert_eq!((findings.messages.sent, findings.messages.lost), (6, 6));
    assert_eq!((findings.flows.opened, findings.flows.closed), (6, 6));
}

/// case B4: in connect mode a server that closes behind its answer is an ordinary one.
#[test]
fn a_server_of_one_answer_a_connection_answers_all_in_connect_mode() {
    let target = listener(|mut stream| echo(&mut stream, 1));
    let options = Options { mode: Mode::Connect, ..to(target, 200, 2) };
    let findings = run(Options { timeout: Duration::from_secs(30), ..options });
    assert_eq!((findings.messages.received, findings.flows.opened), (200, 200));
    assert_eq!((findings.status, findings.flows.closed), (Status::Ok, 0));
}

/// case B7
#[test]
fn a_server_that_changes_a_byte_is_found_out() {
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
    let findings = run(to(target, 10, 1));
    assert_eq!((findings.messages.received, findings.messages.corrupted), (10, 1));
    let difference = findings.first_difference.unwrap();
    assert_eq!((difference.flow, difference.message, difference.offset), (0, Some(2), 20));
}

/// Echoes so many datagrams.
fn echo_datagrams(server: &UnixDatagram, count: usize) {
    let mut buf = [0; 64];
    for _ in 0..count {
        let (length, from) = server.recv_from(&mut buf).unwrap();
        server.send_to_addr(&buf[..length], &from).unwrap();
    }
}

/// case X4: the kernel ends the connection of a datagram socket whose server closes (unix(7)).
#[test]
fn a_unix_datagram_server_that_comes_back_at_its_path_is_found_again() {
    const COUNT: u64 = 200;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let server = UnixDatagram::bind(&path).unwrap();
    let target = ResolvedEndpoint::Unixgram(UnixName::Path(path.clone()));
    let answering = thread::spawn(move || {
        echo_datagrams(&server, 20);
        drop(server);
        std::fs::remove_file(&path).unwrap();
        thread::sleep(Duration::from_millis(50));
        let server = UnixDatagram::bind(&path).unwrap();
        server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut buf = [0; 64];
        // Its client's sockets are gone with the run.
        while let Ok((length, from)) = server.recv_from(&mut buf) {
            if server.send_to_addr(&buf[..length], &from).is_err() || !path.exists() {
                return;
            }
        }
    });
    let options = to(target, COUNT, 2);
    let own = tempfile::tempdir().unwrap();
    let findings = run(Options { folder: Some(own.path().to_owned()), ..options });
    assert_eq!((findings.status, findings.flows.refused), (Status::Ok, 2), "{findings:?}");
    assert_eq!(findings.messages.sent, COUNT);
    assert!((150..COUNT).contains(&findings.messages.received), "{:?}", findings.messages);
    assert!(findings.losses.refused > 0, "{:?}", findings.losses);
    // One more datagram, from a socket that is not answered, ends the server.
    UnixDatagram::unbound().unwrap().send_to(b"end", folder.path().join("server")).unwrap();
    answering.join().unwrap();
}

/// case B4
#[test]
fn everything_due_to_the_planned_end_is_counted_though_every_connection_ends() {
    let target = listener(|mut stream| echo(&mut stream, 20));
    let findings = run(Options {
        rate: Some(1_000),
        count: None,
        duration: Some(Duration::from_secs(10)),
        ..to(target, 0, 2)
    });
    assert_eq!(findings.status, Status::Partial);
    assert_eq!(findings.error.unwrap(), "every connection ended before the time was up");
    assert_eq!(findings.messages.sent + findings.generator.unsent, 10_000);
    assert!(findings.elapsed_ns < 10_000_000_000 && findings.load_made < 0.99);
}

/// case B4: one of two connections ends, and with it half of the load.
#[test]
fn a_run_that_makes_less_of_its_load_is_partial() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Tcp(listener.local_addr().unwrap());
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            thread::spawn(move || echo(&mut stream, if number == 0 { 10 } else { usize::MAX }));
        }
    });
    for rate in [None, Some(1_000)] {
        // Of the second pair, none is the first.
        let findings = run(Options {
            rate,
            count: None,
            duration: Some(Duration::from_millis(300)),
            ..to(target.clone(), 0, 2)
        });
        let made = findings.load_made;
        if rate.is_none() {
            assert_eq!((findings.status, findings.flows.closed), (Status::Partial, 1));
            assert!((0.5..0.9).contains(&made), "{made}");
            let why = findings.error.unwrap();
            assert!(why.ends_with(" % of their time (closed by the peer: 1)"), "{why}");
        } else {
            assert_eq!((findings.status, findings.flows.closed), (Status::Ok, 0));
            assert!(made > 0.999, "{made}");
        }
    }
}

/// case B4: each connection answers two messages and ends; a third may be lost.
#[test]
fn connections_that_end_are_opened_again_if_asked() {
    let target = listener(|mut stream| echo(&mut stream, 2));
    let options = Options { reconnect: true, ..to(target, 30, 1) };
    let findings = run(options);
    assert_eq!((findings.status, findings.messages.sent), (Status::Ok, 30));
    let all = findings.messages;
    assert_eq!((all.received + all.lost, findings.losses.disconnected), (30, all.lost));
    assert!(all.received >= 20, "{all:?}");
    assert!((9..=15).contains(&findings.flows.reconnected), "{:?}", findings.flows);
}

/// case B4
#[test]
fn what_is_due_while_a_connection_is_opened_again_is_lost_by_name() {
    let target = listener(|mut stream| echo(&mut stream, 50));
    let findings = run(Options {
        reconnect: true,
        rate: Some(1_000),
        count: None,
        duration: Some(Duration::from_millis(500)),
        timeout: Duration::from_secs(30),
        ..to(target, 0, 1)
    });
    assert!(findings.elapsed_ns >= 500_000_000);
    assert_eq!(findings.messages.sent + findings.generator.unsent, 500);
    assert_eq!(findings.messages.lost, findings.losses.disconnected);
    assert!(findings.losses.disconnected >= 10 && findings.flows.reconnected >= 2);
    // 10 ms and more of each 60 ms.
    assert_eq!(findings.status, Status::Partial, "{}", findings.load_made);
}

/// A pause that grows: no flood of connections on a server that closes each at once.
#[test]
fn a_server_that_closes_each_connection_at_once_is_asked_ever_less_often() {
    let target = listener(drop);
    let findings = run(Options {
        reconnect: true,
        count: None,
        duration: Some(Duration::from_millis(700)),
        ..to(target, 0, 1)
    });
    // After 10, 20, 40, 80, 160 and 320 ms.
    assert!((2..=7).contains(&findings.flows.opened), "{:?}", findings.flows);
}

/// case B10: a refusal is an answer, and is not waited for as long as one may take.
#[test]
fn refusals_do_not_wait_for_the_timeout() {
    let target =
        ResolvedEndpoint::Udp(UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    for in_flight_max in [1, 16] {
        let options = to(target.clone(), 40, 4);
        let timeout = Duration::from_secs(3_600);
        let findings = run(Options { timeout, in_flight_max, ..options });
        assert_eq!((findings.messages.lost, findings.losses.refused), (40, 40));
    }
}

/// case X5
#[test]
fn a_message_too_long_for_a_datagram_is_a_clear_error() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Udp(server.local_addr().unwrap());
    let options = to(target, 10, 2);
    let findings = run(Options { length_bytes: 70_000, ..options });
    assert_eq!((findings.flows.failed_locally, findings.messages.sent), (2, 0));
    let error = findings.error.unwrap();
    assert!(error.contains("70000 bytes are too long for one datagram"), "{error}");
}

/// case B10: in an open loop with what was due before the end and held up.
#[test]
fn a_run_of_a_set_duration_ends_though_nobody_answers() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Tcp(deaf.local_addr().unwrap());
    for mode in [Mode::Echo, Mode::Connect] {
        for rate in [None, Some(1_000)] {
            let findings = run(Options {
                mode,
                rate,
                count: None,
                duration: Some(Duration::from_millis(100)),
                timeout: Duration::from_millis(50),
                ..to(target.clone(), 0, 2)
            });
            assert_eq!((findings.status, findings.messages.received), (Status::Error, 0));
            assert!(findings.messages.lost > 0);
            assert!(findings.elapsed_ns >= 100_000_000);
            assert!(rate.is_some() || findings.elapsed_ns == 100_000_000);
        }
    }
}

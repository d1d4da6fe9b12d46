//! Peers that refuse, close, reset or vanish: counted by cause, and no run without end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use resound::report::{Mode, Status};
use socket2::SockRef;

use super::*;

/// An address where nobody is.
fn nobody() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn to(transport: Transport, target: Target, count: u64, flows: u32) -> Options {
    Options {
        transport,
        count: Some(count),
        timeout: Duration::from_millis(200),
        ..Options::closed_loop(target, flows)
    }
}

/// case B4
#[test]
fn refused_connections_are_counted_and_the_run_ends() {
    let folder = tempfile::tempdir().unwrap();
    let no_path = Target::Unix(UnixName::Path(folder.path().join("nobody")));
    for mode in [Mode::Echo, Mode::Connect] {
        let targets = [(Transport::Tcp, Target::Ip(nobody())), (Transport::Unix, no_path.clone())];
        for (transport, target) in targets {
            let findings = run(Options { mode, ..to(transport, target, 100, 5) });
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
    let target = Target::Unix(UnixName::Path(folder.path().join("nobody")));
    let findings = run(to(Transport::Unixgram, target, 100, 3));
    assert_eq!((findings.flows.refused, findings.flows.opened), (3, 0));
    assert_eq!(findings.status, Status::Error);
}

/// case U8: whoever sends to a port where nobody is hears of it, and loses what it sent.
#[test]
fn a_udp_port_where_nobody_is_refuses_each_socket_once() {
    let target = Target::Ip(UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let findings = run(to(Transport::Udp, target, 8, 4));
    assert_eq!((findings.flows.opened, findings.flows.refused), (4, 4));
    assert_eq!((findings.messages.sent, findings.messages.lost), (8, 8));
    assert!(findings.error.unwrap().contains("refused"));
}

/// A listener whose every connection is given to `serve`.
fn listener(serve: impl Fn(TcpStream) + Send + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::Ip(listener.local_addr().unwrap());
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
    let findings = run(to(Transport::Tcp, target, 100, 3));
    assert_eq!(findings.flows.closed + findings.flows.reset, 3, "{:?}", findings.flows);
    assert_eq!(findings.messages.received, 6);
    assert_eq!(findings.status, Status::Partial);
    assert_eq!(findings.error.unwrap(), "every connection ended before the time was up");
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
    let findings = run(to(Transport::Tcp, target, 100, 3));
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
    let options = Options { mode: Mode::Connect, ..to(Transport::Tcp, target, 6, 2) };
    let findings = run(options);
    assert_eq!((findings.messages.sent, findings.messages.lost), (6, 6));
    assert_eq!((findings.flows.opened, findings.flows.closed), (6, 6));
}

/// case B4: in connect mode a server that closes behind its answer is an ordinary one.
#[test]
fn a_server_of_one_answer_a_connection_answers_all_in_connect_mode() {
    let target = listener(|mut stream| echo(&mut stream, 1));
    let options = Options { mode: Mode::Connect, ..to(Transport::Tcp, target, 200, 2) };
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
    let findings = run(to(Transport::Tcp, target, 10, 1));
    assert_eq!((findings.messages.received, findings.messages.corrupted), (10, 1));
    let difference = findings.first_difference.unwrap();
    assert_eq!((difference.flow, difference.message, difference.offset), (0, Some(2), 20));
}

/// case X4
#[test]
fn a_unix_datagram_server_that_goes_away_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let server = UnixDatagram::bind(&path).unwrap();
    let answering = thread::spawn(move || {
        let mut buf = [0; 64];
        for _ in 0..20 {
            let (length, from) = server.recv_from(&mut buf).unwrap();
            server.send_to_addr(&buf[..length], &from).unwrap();
        }
    });
    let options = to(Transport::Unixgram, Target::Unix(UnixName::Path(path)), 1_000_000, 2);
    let findings = run(Options { folder: Some(folder.path().to_owned()), ..options });
    answering.join().unwrap();
    assert_eq!((findings.messages.received, findings.status), (20, Status::Partial));
    assert_eq!(findings.flows.refused + findings.flows.reset, 2, "{:?}", findings.flows);
}

/// case X5
#[test]
fn a_message_too_long_for_a_datagram_is_a_clear_error() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = Target::Ip(server.local_addr().unwrap());
    let options = to(Transport::Udp, target, 10, 2);
    let findings = run(Options { length_bytes: 70_000, ..options });
    assert_eq!((findings.flows.failed_locally, findings.messages.sent), (2, 0));
    let (error, times) = &findings.failures[0];
    assert!(error.to_string().contains("70000 bytes are too long for one datagram"), "{error}");
    assert_eq!(*times, 2);
}

/// case B10: in an open loop with what was due before the end and held up.
#[test]
fn a_run_of_a_set_duration_ends_though_nobody_answers() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::Ip(deaf.local_addr().unwrap());
    for mode in [Mode::Echo, Mode::Connect] {
        for rate in [None, Some(1_000)] {
            let findings = run(Options {
                mode,
                rate,
                count: None,
                duration: Some(Duration::from_millis(100)),
                timeout: Duration::from_millis(50),
                ..to(Transport::Tcp, target.clone(), 0, 2)
            });
            assert_eq!((findings.status, findings.messages.received), (Status::Error, 0));
            assert!(findings.messages.lost > 0);
            assert!(findings.elapsed_ns >= 100_000_000);
            assert!(rate.is_some() || findings.elapsed_ns == 100_000_000);
        }
    }
}

//! A client's connected socket.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::endpoint::ResolvedEndpoint;
use crate::testing::{WAIT_MAX, wait_for};

fn connect(target: &ResolvedEndpoint, own: Option<&Path>) -> Result<Datagram, Error> {
    Datagram::connect(target, own, &SocketOptions::default())
}

/// Creates a UDP socket of the standard library and a client that is connected to it.
fn udp_pair() -> (UdpSocket, Datagram) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let client = connect(&ResolvedEndpoint::Udp(server.local_addr().unwrap()), None).unwrap();
    (server, client)
}

/// Creates a Unix socket at the path "s" in a new folder.
fn unix_server() -> (TempDir, UnixDatagram, ResolvedEndpoint) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let server = UnixDatagram::bind(&path).unwrap();
    (folder, server, ResolvedEndpoint::Unixgram(UnixName::Path(path)))
}

/// Waits for the next datagram or error.
#[track_caller]
fn receive(client: &Datagram) -> io::Result<Vec<u8>> {
    let mut buf = [0; 64];
    let count = wait_for("a datagram", || match client.receive(&mut buf) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        received => Some(received),
    })?;
    Ok(buf[..count].to_vec())
}

#[test]
fn a_connected_udp_socket_receives_only_from_its_peer() {
    let (server, client) = udp_pair();
    client.send(b"hello").unwrap();
    let mut buf = [0; 64];
    let (length, from) = server.recv_from(&mut buf).unwrap();
    assert_eq!((&buf[..length], Some(from)), (&b"hello"[..], client.local_addr()));
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(b"strange", from).unwrap();
    server.send_to(b"back", from).unwrap();
    assert_eq!(receive(&client).unwrap(), b"back");
    assert_eq!(client.receive(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

/// cases U1 U3
#[test]
fn an_empty_datagram_is_received_and_a_long_one_is_truncated() {
    let (server, client) = udp_pair();
    client.send(b"").unwrap();
    let mut buf = [0; 8];
    let (length, from) = server.recv_from(&mut buf).unwrap();
    assert_eq!(length, 0);
    server.send_to(b"", from).unwrap();
    server.send_to(&[7; 65], from).unwrap();
    assert_eq!(receive(&client).unwrap(), b"");
    assert_eq!(receive(&client).unwrap(), [7; 64]);
}

/// case U8: exactly one call, the next one, returns the error.
#[test]
fn the_call_after_a_send_to_a_closed_udp_port_is_refused() {
    let (server, client) = udp_pair();
    drop(server);
    client.send(b"lost").unwrap();
    assert_eq!(receive(&client).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let mut buf = [0; 8];
    assert_eq!(client.receive(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    client.send(b"once more").unwrap();
}

#[test]
fn a_udp_datagram_that_is_too_long_is_an_error() {
    let (_server, client) = udp_pair();
    let error = client.send(&[0; 70_000]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
}

#[test]
fn a_unix_client_with_its_own_path_receives_replies_there() {
    let (folder, server, target) = unix_server();
    let own = folder.path().join("client");
    let client = connect(&target, Some(&own)).unwrap();
    assert_eq!(client.transport(), Transport::Unixgram);
    client.send(b"hello").unwrap();
    let mut buf = [0; 64];
    let (length, from) = server.recv_from(&mut buf).unwrap();
    assert_eq!((&buf[..length], from.as_pathname()), (&b"hello"[..], Some(&*own)));
    server.send_to(b"back", &own).unwrap();
    assert_eq!(receive(&client).unwrap(), b"back");
    // A second client cannot take the path, and only the caller removes it.
    let taken = connect(&target, Some(&own)).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    drop(client);
    assert!(own.exists());
}

/// case X2
#[cfg(target_os = "linux")]
#[test]
fn a_unix_client_without_a_path_receives_replies_at_an_abstract_name() {
    use std::os::linux::net::SocketAddrExt;
    let (_folder, server, target) = unix_server();
    let clients = [connect(&target, None).unwrap(), connect(&target, None).unwrap()];
    let mut names = Vec::new();
    for client in &clients {
        client.send(b"hello").unwrap();
        let mut buf = [0; 64];
        let (_, from) = server.recv_from(&mut buf).unwrap();
        names.push(from.as_abstract_name().unwrap().to_vec());
        server.send_to_addr(b"back", &from).unwrap();
        assert_eq!(receive(client).unwrap(), b"back");
    }
    assert_ne!(names[0], names[1]);
}

/// case X3
#[test]
fn a_unix_receiver_whose_queue_is_full_would_block() {
    let (_folder, server, target) = unix_server();
    let client = connect(&target, None).unwrap();
    let mut queued = 0;
    let error = loop {
        match client.send(b"x") {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), queued > 0), (io::ErrorKind::WouldBlock, true));
    server.recv(&mut [0]).unwrap();
    client.send(b"there is room").unwrap();
}

/// case X4
#[test]
fn a_closed_unix_receiver_refuses_and_a_missing_one_is_not_found() {
    let (folder, server, target) = unix_server();
    let client = connect(&target, None).unwrap();
    drop(server);
    assert_eq!(client.send(b"x").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(connect(&target, None).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let missing = ResolvedEndpoint::Unixgram(UnixName::Path(folder.path().join("missing")));
    let error = connect(&missing, None).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("cannot connect to"), "{error}");
}

/// Creates a client and a server that are connected to each other.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn train_pair() -> (Datagram, Datagram) {
    let options = SocketOptions::default();
    let server = Datagram::udp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let target = ResolvedEndpoint::Udp(server.local_addr().unwrap());
    let client = Datagram::connect(&target, None, &options).unwrap();
    let back = SockAddr::from(client.local_addr().unwrap());
    server.socket().connect(&back).unwrap();
    (client, server)
}

/// case U13
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn a_train_arrives_whole_with_the_length_of_its_datagrams() {
    let (client, server) = train_pair();
    server.receive_trains(true).unwrap();
    client.send_train(b"aaabbbcccd", 3).unwrap();
    client.send(b"single").unwrap();
    client.send(b"").unwrap();
    let mut buf = [0; 64];
    // Loopback delivers within the send.
    assert_eq!(server.receive_train(&mut buf).unwrap(), (10, 3));
    assert_eq!(&buf[..10], b"aaabbbcccd");
    assert_eq!(server.receive_train(&mut buf).unwrap(), (6, 6));
    assert_eq!(server.receive_train(&mut buf).unwrap(), (0, 0));
}

/// case U13
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn the_kernel_splits_a_train_for_a_socket_that_does_not_receive_trains() {
    let (client, server) = train_pair();
    client.send_train(b"aaabbbcccd", 3).unwrap();
    let mut buf = [0; 64];
    for expected in [&b"aaa"[..], b"bbb", b"ccc", b"d"] {
        let (count, segment_bytes) = server.receive_train(&mut buf).unwrap();
        assert_eq!((&buf[..count], segment_bytes), (expected, expected.len()));
    }
}

/// case P2: the next user of the socket may be a service that does not expect trains.
#[cfg(target_os = "linux")]
#[test]
fn the_next_user_of_a_passed_socket_receives_no_trains() {
    let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
    theirs.set_nonblocking(true).unwrap();
    let target = ResolvedEndpoint::Udp(theirs.local_addr().unwrap());
    let client = Datagram::connect(&target, None, &SocketOptions::default()).unwrap();
    let mut buf = [0; 16];

    let ours = theirs.try_clone().unwrap();
    let ours = Datagram::from_fd(ours.into(), &SocketOptions::default()).unwrap();
    ours.receive_trains(true).unwrap();
    client.send_train(b"aabbcc", 2).unwrap();
    assert_eq!(theirs.recv(&mut buf).unwrap(), 6, "a whole train");
    drop(ours);
    client.send_train(b"aabbcc", 2).unwrap();
    for _ in 0..3 {
        assert_eq!(theirs.recv(&mut buf).unwrap(), 2);
    }
}

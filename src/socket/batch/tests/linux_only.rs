//! What only Linux has: abstract names, destination addresses, overflow counts.

use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr as UnixAddr;

use rustix::net::{SocketAddrUnix, bind};

use super::*;

both! {
    an_abstract_or_autobound_sender_is_answered,
}

/// case X2
fn an_abstract_or_autobound_sender_is_answered<B: TestBatch>() {
    let (folder, path, server) = unix_server();
    // A name of the maximum length that contains a zero byte. It is unique because the machine
    // shares the namespace.
    let unique = folder.path().file_name().unwrap().as_encoded_bytes();
    let mut name = [&b"resound\0"[..], unique].concat();
    name.resize(107, b'x');
    let named = UnixDatagram::bind_addr(&UnixAddr::from_abstract_name(&name).unwrap()).unwrap();
    let autobound = UnixDatagram::unbound().unwrap();
    bind(&autobound, &SocketAddrUnix::new_unnamed()).unwrap();
    let mut batch = B::echo(9);
    for client in [&named, &autobound] {
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.send_to(b"m", &path).unwrap();
        assert_eq!(batch.receive(&server, 4).unwrap(), 1);
        assert!(batch.message(0).answerable);
        let addr = client.local_addr().unwrap();
        let expected = addr.as_abstract_name().unwrap().to_vec();
        assert_eq!(Peer::from(batch.message(0).from), Peer::Abstract(expected));
        batch.queue_reply(0, None, TrainLimit::NONE);
        assert_eq!(batch.send(&server, 4).unwrap(), 1);
        assert_eq!(next_unix_bytes(client), b"m");
        let parcel = batch.parcel().unwrap();
        batch.send_parcel(&server, &parcel).unwrap();
        assert_eq!(next_unix_bytes(client), b"m");
    }
}

/// Sends to address `asked` of a server on a wildcard address. Every reply must come from `asked`.
fn assert_replies_leave_from(wildcard: &str, client: &str, asked: IpAddr) {
    let server = udp_server(wildcard);
    let asked = SocketAddr::new(asked, server.local_addr().unwrap().port());
    let client = udp_client(client);
    let mut batch = LinuxBatch::echo(9);
    for message in [b"first".as_slice(), b"", b"third"] {
        client.send_to(message, asked).unwrap();
        assert_eq!(receive(&mut batch, &server, 1).unwrap(), 1);
        let source = Some((asked.ip(), 0));
        assert_eq!(batch.message(0).to, source);
        batch.queue_reply(0, None, TrainLimit::NONE);
        let before = batch.parcel().unwrap();
        assert_eq!(before.source, source);
        assert_eq!(batch.send(&server, 1).unwrap(), 1);
        // The reply's control message has overwritten the request's.
        let after = batch.parcel().unwrap();
        assert_eq!(after, before);
        batch.dequeue(1);
        batch.send_parcel(&server, &after).unwrap();
        for _ in 0..2 {
            let mut buf = [0; 9];
            let (count, from) = client.recv_from(&mut buf).unwrap();
            assert_eq!((&buf[..count], from), (message, asked));
        }
    }
}

/// case U10
#[test]
fn on_a_wildcard_address_replies_leave_from_the_address_that_was_asked() {
    for asked in [[127, 0, 0, 2], [127, 0, 0, 1], [127, 9, 8, 7]] {
        assert_replies_leave_from("0.0.0.0:0", "127.0.0.1:0", asked.into());
    }
    match UdpSocket::bind("[::1]:0") {
        Ok(_) => assert_replies_leave_from("[::]:0", "[::1]:0", "::1".parse().unwrap()),
        Err(error) => skip_ipv6(&error),
    }
}

/// case U10: each reply in the queue has its own source address.
#[test]
fn replies_in_one_queue_leave_from_different_addresses() {
    let server = udp_server("0.0.0.0:0");
    let port = server.local_addr().unwrap().port();
    let client = udp_client("127.0.0.1:0");
    let mut batch = LinuxBatch::echo(9);
    let asked: Vec<_> = (1..=4).map(|last| SocketAddr::from(([127, 0, 0, last], port))).collect();
    for (number, addr) in (0..).zip(&asked) {
        client.send_to(&[number], addr).unwrap();
    }
    reply_to(&mut batch, &server, asked.len());
    for (number, addr) in (0..).zip(&asked) {
        let mut buf = [0; 9];
        assert_eq!(client.recv_from(&mut buf).unwrap(), (1, *addr));
        assert_eq!(buf[0], number);
    }
}

/// case U16
#[test]
fn the_next_datagram_reports_those_that_a_full_receive_buffer_lost() {
    let options = SocketOptions { receive_buf_bytes: Some(4096), ..SocketOptions::default() };
    let server = Datagram::udp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let client = udp_client("127.0.0.1:0");
    client.connect(server.local_addr().unwrap()).unwrap();
    let mut batch = LinuxBatch::echo(1000);
    client.send(b"first").unwrap();
    assert_eq!(receive(&mut batch, &server, 1).unwrap(), 1);
    assert_eq!(batch.message(0).overflow, None, "nothing is lost yet");

    let mut sent = 100;
    for _ in 0..sent {
        client.send(&[0; 1000]).unwrap();
    }
    let mut received = 0;
    let mut overflow = None;
    while overflow.is_none() {
        // The first datagram that is queued after a loss reports it. At some point there is room
        // for one.
        client.send(b"next").unwrap();
        sent += 1;
        let count = receive(&mut batch, &server, usize::MAX).unwrap();
        overflow = batch.message(count - 1).overflow;
        received += count;
    }
    while let Ok(count) = batch.receive(&server, usize::MAX) {
        received += count;
    }
    client.send(b"last").unwrap();
    let overflow = loop {
        let count = receive(&mut batch, &server, usize::MAX).unwrap();
        received += count;
        let newest = batch.message(count - 1);
        if newest.bytes == b"last" {
            break newest.overflow;
        }
    };
    assert_eq!(overflow.unwrap() as usize + received, sent + 1);
}

/// Creates a client at the longest possible path. It has no terminating zero byte, and the kernel
/// reports a length that is one more than it accepts (unix(7), Bugs). std cannot create such a
/// socket.
fn client_at_the_longest_path(folder: &TempDir) -> UnixDatagram {
    let rest = 108 - folder.path().as_os_str().len() - 1;
    let path = folder.path().join("x".repeat(rest));
    let client = UnixDatagram::unbound().unwrap();
    bind(&client, &SocketAddrUnix::new(path).unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

/// case X2: the longest address.
#[test]
fn a_sender_at_the_longest_path_is_answered() {
    let (folder, path, server) = unix_server();
    let client = client_at_the_longest_path(&folder);
    client.send_to(b"m", &path).unwrap();
    let mut batch = LinuxBatch::echo(9);
    assert_eq!(batch.receive(&server, 4).unwrap(), 1);
    assert!(matches!(Peer::from(batch.message(0).from), Peer::Path(_)));
    batch.queue_reply(0, None, TrainLimit::NONE);
    let parcel = batch.parcel().unwrap();
    assert_eq!(batch.send(&server, 4).unwrap(), 1);
    batch.send_parcel(&server, &parcel).unwrap();
    assert_eq!([next_unix_bytes(&client), next_unix_bytes(&client)], [b"m", b"m"]);
}

/// case U9: std and socket2 cannot represent the longest path, so a receive of the portable batch
/// fails.
#[test]
fn the_next_receive_returns_an_error_that_came_after_some_datagrams() {
    let (folder, path, server) = unix_server();
    let client = unix_client(&folder, "c");
    client.send_to(b"before", &path).unwrap();
    client_at_the_longest_path(&folder).send_to(b"fails", &path).unwrap();
    client.send_to(b"after", &path).unwrap();
    let mut batch = PortableBatch::echo(9);
    assert_eq!(batch.receive(&server, 4).unwrap(), 1);
    assert_eq!(batch.message(0).bytes, b"before");
    let error = batch.receive(&server, 4).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(batch.receive(&server, 4).unwrap(), 1);
    assert_eq!(batch.message(0).bytes, b"after");
}

//! UDP on loopback, with each implementation.

use super::*;

both! {
    every_udp_datagram_comes_back_to_its_own_sender,
    every_datagram_gets_the_configured_reply,
    the_longest_udp_datagrams_come_back_whole,
    a_parcel_can_be_sent_after_the_batch_received_again,
    a_pending_error_is_returned_once_and_loses_no_datagram,
}

fn single(peer: SockAddr, bytes: &[u8]) -> Parcel {
    Parcel { peer, source: None, bytes: bytes.into(), segment_bytes: bytes.len() }
}

/// cases U1 U15: one of them is empty.
fn every_udp_datagram_comes_back_to_its_own_sender<B: TestBatch>() {
    let server = udp_server("127.0.0.1:0");
    let addr = server.local_addr().unwrap();
    let clients = [udp_client("127.0.0.1:0"), udp_client("127.0.0.1:0")];
    let messages: [&[u8]; 5] = [b"a", b"", b"long enough", b"b", b"c"];
    for message in messages {
        for client in &clients {
            client.send_to(message, addr).unwrap();
        }
    }
    let mut batch = B::echo(100);
    reply_to(&mut batch, &server, 2 * messages.len());
    for client in &clients {
        for message in messages {
            assert_eq!(next_bytes(client), message);
        }
    }
}

fn every_datagram_gets_the_configured_reply<B: TestBatch>() {
    let server = udp_server("127.0.0.1:0");
    let client = udp_client("127.0.0.1:0");
    client.connect(server.local_addr().unwrap()).unwrap();
    for reply in [b"a reply longer than any slot".as_slice(), b""] {
        let options = BatchOptions { slots: 4, slot_bytes: 9, reply: Some(reply.into()) };
        let mut batch = B::make(options);
        for message in [b"a".as_slice(), b"", b"question"] {
            client.send(message).unwrap();
            assert_eq!(receive(&mut batch, &server, 1).unwrap(), 1);
            assert_eq!(batch.message(0).bytes, message);
            batch.queue_reply(0, None, TrainLimit::NONE);
            assert_eq!(&*batch.parcel().unwrap().bytes, reply);
            assert_eq!(batch.send(&server, 1).unwrap(), 1);
            assert_eq!(next_bytes(&client), reply);
        }
    }
}

/// case U2
fn the_longest_udp_datagrams_come_back_whole<B: TestBatch>() {
    for (addr, length) in [("127.0.0.1:0", 65_507), ("[::1]:0", 65_527)] {
        if let Err(error) = UdpSocket::bind(addr) {
            assert!(addr.starts_with('['), "{addr}: {error}");
            skip_ipv6(&error);
            continue;
        }
        let server = udp_server(addr);
        let client = udp_client(addr);
        let message: Vec<u8> = (0..=250).cycle().take(length).collect();
        client.send_to(&message, server.local_addr().unwrap()).unwrap();
        let mut batch = B::echo(65_535);
        reply_to(&mut batch, &server, 1);
        assert!(next_bytes(&client) == message, "{addr}");
    }
}

fn a_parcel_can_be_sent_after_the_batch_received_again<B: TestBatch>() {
    let server = udp_server("127.0.0.1:0");
    let client = udp_client("127.0.0.1:0");
    client.connect(server.local_addr().unwrap()).unwrap();
    let mut batch = B::echo(9);
    let mut parcels = Vec::new();
    for message in [b"first".as_slice(), b"", b"third"] {
        client.send(message).unwrap();
        assert_eq!(receive(&mut batch, &server, 1).unwrap(), 1);
        batch.queue_reply(0, None, TrainLimit::NONE);
        parcels.push(batch.parcel().unwrap());
        let peer = SockAddr::from(client.local_addr().unwrap());
        // The server is bound to one address, so the source is not reported.
        assert_eq!(parcels.last(), Some(&single(peer, message)));
    }
    let mut other = B::echo(9);
    for parcel in &parcels {
        other.send_parcel(&server, parcel).unwrap();
        assert_eq!(next_bytes(&client), &*parcel.bytes);
    }
}

/// case U9: an ICMP error is pending in the socket when the datagrams arrive.
fn a_pending_error_is_returned_once_and_loses_no_datagram<B: TestBatch>() {
    let server = udp_server("127.0.0.1:0");
    let client = udp_client("127.0.0.1:0");
    // No other test uses this address, so no other socket can get the port meanwhile.
    let gone = udp_client("127.0.0.77:0").local_addr().unwrap();
    // The kernel reports an ICMP error only to a connected socket.
    SockRef::from(&server).connect(&gone.into()).unwrap();
    let mut batch = B::echo(9);
    let parcel = single(gone.into(), b"hello?");
    batch.send_parcel(&server, &parcel).unwrap();
    let error = receive(&mut batch, &server, usize::MAX).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);

    batch.send_parcel(&server, &parcel).unwrap();
    SockRef::from(&server).connect(&client.local_addr().unwrap().into()).unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    for message in [b"0", b"1", b"2"] {
        client.send(message).unwrap();
    }
    let (mut errors, mut messages) = (0, Vec::new());
    while messages.len() < 3 {
        match receive(&mut batch, &server, usize::MAX) {
            Ok(count) => {
                messages.extend((0..count).map(|index| batch.message(index).bytes.to_vec()));
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                errors += 1;
            }
        }
    }
    assert_eq!((errors, messages), (1, vec![b"0".to_vec(), b"1".to_vec(), b"2".to_vec()]));
}

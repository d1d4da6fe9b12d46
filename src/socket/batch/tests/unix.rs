//! Unix datagrams, with each implementation. A sent datagram is queued when the send returns.

use super::*;

both! {
    a_receive_returns_datagrams_in_order_up_to_the_limit_and_the_slots,
    every_unix_datagram_comes_back_to_its_own_sender,
    a_unix_sender_without_a_name_cannot_be_answered,
    replies_stay_in_the_queue_until_they_are_removed,
    the_next_receive_discards_replies_that_were_not_sent,
    a_reply_to_a_closed_receiver_ends_the_send_and_only_it_fails,
    a_reply_to_a_full_receiver_would_block_and_a_parcel_keeps_it,
    an_index_not_below_the_count_panics,
    a_redirected_reply_goes_to_the_other_address_and_its_parcel_names_the_sender,
}

/// case U7
fn a_receive_returns_datagrams_in_order_up_to_the_limit_and_the_slots<B: TestBatch>() {
    let (folder, path, server) = unix_server();
    let client = unix_client(&folder, "c");
    for number in 0..9_u8 {
        client.send_to(&vec![number; usize::from(number)], &path).unwrap();
    }
    let from = SockAddr::unix(folder.path().join("c")).unwrap();
    let mut batch = B::echo(9);
    let mut number = 0;
    for (limit, expected) in [(3, 3), (1, 1), (usize::MAX, 4), (2, 1)] {
        assert_eq!(batch.receive(&server, limit).unwrap(), expected);
        for index in 0..expected {
            let bytes = vec![number; usize::from(number)];
            assert_eq!(batch.message(index), whole(&from, &bytes));
            number += 1;
        }
    }
    let end = batch.receive(&server, usize::MAX).unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::WouldBlock);
}

/// case X2: senders with a path. A test for Linux covers abstract names.
fn every_unix_datagram_comes_back_to_its_own_sender<B: TestBatch>() {
    let (folder, path, server) = unix_server();
    let clients = [unix_client(&folder, "first"), unix_client(&folder, "second")];
    let messages: [&[u8]; 3] = [b"a", b"", b"b"];
    for message in messages {
        for client in &clients {
            client.send_to(message, &path).unwrap();
        }
    }
    let mut batch = B::echo(100);
    assert_eq!(batch.receive(&server, 2).unwrap(), 2);
    let peer = |name| SockAddr::unix(folder.path().join(name)).unwrap();
    let from = [0, 1].map(|index| batch.message(index).from.clone());
    assert_eq!(from, [peer("first"), peer("second")]);
    queue_all(&mut batch, 2, TrainLimit::NONE);
    assert_eq!(batch.send(&server, usize::MAX).unwrap(), 2);
    reply_to(&mut batch, &server, 4);
    for client in &clients {
        for message in messages {
            assert_eq!(next_unix_bytes(client), message);
        }
    }
}

/// case X1
fn a_unix_sender_without_a_name_cannot_be_answered<B: TestBatch>() {
    let (folder, path, server) = unix_server();
    // A slot must not keep the name of its previous sender.
    unix_client(&folder, "named").send_to(b"1", &path).unwrap();
    UnixDatagram::unbound().unwrap().send_to(b"2", &path).unwrap();
    let mut batch = B::echo(9);
    for (bytes, answerable) in [(b"1", true), (b"2", false)] {
        assert_eq!(batch.receive(&server, 1).unwrap(), 1);
        let message = batch.message(0);
        assert_eq!(message, Message { answerable, ..whole(message.from, bytes) });
        assert_eq!(Peer::from(message.from) == Peer::Unnamed, !answerable);
        batch.queue_reply(0, None, TrainLimit::NONE);
        assert_eq!(&*batch.parcel().unwrap().bytes, bytes);
    }
}

fn replies_stay_in_the_queue_until_they_are_removed<B: TestBatch>() {
    let (folder, path, server) = unix_server();
    let client = unix_client(&folder, "c");
    for message in [b"0", b"1", b"2", b"3"] {
        client.send_to(message, &path).unwrap();
    }
    let mut batch = B::echo(9);
    assert_eq!(batch.receive(&server, 4).unwrap(), 4);
    // One message gets no reply, and the order of the queue differs from that of the slots.
    [3, 0, 2].into_iter().for_each(|index| batch.queue_reply(index, None, TrainLimit::NONE));
    let queued = |batch: &B| batch.queued().iter().map(|train| train.index).collect::<Vec<_>>();
    assert_eq!(batch.send(&server, 1).unwrap(), 1);
    assert_eq!(queued(&batch), [3, 0, 2]);
    batch.dequeue(1);
    assert_eq!(queued(&batch), [0, 2]);
    assert_eq!(&*batch.parcel().unwrap().bytes, b"0");
    assert_eq!(batch.send(&server, usize::MAX).unwrap(), 2);
    batch.dequeue(2);
    assert_eq!(queued(&batch), [0; 0]);
    assert_eq!(
        [next_unix_bytes(&client), next_unix_bytes(&client), next_unix_bytes(&client)],
        [b"3", b"0", b"2"]
    );
}

fn the_next_receive_discards_replies_that_were_not_sent<B: TestBatch>() {
    let (folder, path, server) = unix_server();
    let client = unix_client(&folder, "c");
    let mut batch = B::echo(9);
    for message in [b"0", b"1"] {
        client.send_to(message, &path).unwrap();
        assert_eq!(batch.receive(&server, 4).unwrap(), 1);
        assert_eq!(batch.queued(), []);
        batch.queue_reply(0, None, TrainLimit::NONE);
    }
    assert_eq!(batch.send(&server, usize::MAX).unwrap(), 1);
    assert_eq!(next_unix_bytes(&client), b"1");
    assert!(batch.receive(&server, 4).is_err());
    assert_eq!(batch.queued(), [], "a receive that fails discards them too");
}

/// cases U6 X4
fn a_reply_to_a_closed_receiver_ends_the_send_and_only_it_fails<B: TestBatch>() {
    let (folder, path, server) = unix_server();
    let names = ["first", "closed", "removed", "last"];
    let mut clients = names.map(|name| Some(unix_client(&folder, name)));
    for client in clients.iter().flatten() {
        client.send_to(b"m", &path).unwrap();
    }
    let mut batch = B::echo(9);
    assert_eq!(batch.receive(&server, 4).unwrap(), 4);
    queue_all(&mut batch, 4, TrainLimit::NONE);
    (clients[1], clients[2]) = (None, None);
    std::fs::remove_file(folder.path().join("removed")).unwrap();

    assert_eq!(batch.send(&server, usize::MAX).unwrap(), 1);
    batch.dequeue(1);
    for number in [libc::ECONNREFUSED, libc::ENOENT] {
        let error = batch.send(&server, usize::MAX).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(number));
        batch.dequeue(1);
    }
    assert_eq!(batch.send(&server, usize::MAX).unwrap(), 1);
    for client in clients.iter().flatten() {
        assert_eq!(next_unix_bytes(client), b"m");
    }
}

/// case X3
fn a_reply_to_a_full_receiver_would_block_and_a_parcel_keeps_it<B: TestBatch>() {
    let (folder, path, server) = unix_server();
    let (deaf, other) = (unix_client(&folder, "deaf"), unix_client(&folder, "other"));
    let mut batch = B::echo(9);
    deaf.send_to(b"0", &path).unwrap();
    assert_eq!(batch.receive(&server, 1).unwrap(), 1);
    queue_all(&mut batch, 1, TrainLimit::NONE);
    let parcel = batch.parcel().unwrap();
    let sent = (0..100_000).find(|_| batch.send_parcel(&server, &parcel).is_err()).unwrap();

    deaf.send_to(b"1", &path).unwrap();
    other.send_to(b"2", &path).unwrap();
    assert_eq!(batch.receive(&server, 2).unwrap(), 2);
    queue_all(&mut batch, 2, TrainLimit::NONE);
    let error = batch.send(&server, usize::MAX).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let parcel = batch.parcel().unwrap();
    batch.dequeue(1);
    assert_eq!(batch.send(&server, usize::MAX).unwrap(), 1);
    assert_eq!(next_unix_bytes(&other), b"2");

    let error = batch.send_parcel(&server, &parcel).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    (0..sent).for_each(|_| assert_eq!(next_unix_bytes(&deaf), b"0"));
    batch.send_parcel(&server, &parcel).unwrap();
    assert_eq!(next_unix_bytes(&deaf), b"1");
}

/// Returns for each method that takes an index whether it panics with this one.
fn panics<B: TestBatch>(batch: &mut B, index: usize) -> [bool; 2] {
    fn panics<R>(call: impl FnOnce() -> R) -> bool {
        catch_unwind(AssertUnwindSafe(call)).is_err()
    }
    [
        panics(|| batch.message(index).bytes.len()),
        panics(|| batch.queue_reply(index, None, TrainLimit::NONE)),
    ]
}

fn an_index_not_below_the_count_panics<B: TestBatch>() {
    let (folder, path, server) = unix_server();
    let client = unix_client(&folder, "c");
    let mut batch = B::echo(9);
    assert_eq!(panics(&mut batch, 0), [true; 2]);
    for _ in 0..2 {
        client.send_to(b"m", &path).unwrap();
    }
    assert_eq!(batch.receive(&server, usize::MAX).unwrap(), 2);
    assert_eq!(panics(&mut batch, 1), [false; 2]);
    assert_eq!(panics(&mut batch, 2), [true; 2]);
    client.send_to(b"m", &path).unwrap();
    assert_eq!(batch.receive(&server, usize::MAX).unwrap(), 1);
    // The slot exists, and the previous receive has written to it.
    assert_eq!(panics(&mut batch, 1), [true; 2]);
}

/// case X10
fn a_redirected_reply_goes_to_the_other_address_and_its_parcel_names_the_sender<B: TestBatch>() {
    let (folder, path, server) = unix_server();
    let (sender, other) = (unix_client(&folder, "sender"), unix_client(&folder, "other"));
    let addr = |name| SockAddr::unix(folder.path().join(name)).unwrap();
    let mut batch = B::echo(9);
    for to in [Some(addr("other")), None] {
        sender.send_to(b"m", &path).unwrap();
        assert_eq!(batch.receive(&server, 1).unwrap(), 1);
        batch.queue_reply(0, to.as_ref(), TrainLimit::NONE);
        assert_eq!(batch.parcel().unwrap().peer, addr("sender"));
        assert_eq!(batch.send(&server, 1).unwrap(), 1);
        assert_eq!(next_unix_bytes(if to.is_some() { &other } else { &sender }), b"m");
    }
}

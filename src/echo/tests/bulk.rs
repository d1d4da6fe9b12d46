//! Streams in bulk over real sockets: who is owed by a pipe, and who finds none.

use std::net::Shutdown;
use std::sync::LazyLock;
use std::thread;

use socket2::SockRef;

use super::streams::owing;
use super::*;

/// More flooding peers than there are pipes.
const PEERS: usize = 12;

impl Rig {
    fn pipes(&mut self) -> &mut PipePool {
        &mut self.handler.inner.pipes
    }
}

fn spliced(rig: &Rig) -> u64 {
    rig.counters()[Transport::Tcp].traffic.bytes_spliced
}

/// What is repeated is of a prime length, with which no boundary of a buffer falls together.
const PERIOD_BYTES: usize = 251;

/// The bytes of a stream from this offset on. What comes back says where it belongs.
fn pattern(offset: usize) -> &'static [u8] {
    static PATTERN: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..1 << 20).map(|at| u8::try_from(at % PERIOD_BYTES).unwrap()).collect());
    &PATTERN[offset % PERIOD_BYTES..]
}

/// Sends without reading until neither side takes any more, and returns how much.
fn flood_pattern(rig: &mut Rig, client: &mut TcpStream) -> usize {
    let (mut sent, mut refused) = (0, 0);
    client.set_nonblocking(true).unwrap();
    // The server may have read a part meanwhile, so that once is not enough.
    while refused < 20 {
        match client.write(pattern(sent)) {
            Ok(count) => (sent, refused) = (sent + count, 0),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                refused += 1;
                rig.turn();
            }
        }
    }
    sent
}

/// Reads to the end and, at the same time, sends on as told, while the server turns. What is sent
/// in all must come back.
fn go_on(
    rig: &mut Rig,
    client: TcpStream,
    send: impl FnOnce(&mut TcpStream) -> usize + Send + 'static,
) {
    client.set_nonblocking(false).unwrap();
    let (mut source, mut target) = (client.try_clone().unwrap(), client);
    let sender = thread::spawn(move || {
        let sent = send(&mut target);
        target.shutdown(Shutdown::Write).unwrap();
        sent
    });
    let reader = thread::spawn(move || {
        let (mut buf, mut received) = (vec![0; 1 << 16], 0);
        loop {
            let count = source.read(&mut buf).unwrap();
            if count == 0 {
                return received;
            }
            assert!(buf[..count] == pattern(received)[..count], "after {received} bytes");
            received += count;
        }
    });
    rig.turn_until("the end of the echo", |_| sender.is_finished() && reader.is_finished());
    assert_eq!(reader.join().unwrap(), sender.join().unwrap());
}

/// cases S16, S1, S2, S3, S5: a reader that stalls, and goes on when all is stuck.
#[test]
fn bulk_that_stalled_comes_back_whole() {
    for splice in [true, false] {
        let mut rig = Rig::tcp(Options { splice, ..Options::default() });
        let mut other = rig.served_client();
        let mut client = rig.client();
        let sent = flood_pattern(&mut rig, &mut client);
        assert_eq!(owing(&rig), 1);
        rig.echo(&mut other);
        go_on(&mut rig, client, move |_| sent);
        assert_eq!(spliced(&rig) > 0, splice, "{}", rig.counters());
        rig.turn_until_count(Cause::Finished, 1);
    }
}

/// cases S16, S2: all are owed at once, some by a pipe and the rest by a copy.
#[test]
fn bulk_that_finds_no_pipe_is_copied_and_served() {
    let mut rig = Rig::tcp(Options::default());
    let mut clients: Vec<_> = rig.clients(PEERS);
    let sent: Vec<_> = clients.iter_mut().map(|client| flood_pattern(&mut rig, client)).collect();
    assert_eq!(owing(&rig), PEERS);
    assert!(rig.pipes().lend().is_none(), "all pipes are taken");
    let mut other = rig.served_client();
    rig.echo(&mut other);
    for (client, sent) in clients.into_iter().zip(sent) {
        go_on(&mut rig, client, move |_| sent);
    }
    rig.turn_until_count(Cause::Finished, PEERS as u64);
    assert!(rig.pipes().lend().is_some(), "they came back");
}

/// case S19: each of them is owed one read at the most, and none is owed the others' pipes.
#[test]
fn bulk_goes_on_by_copies_while_slow_peers_hold_all_pipes() {
    let mut rig = Rig::tcp(Options::default());
    let mut slow: Vec<_> = rig.clients(PEERS);
    slow.iter_mut().for_each(|client| {
        flood_pattern(&mut rig, client);
    });
    assert!(rig.pipes().lend().is_none(), "all pipes are taken");
    let by_pipes = spliced(&rig);
    let bulk = rig.client();
    go_on(&mut rig, bulk, move |client| {
        let mut sent = 0;
        while sent < 16 << 20 {
            client.write_all(&pattern(sent)[..600_000]).unwrap();
            sent += 600_000;
        }
        sent
    });
    assert_eq!(spliced(&rig), by_pipes, "all of it was copied");
    assert_eq!((owing(&rig), rig.open()), (PEERS, PEERS as u64));
    assert!(rig.server().unsent_bytes.count() <= PEERS * (64 << 10));
    for client in &slow {
        SockRef::from(client).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop(slow);
    rig.turn_until("the resets", |rig| rig.open() == 0);
    let mut bulk = rig.client();
    flood_pattern(&mut rig, &mut bulk);
    assert!(spliced(&rig) > by_pipes, "pipes are free again");
}

/// cases S16, S6: a pipe goes with the connection that it holds bytes for, and another is made.
#[test]
fn peers_that_reset_in_bulk_leave_no_descriptor_behind() {
    let mut rig = Rig::tcp(Options::default());
    let mut other = rig.served_client();
    for _ in 0..3 {
        let mut clients: Vec<_> = rig.clients(PEERS);
        for client in &mut clients {
            flood_pattern(&mut rig, client);
        }
        assert!(rig.pipes().lend().is_none(), "all pipes are taken");
        for client in clients {
            SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        }
        rig.turn_until("the resets", |rig| rig.open() == 1);
    }
    let ended = rig.count(Cause::Reset) + rig.count(Cause::BrokenPipe);
    assert_eq!(ended, 3 * PEERS as u64);
    rig.echo(&mut other);
    let pipe = rig.pipes().lend().expect("room for another");
    rig.pipes().give_back(pipe);
}

/// case S16: all of it is to be seen.
#[test]
fn bulk_whose_messages_are_observed_is_copied() {
    let mut rig = Rig::tcp(Options::default());
    rig.handler.inner.observer_mut().wants_messages = true;
    let mut client = rig.client();
    flood_pattern(&mut rig, &mut client);
    assert_eq!((owing(&rig), spliced(&rig)), (1, 0));
}

/// cases S16, S13: splices stop at the mark for good, and a read passes it.
#[test]
fn bulk_goes_on_behind_an_out_of_band_byte() {
    let mut rig = Rig::tcp(Options::default());
    let mut client = rig.client();
    let sent = flood_pattern(&mut rig, &mut client);
    assert!(spliced(&rig) > 0);
    let before = spliced(&rig);
    go_on(&mut rig, client, move |client| {
        let mut sent = sent;
        for number in 0..20 {
            client.write_all(&pattern(sent)[..500_000]).unwrap();
            sent += 500_000;
            if number == 10 {
                // It is no part of the stream. (With a second one that follows before this one is
                // passed, it would be.)
                assert_eq!(SockRef::from(&*client).send_out_of_band(b"!").unwrap(), 1);
            }
        }
        sent
    });
    assert!(spliced(&rig) > before);
}

/// cases S16, S3
#[test]
fn sixty_four_mebibytes_come_back_by_pipes() {
    const BYTES: usize = 64 << 20;
    let mut rig = Rig::tcp(Options::default());
    let mut client = rig.client();
    let flooded = flood_pattern(&mut rig, &mut client);
    go_on(&mut rig, client, move |client| {
        let mut sent = flooded;
        while sent < BYTES {
            let count = (BYTES - sent).min(600_000);
            client.write_all(&pattern(sent)[..count]).unwrap();
            sent += count;
        }
        sent
    });
    rig.turn_until_count(Cause::Finished, 1);
    let traffic = rig.counters()[Transport::Tcp].traffic;
    assert_eq!((traffic.bytes_in, traffic.bytes_out), (BYTES as u64, BYTES as u64));
    assert!(traffic.bytes_spliced > 0);
}

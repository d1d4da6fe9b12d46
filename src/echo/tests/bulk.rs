//! Tests of streams in bulk over real sockets, with and without a free pipe.

use std::net::Shutdown;
use std::sync::LazyLock;
use std::thread;

use socket2::SockRef;

use super::streams::streams_with_unsent;
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

/// The length of the repeated pattern: a prime, so that no buffer boundary coincides with it.
const PERIOD_BYTES: usize = 251;

/// Returns the bytes of a stream from this offset on. The value of a byte shows where it belongs.
fn pattern(offset: usize) -> &'static [u8] {
    static PATTERN: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..1 << 20).map(|at| u8::try_from(at % PERIOD_BYTES).unwrap()).collect());
    &PATTERN[offset % PERIOD_BYTES..]
}

/// Sends without reading until neither side takes more. Returns how many bytes were sent.
fn flood_pattern(rig: &mut Rig, client: &mut TcpStream) -> usize {
    let (mut sent, mut refused) = (0, 0);
    client.set_nonblocking(true).unwrap();
    // The server may read between two writes, so one refusal is not enough.
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

/// Reads to the end and at the same time calls `send`, while the server turns. `send` returns how
/// many bytes were sent in all, and all of them must come back.
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

/// cases S16, S1, S2, S3, S5: the reader stalls, and goes on when no byte moves any more.
#[test]
fn bulk_that_stalled_comes_back_whole() {
    for splice in [true, false] {
        let mut rig = Rig::tcp(Options { splice, ..Options::default() });
        let mut other = rig.served_client();
        let mut client = rig.client();
        let sent = flood_pattern(&mut rig, &mut client);
        assert_eq!(streams_with_unsent(&rig), 1);
        rig.echo(&mut other);
        go_on(&mut rig, client, move |_| sent);
        assert_eq!(spliced(&rig) > 0, splice, "{}", rig.counters());
        rig.turn_until_count(Cause::Finished, 1);
    }
}

/// cases S16, S2: all streams have unsent bytes at once, some in a pipe and the others in a copy.
#[test]
fn bulk_that_finds_no_pipe_is_copied_and_served() {
    let mut rig = Rig::tcp(Options::default());
    let mut clients: Vec<_> = rig.clients(PEERS);
    let sent: Vec<_> = clients.iter_mut().map(|client| flood_pattern(&mut rig, client)).collect();
    assert_eq!(streams_with_unsent(&rig), PEERS);
    assert!(rig.pipes().lend().is_none(), "all pipes are taken");
    let mut other = rig.served_client();
    rig.echo(&mut other);
    for (client, sent) in clients.into_iter().zip(sent) {
        go_on(&mut rig, client, move |_| sent);
    }
    rig.turn_until_count(Cause::Finished, PEERS as u64);
    assert!(rig.pipes().lend().is_some(), "pipes are free again");
}

/// case S19: the server keeps at most one read for each slow peer, and bulk needs no pipe.
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
    assert_eq!((streams_with_unsent(&rig), rig.open()), (PEERS, PEERS as u64));
    assert!(rig.server().unsent_bytes.count() <= PEERS * (64 << 10));
    for client in &slow {
        SockRef::from(client).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop(slow);
    rig.turn_until("all connections are reset", |rig| rig.open() == 0);
    let mut bulk = rig.client();
    flood_pattern(&mut rig, &mut bulk);
    assert!(spliced(&rig) > by_pipes, "pipes are free again");
}

/// cases S16, S6: a pipe closes with the connection whose bytes it holds, and a new one is opened.
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
        rig.turn_until("all connections are reset", |rig| rig.open() == 1);
    }
    let ended = rig.count(Cause::Reset) + rig.count(Cause::BrokenPipe);
    assert_eq!(ended, 3 * PEERS as u64);
    rig.echo(&mut other);
    let pipe = rig.pipes().lend().expect("a pipe can be opened");
    rig.pipes().give_back(pipe);
}

/// case S16: the observer must see all bytes.
#[test]
fn bulk_whose_messages_are_observed_is_copied() {
    let mut rig = Rig::tcp(Options::default());
    rig.handler.inner.observer_mut().wants_messages = true;
    let mut client = rig.client();
    flood_pattern(&mut rig, &mut client);
    assert_eq!((streams_with_unsent(&rig), spliced(&rig)), (1, 0));
}

/// cases S16, S13: splices cannot pass the mark, and a read passes it.
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
                // The byte is not part of the stream. (It would become part of it if a second
                // out-of-band byte followed before the server has passed this one.)
                assert_eq!(SockRef::from(&*client).send_out_of_band(b"!").unwrap(), 1);
            }
        }
        sent
    });
    assert!(spliced(&rig) > before);
}

/// cases S16, S3
#[test]
fn sixty_four_mebibytes_come_back_through_pipes() {
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

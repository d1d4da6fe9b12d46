//! Tests of streams: peers that vanish, stall or reset, and what a connection costs.

#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;

use socket2::SockRef;

use super::*;

/// Writes without reading until neither side takes more.
fn flood(rig: &mut Rig, client: &mut TcpStream) {
    client.set_nonblocking(true).unwrap();
    let chunk = [7; 65_536];
    let mut refused = 0;
    // The server may read between two writes, so one refusal is not enough.
    while refused < 20 {
        match client.write(&chunk) {
            Ok(_) => refused = 0,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                refused += 1;
            }
        }
        rig.turn();
    }
}

pub(super) fn streams_with_unsent(rig: &Rig) -> usize {
    let has_unsent = |source: &Source| match &source.0 {
        Kind::Connection(connection) => connection.mover.has_unsent(),
        _ => false,
    };
    rig.reactor.sources().iter().filter(|(_, source)| has_unsent(source)).count()
}

/// case S2
#[test]
fn a_peer_that_never_reads_is_closed_at_the_stall_timeout() {
    let stall_timeout = Duration::from_millis(400);
    let mut rig = Rig::tcp(Options { stall_timeout, ..Options::default() });
    let mut idle = rig.served_client();
    let mut client = rig.client();
    client.set_nonblocking(true).unwrap();
    let chunk = [7; 65_536];
    rig.turn_until("the stall", |rig| {
        let _ = client.write(&chunk);
        rig.count(Cause::Stalled) == 1
    });
    assert_eq!((rig.notices("stalled"), rig.open()), (1, 1));
    // A connection without unsent bytes cannot stall.
    rig.echo(&mut idle);
    assert_eq!(rig.count(Cause::Stalled), 1);
}

/// case S2: on a Unix socket, where the sender's buffer shows every single read.
#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn a_peer_that_takes_its_echo_slowly_does_not_stall() {
    let name = format!("slow-{}", std::process::id());
    let stall_timeout = Duration::from_secs(3);
    let options = Options { stall_timeout, ..Options::default() };
    let mut rig = Rig::new(options, &[&format!("unix:@{name}")]);
    let addr = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    let mut client = UnixStream::connect_addr(&addr).unwrap();
    client.set_nonblocking(true).unwrap();
    rig.turn_until("unsent bytes stay", |rig| {
        let _ = client.write(&[7; 65_536]);
        stalled_for(rig).is_some_and(|stalled_for| stalled_for >= stall_timeout / 8)
    });
    for _ in 0..2 {
        let before = untaken_bytes(&rig);
        while untaken_bytes(&rig) == before {
            assert!(client.read(&mut [0; 1024]).unwrap() > 0);
        }
        // The two pauses together exceed the timeout, and each leaves a busy machine some time.
        let pause_over = Instant::now() + stall_timeout * 11 / 20;
        rig.turn_until("the pause", |_| Instant::now() >= pause_over);
    }
    assert_eq!(rig.count(Cause::Stalled), 0);
    rig.turn_until_count(Cause::Stalled, 1);
}

fn connection_with_unsent(rig: &Rig) -> Option<&Connection> {
    rig.reactor.sources().iter().find_map(|(_, source)| match &source.0 {
        Kind::Connection(connection) if connection.mover.has_unsent() => Some(connection),
        _ => None,
    })
}

/// Returns how long the peer of the connection with unsent bytes has taken nothing.
fn stalled_for(rig: &mut Rig) -> Option<Duration> {
    let now = rig.handler.inner.watch(Instant::now());
    connection_with_unsent(rig).map(|connection| connection.mover.stalled_for(now))
}

fn untaken_bytes(rig: &Rig) -> usize {
    connection_with_unsent(rig).unwrap().stream.untaken_bytes().unwrap()
}

/// cases S2, S6: a stalled peer delays no other, and its reset frees what was kept for it.
#[test]
fn a_peer_that_resets_with_unsent_bytes_is_counted_and_does_not_affect_others() {
    let mut rig = Rig::tcp(Options::default());
    let mut other = rig.served_client();
    let mut client = rig.client();
    flood(&mut rig, &mut client);
    assert_eq!(streams_with_unsent(&rig), 1);
    rig.echo(&mut other);
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    rig.turn_until("a reset", |rig| rig.open() == 1);
    assert_eq!(rig.count(Cause::Reset) + rig.count(Cause::BrokenPipe), 1);
    rig.echo(&mut other);
    assert_eq!(rig.server().unsent_bytes.count(), 0);
}

/// case S6
#[test]
fn a_reset_between_messages_is_counted_and_does_not_affect_others() {
    let mut rig = Rig::tcp(Options::default());
    let mut other = rig.served_client();
    let client = rig.served_client();
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    rig.turn_until_count(Cause::Reset, 1);
    rig.echo(&mut other);
    assert_eq!((rig.open(), rig.notices("reset")), (1, 1));
}

/// case S10: the client keeps its socket open and is silent, like a client that vanished.
#[test]
fn an_idle_connection_is_closed() {
    let idle_timeout = Some(Duration::from_millis(50));
    let mut rig = Rig::tcp(Options { idle_timeout, ..Options::default() });
    let mut clients = rig.clients(5);
    rig.turn_until_count(Cause::Accepted, 5);
    rig.turn_until_count(Cause::Idle, 5);
    assert_eq!((rig.open(), rig.notices("idle")), (0, 5));
    clients.iter_mut().for_each(|client| assert!(is_over(client)));
}

/// case S14
#[test]
fn connections_without_unsent_bytes_need_no_timer_when_there_is_no_idle_timeout() {
    let stall_timeout = Duration::from_secs(2);
    let mut rig = Rig::tcp(Options { stall_timeout, ..Options::default() });
    let mut clients = rig.clients(3);
    clients.iter_mut().for_each(|client| rig.echo(client));
    assert!(rig.handler.deadline.is_some(), "the server checks that they have taken the echo");
    rig.turn_until("no more timer", |rig| rig.handler.deadline.is_none());
    flood(&mut rig, &mut clients[0]);
    assert!(rig.handler.deadline.is_some(), "the server checks a peer with unsent bytes");
    rig.turn_until("the echo is taken, and no more timer", |rig| {
        is_over(&mut clients[0]);
        rig.handler.deadline.is_none()
    });
    assert_eq!((rig.open(), rig.count(Cause::Stalled)), (3, 0));
}

/// case S14: the size of a connection's slot in the slab.
#[test]
fn a_connection_takes_at_most_80_bytes() {
    assert!(size_of::<Source>() <= 80, "{}", size_of::<Source>());
    assert!(size_of::<Connection>() <= 64, "{}", size_of::<Connection>());
}

/// case S14: counted at the allocator.
#[test]
fn an_idle_connection_owns_no_buffer() {
    const CONNECTIONS: usize = 400;
    let mut rig = Rig::tcp(Options::default());
    let mut clients = rig.clients(CONNECTIONS);
    let accepting = allocation_counter::measure(|| {
        rig.turn_until_count(Cause::Accepted, CONNECTIONS as u64);
    });
    let each = accepting.bytes_current / CONNECTIONS as i64;
    assert!(each <= 2 * 256, "{each} bytes per connection, in tables that grow by doubling");

    // One round, so that everything that grows with use has grown.
    clients.iter_mut().for_each(|client| rig.echo(client));
    let echoing = allocation_counter::measure(|| {
        for client in &mut clients {
            client.write_all(b"ping").unwrap();
            rig.turn();
        }
    });
    assert_eq!((echoing.count_total, echoing.bytes_current), (0, 0));
}

#[test]
fn a_server_with_a_fixed_reply_or_none_reads_each_chunk() {
    let mut rig = Rig::tcp(Options { reply: Reply::Text((*b"pong").into()), ..Options::default() });
    let mut client = rig.client();
    for length in [1, 100] {
        client.write_all(&vec![0; length]).unwrap();
        let sent = rig.counters().bytes_out();
        rig.turn_until("a reply", |rig| rig.counters().bytes_out() == sent + 4);
        let mut reply = [0; 4];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"pong");
    }

    let mut rig = Rig::tcp(Options { reply: Reply::Nothing, ..Options::default() });
    let mut client = rig.client();
    client.write_all(&[0; 1000]).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    rig.turn_until_count(Cause::Finished, 1);
    assert_eq!(rig.counters()[Transport::Tcp].traffic.bytes_in, 1000);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

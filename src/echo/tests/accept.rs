//! Tests of accepting on real listeners.

use std::os::unix::net::UnixStream;

use socket2::SockRef;

use super::*;
use crate::echo::guard::ClientKey;
use crate::socket::{Keepalive, SocketOptions};

// Written as a number, so that a changed bound fails a test.
const ACCEPTS_PER_SLICE: usize = 64;

/// case A1: 200 connections are queued, and no client connects after that.
#[test]
fn queued_connections_beyond_a_slice_are_accepted_without_a_further_connect() {
    let mut rig = Rig::tcp(Options::default());
    let mut clients = rig.clients(200);
    let mut accepted = 0;
    for turn in 1..=4 {
        rig.turn();
        accepted = (accepted + ACCEPTS_PER_SLICE).min(200);
        assert_eq!(rig.count(Cause::Accepted), accepted as u64, "after turn {turn}");
    }
    clients.iter_mut().for_each(|client| rig.echo(client));
}

/// case A5
#[test]
fn a_client_beyond_the_limit_is_served_when_another_disconnects() {
    let mut rig = Rig::tcp(Options { connections_max: 2, ..Options::default() });
    let first = rig.served_client();
    let mut second = rig.served_client();
    let mut third = rig.client();
    rig.turn_until("the limit", |rig| rig.notices("connection_limit") > 0);
    third.write_all(b"wait").unwrap();
    rig.echo(&mut second);
    assert_eq!((rig.count(Cause::Accepted), rig.open()), (2, 2));

    drop(first);
    rig.turn_until_count(Cause::Finished, 1);
    rig.turn_until_count(Cause::Accepted, 3);
    let mut reply = [0; 4];
    rig.turn_until("the late echo", |rig| rig.counters().bytes_out() == 4 * 4);
    third.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"wait");
    rig.echo(&mut second);
}

/// case A5: each further client causes an event of the listener, which must wait only once.
#[test]
fn a_listener_waits_once_however_many_clients_connect() {
    let mut rig = Rig::tcp(Options { connections_max: 1, ..Options::default() });
    let first = rig.served_client();
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(rig.client());
        rig.turn();
        rig.turn();
    }
    assert_eq!(rig.server().waiting.len(), 1);
    drop(first);
    for served in 1..=20 {
        rig.turn_until_count(Cause::Accepted, 1 + served);
        assert_eq!(rig.open(), 1);
        drop(others.remove(0));
    }
}

/// case A5: the limit applies to all listeners together.
#[test]
fn listeners_share_the_limit_and_each_wakes_when_a_permit_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let unix = format!("unix:{}", path.display());
    let options = Options { connections_max: 1, ..Options::default() };
    let mut rig = Rig::new(options, &["tcp://127.0.0.1:0", &unix]);
    let first = rig.served_client();
    let tcp = rig.client();
    let unix = UnixStream::connect(&path).unwrap();
    rig.turn_until("both listeners wait", |rig| rig.server().waiting.len() == 2);
    drop(first);
    rig.turn_until_count(Cause::Accepted, 2);
    drop((tcp, unix));
    rig.turn_until_count(Cause::Finished, 3);
    assert_eq!(rig.count(Cause::Accepted), 3);
    assert_eq!(rig.counters()[Transport::Unix].count(Cause::Accepted), 1);
}

/// case A5: each listener has queued clients all the time, and one permit is released at a time.
#[test]
fn listeners_with_full_queues_take_turns_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a", "b", "c"].map(|name| folder.path().join(name));
    let endpoints = paths.each_ref().map(|path| format!("unix:{}", path.display()));
    let options = Options { connections_max: 1, ..Options::default() };
    let mut rig = Rig::new(options, &endpoints.each_ref().map(String::as_str));
    const CLIENTS: usize = 4;
    // Clients connect to the three listeners in turn.
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.extend(paths.iter().map(|path| Some(UnixStream::connect(path).unwrap())));
    }
    let mut served_by_path = [0; 3];
    for client in &clients {
        let mut client = client.as_ref().unwrap();
        client.set_nonblocking(true).unwrap();
        client.write_all(b"x").unwrap();
    }
    for served in 1..=clients.len() {
        let mut done = None;
        rig.turn_until("one client is served", |_| {
            let is_served = |client: &Option<UnixStream>| {
                client.as_ref().is_some_and(|mut client| client.read(&mut [0]).is_ok())
            };
            done = clients.iter().position(is_served);
            done.is_some()
        });
        let done = done.unwrap();
        clients[done] = None;
        served_by_path[done % paths.len()] += 1;
        let (least, most) =
            (served_by_path.iter().min().unwrap(), served_by_path.iter().max().unwrap());
        // The first client found a free permit and did not wait for its turn.
        assert!(most - least <= 2, "{served_by_path:?} of {served}");
    }
}

/// case A7: the reactor's tests show that it returns such a source. This test returns one by hand,
/// because Linux refuses a registration only when its memory for watches is used up.
#[test]
fn an_accepted_socket_that_cannot_be_registered_is_counted_and_releases_its_permit() {
    let mut rig = Rig::tcp(Options { connections_max: 2, ..Options::default() });
    let mut first = rig.served_client();
    rig.request(|server, _, context| {
        let (near, _far) = mio::net::UnixStream::pair().unwrap();
        let mover = ByteMover::new(Moment::default());
        let connection = Connection { stream: Stream::Unix(near), mover, client: ClientKey::NONE };
        server.counters.connections_open += 1;
        let error = io::ErrorKind::OutOfMemory.into();
        let source = Source(Kind::Connection(connection));
        server.closed(source, Closed::Unregistered(error), &mut context.of(Key::new(0, 0)));
    });
    assert_eq!((rig.count(Cause::Unregistered), rig.open()), (1, 1));
    assert_eq!(rig.notices("unregistered"), 1);
    let _second = rig.served_client();
    rig.echo(&mut first);
}

/// case A8
#[test]
fn a_peer_that_resets_before_accept_ends_only_its_own_connection() {
    let mut rig = Rig::tcp(Options::default());
    let mut before = rig.served_client();
    for _ in 0..10 {
        let gone = rig.client();
        SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let mut after = rig.client();
    rig.turn_until("ten connections end", |rig| {
        rig.count(Cause::Reset) + rig.count(Cause::AcceptAborted) == 10
    });
    rig.echo(&mut before);
    rig.echo(&mut after);
    assert_eq!(rig.open(), 2);
}

fn accepted_stream(rig: &Rig) -> SockRef<'_> {
    let stream = rig.reactor.sources().iter().find_map(|(_, source)| match &source.0 {
        Kind::Connection(Connection { stream: Stream::Tcp(stream), .. }) => Some(stream),
        _ => None,
    });
    SockRef::from(stream.unwrap())
}

/// Accepted connections inherit the settings of their listener.
#[test]
fn accepted_connections_have_the_requested_socket_settings() {
    for nodelay in [true, false] {
        let receive_buf_bytes = Some(64 << 10);
        let socket = SocketOptions { nodelay, receive_buf_bytes, ..SocketOptions::default() };
        let mut rig = Rig::tcp(Options { socket, ..Options::default() });
        let _client = rig.served_client();
        let stream = accepted_stream(&rig);
        assert_eq!(stream.tcp_nodelay().unwrap(), nodelay);
        assert!(stream.recv_buffer_size().unwrap() >= 64 << 10);
    }
}

/// case S10: the listener is passed to the server, and its own times are kept.
#[cfg(target_os = "linux")]
#[test]
fn accepted_connections_have_the_requested_keepalive() {
    let after = |seconds| Keepalive::After(Duration::from_secs(seconds));
    for (keepalive, times) in [
        (Keepalive::Off, None),
        (Keepalive::Auto, Some((33, 44, 3))),
        (Keepalive::System, Some((33, 44, 3))),
        (after(1), Some((1, 1, 1))),
        (after(60), Some((60, 12, 5))),
        (after(u64::MAX), Some((32_767, 6_554, 5))),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = socket2::TcpKeepalive::new().with_retries(3);
        let own = own.with_time(Duration::from_secs(33)).with_interval(Duration::from_secs(44));
        SockRef::from(&listener).set_tcp_keepalive(&own).unwrap();
        let socket = SocketOptions { keepalive, ..SocketOptions::default() };
        let mut rig = Rig::new(Options { socket, ..Options::default() }, &[]);
        let bound = rig.handler.inner.adopt(&mut rig.reactor, listener.into()).unwrap();
        rig.bound.push(bound);
        let _client = rig.served_client();
        let stream = accepted_stream(&rig);
        assert_eq!(stream.keepalive().unwrap(), times.is_some());
        if let Some((time, interval, retries)) = times {
            assert_eq!(stream.tcp_keepalive_time().unwrap().as_secs(), time);
            assert_eq!(stream.tcp_keepalive_interval().unwrap().as_secs(), interval);
            assert_eq!(stream.tcp_keepalive_retries().unwrap(), retries);
        }
    }
}

/// Returns how long a peer may be silent before the kernel gives it up, including the time of
/// unanswered probes.
#[cfg(target_os = "linux")]
fn gives_up_after_seconds(socket: &SockRef<'_>) -> u64 {
    let interval = socket.tcp_keepalive_interval().unwrap();
    let time =
        socket.tcp_keepalive_time().unwrap() + interval * socket.tcp_keepalive_retries().unwrap();
    time.as_secs()
}

/// case S10: the server's own listener has keepalive by default, and so has a listener that was
/// passed without it. The kernel gives up a vanished peer within two minutes.
#[cfg(target_os = "linux")]
#[test]
fn accepted_connections_have_keepalive_by_default() {
    for is_passed in [false, true] {
        let mut rig =
            Rig::new(Options::default(), if is_passed { &[] } else { &["tcp://127.0.0.1:0"] });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let of_system = gives_up_after_seconds(&SockRef::from(&listener));
        if is_passed {
            let bound = rig.handler.inner.adopt(&mut rig.reactor, listener.into()).unwrap();
            rig.bound.push(bound);
        }
        let _client = rig.served_client();
        let stream = accepted_stream(&rig);
        assert!(stream.keepalive().unwrap());
        // The system's own times stay if they are shorter.
        let expected = if of_system <= 120 { of_system } else { 120 };
        assert_eq!(gives_up_after_seconds(&stream), expected);
        if of_system > 120 {
            assert_eq!(stream.tcp_keepalive_time().unwrap().as_secs(), 60);
        }
    }
}

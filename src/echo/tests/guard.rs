//! Tests of the access list, the loop guard and the limits: which peers the server turns away.

use std::net::UdpSocket;

use super::*;
use crate::socket::SocketOptions;

fn udp(options: Options, endpoints: &[&str]) -> Rig {
    Rig::new(options, endpoints)
}

/// Creates a client at this address.
fn client_at(addr: &str) -> UdpSocket {
    let client = UdpSocket::bind(addr).unwrap();
    client.set_nonblocking(true).unwrap();
    client
}

/// Returns true if a datagram to this address comes back. A second datagram follows it in the
/// queue, from a client that is always answered. When its echo has come, the first datagram has
/// been handled.
fn is_answered(rig: &mut Rig, client: &UdpSocket, to: SocketAddr) -> bool {
    let (judge, mut buf) = (client_at("127.0.0.1:0"), [0; 16]);
    client.send_to(b"ping", to).unwrap();
    judge.send_to(b"judge", rig.addr()).unwrap();
    rig.turn_until("the judge's echo", |_| judge.recv(&mut buf).is_ok());
    client.recv(&mut buf).is_ok_and(|length| &buf[..length] == b"ping")
}

/// case U11: the sender has one of the server's own ports, at another address.
#[test]
fn a_datagram_from_a_port_of_the_servers_own_endpoints_is_not_answered() {
    for loop_guard in [true, false] {
        let options = Options { loop_guard, ..Options::default() };
        let mut rig = udp(options, &["udp://127.0.0.1:0", "udp://127.0.0.1:0"]);
        let to = rig.addr();
        for bound in rig.bound.clone() {
            let twin = client_at(&format!("127.0.0.2:{}", bound.addrs[0].port()));
            assert_eq!(is_answered(&mut rig, &twin, to), !loop_guard);
        }
        assert_eq!(rig.count(Cause::LoopOwnPort), if loop_guard { 2 } else { 0 });
    }
}

/// case U11
#[test]
fn a_datagram_from_a_noted_own_port_is_not_answered() {
    let mut rig = udp(Options::default(), &["udp://127.0.0.1:0"]);
    let (client, to) = (client_at("127.0.0.1:0"), rig.addr());
    assert!(is_answered(&mut rig, &client, to));
    rig.handler.inner.note_own_port(client.local_addr().unwrap().port());
    assert!(!is_answered(&mut rig, &client, to));
}

/// case U11: the last address of the loopback network is its broadcast address.
#[test]
#[cfg(target_os = "linux")]
fn a_datagram_to_a_broadcast_address_is_not_answered() {
    for loop_guard in [true, false] {
        let options = Options { loop_guard, ..Options::default() };
        for host in ["0.0.0.0", "127.255.255.255"] {
            let endpoints = ["udp://127.0.0.1:0", &format!("udp://{host}:0")];
            let mut rig = udp(options.clone(), &endpoints);
            let port = rig.bound[1].addrs[0].port();
            let client = client_at("127.0.0.1:0");
            client.set_broadcast(true).unwrap();
            let to_all = SocketAddr::from(([127, 255, 255, 255], port));
            assert_eq!(is_answered(&mut rig, &client, to_all), !loop_guard, "{host}");
            assert_eq!(rig.count(Cause::LoopGroup), u64::from(loop_guard), "{host}");
            if host == "0.0.0.0" {
                let to_one = SocketAddr::from(([127, 0, 0, 1], port));
                assert!(is_answered(&mut rig, &client, to_one));
            }
        }
    }
}

/// Creates a UDP socket as another process would pass it: of both families if the address is IPv6.
#[cfg(target_os = "linux")]
fn passed_socket(ip: &str) -> UdpSocket {
    use socket2::{Domain, Socket, Type};

    let addr = SocketAddr::new(ip.parse().unwrap(), 0);
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, None).unwrap();
    if addr.is_ipv6() {
        socket.set_only_v6(false).unwrap();
    }
    socket.bind(&addr.into()).unwrap();
    socket.into()
}

/// case P2: decides whether the operator is warned that other hosts can reach the endpoint.
#[test]
#[cfg(target_os = "linux")]
fn a_passed_socket_at_ipv4_mapped_loopback_is_local() {
    for (ip, is_local) in [("::ffff:127.0.0.1", true), ("::1", true), ("::ffff:0.0.0.0", false)] {
        let mut rig = udp(Options::default(), &[]);
        let socket = passed_socket(ip);
        let bound = rig.handler.inner.adopt(&mut rig.reactor, socket.into()).unwrap();
        assert_eq!(bound.is_local(), is_local, "{ip}");
    }
}

/// cases P2 U10 U11: the first datagram makes a service manager start the service, so it is queued
/// before the kernel notes which address each datagram was sent to. The server answers it from that
/// address nevertheless, and does not answer it if that is a broadcast address.
#[test]
#[cfg(target_os = "linux")]
fn datagrams_queued_on_a_passed_socket_are_answered_from_the_address_they_were_sent_to() {
    for ip in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
        let socket = passed_socket(ip);
        let port = socket.local_addr().unwrap().port();
        // A connected client receives replies only from this address.
        let ask = |host: [u8; 4]| {
            let client = client_at("127.0.0.1:0");
            client.set_broadcast(true).unwrap();
            client.connect(SocketAddr::from((host, port))).unwrap();
            client.send(b"ping").unwrap();
            client
        };
        let mut rig = udp(Options::default(), &[]);
        let mut socket = Some(socket);
        for (when, datagrams) in [("before", 3), ("after", 6)] {
            let clients = [[127, 0, 0, 1], [127, 0, 0, 5]].map(ask);
            let of_many = ask([127, 255, 255, 255]);
            if let Some(socket) = socket.take() {
                rig.handler.inner.adopt(&mut rig.reactor, socket.into()).unwrap();
            }
            rig.turn_until("each datagram is answered or dropped", |rig| {
                let udp = &rig.counters()[Transport::Udp];
                let dropped = udp.count(Cause::LoopGroup) + udp.count(Cause::ReplyUnreachable);
                udp.traffic.messages_out + dropped == datagrams
            });
            for client in clients {
                assert!(client.recv(&mut [0; 16]).is_ok(), "{ip}, queued {when}");
            }
            assert!(of_many.recv(&mut [0; 16]).is_err(), "{ip}, queued {when}");
        }
        assert!(rig.count(Cause::LoopGroup) > 0, "{ip}");
    }
}

fn access(allow: &[&str], deny: &[&str]) -> Options {
    let networks =
        |texts: &[&str]| -> Vec<_> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let access = Access::new(&networks(allow), &networks(deny));
    Options { access, ..Options::default() }
}

#[test]
fn datagrams_of_a_denied_address_are_neither_observed_nor_answered() {
    let mut rig = udp(access(&[], &["127.0.0.2/32"]), &["udp://127.0.0.1:0"]);
    rig.handler.inner.observer.wants_messages = true;
    let to = rig.addr();
    assert!(!is_answered(&mut rig, &client_at("127.0.0.2:0"), to));
    assert!(is_answered(&mut rig, &client_at("127.0.0.3:0"), to));
    assert_eq!((rig.count(Cause::Denied), rig.notices("denied")), (1, 1));
    let observed = &rig.server().observer.messages;
    assert_eq!(observed.iter().filter(|bytes| *bytes == b"ping").count(), 1, "{observed:?}");
}

#[test]
fn a_connection_of_a_denied_address_closes_and_others_are_served() {
    let mut rig = Rig::tcp(access(&["127.0.0.0/30"], &["127.0.0.2/32"]));
    let addr = rig.addr();
    for (from, is_served) in
        [([127, 0, 0, 1], true), ([127, 0, 0, 2], false), ([127, 0, 0, 4], false)]
    {
        let mut client = connect_from(from, addr);
        if is_served {
            rig.echo(&mut client);
        } else {
            rig.turn_until("the client is closed", |_| is_over(&mut client));
        }
    }
    assert_eq!((rig.count(Cause::Accepted), rig.count(Cause::Denied)), (1, 2));
    assert_eq!(rig.notices("denied"), 2);
}

fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    socket.into()
}

/// case A6
#[test]
fn an_address_at_its_connection_limit_gets_another_when_one_closes() {
    let options = Options { connections_per_address_max: Some(2), ..Options::default() };
    let mut rig = Rig::tcp(options);
    let first = rig.served_client();
    let _second = rig.served_client();
    let mut third = rig.client();
    rig.turn_until("the third is closed", |_| is_over(&mut third));
    let mut other = connect_from([127, 0, 0, 2], rig.addr());
    rig.echo(&mut other);
    drop(first);
    rig.turn_until_count(Cause::Finished, 1);
    rig.served_client();
    assert_eq!((rig.count(Cause::AddressLimit), rig.count(Cause::Accepted)), (1, 4));
}

/// case A6: a client that is turned away does not count against the connection limit.
#[test]
fn a_client_that_is_turned_away_holds_no_permit() {
    let options =
        Options { connections_max: 2, connections_per_address_max: Some(1), ..Options::default() };
    let mut rig = Rig::tcp(options);
    let _first = rig.served_client();
    for _ in 0..5 {
        let mut client = rig.client();
        rig.turn_until("the client is closed", |_| is_over(&mut client));
    }
    let mut other = connect_from([127, 0, 0, 2], rig.addr());
    rig.echo(&mut other);
    assert_eq!(rig.open(), 2);
}

#[test]
fn a_source_gets_replies_up_to_its_rate_and_then_none() {
    let options = Options { datagrams_per_second_max: Some(3), ..Options::default() };
    let mut rig = udp(options, &["udp://127.0.0.1:0"]);
    let to = rig.addr();
    let (busy, calm) = (client_at("127.0.0.2:0"), client_at("127.0.0.3:0"));
    // Sent at once, so that no time passes in which the rate would allow more.
    (0..10).for_each(|_| assert_eq!(busy.send_to(b"ping", to).unwrap(), 4));
    calm.send_to(b"ping", to).unwrap();
    let mut buf = [0; 16];
    rig.turn_until("the calm one's echo", |_| calm.recv(&mut buf).is_ok());
    let answered = std::iter::from_fn(|| busy.recv(&mut buf).ok()).count();
    assert_eq!((answered, rig.count(Cause::RateLimited)), (3, 7));
}

/// Each datagram of a train counts: with a rate limit, the server receives no trains.
#[test]
#[cfg(target_os = "linux")]
fn the_datagrams_of_a_train_are_counted_one_by_one() {
    use crate::endpoint::ResolvedEndpoint;
    use crate::socket::Datagram;

    let options = Options { datagrams_per_second_max: Some(3), ..Options::default() };
    let mut rig = udp(options, &["udp://127.0.0.1:0"]);
    let target = ResolvedEndpoint::Udp(rig.addr());
    let client = Datagram::connect(&target, None, &SocketOptions::default()).unwrap();
    client.send_train(&[7; 100], 10).unwrap();
    let mut replies = 0;
    rig.turn_until("the rest is dropped", |rig| {
        replies += std::iter::from_fn(|| client.receive(&mut [0; 16]).ok()).count();
        rig.count(Cause::RateLimited) == 7
    });
    replies += std::iter::from_fn(|| client.receive(&mut [0; 16]).ok()).count();
    assert_eq!(replies, 3);
}

#[test]
fn a_one_off_server_ignores_denied_peers_and_serves_the_next() {
    let options = Options { one_off: true, ..access(&[], &["127.0.0.2/32"]) };
    let mut rig = udp(options.clone(), &["udp://127.0.0.1:0"]);
    let to = rig.addr();
    client_at("127.0.0.2:0").send_to(b"ping", to).unwrap();
    rig.turn_until_count(Cause::Denied, 1);
    client_at("127.0.0.1:0").send_to(b"ping", to).unwrap();
    rig.turn_until_stopped();
    let mut rig = Rig::tcp(options);
    drop(connect_from([127, 0, 0, 2], rig.addr()));
    rig.turn_until_count(Cause::Denied, 1);
    drop(rig.client());
    rig.turn_until_stopped();
    assert_eq!(rig.count(Cause::Finished), 1);
}

/// case U11: a datagram that no client sends does not end the server.
#[test]
fn a_one_off_server_ignores_guarded_datagrams_and_serves_the_next() {
    let options = Options { one_off: true, ..Options::default() };
    let mut rig = udp(options, &["udp://127.0.0.1:0"]);
    let to = rig.addr();
    let twin = client_at(&format!("127.0.0.2:{}", to.port()));
    let client = client_at("127.0.0.1:0");
    twin.send_to(b"ping", to).unwrap();
    client.send_to(b"ping", to).unwrap();
    rig.turn_until_stopped();
    assert_eq!(rig.count(Cause::LoopOwnPort), 1);
    assert!(client.recv(&mut [0; 16]).is_ok() && twin.recv(&mut [0; 16]).is_err());
}

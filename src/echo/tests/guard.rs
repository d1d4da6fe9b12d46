//! Who is turned away, and who is served for all that.

use std::net::UdpSocket;

use super::*;
use crate::socket::SocketOptions;

fn udp(options: Options, endpoints: &[&str]) -> Rig {
    Rig::new(options, endpoints)
}

/// A client at this address that asks the first endpoint.
fn client_at(addr: &str) -> UdpSocket {
    let client = UdpSocket::bind(addr).unwrap();
    client.set_nonblocking(true).unwrap();
    client
}

/// Whether a datagram sent there comes back. A second one, from a client that is always answered
/// and behind it in the queue, tells when it does not.
fn is_answered(rig: &mut Rig, client: &UdpSocket, to: SocketAddr) -> bool {
    let (judge, mut buf) = (client_at("127.0.0.1:0"), [0; 16]);
    client.send_to(b"ping", to).unwrap();
    judge.send_to(b"judge", rig.addr()).unwrap();
    rig.turn_until("the judge's echo", |_| judge.recv(&mut buf).is_ok());
    client.recv(&mut buf).is_ok_and(|length| &buf[..length] == b"ping")
}

/// case U11: whoever has one of the server's own ports, on another address.
#[test]
fn a_datagram_from_a_port_of_its_own_endpoints_is_not_answered() {
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
fn a_port_that_is_said_to_be_this_process_s_own_is_not_answered() {
    let mut rig = udp(Options::default(), &["udp://127.0.0.1:0"]);
    let (client, to) = (client_at("127.0.0.1:0"), rig.addr());
    assert!(is_answered(&mut rig, &client, to));
    rig.handler.inner.note_own_port(client.local_addr().unwrap().port());
    assert!(!is_answered(&mut rig, &client, to));
}

/// case U11: of loopback, the last address is that of all.
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

/// A UDP socket that somebody else has made, of both families where its address lets it be.
#[cfg(target_os = "linux")]
fn socket_of_others(ip: &str) -> UdpSocket {
    use socket2::{Domain, Socket, Type};

    let addr = SocketAddr::new(ip.parse().unwrap(), 0);
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, None).unwrap();
    if addr.is_ipv6() {
        socket.set_only_v6(false).unwrap();
    }
    socket.bind(&addr.into()).unwrap();
    socket.into()
}

/// case P2: who is told that others can reach it.
#[test]
#[cfg(target_os = "linux")]
fn a_passed_socket_at_ipv4_loopback_inside_ipv6_is_local() {
    for (ip, is_local) in [("::ffff:127.0.0.1", true), ("::1", true), ("::ffff:0.0.0.0", false)] {
        let mut rig = udp(Options::default(), &[]);
        let socket = socket_of_others(ip);
        let bound = rig.handler.inner.adopt(&mut rig.reactor, socket.into()).unwrap();
        assert_eq!(bound.is_local(), is_local, "{ip}");
    }
}

/// cases P2 U10 U11: the first datagram has a service manager start the service, and so is queued
/// before the kernel notes which address was asked. It is answered from there as any other, and
/// not when that is an address of many.
#[test]
#[cfg(target_os = "linux")]
fn on_a_passed_socket_what_was_queued_before_is_answered_from_where_it_was_asked() {
    for ip in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
        let socket = socket_of_others(ip);
        let port = socket.local_addr().unwrap().port();
        // Connected, a client takes an answer from nowhere else.
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
            rig.turn_until("each datagram's fate", |rig| {
                let udp = &rig.counters()[Transport::Udp];
                let dropped = udp.count(Cause::LoopGroup) + udp.count(Cause::AnswerUnreachable);
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
fn what_a_denied_address_sends_is_neither_heard_nor_answered() {
    let mut rig = udp(access(&[], &["127.0.0.2/32"]), &["udp://127.0.0.1:0"]);
    rig.handler.inner.observer.wants_messages = true;
    let to = rig.addr();
    assert!(!is_answered(&mut rig, &client_at("127.0.0.2:0"), to));
    assert!(is_answered(&mut rig, &client_at("127.0.0.3:0"), to));
    assert_eq!((rig.count(Cause::Denied), rig.notices("denied")), (1, 1));
    let heard = &rig.server().observer.messages;
    assert_eq!(heard.iter().filter(|bytes| *bytes == b"ping").count(), 1, "{heard:?}");
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
            rig.turn_until("its end", |_| is_over(&mut client));
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
fn an_address_has_so_many_connections_and_another_one_when_one_of_them_closes() {
    let options = Options { connections_per_address_max: Some(2), ..Options::default() };
    let mut rig = Rig::tcp(options);
    let first = rig.served_client();
    let _second = rig.served_client();
    let mut third = rig.client();
    rig.turn_until("its end", |_| is_over(&mut third));
    let mut other = connect_from([127, 0, 0, 2], rig.addr());
    rig.echo(&mut other);
    drop(first);
    rig.turn_until_count(Cause::Finished, 1);
    rig.served_client();
    assert_eq!((rig.count(Cause::AddressLimit), rig.count(Cause::Accepted)), (1, 4));
}

/// case A6: with one that is turned away, the count of all stays right.
#[test]
fn who_is_turned_away_takes_no_place() {
    let options =
        Options { connections_max: 2, connections_per_address_max: Some(1), ..Options::default() };
    let mut rig = Rig::tcp(options);
    let _first = rig.served_client();
    for _ in 0..5 {
        let mut client = rig.client();
        rig.turn_until("its end", |_| is_over(&mut client));
    }
    let mut other = connect_from([127, 0, 0, 2], rig.addr());
    rig.echo(&mut other);
    assert_eq!(rig.open(), 2);
}

#[test]
fn a_source_gets_so_many_answers_and_then_none() {
    let options = Options { datagrams_per_second_max: Some(3), ..Options::default() };
    let mut rig = udp(options, &["udp://127.0.0.1:0"]);
    let to = rig.addr();
    let (busy, calm) = (client_at("127.0.0.2:0"), client_at("127.0.0.3:0"));
    // All at once, so that no time passes between them in which more might be allowed.
    (0..10).for_each(|_| assert_eq!(busy.send_to(b"ping", to).unwrap(), 4));
    calm.send_to(b"ping", to).unwrap();
    let mut buf = [0; 16];
    rig.turn_until("the calm one's echo", |_| calm.recv(&mut buf).is_ok());
    let answered = std::iter::from_fn(|| busy.recv(&mut buf).ok()).count();
    assert_eq!((answered, rig.count(Cause::RateLimited)), (3, 7));
}

/// A train counts for what it is made of: with a rate to keep, none are received whole.
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
    let mut answers = 0;
    rig.turn_until("the rest is refused", |rig| {
        answers += std::iter::from_fn(|| client.receive(&mut [0; 16]).ok()).count();
        rig.count(Cause::RateLimited) == 7
    });
    answers += std::iter::from_fn(|| client.receive(&mut [0; 16]).ok()).count();
    assert_eq!(answers, 3);
}

#[test]
fn a_one_off_server_waits_on_for_somebody_who_may_come() {
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

/// case U11: nobody ends it by a datagram that no client sends.
#[test]
fn a_one_off_server_waits_on_for_a_datagram_that_may_be_answered() {
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

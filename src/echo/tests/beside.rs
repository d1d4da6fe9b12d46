//! Servers side by side, each with a reactor and sockets of its own on the same ports.

use std::net::UdpSocket;

use super::*;
use crate::socket::{PortUse, SocketOptions};
use crate::testing::wait_until;

fn leading(options: Options) -> Options {
    let socket = SocketOptions { port_use: PortUse::Lead, ..SocketOptions::default() };
    Options { socket, ..options }
}

/// Two servers on one endpoint, with one limit.
fn pair(endpoint: &str, connections_max: usize) -> [Rig; 2] {
    let options = leading(Options { connections_max, ..Options::default() });
    let mut first = Rig::new(options.clone(), &[endpoint]);
    let mut second = Rig::new(options.clone(), &[]);
    let limits = Limits::new(&options);
    for rig in [&mut first, &mut second] {
        rig.handler.inner.share_limits(&limits);
    }
    second.bound = first.bound.clone();
    let Rig { reactor, handler, .. } = &mut second;
    handler.inner.listen_beside(reactor, &first.bound[0]).unwrap();
    [first, second]
}

#[track_caller]
fn turn_both_until(rigs: &mut [Rig; 2], what: &str, condition: impl Fn(&[Rig; 2]) -> bool) {
    wait_until(what, || {
        rigs.iter_mut().for_each(|rig| _ = rig.turn());
        condition(rigs)
    });
}

fn open(rigs: &[Rig; 2]) -> u64 {
    rigs.iter().map(Rig::open).sum()
}

/// Which addresses of an endpoint to ask, since a wildcard is none.
fn targets(bound: &Bound) -> Vec<SocketAddr> {
    let to_loopback = |addr: &SocketAddr| match (addr.ip().is_unspecified(), addr.is_ipv4()) {
        (false, _) => *addr,
        (true, true) => SocketAddr::from(([127, 0, 0, 1], addr.port())),
        (true, false) => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, addr.port())),
    };
    bound.addrs.iter().map(to_loopback).collect()
}

/// case U18 among others: the system spreads clients over both, whatever the host is.
#[test]
fn servers_beside_each_other_both_get_connections_and_datagrams() {
    const CLIENTS: usize = 64;
    for host in ["127.0.0.1", "[::1]", "0.0.0.0", "[::]", ""] {
        let mut rigs = pair(&format!("tcp://{host}:0"), usize::MAX);
        let targets_tcp = targets(&rigs[0].bound[0]);
        let connect = |index: usize| TcpStream::connect(targets_tcp[index % targets_tcp.len()]);
        let clients: Vec<_> = (0..CLIENTS).map(|index| connect(index).unwrap()).collect();
        turn_both_until(&mut rigs, "all connections", |rigs| open(rigs) == CLIENTS as u64);
        assert!(rigs.iter().all(|rig| rig.open() > 0), "{host}: spread over both");
        drop(clients);

        let mut rigs = pair(&format!("udp://{host}:0"), usize::MAX);
        let received = |rig: &Rig| rig.counters()[Transport::Udp].traffic.messages_in;
        let mut clients = Vec::new();
        for (index, target) in (0..CLIENTS).zip(targets(&rigs[0].bound[0]).iter().cycle()) {
            let own = if target.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
            let client = UdpSocket::bind(own).unwrap();
            client.connect(target).unwrap();
            client.set_read_timeout(Some(WAIT_MAX)).unwrap();
            client.send(&[u8::try_from(index).unwrap()]).unwrap();
            clients.push(client);
        }
        let all = |rigs: &[Rig; 2]| rigs.iter().map(received).sum::<u64>() == CLIENTS as u64;
        turn_both_until(&mut rigs, "all datagrams", all);
        assert!(rigs.iter().all(|rig| received(rig) > 0), "{host}: spread over both");
        for (index, client) in clients.iter().enumerate() {
            let mut buf = [0; 2];
            assert_eq!((client.recv(&mut buf).unwrap(), usize::from(buf[0])), (1, index));
        }
    }
}

/// case U17
#[test]
fn a_port_that_is_shared_cannot_be_taken_by_another_who_would_share_it() {
    for endpoint in ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "tcp://[::1]:0", "udp://:0"] {
        let rigs = pair(endpoint, usize::MAX);
        let taken = &rigs[0].bound[0].endpoint;
        for options in [Options::default(), leading(Options::default())] {
            let mut reactor = Reactor::new().unwrap();
            let error = Server::new(options).listen(&mut reactor, taken).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
        }
    }
}

/// case U17
#[test]
fn beside_a_server_that_has_its_port_alone_nobody_can_listen() {
    for endpoint in ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"] {
        let alone = Rig::new(Options::default(), &[endpoint]);
        let (mut reactor, mut server) = (Reactor::new().unwrap(), Server::new(Options::default()));
        let error = server.listen_beside(&mut reactor, &alone.bound[0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
    }
}

#[test]
fn a_unix_endpoint_is_not_opened_twice() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("unix:{}", folder.path().join("echo").display());
    let first = Rig::new(leading(Options::default()), &[&endpoint]);
    let (mut reactor, mut server) = (Reactor::new().unwrap(), Server::new(Options::default()));
    let error = server.listen_beside(&mut reactor, &first.bound[0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
}

/// case A5: a client that waits at one server has the place that is freed at the other, though no
/// event tells of it.
#[test]
fn a_place_freed_in_one_server_goes_to_who_waits_at_the_other() {
    const CLIENTS: usize = 32;
    let mut rigs = pair("tcp://127.0.0.1:0", 2);
    let mut clients = rigs[0].clients(CLIENTS);
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.set_nonblocking(true).unwrap();
    }
    // The first server alone is turned, and takes all permits.
    rigs[0].turn_until("the limit", |rig| rig.notices("connection_limit") > 0);
    turn_both_until(&mut rigs, "the other's limit", |rigs| rigs[1].notices("connection_limit") > 0);
    assert_eq!((rigs[0].open(), rigs[1].open()), (2, 0));

    // Whoever has been served leaves, until all have.
    wait_until("service for all", || {
        for rig in 0..2 {
            rigs[rig].turn();
            assert!(open(&rigs) <= 2, "never more");
        }
        clients.retain_mut(|client| client.read(&mut [0]).is_err());
        clients.is_empty()
    });
    turn_both_until(&mut rigs, "their ends", |rigs| open(rigs) == 0);
    let accepted = rigs.each_ref().map(|rig| rig.count(Cause::Accepted));
    assert_eq!(accepted.iter().sum::<u64>(), CLIENTS as u64);
    assert!(accepted[0] > 0 && accepted[1] > 0, "{accepted:?}");
    // A listener may have gone to rest just before the last place was free: it tries again.
    turn_both_until(&mut rigs, "nobody to wait", |rigs| {
        rigs.iter()
            .all(|rig| rig.server().waiting.is_empty() && !rig.server().permits.others_wait(false))
    });
}

/// case A5: with nobody left to share with, a close in the same server is enough.
#[test]
fn a_server_whose_neighbour_has_ended_while_it_waited_still_wakes_its_own() {
    let mut rigs = pair("tcp://127.0.0.1:0", 1);
    let clients = rigs[0].clients(32);
    turn_both_until(&mut rigs, "both limits", |rigs| {
        rigs.iter().all(|rig| rig.notices("connection_limit") > 0)
    });
    let holder = rigs.iter().position(|rig| rig.open() == 1).unwrap();
    let [first, second] = rigs;
    let (mut holder, neighbour) = if holder == 0 { (first, second) } else { (second, first) };
    drop(neighbour);
    let accepted = holder.count(Cause::Accepted);
    drop(clients);
    holder.turn_until("the next one", |rig| rig.count(Cause::Accepted) > accepted);
}

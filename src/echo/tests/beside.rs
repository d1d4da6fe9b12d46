//! Tests of servers side by side, each with its own reactor and its own sockets on the same ports.

use std::net::UdpSocket;

use super::*;
use crate::socket::{PortUse, SocketOptions};
use crate::testing::wait_until;

fn leading(options: Options) -> Options {
    let socket = SocketOptions { port_use: PortUse::Lead, ..SocketOptions::default() };
    Options { socket, ..options }
}

/// Creates two servers on one endpoint that share their limits.
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

/// Returns the addresses by which clients reach an endpoint: loopback instead of a wildcard.
fn targets(bound: &Bound) -> Vec<SocketAddr> {
    let to_loopback = |addr: &SocketAddr| match (addr.ip().is_unspecified(), addr.is_ipv4()) {
        (false, _) => *addr,
        (true, true) => SocketAddr::from(([127, 0, 0, 1], addr.port())),
        (true, false) => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, addr.port())),
    };
    bound.addrs.iter().map(to_loopback).collect()
}

/// case U18 among others: the system spreads clients over both servers, whatever the host is.
#[test]
fn servers_that_share_an_endpoint_both_get_connections_and_datagrams() {
    const CLIENTS: usize = 64;
    for host in ["127.0.0.1", "[::1]", "0.0.0.0", "[::]", ""] {
        let mut rigs = pair(&format!("tcp://{host}:0"), usize::MAX);
        let targets_tcp = targets(&rigs[0].bound[0]);
        let connect = |index: usize| TcpStream::connect(targets_tcp[index % targets_tcp.len()]);
        let clients: Vec<_> = (0..CLIENTS).map(|index| connect(index).unwrap()).collect();
        turn_both_until(&mut rigs, "all connections", |rigs| open(rigs) == CLIENTS as u64);
        assert!(rigs.iter().all(|rig| rig.open() > 0), "{host}: both have connections");
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
        assert!(rigs.iter().all(|rig| received(rig) > 0), "{host}: both have datagrams");
        for (index, client) in clients.iter().enumerate() {
            let mut buf = [0; 2];
            assert_eq!((client.recv(&mut buf).unwrap(), usize::from(buf[0])), (1, index));
        }
    }
}

/// case U17
#[test]
fn another_server_cannot_open_a_shared_port() {
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
fn no_server_can_join_a_port_that_is_not_shared() {
    for endpoint in ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"] {
        let alone = Rig::new(Options::default(), &[endpoint]);
        let (mut reactor, mut server) = (Reactor::new().unwrap(), Server::new(Options::default()));
        let error = server.listen_beside(&mut reactor, &alone.bound[0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
    }
}

#[test]
fn a_unix_endpoint_cannot_be_opened_twice() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("unix:{}", folder.path().join("echo").display());
    let first = Rig::new(leading(Options::default()), &[&endpoint]);
    let (mut reactor, mut server) = (Reactor::new().unwrap(), Server::new(Options::default()));
    let error = server.listen_beside(&mut reactor, &first.bound[0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
}

/// case A5: a client that waits at one server gets the permit that the other server releases,
/// although no event announces it.
#[test]
fn a_permit_released_in_one_server_goes_to_a_client_of_the_other() {
    const CLIENTS: usize = 32;
    let mut rigs = pair("tcp://127.0.0.1:0", 2);
    let mut clients = rigs[0].clients(CLIENTS);
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.set_nonblocking(true).unwrap();
    }
    // Only the first server is turned, so it takes all permits.
    rigs[0].turn_until("the limit", |rig| rig.notices("connection_limit") > 0);
    turn_both_until(&mut rigs, "the second limit", |rigs| rigs[1].notices("connection_limit") > 0);
    assert_eq!((rigs[0].open(), rigs[1].open()), (2, 0));

    // Each served client disconnects, until all have been served.
    wait_until("all clients are served", || {
        for rig in 0..2 {
            rigs[rig].turn();
            assert!(open(&rigs) <= 2, "the limit holds at every moment");
        }
        clients.retain_mut(|client| client.read(&mut [0]).is_err());
        clients.is_empty()
    });
    turn_both_until(&mut rigs, "all connections end", |rigs| open(rigs) == 0);
    let accepted = rigs.each_ref().map(|rig| rig.count(Cause::Accepted));
    assert_eq!(accepted.iter().sum::<u64>(), CLIENTS as u64);
    assert!(accepted[0] > 0 && accepted[1] > 0, "{accepted:?}");
    // A listener may have begun to wait just before the last permit was free. It looks again.
    turn_both_until(&mut rigs, "no listener waits", |rigs| {
        rigs.iter()
            .all(|rig| rig.server().waiting.is_empty() && !rig.server().permits.others_wait(false))
    });
}

/// case A5: when no other server is left, a close in the same server wakes its listener.
#[test]
fn a_server_still_wakes_its_listener_after_the_other_server_ended_while_it_waited() {
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
    holder.turn_until("the next client", |rig| rig.count(Cause::Accepted) > accepted);
}
